/** Bytes kept for later, in order: the start of a message that must be seen whole, or what waits for a server. */
const SMALL = 64;

export class HeldBytes {
  buffer: Buffer = Buffer.alloc(0);
  length = 0;

  /** Copies bytes [from, to) behind what is held. */
  add(source: Buffer, from: number, to: number): void {
    const n = to - from;
    if (n <= 0) return;
    if (this.length + n > this.buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(256, (this.length + n) * 2));
      this.buffer.copy(grown, 0, 0, this.length);
      this.buffer = grown;
    }
    // a few bytes are copied faster here than by a call into Node
    if (n > SMALL) source.copy(this.buffer, this.length, from, to);
    else {
      const { buffer, length } = this;
      for (let i = 0; i < n; i++) buffer[length + i] = source[from + i] as number;
    }
    this.length += n;
  }

  /** Throws the first `n` bytes away. */
  drop(n: number): void {
    this.buffer.copy(this.buffer, 0, n, this.length);
    this.length -= n;
  }

  /** Lets the memory go too. */
  clear(): void {
    this.buffer = Buffer.alloc(0);
    this.length = 0;
  }
}
