/** Lines of HBA and ident files as tokens: blanks separate, commas make lists, `#` comments, "double quotes". */

export interface HbaToken {
  readonly text: string;
  /** Begins with a quote: never a keyword, never `@file`. */
  readonly quoted: boolean;
}

/** One column of a line: a token, or several with commas between them. Never empty. */
export type HbaField = readonly HbaToken[];

export interface HbaLine {
  /** 1-based. */
  readonly line: number;
  readonly fields: readonly HbaField[];
  /** Set when the line cannot be read at all. */
  readonly problem: string | null;
}

const BLANK = /[ \t\r\f\v]/;

type Piece = HbaToken | 'comma';

/** Splits one line; null when a quote does not end. A quoted run may stand in the middle: `a="b c"` is one token. */
function pieces(line: string): readonly Piece[] | null {
  const out: Piece[] = [];
  let at = 0;
  while (at < line.length) {
    const char = line.charAt(at);
    if (char === '#') break;
    if (BLANK.test(char)) {
      at++;
    } else if (char === ',') {
      out.push('comma');
      at++;
    } else {
      const token = readToken(line, at);
      if (token === null) return null;
      out.push({ text: token.text, quoted: char === '"' });
      at = token.next;
    }
  }
  return out;
}

function readToken(line: string, start: number): { readonly text: string; readonly next: number } | null {
  let text = '';
  let inQuotes = false;
  let at = start;
  for (; at < line.length; at++) {
    const char = line.charAt(at);
    if (char === '"') {
      // "" inside quotes is a quote
      if (inQuotes && line.charAt(at + 1) === '"') {
        text += '"';
        at++;
      } else {
        inQuotes = !inQuotes;
      }
    } else if (!inQuotes && (char === ',' || char === '#' || BLANK.test(char))) {
      break;
    } else {
      text += char;
    }
  }
  return inQuotes ? null : { text, next: at };
}

/** Joins tokens around commas into fields; null when a comma has nothing on one of its sides. */
function fields(list: readonly Piece[]): readonly HbaField[] | null {
  const out: HbaToken[][] = [];
  let joined = false;
  for (const piece of list) {
    if (piece === 'comma') {
      if (joined || out.length === 0) return null;
      joined = true;
    } else if (joined) {
      out.at(-1)?.push(piece);
      joined = false;
    } else {
      out.push([piece]);
    }
  }
  return joined ? null : out;
}

/** Splits a file into its lines with content; comments and empty lines are left out. */
export function hbaLines(text: string): readonly HbaLine[] {
  const out: HbaLine[] = [];
  text.split('\n').forEach((raw, i) => {
    const line = i + 1;
    const list = pieces(i === 0 ? raw.replace(/^\ufeff/, '') : raw);
    if (list === null) {
      out.push({ line, fields: [], problem: 'unterminated quoted string' });
      return;
    }
    if (list.length === 0) return;
    const columns = fields(list);
    out.push({ line, fields: columns ?? [], problem: columns === null ? 'misplaced comma' : null });
  });
  return out;
}

/** All names of an `@file`: separated by blanks, commas or lines. */
export function hbaNameList(text: string): readonly HbaToken[] | null {
  const out: HbaToken[] = [];
  for (const line of text.split('\n')) {
    const list = pieces(line);
    if (list === null) return null;
    for (const piece of list) if (piece !== 'comma') out.push(piece);
  }
  return out;
}
