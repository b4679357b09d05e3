/**
 * `write_functions` and `read_functions`: words that are plain names (`setval`, `app.next_id`) or regular expressions
 * (`^app_w_.*`), matched against the name of a called function and against `schema.name`.
 *
 * The two lists err on different sides. To take a read for a write costs offload only: write lists ignore case, and
 * `app.next_id` also means an unqualified next_id(). Read lists match exactly what they say.
 */
import type { SqlName } from '../sql/facts.ts';
import { asBytes } from './readable.ts';

const PLAIN = /^[\p{L}_][\p{L}\p{N}_$]*(\.[\p{L}_][\p{L}\p{N}_$]*)?$/u;

export class FunctionList {
  readonly #names = new Set<string>();
  readonly #patterns: RegExp[] = [];
  readonly #wide: boolean;

  /** `wide`: match generously (write lists). Throws on a word that is neither a name nor a regular expression. */
  constructor(words: readonly string[], wide: boolean) {
    this.#wide = wide;
    for (const word of words) {
      if (PLAIN.test(word)) this.#addName(word);
      else this.#patterns.push(new RegExp(asBytes(word), wide ? 'i' : ''));
    }
  }

  /** Is this call meant by the list? */
  has(called: SqlName): boolean {
    if (this.#names.size === 0 && this.#patterns.length === 0) return false;
    const { schema, name } = called;
    return this.#matches(name) || (schema !== null && this.#matches(`${schema}.${name}`));
  }

  #addName(word: string): void {
    const bytes = asBytes(word);
    this.#names.add(bytes);
    // as PostgreSQL folds it: the administrator may have copied an unquoted name in capitals
    this.#names.add(bytes.replace(/[A-Z]+/g, (upper) => upper.toLowerCase()));
    const dot = bytes.indexOf('.');
    if (this.#wide && dot >= 0) this.#addName(word.slice(word.indexOf('.') + 1));
  }

  #matches(text: string): boolean {
    if (this.#names.has(text)) return true;
    if (this.#wide && this.#names.has(text.toLowerCase())) return true;
    for (const pattern of this.#patterns) if (pattern.test(text)) return true;
    return false;
  }
}
