/**
 * The kinds of values that an option may have: how the text of the file becomes a value and how SHOW CONFIG prints
 * it. PgBouncer's rules (reference: integers as strtol with base 0, times in seconds with fraction, lookups without
 * regard to case, booleans as integers).
 */
export type Suffix = '' | 'Ms';

export interface ValueType<T, S extends Suffix = Suffix> {
  /** What the documentation calls it, and what a hint says after a bad value. */
  readonly label: string;
  /** Added to the camelCase key of Settings: times carry their unit. */
  readonly suffix: S;
  /** Value of an option whose default is NULL. */
  readonly empty: T;
  /** undefined = not a value of this type. */
  parse(text: string): T | undefined;
  /** As SHOW CONFIG prints it; null = NULL. */
  format(value: T): string | null;
  /** SHOW CONFIG gives back the text of the file instead. */
  readonly asWritten?: true;
  /** The text is told nowhere: no log, no error, no view. */
  readonly secret?: true;
}

const MAX_INT = 2147483647;

/** strtol(text, base 0) without trailing garbage; NaN when it is not an integer. Trailing blanks are gone already. */
export function parseInteger(text: string): number {
  const found = /^([+-]?)(?:0x([0-9a-f]+)|0([0-7]*)|([1-9][0-9]*))$/i.exec(text);
  if (found === null) return Number.NaN;
  const [, sign, hex, octal, decimal] = found;
  const size =
    hex !== undefined
      ? Number.parseInt(hex, 16)
      : octal !== undefined
        ? Number.parseInt(octal || '0', 8)
        : Number(decimal);
  return sign === '-' && size !== 0 ? -size : size;
}

/** Seconds with fraction -> milliseconds (to the microsecond); NaN when it is no time. Negative times are refused. */
export function parseSeconds(text: string): number {
  if (!/^\+?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(text)) return Number.NaN;
  const ms = Math.round(Number(text) * 1e6) / 1e3;
  return Number.isFinite(ms) ? ms : Number.NaN;
}

/** C's %g: six significant digits, no trailing zeros, exponent outside 1e-5..1e6. */
export function formatG(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const [digits = '', exponent = '0'] = value.toExponential(5).split('e');
  const power = Number(exponent);
  if (power >= -4 && power < 6) return String(Number(value.toPrecision(6)));
  const shown = String(Math.abs(power)).padStart(2, '0');
  return `${Number(digits)}e${power < 0 ? '-' : '+'}${shown}`;
}

/** Integer in [min, max]. */
export function integer(min = 0, max = MAX_INT): ValueType<number, ''> {
  const most = max === MAX_INT ? '' : `..${max}`;
  return {
    label: `integer (${min}${most || ' or more'})`,
    suffix: '',
    empty: 0,
    parse: (text) => {
      const value = parseInteger(text);
      return value >= min && value <= max ? value : undefined;
    },
    format: String,
  };
}

/** PgBouncer's booleans are integers; anything but 0 is true. */
export const boolean: ValueType<boolean, ''> = {
  label: 'boolean (0 or 1)',
  suffix: '',
  empty: false,
  parse: (text) => {
    const value = parseInteger(text);
    return Number.isNaN(value) ? undefined : value !== 0;
  },
  format: (value) => (value ? '1' : '0'),
};

/** Written in seconds, held in milliseconds. */
export const seconds: ValueType<number, 'Ms'> = {
  label: 'time (seconds, fractions allowed)',
  suffix: 'Ms',
  empty: 0,
  parse: (text) => {
    const value = parseSeconds(text);
    return Number.isNaN(value) ? undefined : value;
  },
  format: (value) => formatG(value / 1000),
};

/** Written in seconds without fraction (PgBouncer has a plain integer there), held in milliseconds. */
export const wholeSeconds: ValueType<number, 'Ms'> = {
  label: 'time (whole seconds)',
  suffix: 'Ms',
  empty: 0,
  parse: (text) => {
    const value = parseInteger(text);
    return value >= 0 && value <= MAX_INT ? value * 1000 : undefined;
  },
  format: (value) => String(value / 1000),
};

/** Written and held in milliseconds. */
export const milliseconds: ValueType<number, 'Ms'> = {
  ...integer(),
  label: 'time (milliseconds)',
  suffix: 'Ms',
};

/** Any text; not set = ''. */
export const text: ValueType<string, ''> = {
  label: 'text',
  suffix: '',
  empty: '',
  parse: (value) => value,
  format: (value) => value,
};

/** Any text; not set, or set to nothing, = null. */
export const nullableText: ValueType<string | null, ''> = {
  label: 'text',
  suffix: '',
  empty: null,
  parse: (value) => (value === '' ? null : value),
  format: (value) => value,
};

/** Words separated by commas or blanks (PgBouncer takes both). */
export const list: ValueType<readonly string[], ''> = {
  label: 'list (comma separated)',
  suffix: '',
  empty: Object.freeze([]),
  asWritten: true,
  parse: (value) => Object.freeze(value.split(/[\s,]+/).filter((word) => word !== '')),
  format: (value) => value.join(','),
};

/** One of some words, in any case. */
export function lookup<const W extends string>(...words: readonly W[]): ValueType<W, ''> {
  const [first] = words;
  if (first === undefined) throw new TypeError('a lookup needs words');
  return {
    label: `one of ${words.join(', ')}`,
    suffix: '',
    empty: first,
    parse: (value) => words.find((word) => word === value.toLowerCase()),
    format: (value) => value,
  };
}
