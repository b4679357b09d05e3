/** Positions in the WAL as PostgreSQL writes them: `16/B374D848`. Numbers are exact up to 2^53. */
const HIGH = 2 ** 32;

/** `0/0` for 0. */
export function formatLsn(lsn: number): string {
  const whole = Math.floor(lsn);
  return `${Math.floor(whole / HIGH)
    .toString(16)
    .toUpperCase()}/${(whole % HIGH).toString(16).toUpperCase()}`;
}

/** null when the text is no position, or one above 2^53. */
export function parseLsn(text: string): number | null {
  const match = /^([0-9a-f]{1,8})\/([0-9a-f]{1,8})$/i.exec(text.trim());
  if (match === null) return null;
  const lsn = Number.parseInt(match[1] ?? '', 16) * HIGH + Number.parseInt(match[2] ?? '', 16);
  return Number.isSafeInteger(lsn) ? lsn : null;
}
