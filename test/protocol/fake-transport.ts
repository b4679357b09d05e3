/**
 * A Transport without a socket: what is written is recorded, what is read is delivered by the test in pieces of its
 * choice. It keeps the promises of the real one that matter to the relay: bytes are only valid during `onData` (the
 * piece is overwritten afterwards), nothing is delivered while paused, `write` says false above the high water mark
 * and `onDrain` follows.
 */
import type { Transport, TransportHandler } from '../../src/net/transport.ts';

const scratch = Buffer.alloc(64 * 1024);

export class FakeTransport {
  handler: TransportHandler;
  closed = false;
  paused = false;
  copies = true;
  /** `closeAfter` was called: what was written still leaves. */
  closing = false;
  highWater = Number.POSITIVE_INFINITY;
  /** Bytes of each write, to see what left together. */
  readonly writes: number[] = [];
  readonly socket = {
    remoteAddress: '127.0.0.1',
    remotePort: 1,
    localAddress: '127.0.0.1',
    localPort: 2,
    setNoDelay() {},
    setKeepAlive() {},
  };
  #written: Buffer[] = [];
  #pending = 0;
  #needDrain = false;
  #inbox: Buffer[] = [];

  constructor(handler: TransportHandler) {
    this.handler = handler;
  }

  /** What the relay takes it for. */
  get asTransport(): Transport {
    return this as unknown as Transport;
  }

  // --- the relay's side

  write(buffer: Buffer, from: number, to: number): boolean {
    return this.#write(Buffer.from(buffer.subarray(from, to)));
  }

  writeOwned(bytes: Buffer): boolean {
    return this.#write(Buffer.from(bytes));
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  setAside(): void {}

  whenConnected(): void {}

  get pending(): number {
    return this.#pending;
  }

  closeAfter(last: Buffer | null): void {
    if (this.closed) return;
    if (last !== null) this.#write(Buffer.from(last));
    this.closing = true;
    this.closed = true;
  }

  destroy(): void {
    this.closed = true;
  }

  // --- the test's side

  /** Puts bytes before the reader; `deliver` brings them. */
  arrive(bytes: Buffer): void {
    if (bytes.length > 0) this.#inbox.push(bytes);
  }

  /** Bytes that have arrived and were not delivered. */
  get arrived(): number {
    return this.#inbox.reduce((sum, one) => sum + one.length, 0);
  }

  /** Delivers up to `limit` bytes in one piece. False = nothing to deliver, or the reader is paused. */
  deliver(limit: number): boolean {
    if (this.closed || this.paused || this.#inbox.length === 0) return false;
    const all = this.#inbox.length === 1 ? (this.#inbox[0] ?? Buffer.alloc(0)) : Buffer.concat(this.#inbox);
    const n = Math.min(Math.max(1, limit), all.length, scratch.length);
    const piece = Buffer.from(all.subarray(0, n));
    this.#inbox = n === all.length ? [] : [all.subarray(n)];
    piece.copy(scratch);
    this.handler.onData(scratch, n);
    scratch.fill(0xee, 0, n);
    return true;
  }

  /** Takes what was written; the peer has read it. */
  take(): Buffer {
    const bytes = Buffer.concat(this.#written);
    this.#written = [];
    this.#pending = 0;
    if (this.#needDrain && !this.closed) {
      this.#needDrain = false;
      this.handler.onDrain();
    }
    return bytes;
  }

  #write(bytes: Buffer): boolean {
    if (this.closed) return true;
    this.#written.push(bytes);
    this.writes.push(bytes.length);
    this.#pending += bytes.length;
    if (this.#pending <= this.highWater) return true;
    this.#needDrain = true;
    return false;
  }
}
