/**
 * Gathers the pieces of one turn for one peer, so that they leave in one write. The common turn has one piece that
 * needs no change: it is written straight from the read buffer and this class copies nothing.
 */
import { PoolerError } from '../util/errors.ts';
import type { Transport } from './transport.ts';

const SIZE = 64 * 1024;
/** A piece above this size is written by itself. */
const LARGE = 16 * 1024;

export class OutBuffer {
  readonly #scratch = Buffer.allocUnsafeSlow(SIZE);
  readonly #space = { buffer: this.#scratch, at: 0 };
  #length = 0;
  #target: Transport | null = null;
  /** False when a write of this turn went above the target's high water mark. */
  belowHighWater = true;

  /** Starts a turn. Turns of one OutBuffer never nest: flush before control goes elsewhere. */
  begin(target: Transport): void {
    if (this.#length > 0) throw new Error('OutBuffer: the previous turn was not flushed');
    this.#target = target;
    this.belowHighWater = true;
  }

  /** Adds bytes [from, to); `source` as in Transport.write. */
  add(buffer: Buffer, from: number, to: number, source: Transport | null): void {
    const n = to - from;
    if (n <= 0) return;
    if (n > LARGE || n > SIZE - this.#length) {
      this.#spill();
      if (n > LARGE) {
        this.#write(buffer, from, to, source);
        return;
      }
    }
    buffer.copy(this.#scratch, this.#length, from, to);
    this.#length += n;
  }

  /**
   * Room for `n` bytes (a rewritten message head) that the caller fills at once; valid until the next call.
   * A head above the size of the buffer (a portal name of 64 kB) is refused.
   */
  reserve(n: number): { readonly buffer: Buffer; readonly at: number } {
    const space = this.#space;
    if (n > SIZE - this.#length) this.#spill();
    if (n > SIZE) throw new PoolerError('failedToParse');
    space.at = this.#length;
    this.#length += n;
    return space;
  }

  /** Ends the turn with bytes [from, to) as its last piece. */
  finish(buffer: Buffer, from: number, to: number, source: Transport | null): void {
    if (this.#length === 0) {
      if (to > from) this.#write(buffer, from, to, source);
    } else {
      this.add(buffer, from, to, source);
      this.#spill();
    }
  }

  /** Ends the turn. */
  flush(): void {
    this.#spill();
  }

  /** Ends the turn without writing: what was gathered goes to `sink`. */
  drainTo(sink: { add(buffer: Buffer, from: number, to: number): void }): void {
    sink.add(this.#scratch, 0, this.#length);
    this.#length = 0;
  }

  /** Forgets what was gathered (the target is gone). */
  discard(): void {
    this.#length = 0;
  }

  #spill(): void {
    if (this.#length === 0) return;
    const n = this.#length;
    this.#length = 0;
    this.#write(this.#scratch, 0, n, null);
  }

  #write(buffer: Buffer, from: number, to: number, source: Transport | null): void {
    const target = this.#target;
    if (target !== null && !target.write(buffer, from, to, source)) this.belowHighWater = false;
  }
}
