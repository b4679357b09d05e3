/**
 * Facts of texts seen before, so that a statement is parsed once. Two ways in: the exact text (prepared statements,
 * fixed texts), which costs one look-up, and the normalised text, which costs a pass of the lexer. Bounded by bytes: two
 * generations of maps, what is used in the older one moves to the newer, and when that is full the older one is
 * dropped whole. (Measured against lru-cache: see bench/micro/classify-main.ts.)
 */
import { classify } from './classify.ts';
import type { Hint, Normalised, SqlFacts } from './facts.ts';
import { normalise } from './lexer.ts';

/** The same object for the same normalised text and hint, as long as it is in the cache. */
export interface CachedFacts {
  readonly facts: SqlFacts;
  readonly normalised: Normalised;
  /** For the room routing: what it made of the facts. */
  slot: unknown;
}

interface Entry extends CachedFacts {
  /** Under which it is in `normalised`; null = its exact text only. */
  readonly key: string | null;
  readonly bytes: number;
}

interface Generation {
  readonly exact: Map<string, Entry>;
  readonly normalised: Map<string, Entry>;
  bytes: number;
}

/** What a text costs beside its characters: a slot of a map, the header of a string. */
const TEXT_BYTES = 80;
/** What an entry costs: its objects and arrays. */
const ENTRY_BYTES = 400;
const NAME_BYTES = 120;
/** Texts with literals get in by their exact text when they come twice within about this many others. */
const DOOR_SIZE = 512;
/** Longer ones are not worth their place there. */
const DOOR_MAX_TEXT = 2048;

export class FactCache {
  /** Found by exact text. */
  exactHits = 0;
  /** Found at all. */
  hits = 0;
  misses = 0;
  /** Misses that took the parser; the others were decided by their first word. */
  parses = 0;
  readonly #half: number;
  #young = emptyGeneration();
  #old = emptyGeneration();
  #door = new Array<string>(DOOR_SIZE).fill('');

  /** `maxBytes` bounds the estimate of what all entries take; a single text may take a sixteenth of it. */
  constructor(maxBytes: number) {
    this.#half = maxBytes / 2;
  }

  /** Facts of `text` (bytes as characters). Throws nothing. Called for every Query and Parse of a routed database. */
  lookup(text: string): CachedFacts {
    const exact = this.#young.exact.get(text);
    if (exact !== undefined) {
      this.hits++;
      this.exactHits++;
      return exact;
    }
    return this.#lookupOlder(text);
  }

  /** Estimated bytes of all entries. */
  get bytes(): number {
    return this.#young.bytes + this.#old.bytes;
  }

  /** Forgets everything; the counters go on. */
  clear(): void {
    this.#young = emptyGeneration();
    this.#old = emptyGeneration();
    this.#door.fill('');
  }

  #lookupOlder(text: string): CachedFacts {
    const exact = this.#old.exact.get(text);
    if (exact !== undefined) {
      this.hits++;
      this.exactHits++;
      this.#putExact(text, exact);
      return exact;
    }
    const normalised = normalise(text);
    const key = keyOf(normalised);
    const known = this.#young.normalised.get(key) ?? this.#old.normalised.get(key);
    if (known !== undefined) {
      this.hits++;
      this.#admit(text, known);
      return known;
    }
    return this.#classify(text, normalised, key);
  }

  #classify(text: string, normalised: Normalised, key: string): CachedFacts {
    this.misses++;
    const { facts, parsed, shared, lasting } = classify(text, normalised.text);
    if (parsed) this.parses++;
    const entry: Entry = {
      facts,
      normalised,
      slot: undefined,
      key: shared ? key : null,
      bytes:
        ENTRY_BYTES +
        TEXT_BYTES +
        key.length +
        NAME_BYTES * (facts.functions.length + facts.relations.length),
    };
    if (lasting) this.#admit(text, entry);
    return entry;
  }

  /** Keeps the entry, and the exact text when it is likely to come again. */
  #admit(text: string, entry: Entry): void {
    // the text of a statement without literals comes again if the statement does
    if (entry.normalised.text === text || this.#knocksAgain(text)) this.#putExact(text, entry);
    else this.#putNormalised(entry);
  }

  #knocksAgain(text: string): boolean {
    const { length } = text;
    if (length > DOOR_MAX_TEXT || length < 4) return false;
    // literals differ near the end more often than at the start
    const at =
      text.charCodeAt(length - 1) * 31 + text.charCodeAt(length >> 1) * 7 + text.charCodeAt(length - 4);
    const place = ((at * 13 + length) % DOOR_SIZE) | 0;
    if (this.#door[place] === text) {
      this.#door[place] = '';
      return true;
    }
    this.#door[place] = text;
    return false;
  }

  #putExact(text: string, entry: Entry): void {
    // the characters are there already if the text is its own key
    const bytes = TEXT_BYTES + (text === entry.key ? 0 : text.length);
    if (this.#put(entry, bytes)) this.#young.exact.set(text, entry);
  }

  #putNormalised(entry: Entry): void {
    if (entry.key !== null) this.#put(entry, 0);
  }

  /**
   * Makes room and puts the entry under its key. An entry in `exact` is in `normalised` of the same generation, so that
   * there are never two for one key. False = too big to be kept.
   */
  #put(entry: Entry, more: number): boolean {
    const known = entry.key !== null && this.#young.normalised.has(entry.key);
    if (entry.bytes + more > this.#half / 8) return false;
    if (this.#young.bytes + entry.bytes + more > this.#half) {
      this.#old = this.#young;
      this.#young = emptyGeneration();
    } else if (known) {
      this.#young.bytes += more;
      return true;
    }
    if (entry.key !== null) this.#young.normalised.set(entry.key, entry);
    this.#young.bytes += entry.bytes + more;
    return true;
  }
}

function emptyGeneration(): Generation {
  return { exact: new Map(), normalised: new Map(), bytes: 0 };
}

/** A hint makes it another entry. No text begins with a control character that the grammar takes. */
function keyOf(normalised: Normalised): string {
  const { hint, text } = normalised;
  return hint === null ? text : `${hintKey(hint)}${text}`;
}

function hintKey(hint: Hint): string {
  return hint.kind === 'node' ? `\x01node=${hint.node}\x02` : `\x01${hint.kind}\x02`;
}
