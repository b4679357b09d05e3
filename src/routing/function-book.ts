/**
 * Which called functions may write: the lists of the configuration first, then the primary's catalog, then what is
 * known of pg_catalog. Not on the hot path: answers are part of a cached verdict.
 *
 * A qualified name means that schema's functions; an unqualified one those of every schema, since the search_path of
 * the session is not known here. What nobody knows counts as a write: the primary will say what is wrong with it.
 */
import type { SqlName } from '../sql/facts.ts';
import { HARMLESS_VOLATILE, PRIMARY_ONLY } from './builtin-functions.ts';
import type { CatalogFacts } from './cluster-view.ts';
import { FunctionList } from './function-lists.ts';
import { isStableBuiltin } from './stable-functions.ts';

export interface FunctionFinding {
  readonly writes: boolean;
  readonly volatility: 'volatile' | 'not volatile' | 'unknown';
  /** Where that is known from. */
  readonly source: 'read_functions' | 'write_functions' | 'catalog' | 'built-in list' | 'nowhere';
  /** For people. */
  readonly why: string;
}

const READ_LIST: FunctionFinding = {
  writes: false,
  volatility: 'unknown',
  source: 'read_functions',
  why: 'listed in read_functions',
};
const WRITE_LIST: FunctionFinding = {
  writes: true,
  volatility: 'unknown',
  source: 'write_functions',
  why: 'listed in write_functions',
};
const VOLATILE: FunctionFinding = {
  writes: true,
  volatility: 'volatile',
  source: 'catalog',
  why: 'VOLATILE: it may write',
};
const NOT_VOLATILE: FunctionFinding = {
  writes: false,
  volatility: 'not volatile',
  source: 'catalog',
  why: 'STABLE or IMMUTABLE: it cannot write',
};
const STABLE_BUILTIN: FunctionFinding = { ...NOT_VOLATILE, source: 'built-in list' };
const UNKNOWN: FunctionFinding = {
  writes: true,
  volatility: 'unknown',
  source: 'nowhere',
  why: 'not in the catalog of the primary when it was read last: it may write',
};
const NO_CATALOG: FunctionFinding = {
  ...UNKNOWN,
  why: 'the catalog of the primary could not be read yet (the log says why): it may write',
};

/** Bits of what the catalog says about an unqualified name. */
const SYSTEM = 1;
const SYSTEM_VOLATILE = 2;
const USER = 4;
const USER_VOLATILE = 8;

export class FunctionBook {
  readonly #read: FunctionList;
  readonly #write: FunctionList;
  /** Bits by name; null = no catalog. */
  #byName: Map<string, number> | null = null;
  /** `schema NUL name` -> volatile, for schemas other than pg_catalog. */
  #qualified = new Map<string, boolean>();

  /** Throws when a word of the lists is no name and no regular expression. */
  constructor(writeFunctions: readonly string[], readFunctions: readonly string[]) {
    this.#write = new FunctionList(writeFunctions, true);
    this.#read = new FunctionList(readFunctions, false);
  }

  /** Takes another catalog; null = none can be had. */
  setCatalog(facts: CatalogFacts | null): void {
    this.#qualified = new Map();
    this.#byName = facts === null ? null : new Map();
    if (facts === null || this.#byName === null) return;
    for (const { schema, name, volatile } of facts.functions) {
      const system = schema === 'pg_catalog';
      const bits = system ? SYSTEM | (volatile ? SYSTEM_VOLATILE : 0) : USER | (volatile ? USER_VOLATILE : 0);
      this.#byName.set(name, (this.#byName.get(name) ?? 0) | bits);
      if (system) continue;
      const key = `${schema}\0${name}`;
      this.#qualified.set(key, volatile || this.#qualified.get(key) === true);
    }
  }

  /** What is known about a call of `called`. */
  find(called: SqlName): FunctionFinding {
    const found = this.#find(called);
    return found === UNKNOWN && this.#byName === null ? NO_CATALOG : found;
  }

  #find(called: SqlName): FunctionFinding {
    if (this.#read.has(called)) return READ_LIST;
    if (this.#write.has(called)) return WRITE_LIST;
    const { schema, name } = called;
    const bits = this.#byName?.get(name) ?? 0;
    if (schema === 'pg_catalog') return builtin(name, bits);
    if (schema !== null) {
      const volatile = this.#qualified.get(`${schema}\0${name}`);
      return volatile === undefined ? UNKNOWN : volatile ? VOLATILE : NOT_VOLATILE;
    }
    if ((bits & USER_VOLATILE) !== 0) return VOLATILE;
    const own = builtin(name, bits);
    // a name of users only: pg_catalog has nothing to say about it
    if (own === UNKNOWN && (bits & USER) !== 0) return NOT_VOLATILE;
    return own;
  }
}

/** A function of pg_catalog; `bits` may be 0 when the catalog was not loaded or leaves pg_catalog out. */
function builtin(name: string, bits: number): FunctionFinding {
  const primary = PRIMARY_ONLY.get(name);
  if (primary !== undefined) {
    return { writes: true, volatility: 'not volatile', source: 'built-in list', why: primary };
  }
  const harmless = HARMLESS_VOLATILE.get(name);
  if (harmless !== undefined) {
    return { writes: false, volatility: 'volatile', source: 'built-in list', why: harmless };
  }
  if ((bits & SYSTEM_VOLATILE) !== 0) return VOLATILE;
  if ((bits & SYSTEM) !== 0) return NOT_VOLATILE;
  return isStableBuiltin(name) ? STABLE_BUILTIN : UNKNOWN;
}
