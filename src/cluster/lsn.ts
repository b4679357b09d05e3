/**
 * Positions in the WAL as numbers of bytes (exact up to 2^53, which is 9 PB), and their one trap: right after a page
 * or segment begins, the primary's insert position stands behind the header of that page, which no replica can have
 * replayed before the next record is written. Such a position means the same as the boundary before it.
 */

/** A WAL page as PostgreSQL is built by default (wal_block_size). */
export const WAL_BLOCK_BYTES = 8192;
/** SizeOfXLogShortPHD and SizeOfXLogLongPHD, the same on every 64-bit platform since PostgreSQL 9.3. */
const SHORT_HEADER = 24;
const LONG_HEADER = 40;
const HIGH = 0x1_0000_0000;

/** `16/B374D848` as a number; 0 (InvalidXLogRecPtr) for null and for what is no position. */
export function parseLsn(text: string | null): number {
  if (text === null) return 0;
  const parts = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text);
  if (parts === null) return 0;
  return Number.parseInt(parts[1] ?? '', 16) * HIGH + Number.parseInt(parts[2] ?? '', 16);
}

/** As PostgreSQL prints it. */
export function formatLsn(lsn: number): string {
  const high = Math.floor(lsn / HIGH);
  return `${high.toString(16).toUpperCase()}/${(lsn - high * HIGH).toString(16).toUpperCase()}`;
}

/**
 * The boundary before `lsn` when it stands right behind the header of a page or segment, else `lsn`. Nothing but the
 * header lies between the two, so comparing normalised positions (on both sides) loses nothing.
 */
export function normaliseLsn(
  lsn: number,
  segmentBytes: number,
  blockBytes: number = WAL_BLOCK_BYTES,
): number {
  if (segmentBytes > 0 && lsn % segmentBytes === LONG_HEADER) return lsn - LONG_HEADER;
  if (lsn % blockBytes !== SHORT_HEADER) return lsn;
  // the first page of a segment has the long header: 24 bytes into it is no position at all
  if (segmentBytes > 0 && lsn % segmentBytes === SHORT_HEADER) return lsn;
  return lsn - SHORT_HEADER;
}
