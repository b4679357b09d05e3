/**
 * `YYYY-MM-DD HH:MM:SS TZ` in local time, as PgBouncer's strftime prints it.
 */
import { zoneAbbreviation } from '../observe/log-line.ts';

const two = (n: number): string => (n < 10 ? `0${n}` : String(n));

/** Zone names by offset: asking Intl costs far more than the rest of a row of SHOW CLIENTS. */
const zones = new Map<number, string>();

function zone(date: Date): string {
  const offset = date.getTimezoneOffset();
  const known = zones.get(offset);
  if (known !== undefined) return known;
  const name = zoneAbbreviation(date.getTime());
  zones.set(offset, name);
  return name;
}

/** `atMs` in epoch milliseconds; 0 (never) gives the empty string. */
export function localTime(atMs: number): string {
  if (!(atMs > 0)) return '';
  const d = new Date(atMs);
  const day = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
  return `${day} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())} ${zone(d)}`;
}
