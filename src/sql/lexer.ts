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

// Classes of characters. What is beyond the table is a letter (only callers with Unicode text get there).
const PLAIN = 0;
const SPACE = 1;
/** Blanks other than the space. */
const BLANK = 2;
const WORD = 3;
const DIGIT = 4;
const QUOTE = 5;
const DOUBLE_QUOTE = 6;
const DOLLAR = 7;
const DASH = 8;
const SLASH = 9;
const STAR = 10;
const DOT = 11;
const SEMICOLON = 12;
const MARK = 13;
const AMPERSAND = 14;

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

const CLASS = new Uint8Array(256);
const NEXT = new Uint8Array(EVENT);

function fillClass(chars: string, kind: number): void {
  for (let i = 0; i < chars.length; i++) CLASS[chars.charCodeAt(i)] = kind;
}
fillClass(' ', SPACE);
fillClass('\t\n\r\f\v', BLANK);
fillClass('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_', WORD);
CLASS.fill(WORD, 128);
fillClass('0123456789', DIGIT);
fillClass("'", QUOTE);
fillClass('"', DOUBLE_QUOTE);
fillClass('$', DOLLAR);
fillClass('-', DASH);
fillClass('/', SLASH);
fillClass('*', STAR);
fillClass('.', DOT);
fillClass(';', SEMICOLON);
fillClass('?', MARK);
fillClass('&', AMPERSAND);

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
  to(DOT, AFTER_DOT);
  to(SEMICOLON, EVENT);
  to(MARK, EVENT);
  to(AMPERSAND, state === IN_SHORT_WORD ? EVENT : AFTER_TOKEN);
}
// a parameter is like a word; anything else behind a dollar is looked at
NEXT.fill(EVENT, AFTER_DOLLAR, AFTER_DOLLAR + 16);
NEXT[AFTER_DOLLAR | DIGIT] = IN_LONG_WORD;

const QUOTE_CHAR = 39;
const STAR_CHAR = 42;
const DASH_CHAR = 45;
const SLASH_CHAR = 47;
const BACKSLASH_CHAR = 92;
const UNDERSCORE_CHAR = 95;
const LOWER_E = 101;
const LOWER_U = 117;
const LOWER_X = 120;
const OWN_NAME = /pgconcierge/i;

/** `text` with its literals replaced, and the routing hint before its first keyword. Throws nothing. */
export function normalise(text: string): Normalised {
  const end = text.length;
  const lead = leadEnd(text, 0);
  const hint = lead > 0 ? hintIn(text, 0, lead) : null;
  let keep = keepsLiterals(text, lead);
  let out = '';
  /** What stands from here to `i` is taken over as it is. */
  let run = 0;
  let i = 0;
  // a space at the very start is one too many
  let state = AFTER_SPACE;
  for (;;) {
    let kind = PLAIN;
    while (i < end) {
      kind = CLASS[text.charCodeAt(i)] ?? WORD;
      const next = NEXT[state | kind] ?? EVENT;
      if (next === EVENT) break;
      state = next;
      i++;
    }
    if (i >= end) break;
    let from = i;
    let to = i;
    if (state === AFTER_DOLLAR) kind = DOLLAR;
    switch (kind) {
      case QUOTE: {
        const letter = state === IN_SHORT_WORD ? text.charCodeAt(i - 1) | 32 : 0;
        if (letter === LOWER_E) from--;
        to = stringEnd(text, i, letter === LOWER_E);
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
        const open = text.charCodeAt(i + 1);
        if ((text.charCodeAt(i - 1) | 32) === LOWER_U && open === QUOTE_CHAR) {
          from++;
          to = stringEnd(text, from, false);
          if (to < 0) return { text, hint };
          kind = QUOTE;
          break;
        }
        // a name whose escapes are told by a literal behind it
        if ((text.charCodeAt(i - 1) | 32) === LOWER_U && open === 34) keep = true;
        to++;
        break;
      }
      case DOUBLE_QUOTE:
        // "" inside is read as two names side by side: all of it stays anyway
        to = text.indexOf('"', i + 1) + 1;
        if (to === 0) return { text, hint };
        break;
      case SEMICOLON:
        to++;
        keep = keepsLiterals(text, leadEnd(text, to));
        break;
      case MARK:
        to++;
        break;
      default: {
        // blanks or a comment, whose first character is behind us
        if (kind === DASH || kind === STAR) from--;
        while (from > run && isBlank(text.charCodeAt(from - 1))) from--;
        to = gapEnd(text, from);
        if (to < 0) return { text, hint };
        if (from > run) out += text.slice(run, from);
        if (out !== '' && to < end) out += ' ';
        run = to;
      }
    }
    state = run === to ? AFTER_SPACE : AFTER_TOKEN;
    if (kind === MARK) {
      out += `${text.slice(run, from)}\\?`;
      run = to;
    } else if (!keep && kind === DIGIT) {
      out += `${text.slice(run, from)}?`;
      run = to;
    } else if (!keep && (kind === QUOTE || kind === DOLLAR)) {
      out += `${text.slice(run, from)}'?'`;
      run = to;
    }
    i = to;
  }
  const last = state === AFTER_SPACE ? end - 1 : end;
  if (run === 0 && last === end && out === '') return { text, hint };
  return { text: run < last ? out + text.slice(run, last) : out, hint };
}

