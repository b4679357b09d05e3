/**
 * Kinds of values that only settings of ours have, none of PgBouncer's: times and sizes with units, lists of functions,
 * secrets. PgBouncer's own keys keep PgBouncer's rules (value-types.ts).
 */
import { formatG, parseInteger, parseSeconds, type ValueType } from './value-types.ts';

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** `0.5` (seconds), `100ms`, `5s`, `2min`, `1h`, `1d` -> ms (to the microsecond); NaN when it is no time. */
export function parseDuration(text: string): number {
  const found = /^(.*\d\.?)\s*([a-z]+)$/i.exec(text);
  if (found === null) return parseSeconds(text);
  const [, number = '', unit = ''] = found;
  const size = UNIT_MS[unit.toLowerCase()];
  const value = parseSeconds(number);
  if (size === undefined || Number.isNaN(value)) return Number.NaN;
  const ms = Math.round(value * size) / 1000;
  return Number.isFinite(ms) ? ms : Number.NaN;
}

/** Written in seconds or with a unit, held in milliseconds. */
export const duration: ValueType<number, 'Ms'> = {
  label: 'time (seconds, fractions allowed; or with unit: 100ms, 5s, 2min, 1h)',
  suffix: 'Ms',
  empty: 0,
  parse: (text) => {
    const value = parseDuration(text);
    return Number.isNaN(value) ? undefined : value;
  },
  format: (value) => formatG(value / 1000),
};

/** Timers of Node hold no more: a longer one would be one of no time at all. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** A time above zero: of what is done again and again, zero would be a busy loop. */
export const period: ValueType<number, 'Ms'> = {
  ...duration,
  label: 'time (0.01 seconds to 24 days, fractions allowed; or with unit: 100ms, 5s, 2min, 1h)',
  empty: 1000,
  parse: (text) => {
    const value = duration.parse(text);
    return value === undefined || value < 10 || value > MAX_TIMER_MS ? undefined : value;
  },
};

/** As `duration`; not set = null. */
export const nullableDuration: ValueType<number | null, 'Ms'> = {
  label: duration.label,
  suffix: 'Ms',
  empty: null,
  parse: (text) => (text === '' ? null : duration.parse(text)),
  format: (value) => (value === null ? null : duration.format(value)),
};

const SIZE_UNITS: readonly (readonly [string, number])[] = [
  ['TB', 2 ** 40],
  ['GB', 2 ** 30],
  ['MB', 2 ** 20],
  ['kB', 2 ** 10],
];

/** Bytes as an integer or with PostgreSQL's units (powers of 1024), held in bytes. */
export const byteSize: ValueType<number, ''> = {
  label: 'size (bytes, or with unit: 64kB, 16MB, 1GB)',
  suffix: '',
  empty: 0,
  parse: (text) => {
    const found = /^(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB)$/i.exec(text);
    const [, number = '', unit = ''] = found ?? [];
    const size = SIZE_UNITS.find(([name]) => name.toLowerCase() === unit.toLowerCase())?.[1] ?? 1;
    const value = found === null ? parseInteger(text) : Math.round(Number(number) * size);
    return value >= 0 && value <= Number.MAX_SAFE_INTEGER ? value : undefined;
  },
  format: (value) => {
    const [unit, size] = SIZE_UNITS.find(([, bytes]) => value > 0 && value % bytes === 0) ?? ['', 1];
    return `${value / size}${unit}`;
  },
};

/** A function's name as SQL folds it, with or without its schema; every other word of a list is a regexp. */
const PLAIN_NAME = /^[\p{L}_][\p{L}\p{N}_$]*(?:\.[\p{L}_][\p{L}\p{N}_$]*)?$/u;

/** Splits at commas and blanks outside of "double quotes"; null = a quote without an end, or text behind one. */
function splitQuoted(source: string): string[] | null {
  const words: string[] = [];
  const word = /[\s,]*(?:"((?:[^"]|"")*)"(?=[\s,]|$)|([^\s,"][^\s,]*))/y;
  const end = source.replace(/[\s,]+$/, '').length;
  while (word.lastIndex < end) {
    const found = word.exec(source);
    if (found === null) return null;
    words.push(found[2] ?? (found[1] ?? '').replaceAll('""', '"'));
  }
  return words;
}

function isRegExp(source: string): boolean {
  try {
    new RegExp(source);
    return true;
  } catch {
    return false;
  }
}

/** Names of functions and regexps over them. */
export const functionList: ValueType<readonly string[], ''> = {
  label:
    'list of function names (schema.name or name) and regexps, comma separated; a regexp with commas or blanks in "double quotes"',
  suffix: '',
  empty: Object.freeze([]),
  asWritten: true,
  parse: (text) => {
    const words = splitQuoted(text);
    if (words === null) return undefined;
    return words.every((word) => word !== '' && (PLAIN_NAME.test(word) || isRegExp(word)))
      ? Object.freeze(words)
      : undefined;
  },
  format: (value) =>
    value.map((word) => (/[\s,"]/.test(word) ? `"${word.replaceAll('"', '""')}"` : word)).join(','),
};

/** As nullableText, but never shown. */
export const secretText: ValueType<string | null, ''> = {
  label: 'text',
  suffix: '',
  empty: null,
  secret: true,
  parse: (value) => (value === '' ? null : value),
  format: (value) => (value === null ? null : '********'),
};

const WEB_ADDRESS = /^https?:\/\/[^/?#\s@]+(?::\d+)?(?:\/[^?#\s]*)?$/i;

/** `http://host:8008` and the like, with a path if need be. */
export function isWebAddress(text: string): boolean {
  return WEB_ADDRESS.test(text) && URL.canParse(text);
}

/** How a cluster is observed. */
export const checkMethod: ValueType<string, ''> = {
  label: '`sql` or `patroni:http://host:8008`',
  suffix: '',
  empty: 'sql',
  parse: (text) => {
    if (text.toLowerCase() === 'sql') return 'sql';
    const url = /^patroni:(.*)$/i.exec(text)?.[1];
    return url !== undefined && isWebAddress(url) ? `patroni:${url}` : undefined;
  },
  format: (value) => value,
};

/** How many processes; `auto` = as many as there are processors. */
export const processCount: ValueType<string, ''> = {
  label: 'auto or integer (1 or more)',
  suffix: '',
  empty: '1',
  parse: (text) => {
    if (text.toLowerCase() === 'auto') return 'auto';
    const count = parseInteger(text);
    return count >= 1 && count <= 1024 ? String(count) : undefined;
  },
  format: (value) => value,
};
