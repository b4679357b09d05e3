/**
 * PostgreSQL's own grammar (version 18, compiled to WASM) behind one function. Loaded only when routing is in use:
 * it reserves 128 MB of address space and takes 20 MB of memory.
 *
 * The parser recurses, and a text that overflows its stack leaves it damaged for good after some 30 times. Texts that
 * nest too deep are kept from it; should one get through, the instance is thrown away and another one is made, and
 * until it is ready (some 30 ms) everything is 'not parsed', that is: goes to the primary.
 */
import { createRequire } from 'node:module';
import { normalise } from './lexer.ts';

/** A node of the syntax tree as JSON. */
export type Json = string | number | boolean | null | undefined | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

export type Parsed =
  /** `decoded` = the text was UTF-8: names in the tree are characters, not bytes. */
  | { readonly ok: true; readonly statements: readonly JsonObject[]; readonly decoded: boolean }
  /** `lasting` = the same text will fail again. */
  | {
      readonly ok: false;
      readonly rule: 'syntax error' | 'not parsed' | 'too long';
      readonly lasting: boolean;
    };

/** Longer texts (bytes) are not parsed. */
export const MAX_PARSE = 65_536;
/** Shorter ones cannot nest deep enough to hurt. */
const SAFE_LENGTH = 4096;
/** Brackets inside each other, and operators or words that make a tree grow by a level. */
const MAX_DEPTH = 400;
const MAX_CHAIN = 2000;
/** A run of operator characters, read again for each token in it: the squares of their lengths are the time it takes. */
const RUNS = /[-+*/<>=~!@#%^&|`?]{64,}/g;
const MAX_SQUARES = 1_000_000;

interface Parser {
  loadModule(): Promise<void>;
  parseSync(text: string): unknown;
}

const require = createRequire(import.meta.url);
let parser: Parser | null = null;
let loading: Promise<void> | null = null;
/** Texts that came while there was no parser. */
let refused = 0;
const RETRY_AFTER = 1000;

/** Makes the parser ready; call once before routing starts. Rejects when the package is missing or does not run. */
export function loadParser(): Promise<void> {
  loading ??= loadInstance();
  return loading;
}

/** False before loadParser() is done and while a damaged instance is replaced. */
export function parserReady(): boolean {
  return parser !== null;
}

async function loadInstance(): Promise<void> {
  // the package makes its instance when it is evaluated and keeps it: a new one takes a new evaluation
  delete require.cache[require.resolve('libpg-query')];
  const fresh: Parser = require('libpg-query');
  await fresh.loadModule();
  parser = fresh;
}

/** Nobody waits for it: without a parser reads go to the primary, which is right if slow. */
function replaceInstance(): void {
  parser = null;
  loading = loadInstance();
  loading.catch(() => {});
}

function notReady(): Parsed {
  // a replacement may have failed for want of memory
  refused++;
  if (loading !== null && refused % RETRY_AFTER === 0) replaceInstance();
  return { ok: false, rule: 'not parsed', lasting: false };
}

/** The statements of `text` (bytes as characters) as trees, or why there are none. Throws nothing. */
export function parseSql(text: string): Parsed {
  if (parser === null) return notReady();
  if (text.length > MAX_PARSE || tooDeep(text) || tooSlow(text))
    return { ok: false, rule: 'too long', lasting: true };
  // the parser stops at a zero byte, a server never sees one
  if (text.includes('\0')) return { ok: false, rule: 'syntax error', lasting: true };
  try {
    const unicode = asUnicode(text);
    const decoded = unicode !== text || /[\u0100-\uffff]/.test(text);
    return { ok: true, statements: statementsOf(parser.parseSync(unicode)), decoded };
  } catch (error) {
    if (error instanceof Error && error.name === 'SqlError') {
      const own = /memory exhausted|stack depth|out of memory/.test(error.message);
      return { ok: false, rule: own ? 'not parsed' : 'syntax error', lasting: true };
    }
    replaceInstance();
    return { ok: false, rule: 'not parsed', lasting: true };
  }
}

/** Bytes to characters, so that the parser cuts long names where the server does. What is not UTF-8 stays as it is. */
function asUnicode(text: string): string {
  if (!/[\u0080-\uffff]/.test(text)) return text;
  // a caller with characters, e.g. a test
  if (/[\u0100-\uffff]/.test(text)) return text;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(text, 'latin1'));
  } catch {
    return text;
  }
}

function statementsOf(tree: unknown): JsonObject[] {
  const statements = asObject(asJson(tree))['stmts'];
  if (!Array.isArray(statements)) return [];
  return statements.map((one: Json) => asObject(asObject(one)['stmt']));
}

/** What JSON.parse returned is JSON. */
function asJson(value: unknown): Json {
  return value as Json;
}

/** `value` as a node; a missing or other value is an empty one. */
export function asObject(value: Json): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};
}

/** `value` as a list of nodes; a missing one is empty. */
export function asList(value: Json): readonly Json[] {
  return Array.isArray(value) ? value : [];
}

/** `value` when it is a text, else ''. */
export function asText(value: Json): string {
  return typeof value === 'string' ? value : '';
}

const LEVELS =
  /[[(]|[\])]|(?:[-+*/<>=~!@#%^&|`:]|\\\?)+|\b(?:join|union|intersect|except|collate|at|case|is|not|like|ilike|similar|between|in)\b/gi;

function tooDeep(text: string): boolean {
  if (text.length <= SAFE_LENGTH) return false;
  let depth = 0;
  let chain = 0;
  for (const [token] of normalise(text).text.matchAll(LEVELS)) {
    if (token === '(' || token === '[') {
      depth++;
      if (depth > MAX_DEPTH) return true;
    } else if (token === ')' || token === ']') depth--;
    else chain++;
    if (chain > MAX_CHAIN) return true;
  }
  return false;
}

/**
 * PostgreSQL's scanner takes time by the square of a run of operator characters: seconds for 64 kB of them. Its server
 * does so for one client, we would for all. Inside of strings, and of comments without comments in them, it does not.
 */
function tooSlow(text: string): boolean {
  if (squares(text, () => true) <= MAX_SQUARES) return false;
  const inComments = squares(text, (run) => run.split('/*').length > 2);
  return inComments + squares(normalise(text).text, () => true) > MAX_SQUARES;
}

function squares(text: string, counts: (run: string) => boolean): number {
  let sum = 0;
  for (const [run] of text.matchAll(RUNS)) if (counts(run)) sum += run.length * run.length;
  return sum;
}
