/**
 * The reported parameters that travel with a client: what ParameterStatus says on a server and what the client
 * has asked for. Sets are immutable; equal sets are made to be the same object, so that the hot path compares one
 * pointer (SESSION-STATE.md; pgbouncer.md §12 "Variables").
 */

/** Every reported parameter that a session may write (PostgreSQL 18), in PostgreSQL's spelling. */
export const TRACKED_PARAMETERS: readonly string[] = [
  'application_name',
  'client_encoding',
  'DateStyle',
  'default_transaction_read_only',
  'IntervalStyle',
  'scram_iterations',
  'search_path',
  'session_authorization',
  'standard_conforming_strings',
  'TimeZone',
];

/** Values whose case has no meaning. */
const FOLDED = new Set([
  'client_encoding',
  'datestyle',
  'intervalstyle',
  'timezone',
  'standard_conforming_strings',
]);

/** Values that can become invalid while clients hold them (a role may be dropped): never applied blindly. */
const NEVER_ASSUMED = new Set(['session_authorization']);

/** Different sets that are shared; more of them only cost comparisons. */
const REMEMBERED_SETS = 1000;

/** The parameters tracked by this process: the list above and `track_extra_parameters`. */
export class TrackedParameters {
  readonly names: readonly string[];
  readonly #index = new Map<string, number>();
  readonly #folded: readonly boolean[];
  readonly #known = new Map<string, Variables>();

  constructor(extra: readonly string[]) {
    const names = [...TRACKED_PARAMETERS];
    for (const name of extra) {
      if (name !== '' && !names.some((known) => known.toLowerCase() === name.toLowerCase())) names.push(name);
    }
    this.names = names;
    names.forEach((name, i) => {
      this.#index.set(name.toLowerCase(), i);
    });
    this.#folded = names.map((name) => FOLDED.has(name.toLowerCase()));
  }

  /** Position of a parameter (any case), or -1 when it is not tracked. */
  indexOf(name: string): number {
    return this.#index.get(name.toLowerCase()) ?? -1;
  }

  /** `variables` with one value changed; equal sets come out as the same object (as long as they are remembered). */
  with(variables: Variables, i: number, value: string): Variables {
    const next = [...variables];
    while (next.length <= i) next.push(undefined);
    next[i] = value;
    const key = next.map((one) => (one === undefined ? '' : `=${one}`)).join('\0');
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    if (this.#known.size >= REMEMBERED_SETS) this.#known.clear();
    this.#known.set(key, next);
    return next;
  }

  sameValue(i: number, a: string, b: string): boolean {
    return a === b || (this.#folded[i] === true && a.toLowerCase() === b.toLowerCase());
  }
}

/** An immutable set of values, by position in TrackedParameters; undefined = not known. */
export type Variables = readonly (string | undefined)[];

export const NO_VARIABLES: Variables = [];

/** `wanted` where it says something, else `base`. */
export function withDefaults(wanted: Variables, base: Variables): Variables {
  const n = Math.max(wanted.length, base.length);
  const next: (string | undefined)[] = [];
  for (let i = 0; i < n; i++) next.push(wanted[i] ?? base[i]);
  return next;
}

/** PostgreSQL string literal; E'' only when there is a backslash, so that standard_conforming_strings does not matter. */
export function quoteLiteral(value: string): string {
  const doubled = value.replaceAll("'", "''");
  return value.includes('\\') ? `E'${doubled.replaceAll('\\', '\\\\')}'` : `'${doubled}'`;
}

/** search_path is a list of identifiers: sent as it was reported; an empty one is written ''. */
function assignment(name: string, value: string): string {
  if (name === 'search_path') return `SET search_path=${searchPath(value)};`;
  return `SET ${name}=${quoteLiteral(value)};`;
}

/** One name of a list as PostgreSQL splits it (SplitIdentifierString), with what follows it. */
const LIST_ELEMENT =
  /[ \t\n\r\f\v]*(?:"((?:[^"]|"")*)"|([^ \t\n\r\f\v,"][^ \t\n\r\f\v,]*))[ \t\n\r\f\v]*(,|$)/gy;

/**
 * A reported search_path is a valid list; anything else (from a startup packet) is one literal, so that no client
 * text is ever run as SQL.
 */
function searchPath(value: string): string {
  const parts: string[] = [];
  for (let at = 0; ; at = LIST_ELEMENT.lastIndex) {
    LIST_ELEMENT.lastIndex = at;
    const found = LIST_ELEMENT.exec(value);
    if (found === null) return quoteLiteral(value);
    const [, quoted, plain = '', end] = found;
    // only ASCII is folded, as PostgreSQL does it in UTF-8
    const name = quoted?.replaceAll('""', '"') ?? plain.replace(/[A-Z]/g, (ch) => ch.toLowerCase());
    parts.push(quoteLiteral(name));
    if (end === '') return parts.join(',');
  }
}

export interface VariableDifference {
  /** `SET a='x';SET b='y';` */
  readonly sql: string;
  /** `name=value` of each, to remember which values a server has accepted. */
  readonly keys: readonly string[];
  /** False when one of them may be refused although it was accepted before. */
  readonly assumable: boolean;
}

/**
 * What a server must be told so that it has the client's values; null when nothing differs. A parameter for which
 * either side has no value is skipped (the server does not report it).
 */
export function difference(
  tracked: TrackedParameters,
  client: Variables,
  server: Variables,
): VariableDifference | null {
  let sql = '';
  let keys: string[] | null = null;
  let assumable = true;
  for (let i = 0; i < client.length; i++) {
    const wanted = client[i];
    const present = server[i];
    if (wanted === undefined || present === undefined || tracked.sameValue(i, wanted, present)) continue;
    const name = tracked.names[i] as string;
    sql += assignment(name, wanted);
    keys ??= [];
    keys.push(`${name}=${wanted}`);
    if (NEVER_ASSUMED.has(name)) assumable = false;
  }
  return keys === null ? null : { sql, keys, assumable };
}
