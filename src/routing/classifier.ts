/**
 * Read or write? Facts of the text (room sql) plus what is known of its functions and relations, and what replicas
 * have taught. One Classifier per database; those of a cluster may share a FactCache.
 *
 * The verdict is kept with the cached facts: in their slot for the classifier that asked last, and in a WeakMap for
 * the others. A new catalog or a newly learned text begins a new epoch, in which all verdicts are made again.
 */

import type { CachedFacts, FactCache } from '../sql/fact-cache.ts';
import type { Hint, SqlFacts, SqlName } from '../sql/facts.ts';
import type { CatalogFacts } from './cluster-view.ts';
import { FunctionBook, type FunctionFinding } from './function-book.ts';
import type { Learned, LearnedEntry } from './learned.ts';
import { readable } from './readable.ts';
import { type Reason, reasonId } from './reasons.ts';

export interface ClassifierOptions {
  readonly cache: Pick<FactCache, 'lookup'>;
  readonly writeFunctions: readonly string[];
  readonly readFunctions: readonly string[];
  readonly learned: Learned;
  /** Whose learned texts count; the names that `learned.learn` is called with. */
  readonly cluster: string;
  readonly database: string;
}

export interface Verdict {
  readonly cached: CachedFacts;
  readonly facts: SqlFacts;
  /** Not applied here: `read` is what the statement is, whatever its comment asks for. */
  readonly hint: Hint | null;
  readonly read: boolean;
  /** A read for any replica: its text asks for no node, and is not for the proxy itself. */
  readonly plainRead: boolean;
  /** Of a write; `balanced` for a read. */
  readonly reason: Reason;
  /** A unit with this verdict leaves a freshness mark when it succeeds on the primary. */
  readonly changesData: boolean;
  /** The function or relation that made a write of it, for people; '' = the text itself. */
  readonly culprit: string;
}

interface Made extends Verdict {
  readonly epoch: object;
  readonly learned: LearnedEntry | null;
}

const ASKS_READ_ONLY = /^show\s+"?transaction_read_only"?;?$/i;
const COMMAND = reasonId('command');
const BALANCED = reasonId('balanced');
const VOLATILE_FUNCTION = reasonId('volatile function');
const WRITE_FUNCTIONS = reasonId('write_functions');
const UNLOGGED = reasonId('unlogged table');
const VIEW = reasonId('view');
const TEMPORARY = reasonId('temporary table');
const SEQUENCE = reasonId('sequence');
const LEARNED = reasonId('learned');

export class Classifier {
  readonly #cache: Pick<FactCache, 'lookup'>;
  readonly #learned: Learned;
  readonly #cluster: string;
  readonly #database: string;
  readonly #functions: FunctionBook;
  /** Why a relation is for the primary, by name and by `schema NUL name`. */
  #relations = new Map<string, Reason>();
  /** Those of them whose reading may write (views over functions), by the same names. */
  readonly #writing = new Set<string>();
  #epoch: object = {};
  #learnedVersion: number;
  #verdicts = new WeakMap<CachedFacts, Made>();

  /** Throws when a word of the function lists is no name and no regular expression. */
  constructor(options: ClassifierOptions) {
    this.#cache = options.cache;
    this.#learned = options.learned;
    this.#learnedVersion = options.learned.version;
    this.#cluster = options.cluster;
    this.#database = options.database;
    this.#functions = new FunctionBook(options.writeFunctions, options.readFunctions);
    this.#addSystemRelations();
  }

