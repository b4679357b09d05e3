/**
 * One pass over a statement's text: literals become placeholders, comments go, blanks fold. Two texts with the same
 * result have the same facts (except that one of them may be refused by the grammar, e.g. `float(99)`): names, keywords
 * and parameters (`$1`) stay as written, and a literal keeps its kind. Strings become `'?'` (`B'?'`, `N'?'`, `U&'?'`),
 * numbers `?`, and a `?` that is an operator becomes `\?`, so that nothing else can look like a placeholder. Where the
 * value of a literal matters (EXPLAIN, SET pgconcierge.…, UESCAPE of a name) the literals of the statement stay.
 *
 * The text is read as PostgreSQL's scan.l reads it with standard_conforming_strings = on, in an encoding that has no
 * ASCII bytes inside its characters: callers whose client has switched that off, or uses SJIS, BIG5, GBK, GB18030, UHC
 * or JOHAB, must not classify by this.
 */

import type { Normalised } from './facts.ts';
import { hintIn } from './hint.ts';
import {
  AMPERSAND,
  BACKSLASH_CHAR,
  BLANK,
  CLASS,
  charAt,
  DASH,
  DIGIT,
  DOLLAR,
  DOT,
  DOUBLE_QUOTE,
  dollarEnd,
  gapEnd,
  isBlank,
  LOWER_B,
  LOWER_E,
  LOWER_U,
  LOWER_X,
  MARK,
  MARK_CHAR,
  numberEnd,
  PLAIN,
  QUOTE,
  QUOTE_CHAR,
  SEMICOLON,
  SLASH,
  SPACE,
  SPACE_CHAR,
  STAR,
  stringEnd,
  WORD,
} from './scan.ts';

// What stands before the next character; nearly all characters only lead from one of these to another. Multiples of 16
// so that state | class is an index.
const AFTER_TOKEN = 0;
/** A word of one character so far: it may be the prefix of a string. */
const IN_SHORT_WORD = 16;
const IN_LONG_WORD = 32;
const AFTER_SPACE = 48;
const AFTER_DASH = 64;
const AFTER_SLASH = 80;
const AFTER_DOT = 96;
const AFTER_DOLLAR = 112;
/** The next character wants a closer look. */
const EVENT = 128;

const NEXT = new Uint8Array(EVENT);

for (let state = 0; state < EVENT; state += 16) {
  const inWord = state === IN_SHORT_WORD || state === IN_LONG_WORD;
  const to = (kind: number, next: number) => {
    NEXT[state | kind] = next;
  };
  to(PLAIN, AFTER_TOKEN);
  to(SPACE, state === AFTER_SPACE ? EVENT : AFTER_SPACE);
  to(BLANK, EVENT);
  to(WORD, inWord ? IN_LONG_WORD : IN_SHORT_WORD);
  to(DIGIT, inWord ? IN_LONG_WORD : EVENT);
  to(QUOTE, EVENT);
  to(DOUBLE_QUOTE, EVENT);
  to(DOLLAR, inWord ? IN_LONG_WORD : AFTER_DOLLAR);
  to(DASH, state === AFTER_DASH ? EVENT : AFTER_DASH);
  to(SLASH, AFTER_SLASH);
  to(STAR, state === AFTER_SLASH ? EVENT : AFTER_TOKEN);
  // 1..9 is two numbers
  to(DOT, state === AFTER_DOT ? AFTER_TOKEN : AFTER_DOT);
  to(SEMICOLON, EVENT);
  to(MARK, EVENT);
  to(AMPERSAND, state === IN_SHORT_WORD ? EVENT : AFTER_TOKEN);
}
// a parameter is like a word; anything else behind a dollar is looked at
NEXT.fill(EVENT, AFTER_DOLLAR, AFTER_DOLLAR + 16);
NEXT[AFTER_DOLLAR | DIGIT] = IN_LONG_WORD;

const OWN_NAME = /pgconcierge/gi;
const UNKNOWN = -2;
/** Where our name stands last in the text that is being read; -1 = nowhere. Looked for once, at the first SET. */
let lastOwnName = UNKNOWN;

/**
 * Where the result is put together, behind the bytes of the text: it becomes a string once, at the end. Grows, and is
 * given up when it got large.
 */
let scratch = Buffer.allocUnsafe(16_384);
const LARGE = 1 << 20;

/** The state in which nextEvent() stopped. */
let stateThere = AFTER_TOKEN;
/** Something of the result is no byte. */
let wide = false;

function wideWord(): number {
  wide = true;
  return WORD;
}

/** Index of the next character that wants a closer look, or the text's end. Small, so that V8 keeps it in registers. */
function nextEvent(text: string, from: number, before: number): number {
  const end = text.length;
  let state = before;
  let i = from;
  while (i < end) {
    const next = NEXT[state | (CLASS[text.charCodeAt(i)] ?? wideWord())] ?? EVENT;
    if (next === EVENT) break;
    state = next;
    i++;
  }
  stateThere = state;
  return i;
}

