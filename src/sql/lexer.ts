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
  BLANK,
  CLASS,
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
  numberEnd,
  PLAIN,
  QUOTE,
  QUOTE_CHAR,
  SEMICOLON,
  SLASH,
  SPACE,
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
        const open = text.charCodeAt(i + 1);
        if ((text.charCodeAt(i - 1) | 32) === LOWER_U && open === QUOTE_CHAR) {
          from++;
          to = stringEnd(text, from, false, true);
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
    return (text.charCodeAt(from + 2) | 32) === 116 && OWN_NAME.test(text.slice(from));
  }
  return first === LOWER_E && second === LOWER_X && text.slice(from, from + 7).toLowerCase() === 'explain';
}
