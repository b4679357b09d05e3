/**
 * What a statement's text says about where it may run; the vocabulary between the room sql (which finds it), routing
 * (which decides by it) and the console (which shows it). Values only.
 */

/** A function or relation as the text names it. Unquoted names are folded to lower case, quoted ones kept. */
export interface SqlName {
  /** null = not qualified. */
  readonly schema: string | null;
  readonly name: string;
}

/** A transaction statement that is the whole text. */
export type TransactionControl =
  | {
      readonly verb: 'begin';
      /** READ ONLY / READ WRITE as written, null = not said. */
      readonly readOnly: boolean | null;
      /** ISOLATION LEVEL as written, lower case; null = not said. */
      readonly isolation: string | null;
    }
  /** COMMIT, END. `chain` = AND CHAIN: another block begins at once. */
  | { readonly verb: 'commit' | 'rollback'; readonly chain: boolean }
  /** SET TRANSACTION. */
  | { readonly verb: 'set'; readonly readOnly: boolean | null; readonly isolation: string | null };

/** SET, RESET or SHOW of a `pgconcierge.…` setting that is the whole text: answered by the proxy. */
export interface OwnSetting {
  readonly verb: 'set' | 'reset' | 'show';
  /** Without the prefix, lower case: `route`, `wait_lsn`, `lsn`. */
  readonly name: string;
  /** Of SET; null = DEFAULT. */
  readonly value: string | null;
  /** SET LOCAL: refused by the proxy with a clear error. */
  readonly local: boolean;
}

/** A routing comment before the first keyword. */
export type Hint =
  | { readonly kind: 'primary' }
  | { readonly kind: 'replica' }
  | { readonly kind: 'node'; readonly node: string };

/**
 * Why a text is a write as it stands. '' = nothing in the text itself: it is a read, provided that its functions and
 * relations are (routing decides that with the catalog).
 */
export type WriteRule =
  | ''
  | 'command' // INSERT, CREATE, SET, LISTEN … : the verb itself
  | 'locking clause' // FOR UPDATE / SHARE …
  | 'select into'
  | 'modifying cte'
  | 'explain analyze of a write'
  | 'copy' // COPY FROM, COPY … TO a file or program, COPY of a write
  | 'transaction control' // BEGIN … beside other statements, SAVEPOINT, PREPARE TRANSACTION …
  | 'several statements' // one of which is a write
  | 'syntax error'
  | 'too long'
  | 'not parsed'; // the parser failed for a reason of its own

export interface SqlFacts {
  readonly rule: WriteRule;
  /** For people: `UPDATE`, `SELECT`, `BEGIN`; upper case; '' = empty text. */
  readonly command: string;
  /** False when the statement cannot have changed any data (SET, SHOW, BEGIN, a read): leaves no freshness mark. */
  readonly changesData: boolean;
  readonly functions: readonly SqlName[];
  /** Tables and views that are read; without names of CTEs. */
  readonly relations: readonly SqlName[];
  readonly control: TransactionControl | null;
  readonly own: OwnSetting | null;
  /** CREATE / ALTER / DROP of a function, aggregate, table, schema …: what is known of the catalog may be old. */
  readonly altersCatalog: boolean;
}

/** What the lexer makes of a text. */
export interface Normalised {
  /** Literals replaced by `$n`, comments dropped, blanks folded; the key of caches and of the top-queries view. */
  readonly text: string;
  readonly hint: Hint | null;
}