/** `text` with its literals replaced, and the routing hint before its first keyword. Throws nothing. */
export function normalise(text: string): Normalised {
  const end = text.length;
  let lead = leadEnd(text, 0);
  const hint = lead > 0 ? hintIn(text, 0, lead) : null;
  lastOwnName = UNKNOWN;
  let keep = keepsLiterals(text, lead);
  wide = false;
  /** Where the result ends in `scratch`; 0 = nothing was changed so far. */
  let length = 0;
  /** What stands from here to `i` is taken over as it is. */
  let run = 0;
  let i = 0;
  // a space at the very start is one too many
  let state = AFTER_SPACE;
  for (;;) {
    i = nextEvent(text, i, state);
    state = stateThere;
    if (i >= end) break;
    let kind = CLASS[text.charCodeAt(i)] ?? WORD;
    let from = i;
    let to = i;
    if (state === AFTER_DOLLAR) kind = DOLLAR;
    switch (kind) {
      case QUOTE: {
        const letter = state === IN_SHORT_WORD ? charAt(text, i - 1) | 32 : 0;
        if (letter === LOWER_E) from--;
        to = stringEnd(text, i, letter === LOWER_E, letter !== LOWER_B && letter !== LOWER_X);
        if (to < 0) return { text, hint };
        break;
      }
      case DIGIT:
        if (state === AFTER_DOT) from--;
        to = numberEnd(text, from);
        break;
      case DOLLAR:
        from--;
        to = dollarEnd(text, from);
        if (to < 0) return { text, hint };
        if (to === i) kind = PLAIN;
        break;
      case AMPERSAND: {
        const open = (charAt(text, i - 1) | 32) === LOWER_U ? charAt(text, i + 1) : 0;
        to++;
        // a name whose escapes are told by a literal behind it
        if (open === 34) keep = true;
        if (open !== QUOTE_CHAR) break;
        from = to;
        to = stringEnd(text, from, false, true);
        if (to < 0) return { text, hint };
        kind = QUOTE;
        break;
      }
      case DOUBLE_QUOTE:
        // "" inside is read as two names side by side: all of it stays anyway
        to = text.indexOf('"', i + 1) + 1;
        if (to === 0) return { text, hint };
        break;
      case SEMICOLON:
        to++;
        // thousands of them in a row have one end, which is looked for once
        if (to <= lead) break;
        lead = leadEnd(text, to);
        keep = keepsLiterals(text, lead);
        break;
      case MARK:
        to++;
        break;
      default:
        // blanks or a comment, whose first character is behind us
        if (kind === DASH || kind === STAR) from--;
        while (from > run && isBlank(charAt(text, from - 1))) from--;
        to = gapEnd(text, from);
        if (to < 0) return { text, hint };
        kind = BLANK;
    }
    const stays =
      kind !== BLANK && kind !== MARK && (keep || (kind !== QUOTE && kind !== DIGIT && kind !== DOLLAR));
    if (stays) for (; i < to; i++) if (charAt(text, i) > 255) wide = true;
    i = to;
    state = kind === BLANK ? AFTER_SPACE : AFTER_TOKEN;
    if (stays) continue;
    if (length === 0) length = prepare(text);
    const out = scratch;
    if (run < from) out.copyWithin(length, run, from);
    length += from - run;
    run = to;
    if (kind === BLANK) {
      if (length > end && to < end) out[length++] = SPACE_CHAR;
    } else if (kind === DIGIT) out[length++] = MARK_CHAR;
    else if (kind === MARK) {
      out[length++] = BACKSLASH_CHAR;
      out[length++] = MARK_CHAR;
    } else {
      out[length++] = QUOTE_CHAR;
      out[length++] = MARK_CHAR;
      out[length++] = QUOTE_CHAR;
    }
  }
  const last = state === AFTER_SPACE && run < end ? end - 1 : end;
  if (length === 0) return { text: last === end ? text : text.slice(0, last), hint };
  if (wide) return { text: normaliseWide(text), hint };
  if (run < last) {
    scratch.copyWithin(length, run, last);
    length += last - run;
  }
  return { text: scratch.latin1Slice(end, length), hint };
}

/** Puts the bytes of `text` into `scratch`; returns where they end and the result begins. */
function prepare(text: string): number {
  // an operator ? takes two places, everything else at most one more than before
  const room = 3 * text.length + 2;
  if (scratch.length < room || scratch.length > LARGE) scratch = Buffer.allocUnsafe(Math.max(room, 16_384));
  scratch.write(text, 'latin1');
  return text.length;
}

/** Characters instead of bytes, e.g. from a test: by way of the bytes. */
function normaliseWide(text: string): string {
  const { text: result } = normalise(Buffer.from(text, 'utf8').latin1Slice());
  return Buffer.from(result, 'latin1').toString('utf8');
}

/** Index of the first character of the statement at `from`: behind blanks, comments, semicolons and parentheses. */
function leadEnd(text: string, from: number): number {
  let i = from;
  for (;;) {
    const c = charAt(text, i);
    if (c === 40 || c === 59) i++;
    else {
      const next = gapEnd(text, i);
      if (next <= i) return i;
      i = next;
    }
  }
}

/** Whether the statement whose first word is at `from` says something by the value of a literal. */
function keepsLiterals(text: string, from: number): boolean {
  const first = charAt(text, from) | 32;
  const second = charAt(text, from + 1) | 32;
  if (first === 115 && second === LOWER_E) {
    return (charAt(text, from + 2) | 32) === 116 && ownNameAfter(text, from);
  }
  return first === LOWER_E && second === LOWER_X && text.slice(from, from + 7).toLowerCase() === 'explain';
}

/** A SET may be one of ours. */
function ownNameAfter(text: string, from: number): boolean {
  if (lastOwnName === UNKNOWN) {
    lastOwnName = -1;
    for (const { index } of text.matchAll(OWN_NAME)) lastOwnName = index;
  }
  return lastOwnName >= from;
}
