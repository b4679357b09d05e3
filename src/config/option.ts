/** The shape of one row of the options table, and the function that writes a row. */
import type { Suffix, ValueType } from './value-types.ts';

/** Where else than in [pgbouncer] the same thing may be set; entry-keys.ts has those keys. */
export type Scope = 'global' | 'cluster' | 'database' | 'user' | 'peer';

export interface Option<N extends string = string, T = unknown, S extends Suffix = Suffix> {
  readonly name: N;
  readonly type: ValueType<T, S>;
  /** As in the `default` column of SHOW CONFIG; null = NULL. */
  readonly defaultText: string | null;
  /** Restart-only: RELOAD and SET keep the old value silently, as PgBouncer does. */
  readonly restart: boolean;
  /** `accepted` = has no meaning here; said once at start when the file sets it. */
  readonly status: 'effective' | 'accepted';
  readonly scopes: readonly Scope[];
  readonly doc: string;
  /** Not in PgBouncer; stands after PgBouncer's in SHOW CONFIG. */
  readonly own: boolean;
}

interface Extras {
  readonly restart?: true;
  readonly accepted?: true;
  readonly own?: true;
  readonly also?: readonly Scope[];
}

/** One row. `doc` is Markdown without line breaks. */
export function option<const N extends string, T, S extends Suffix>(
  name: N,
  type: ValueType<T, S>,
  defaultText: string | null,
  doc: string,
  extras: Extras = {},
): Option<N, T, S> {
  return Object.freeze({
    name,
    type,
    defaultText,
    restart: extras.restart ?? false,
    status: extras.accepted ? 'accepted' : 'effective',
    scopes: Object.freeze(['global' as const, ...(extras.also ?? [])]),
    doc,
    own: extras.own ?? false,
  });
}
