/**
 * What replicas have taught us: texts that one of them refused because it is read-only or in recovery, although
 * nothing in them said so. They are writes from then on, for a day or until RELOAD. Bounded in number and in size;
 * a text that falls out is learned again at the cost of one more refused try.
 */
import { readable } from './readable.ts';

/** Characters of all texts together. */
const MAX_CHARS = 4 << 20;

/** What learning needs of the fact cache's entries. */
export interface LearnedText {
  readonly normalised: { readonly text: string };
}

export interface LearnedEntry {
  readonly cluster: string;
  readonly database: string;
  /** Normalised, bytes as characters. */
  readonly text: string;
  sqlstate: string;
  /** Wall ms. */
  since: number;
  /** Units that were sent to the primary because of it. */
  hits: number;
}

/** A row of SHOW LEARNED. */
export interface LearnedListRow {
  readonly cluster: string;
  readonly database: string;
  readonly text: string;
  readonly sqlstate: string;
  readonly since: number;
  readonly hits: number;
}

export class Learned {
  /** Grows when what `find` answers may have changed: verdicts made before are to be made again. */
  version = 0;
  readonly #maxEntries: number;
  readonly #maxAgeMs: number;
  /** By key, oldest first. */
  readonly #entries = new Map<string, LearnedEntry>();
  #chars = 0;

  constructor(maxEntries: number, maxAgeMs: number) {
    this.#maxEntries = maxEntries;
    this.#maxAgeMs = maxAgeMs;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** A replica refused this text with `sqlstate` (25006, or 0A000/55000 of recovery). `nowAt` is wall ms. */
  learn(cluster: string, database: string, cached: LearnedText, sqlstate: string, nowAt: number): void {
    this.sweep(nowAt);
    const { text } = cached.normalised;
    const key = keyOf(cluster, database, text);
    const known = this.#entries.get(key);
    if (known !== undefined) {
      // refused again: the day begins anew
      this.#entries.delete(key);
      known.sqlstate = sqlstate;
      known.since = nowAt;
      this.#entries.set(key, known);
      return;
    }
    this.#entries.set(key, { cluster, database, text, sqlstate, since: nowAt, hits: 0 });
    this.#chars += text.length;
    this.version += 1;
    this.#shrink();
  }

  /** The entry of this text, or null. Callers may keep it while `version` stays. */
  find(cluster: string, database: string, cached: LearnedText): LearnedEntry | null {
    if (this.#entries.size === 0) return null;
    return this.#entries.get(keyOf(cluster, database, cached.normalised.text)) ?? null;
  }

  has(cluster: string, database: string, cached: LearnedText): boolean {
    return this.find(cluster, database, cached) !== null;
  }

  /** Forgets what is too old; call it now and then (the worker's sweep does). */
  sweep(nowAt: number): void {
    for (const [key, entry] of this.#entries) {
      if (nowAt - entry.since < this.#maxAgeMs) break;
      this.#drop(key, entry);
    }
  }

  /** Newest first. */
  rows(): LearnedListRow[] {
    return [...this.#entries.values()].reverse().map((entry) => ({ ...entry, text: readable(entry.text) }));
  }

  /** Forgets everything (RELOAD). */
  clear(): void {
    if (this.#entries.size > 0) this.version += 1;
    this.#entries.clear();
    this.#chars = 0;
  }

  #shrink(): void {
    for (const [key, entry] of this.#entries) {
      if (this.#entries.size <= this.#maxEntries && this.#chars <= MAX_CHARS) break;
      this.#drop(key, entry);
    }
  }

  #drop(key: string, entry: LearnedEntry): void {
    this.#entries.delete(key);
    this.#chars -= entry.text.length;
    this.version += 1;
  }
}

// names and texts hold no NUL: it would end them in the protocol
function keyOf(cluster: string, database: string, text: string): string {
  return `${cluster}\0${database}\0${text}`;
}
