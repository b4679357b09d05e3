/**
 * Where the pieces of a text end, by the rules of PostgreSQL's scan.l: strings, comments, numbers, dollar quotes. Each
 * function is told where a piece begins and returns the index behind it. For the lexer.
 */

// Classes of characters. What is beyond the table is a letter (only callers with Unicode text get there).
export const PLAIN = 0;
export const SPACE = 1;
/** Blanks other than the space. */
export const BLANK = 2;
export const WORD = 3;
export const DIGIT = 4;
export const QUOTE = 5;
export const DOUBLE_QUOTE = 6;
export const DOLLAR = 7;
export const DASH = 8;
export const SLASH = 9;
export const STAR = 10;
export const DOT = 11;
export const SEMICOLON = 12;
export const MARK = 13;
export const AMPERSAND = 14;

/** Class of each character. */
export const CLASS = new Uint8Array(256);

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

export const SPACE_CHAR = 32;
export const QUOTE_CHAR = 39;
const STAR_CHAR = 42;
const DASH_CHAR = 45;
const SLASH_CHAR = 47;
export const MARK_CHAR = 63;
export const BACKSLASH_CHAR = 92;
const UNDERSCORE_CHAR = 95;
export const LOWER_B = 98;
export const LOWER_E = 101;
export const LOWER_U = 117;
export const LOWER_X = 120;

/** The character at `i`, -1 behind the end. (V8 never forgets a charCodeAt that was out of bounds: slow for good.) */
export function charAt(text: string, i: number): number {
  return i < text.length ? text.charCodeAt(i) : -1;
}

export function isBlank(c: number): boolean {
  return c === SPACE_CHAR || (c >= 9 && c <= 13);
}

function isDigit(c: number): boolean {
  return c >= 48 && c <= 57;
}

/**
 * Index behind the string that opens at `open`, all its continuation lines included; -1 = it does not end. `escapes` = by
 * backslash, `doubles` = '' is a quote in it.
 */
export function stringEnd(text: string, open: number, escapes: boolean, doubles: boolean): number {
  let i = open + 1;
  for (;;) {
    if (escapes) {
      let c = charAt(text, i);
      while (c !== QUOTE_CHAR) {
        if (i >= text.length) return -1;
        i += c === BACKSLASH_CHAR ? 2 : 1;
        c = charAt(text, i);
      }
    } else {
      i = text.indexOf("'", i);
      if (i < 0) return -1;
    }
    i++;
    if (doubles && charAt(text, i) === QUOTE_CHAR) {
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
    const c = charAt(text, i);
    if (c === 10 || c === 13) lines++;
    else if (c === QUOTE_CHAR) return lines > 0 ? i : -1;
    else if (c === DASH_CHAR && charAt(text, i + 1) === DASH_CHAR) i = lineEnd(text, i) - 1;
    else if (!isBlank(c)) return -1;
  }
  return -1;
}

/** Index of the line end, or of the text's end. */
function lineEnd(text: string, from: number): number {
  let i = from;
  while (i < text.length) {
    const c = charAt(text, i);
    if (c === 10 || c === 13) break;
    i++;
  }
  return i;
}

/** Index behind the blanks and comments that begin at `from`; -1 = a comment does not end. */
export function gapEnd(text: string, from: number): number {
  let i = from;
  for (;;) {
    const c = charAt(text, i);
    const next = charAt(text, i + 1);
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
    const c = charAt(text, i);
    if (c === STAR_CHAR && charAt(text, i + 1) === SLASH_CHAR) {
      depth--;
      i++;
      if (depth === 0) return i + 1;
    } else if (c === SLASH_CHAR && charAt(text, i + 1) === STAR_CHAR) {
      depth++;
      i++;
    }
  }
  return -1;
}

/** Index behind the number at `from`: a digit, or a dot and a digit. */
export function numberEnd(text: string, from: number): number {
  let i = from;
  const c = charAt(text, i);
  if (c === 48) {
    const base = charAt(text, i + 1) | 32;
    if (base === 120 || base === 111 || base === 98) {
      const digits = i + 2;
      i = digits;
      while (isHexDigit(charAt(text, i))) i++;
      if (i > digits) return i;
      i = from;
    }
  }
  if (isDigit(c)) {
    i = digitsEnd(text, i);
    // 1..9 is a slice of an array: two numbers
    if (charAt(text, i) === 46 && charAt(text, i + 1) !== 46) i = digitsEnd(text, i + 1);
  } else i = digitsEnd(text, i + 1);
  if ((charAt(text, i) | 32) === 101) {
    const sign = charAt(text, i + 1);
    const digits = sign === 43 || sign === DASH_CHAR ? i + 2 : i + 1;
    if (isDigit(charAt(text, digits))) return digitsEnd(text, digits);
  }
  return i;
}

function digitsEnd(text: string, from: number): number {
  let i = from;
  for (;;) {
    const c = charAt(text, i);
    if (isDigit(c)) i++;
    else if (c === UNDERSCORE_CHAR && i > from && isDigit(charAt(text, i + 1))) i += 2;
    else return i;
  }
}

function isHexDigit(c: number): boolean {
  return isDigit(c) || c === UNDERSCORE_CHAR || ((c | 32) >= 97 && (c | 32) <= 102);
}

/** Index behind the dollar-quoted string at `from`, or behind a stray dollar; -1 = the string does not end. */
export function dollarEnd(text: string, from: number): number {
  let i = from + 1;
  while (i < text.length) {
    const kind = CLASS[charAt(text, i)] ?? WORD;
    if (kind !== WORD && kind !== DIGIT) break;
    i++;
  }
  if (charAt(text, i) !== 36) return from + 1;
  const tag = text.slice(from, i + 1);
  const close = text.indexOf(tag, i + 1);
  return close < 0 ? -1 : close + tag.length;
}
