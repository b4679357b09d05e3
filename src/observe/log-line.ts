/**
 * What a log line looks like: PgBouncer's form, and the cleaning of everything that may come from outside.
 * Pure; the destinations are in log-destination.ts and log-syslog.ts.
 */
import type { LogFields, LogLevel } from '../util/log.ts';

/** Longer texts are cut: a startup packet may carry 64 kB of user name. */
const MAX_TEXT_LENGTH = 8192;

/** Control and format characters (bidi overrides among them), line and paragraph separators, lone surrogates. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;
const UNSAFE_ALL = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

const SHORT_ESCAPES: ReadonlyMap<string, string> = new Map([
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
]);

function escapeUnsafe(char: string): string {
  const short = SHORT_ESCAPES.get(char);
  if (short !== undefined) return short;
  const code = char.codePointAt(0) ?? 0;
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
}

/**
 * One line without control characters: newlines, escape sequences and bidi overrides become visible escapes, so
 * that a client's user name can neither forge a line nor drive a terminal. Cut at 8192 characters.
 */
export function cleanText(text: string): string {
  const short = text.length > MAX_TEXT_LENGTH ? `${text.slice(0, MAX_TEXT_LENGTH)}...` : text;
  return UNSAFE.test(short) ? short.replace(UNSAFE_ALL, escapeUnsafe) : short;
}

/** The keys that every JSON line has; a field of the same name would be a second key in one object. */
const RESERVED = new Set(['level', 'time', 'pid', 'msg']);

/** Fields for a JSON line: strings cleaned, reserved names moved to `field_…`. */
export function cleanFields(fields: LogFields): LogFields {
  const clean: Record<string, string | number | boolean> = {};
  for (const [key, value] of Object.entries(fields)) {
    clean[RESERVED.has(key) ? `field_${key}` : key] = typeof value === 'string' ? cleanText(value) : value;
  }
  return clean;
}

/** English locales between them know the abbreviations in use; where none does, tzdata has a number as well. */
const ZONE_LOCALES = ['en-US', 'en-GB', 'en-AU', 'en-IN', 'en-ZA'];

/** `UTC`, `CET`, `EST`, or `+09` when the zone has no abbreviation. `timeZone` undefined = the system's. */
export function zoneAbbreviation(wallMs: number, timeZone?: string): string {
  for (const locale of ZONE_LOCALES) {
    const format = new Intl.DateTimeFormat(locale, {
      timeZoneName: 'short',
      ...(timeZone === undefined ? {} : { timeZone }),
    });
    const name = format.formatToParts(wallMs).find((part) => part.type === 'timeZoneName')?.value;
    if (name !== undefined && !/[+-]\d/.test(name)) return name;
  }
  const offset = new Intl.DateTimeFormat('en-US', {
    timeZoneName: 'longOffset',
    ...(timeZone === undefined ? {} : { timeZone }),
  });
  const long = offset.formatToParts(wallMs).find((part) => part.type === 'timeZoneName')?.value ?? 'GMT';
  // GMT+05:30 -> +0530, GMT+09:00 -> +09, as tzdata writes them
  return long === 'GMT' ? 'UTC' : long.replace('GMT', '').replace(':00', '').replace(':', '');
}

const two = (value: number): string => (value < 10 ? `0${value}` : String(value));
const three = (value: number): string => String(value).padStart(3, '0');

/** Renders PgBouncer's lines; the date part is kept for the second it is valid. */
export class LineFormat {
  readonly #pid: number;
  #second = Number.NaN;
  #date = '';
  #offsetMinutes = Number.NaN;
  #zone = '';

  constructor(pid: number) {
    this.#pid = pid;
  }

  /** `2026-11-20 18:23:54.057 UTC [23089] LOG text` plus a newline; local time. `text` must be clean. */
  line(level: LogLevel, text: string, wallMs: number): string {
    const second = Math.floor(wallMs / 1000);
    if (second !== this.#second) this.#turn(second);
    const millis = three(Math.floor(wallMs - second * 1000));
    return `${this.#date}.${millis} ${this.#zone} [${this.#pid}] ${level} ${text}\n`;
  }

  #turn(second: number): void {
    const at = new Date(second * 1000);
    const offset = at.getTimezoneOffset();
    if (offset !== this.#offsetMinutes) {
      this.#offsetMinutes = offset;
      this.#zone = zoneAbbreviation(at.getTime());
    }
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    this.#date = `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
    this.#second = second;
  }
}
