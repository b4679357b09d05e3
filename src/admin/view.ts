/**
 * What a SHOW view is. A view is declared once: its columns with type, meaning and the way to the value. SHOW,
 * SHOW HELP <view> and docs/console.md all come from that declaration.
 */
import type { Cell, ColumnType, Environment, ResultColumn, Row } from './outcome.ts';

export interface ViewColumn extends ResultColumn {
  readonly doc: string;
  /** For a column with a closed set of values: each with its meaning. */
  readonly values: Readonly<Record<string, string>> | null;
}

export interface View {
  /** As after SHOW, in capitals. */
  readonly name: string;
  readonly doc: string;
  readonly columns: readonly ViewColumn[];
  /** Rows in the order of `columns`. */
  rows(env: Environment): Row[];
  /** Not null: the view is known but not served; the text says why. */
  readonly unavailable: string | null;
}

/** A column of a view whose source gives values of type `S`. */
export interface Field<S> extends ViewColumn {
  of(item: S): Cell;
}

/** Declares one column. */
export function field<S>(
  name: string,
  type: ColumnType,
  doc: string,
  of: (item: S) => Cell,
  values: Readonly<Record<string, string>> | null = null,
): Field<S> {
  return { name, type, doc, of, values };
}

/** Declares one view. */
export function view<S>(v: {
  readonly name: string;
  readonly doc: string;
  readonly fields: readonly Field<S>[];
  source(env: Environment): readonly S[];
}): View {
  return {
    name: v.name,
    doc: v.doc,
    columns: v.fields,
    unavailable: null,
    rows: (env) => v.source(env).map((item) => v.fields.map((f) => f.of(item))),
  };
}

/** By name, in the order of bytes, as PgBouncer sorts. */
export function byName<T extends { readonly name: string }>(a: T, b: T): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}
