/**
 * Does a simple query make the server forget its prepared statements? Its answer says so in time for what is sent
 * after it, but not for what is sent behind it in the same breath (Npgsql puts DISCARD ALL before its next batch).
 */
const ALL = /^\s*(?:discard|deallocate(?:\s+prepare)?)\s+all\s*;?\s*\0$/i;
/** Longer ones are not looked at: the answer's tag is what counts, this is for those who do not wait for it. */
const LONGEST = 64;

/** Not all of a Query message in [pos, end) has been read, and the rest may make it one of them. */
export function mayForgetStatements(pos: number, end: number, n: number): boolean {
  return end > n && end - pos <= LONGEST;
}

/** `buffer` holds a Query message in [pos, end), read up to `n`. */
export function forgetsStatements(buffer: Buffer, pos: number, end: number, n: number): boolean {
  if (end > n || end - pos > LONGEST) return false;
  const first = (buffer[pos + 5] as number) | 0x20;
  // a blank stays a blank; letters become small
  return (first === 0x64 || first <= 0x2d) && ALL.test(buffer.latin1Slice(pos + 5, end));
}
