/**
 * Text of a console query -> statements of tokens. PgBouncer's grammar is one command per query,
 * `WORD [WORD] [;]`; this one also takes several commands, comments, `$1` and what drivers say on connecting.
 * Pure; it knows no command.
 */
import { PoolerError } from '../util/errors.ts';

/** `sql` is the rest of the query, as it stands: what EXPLAIN ROUTE explains. */
export type TokenKind = 'word' | 'identifier' | 'string' | 'parameter' | 'symbol' | 'sql';

export interface Token {
  readonly kind: TokenKind;
  /** Quotes removed; for a parameter its number. */
  readonly text: string;
  /** Position in the query text. */
  readonly start: number;
  readonly end: number;
}

export interface Statement {
  /** At least one. */
  readonly tokens: readonly Token[];
  /** The text, for `invalid command '%s'`. */
  readonly source: string;
  /** The highest `$n`, 0 = none. */
  readonly parameters: number;
}

/** PgBouncer's buffer for one message of the console, less the words around the query. */
const SHOWN_LENGTH = 470;
/** More is never meant; bounds the work that one Bind can ask for. */
const MAX_PARAMETERS = 64;
/** One past the longest word: PgBouncer's names have at most 63 bytes. */
const WORD_LIMIT = 64;

/** PgBouncer's answer to whatever it does not understand. */
export function invalidCommand(source: string): PoolerError {
  const trimmed = source.trim();
  const text = trimmed === '' ? ';' : trimmed;
  return new PoolerError('invalidCommand', text.length > SHOWN_LENGTH ? text.slice(0, SHOWN_LENGTH) : text);
}

/** True for a name that PgBouncer answers with `bad arguments`. */
export function isOverlong(word: string): boolean {
  return word.length >= WORD_LIMIT || Buffer.byteLength(word) >= WORD_LIMIT;
}

/** True for this bare word, whatever its case. `word` is given in lower case. */
export function isWord(token: Token | undefined, word: string): boolean {
  return token !== undefined && token.kind === 'word' && token.text.toLowerCase() === word;
}

/** Puts the values of Bind in the place of `$1` …; they count as quoted. */
export function substitute(tokens: readonly Token[], values: readonly string[]): readonly Token[] {
  if (values.length === 0) return tokens;
  return tokens.map((t) =>
    t.kind === 'parameter' ? { ...t, kind: 'string', text: values[Number(t.text) - 1] ?? '' } : t,
  );
}

/**
 * Splits a query at its semicolons. Empty statements are left out, so the result may be empty. What follows
 * EXPLAIN ROUTE is not split: it is SQL, with semicolons, quotes and parameters of its own.
 * Throws PoolerError (invalidCommand) when a quote or a comment does not end.
 */
export function splitStatements(text: string): Statement[] {
  const scan = new Scan(text);
  const lists: Token[][] = [];
  let tokens: Token[] = [];
  for (;;) {
    const token = scan.next();
    if (token === null || (token.kind === 'symbol' && token.text === ';')) {
      if (tokens.length > 0) lists.push(tokens);
      tokens = [];
      if (token === null) break;
    } else {
      tokens.push(token);
      if (tokens.length === 2 && isExplainRoute(tokens)) tokens.push(...scan.explained());
    }
  }
  return lists.map((list) => ({
    tokens: list,
    source: lists.length === 1 ? text : text.slice(list[0]?.start ?? 0, list.at(-1)?.end ?? 0),
    parameters: list.reduce((most, t) => (t.kind === 'parameter' ? Math.max(most, Number(t.text)) : most), 0),
  }));
}

function isExplainRoute(tokens: readonly Token[]): boolean {
  return isWord(tokens[0], 'explain') && isWord(tokens[1], 'route');
}

/** True for text that holds nothing but blanks and semicolons (comments are something). */
export function isBlank(text: string): boolean {
  return /^[\s;]*$/.test(text);
}

