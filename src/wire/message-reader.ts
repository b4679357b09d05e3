/**
 * Whole messages out of arbitrary chunks, for the phases in which every message is looked at (login, console).
 * The relay does not use this: it walks headers in the read buffer. Bounded: a message above `limit` throws.
 */
export class MessageTooLarge extends Error {
  constructor(length: number) {
    super(`message of ${length} bytes is above the limit`);
    this.name = 'MessageTooLarge';
  }
}

export class MessageReader {
  #held: Buffer = Buffer.alloc(0);
  /** Largest message length accepted, header included. */
  limit: number;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Bytes held that do not make a whole message yet. */
  get pending(): number {
    return this.#held.length;
  }

  /** Adds a copy of bytes [from, to). */
  push(buffer: Buffer, from: number, to: number): void {
    if (to <= from) return;
    const piece = buffer.subarray(from, to);
    this.#held = this.#held.length === 0 ? Buffer.from(piece) : Buffer.concat([this.#held, piece]);
  }

  /** The next whole typed message, or null. Throws MessageTooLarge, also for lengths below 4. */
  next(): { readonly type: number; readonly body: Buffer } | null {
    const held = this.#held;
    if (held.length < 5) return null;
    const length = held.readUInt32BE(1);
    if (length < 4 || length + 1 > this.limit) throw new MessageTooLarge(length);
    if (held.length < length + 1) return null;
    this.#held = held.subarray(length + 1);
    return { type: held[0] as number, body: held.subarray(5, length + 1) };
  }

  /** The next untyped first packet (startup, SSLRequest, CancelRequest …): its body without the length. */
  nextStartup(): Buffer | null {
    const held = this.#held;
    if (held.length < 4) return null;
    const length = held.readUInt32BE(0);
    if (length < 8 || length > this.limit) throw new MessageTooLarge(length);
    if (held.length < length) return null;
    this.#held = held.subarray(length);
    return held.subarray(4, length);
  }

  /** Everything held, taken away (the relay goes on with it). */
  rest(): Buffer {
    const held = this.#held;
    this.#held = Buffer.alloc(0);
    return held;
  }
}