  /** The verdict on a text (bytes as characters). Throws nothing; no allocation for a text seen before. */
  classify(text: string): Verdict {
    return this.recall(this.#cache.lookup(text));
  }

  /** The verdict on facts that are at hand already (a prepared statement's). */
  recall(cached: CachedFacts): Verdict {
    if (this.#learned.version !== this.#learnedVersion) this.#newEpoch();
    const slot = cached.slot as Made | null | undefined;
    const verdict =
      slot !== null && slot !== undefined && slot.epoch === this.#epoch ? slot : this.#verdict(cached);
    if (verdict.learned !== null) verdict.learned.hits += 1;
    return verdict;
  }

  /** The primary's catalog of this database was loaded again; null = it cannot be had. */
  setCatalog(facts: CatalogFacts | null): void {
    this.#functions.setCatalog(facts);
    this.#relations = new Map();
    this.#addSystemRelations();
    this.#writing.clear();
    for (const { schema, name, mayWrite } of facts?.unlogged ?? []) {
      this.#addRelation(schema, name, mayWrite === true ? VIEW : UNLOGGED);
      if (mayWrite === true) this.#writing.add(name).add(keyOf({ schema, name }));
    }
    for (const { schema, name } of facts?.sequences ?? []) this.#addRelation(schema, name, SEQUENCE);
    this.#newEpoch();
  }

  /** What is known about a function, for EXPLAIN ROUTE. */
  explainFunction(called: SqlName): FunctionFinding {
    return this.#functions.find(called);
  }

  /** Why a relation is for the primary, or null; for EXPLAIN ROUTE. */
  explainRelation(relation: SqlName): Reason | null {
    const { schema, name } = relation;
    if (schema?.startsWith('pg_temp') === true) return TEMPORARY;
    return this.#relations.get(keyOf({ schema, name })) ?? null;
  }

  #addSystemRelations(): void {
    this.#addRelation('pg_catalog', 'pg_sequences', SEQUENCE);
  }

  #addRelation(schema: string, name: string, reason: Reason): void {
    this.#relations.set(name, reason);
    this.#relations.set(`${schema}\0${name}`, reason);
  }

  #newEpoch(): void {
    this.#epoch = {};
    this.#learnedVersion = this.#learned.version;
    this.#verdicts = new WeakMap();
  }

  #verdict(cached: CachedFacts): Made {
    let made = this.#verdicts.get(cached);
    if (made === undefined) {
      made = this.#make(cached);
      this.#verdicts.set(cached, made);
    }
    cached.slot = made;
    return made;
  }

  #make(cached: CachedFacts): Made {
    const { facts } = cached;
    // drivers ask this to know whether they may write here (targetServerType, target_session_attrs)
    if (facts.command === 'SHOW' && ASKS_READ_ONLY.test(cached.normalised.text))
      return this.#made(cached, COMMAND, false, '');
    if (facts.rule !== '') return this.#made(cached, reasonId(facts.rule), facts.changesData, '');
    const learned = this.#learned.find(this.#cluster, this.#database, cached);
    if (learned !== null) return this.#made(cached, LEARNED, true, '', learned);
    for (const called of facts.functions) {
      const { writes, source } = this.#functions.find(called);
      if (!writes) continue;
      const reason = source === 'write_functions' ? WRITE_FUNCTIONS : VOLATILE_FUNCTION;
      return this.#made(cached, reason, true, nameForPeople(called));
    }
    const writing = facts.relations.some((relation) => this.#writing.has(keyOf(relation)));
    for (const relation of facts.relations) {
      const reason = this.explainRelation(relation);
      if (reason !== null) return this.#made(cached, reason, writing, nameForPeople(relation));
    }
    return this.#made(cached, BALANCED, false, '');
  }

  #made(
    cached: CachedFacts,
    reason: Reason,
    changesData: boolean,
    culprit: string,
    learned: LearnedEntry | null = null,
  ): Made {
    const { facts, normalised } = cached;
    const read = reason === BALANCED;
    const { hint } = normalised;
    const plainRead = read && hint === null && facts.own === null && facts.control === null;
    return {
      cached,
      facts,
      hint,
      read,
      plainRead,
      reason,
      changesData,
      culprit,
      epoch: this.#epoch,
      learned,
    };
  }
}

function keyOf({ schema, name }: SqlName): string {
  return schema === null ? name : `${schema}\0${name}`;
}

/** `schema.name` as written, UTF-8 decoded. */
export function nameForPeople({ schema, name }: SqlName): string {
  return readable(schema === null ? name : `${schema}.${name}`);
}