const BLANK = /\s/;
const BLANK_OR_END = /[\s;]/;
/** What ends a bare word. Dots, dashes, slashes … belong to it: `SET listen_addr = 127.0.0.1`. */
const DELIMITER = /[\s;'"=,()*]/;

/** The number of `$n`, as text; null for any other word. */
function parameterNumber(word: string): string | null {
  const number = /^\$([1-9]\d{0,4})$/.exec(word)?.[1];
  return number !== undefined && Number(number) <= MAX_PARAMETERS ? number : null;
}

class Scan {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** The next token, or null at the end. */
  next(): Token | null {
    this.#skipBlanks();
    const start = this.#at;
    const c = this.#text[start];
    if (c === undefined) return null;
    if (c === '"') return this.#quoted('identifier', c);
    if (c === "'") return this.#quoted('string', c);
    if (DELIMITER.test(c)) {
      this.#at += 1;
      return { kind: 'symbol', text: c, start, end: this.#at };
    }
    return this.#word();
  }

  /**
   * What follows EXPLAIN ROUTE: `FOR <database>` or nothing, then the rest of the text as one token (`$1` alone is a
   * parameter). No statement of SQL begins with FOR.
   */
  explained(): Token[] {
    const tokens: Token[] = [];
    if (/^\s+for(?=[\s"])/i.test(this.#text.slice(this.#at))) {
      for (const token of [this.next(), this.next()]) if (token !== null) tokens.push(token);
    }
    let start = this.#at;
    let end = this.#text.length;
    while (BLANK.test(this.#text[start] ?? '')) start += 1;
    while (end > start && BLANK_OR_END.test(this.#text[end - 1] ?? '')) end -= 1;
    this.#at = this.#text.length;
    if (start === end) return tokens;
    const text = this.#text.slice(start, end);
    const parameter = parameterNumber(text);
    tokens.push({ kind: parameter === null ? 'sql' : 'parameter', text: parameter ?? text, start, end });
    return tokens;
  }

  #word(): Token {
    const start = this.#at;
    while (this.#at < this.#text.length) {
      if (DELIMITER.test(this.#text[this.#at] ?? '') || this.#commentStarts()) break;
      this.#at += 1;
    }
    const text = this.#text.slice(start, this.#at);
    const parameter = parameterNumber(text);
    if (parameter !== null) return { kind: 'parameter', text: parameter, start, end: this.#at };
    return { kind: 'word', text, start, end: this.#at };
  }

  /** A quoted piece; a doubled quote stands for one. */
  #quoted(kind: TokenKind, quote: string): Token {
    const start = this.#at;
    let text = '';
    let from = start + 1;
    for (;;) {
      const end = this.#text.indexOf(quote, from);
      if (end < 0) throw invalidCommand(this.#text);
      text += this.#text.slice(from, end);
      if (this.#text[end + 1] !== quote) {
        this.#at = end + 1;
        return { kind, text, start, end: this.#at };
      }
      text += quote;
      from = end + 2;
    }
  }

  #commentStarts(): boolean {
    return this.#text.startsWith('--', this.#at) || this.#text.startsWith('/*', this.#at);
  }

  #skipBlanks(): void {
    for (;;) {
      while (BLANK.test(this.#text[this.#at] ?? '')) this.#at += 1;
      if (this.#text.startsWith('--', this.#at)) {
        const end = this.#text.indexOf('\n', this.#at);
        this.#at = end < 0 ? this.#text.length : end + 1;
      } else if (this.#text.startsWith('/*', this.#at)) {
        this.#skipBlockComment();
      } else {
        return;
      }
    }
  }

  /** SQL's block comments nest. */
  #skipBlockComment(): void {
    const marks = /\/\*|\*\//g;
    marks.lastIndex = this.#at;
    let depth = 0;
    for (;;) {
      const mark = marks.exec(this.#text);
      if (mark === null) throw invalidCommand(this.#text);
      depth += mark[0] === '/*' ? 1 : -1;
      if (depth === 0) {
        this.#at = marks.lastIndex;
        return;
      }
    }
  }
}