/** Index of the first character of the statement at `from`: behind blanks, comments, semicolons and parentheses. */
function leadEnd(text: string, from: number): number {
  let i = from;
  for (;;) {
    const c = text.charCodeAt(i);
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
  const first = text.charCodeAt(from) | 32;
  const second = text.charCodeAt(from + 1) | 32;
  if (first === 115 && second === LOWER_E) {
    return (text.charCodeAt(from + 2) | 32) === 116 && OWN_NAME.test(text);
  }
  return first === LOWER_E && second === LOWER_X && text.slice(from, from + 7).toLowerCase() === 'explain';
}

function isBlank(c: number): boolean {
  const kind = CLASS[c];
  return kind === SPACE || kind === BLANK;
}

/** Index behind the string that opens at `open`, all its continuation lines included; -1 = it does not end. */
function stringEnd(text: string, open: number, escapes: boolean): number {
  let i = open + 1;
  for (;;) {
    if (escapes) {
      let c = text.charCodeAt(i);
      while (c !== QUOTE_CHAR) {
        if (i >= text.length) return -1;
        i += c === BACKSLASH_CHAR ? 2 : 1;
        c = text.charCodeAt(i);
      }
    } else {
      i = text.indexOf("'", i);
      if (i < 0) return -1;
    }
    i++;
    if (text.charCodeAt(i) === QUOTE_CHAR) {
      i++;
      continue;
    }
    const more = continuation(text, i);
    if (more < 0) return i;
    i = more + 1;
  }
}

/** SQL joins strings that are apart by blanks with a line end among them: index of the next quote, or -1. */
function continuation(text: string, from: number): number {
  let lines = 0;
  for (let i = from; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 10 || c === 13) lines++;
    else if (c === QUOTE_CHAR) return lines > 0 ? i : -1;
    else if (c === DASH_CHAR && text.charCodeAt(i + 1) === DASH_CHAR) i = lineEnd(text, i) - 1;
    else if (!isBlank(c)) return -1;
  }
  return -1;
}

/** Index of the line end, or of the text's end. */
function lineEnd(text: string, from: number): number {
  let i = from;
  while (i < text.length) {
    const c = text.charCodeAt(i);
    if (c === 10 || c === 13) break;
    i++;
  }
  return i;
}

/** Index behind the blanks and comments that begin at `from`; -1 = a comment does not end. */
function gapEnd(text: string, from: number): number {
  let i = from;
  for (;;) {
    const c = text.charCodeAt(i);
    const next = text.charCodeAt(i + 1);
    if (isBlank(c)) i++;
    else if (c === DASH_CHAR && next === DASH_CHAR) i = lineEnd(text, i);
    else if (c === SLASH_CHAR && next === STAR_CHAR) {
      i = commentEnd(text, i);
      if (i < 0) return -1;
    } else return i;
  }
}

/** Index behind the comment (they nest) that opens at `open`; -1 = it does not end. */
function commentEnd(text: string, open: number): number {
  let depth = 1;
  for (let i = open + 2; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === STAR_CHAR && text.charCodeAt(i + 1) === SLASH_CHAR) {
      depth--;
      i++;
      if (depth === 0) return i + 1;
    } else if (c === SLASH_CHAR && text.charCodeAt(i + 1) === STAR_CHAR) {
      depth++;
      i++;
    }
  }
  return -1;
}

/** Index behind the number at `from`: a digit, or a dot and a digit. */
function numberEnd(text: string, from: number): number {
  let i = from;
  const c = text.charCodeAt(i);
  if (c === 48) {
    const base = text.charCodeAt(i + 1) | 32;
    if (base === 120 || base === 111 || base === 98) {
      const digits = i + 2;
      i = digits;
      while (isHexDigit(text.charCodeAt(i))) i++;
      if (i > digits) return i;
      i = from;
    }
  }
  if (CLASS[c] === DIGIT) {
    i = digitsEnd(text, i);
    // 1..9 is a slice of an array: two numbers
    if (text.charCodeAt(i) === 46 && text.charCodeAt(i + 1) !== 46) i = digitsEnd(text, i + 1);
  } else i = digitsEnd(text, i + 1);
  if ((text.charCodeAt(i) | 32) === 101) {
    const sign = text.charCodeAt(i + 1);
    const digits = sign === 43 || sign === DASH_CHAR ? i + 2 : i + 1;
    if (CLASS[text.charCodeAt(digits)] === DIGIT) return digitsEnd(text, digits);
  }
  return i;
}

function digitsEnd(text: string, from: number): number {
  let i = from;
  for (;;) {
    const c = text.charCodeAt(i);
    if (CLASS[c] === DIGIT) i++;
    else if (c === UNDERSCORE_CHAR && i > from && CLASS[text.charCodeAt(i + 1)] === DIGIT) i += 2;
    else return i;
  }
}

function isHexDigit(c: number): boolean {
  return CLASS[c] === DIGIT || c === UNDERSCORE_CHAR || ((c | 32) >= 97 && (c | 32) <= 102);
}

/** Index behind the dollar-quoted string at `from`, or behind a stray dollar; -1 = the string does not end. */
function dollarEnd(text: string, from: number): number {
  let i = from + 1;
  while (i < text.length) {
    const kind = CLASS[text.charCodeAt(i)] ?? WORD;
    if (kind !== WORD && kind !== DIGIT) break;
    i++;
  }
  if (text.charCodeAt(i) !== 36) return from + 1;
  const tag = text.slice(from, i + 1);
  const close = text.indexOf(tag, i + 1);
  return close < 0 ? -1 : close + tag.length;
}
