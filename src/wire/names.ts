/** Names in messages end with a NUL. They are short: a loop finds it sooner than a call into Node. */

/** Where the first NUL of [from, to) stands, -1 = there is none. */
export function nulIn(buffer: Buffer, from: number, to: number): number {
  for (let i = from; i < to; i++) if (buffer[i] === 0) return i;
  return -1;
}
