/**
 * PgBouncer's line grammar (reference: pgbouncer.md section 2) in front of the `ini` package. `ini` alone corrupts
 * PgBouncer files silently (it cuts values at ; and #, strips quotes, turns bad lines into keys, drops line numbers).
 * So the grammar, `%include`, line numbers and errors are ours; what is found is rewritten as canonical lines,
 * `"<number> <key>" = "<JSON>"`, which `ini` decodes without loss. The number keeps duplicates apart and leads back
 * to the file and line. Every error is collected; reading goes on after one.
 */
import { readFileSync } from 'node:fs';
import { parse } from 'ini';
import { describeError } from '../util/system-error.ts';
import type { Diagnostic } from './types.ts';

export interface Place {
  readonly file: string;
  /** 1-based. */
  readonly line: number;
}

/** A header or an assignment, in the order of the files. */
export type ConfigLine =
  | { readonly kind: 'section'; readonly name: string; readonly place: Place }
  | { readonly kind: 'assignment'; readonly key: string; readonly value: string; readonly place: Place };

/** `(file:line)` as PgBouncer's messages have it. */
export function at(place: Place): string {
  return `(${place.file}:${place.line})`;
}

const MAX_INCLUDE = 10;
const ASSIGNMENT = /^(?:'((?:[^']|'')+)'|([A-Za-z0-9_.*-]+))[ \t]*=(.*)$/s;

/** Reads a text file, without a byte order mark. Throws what fs throws. */
export function readText(path: string): string {
  return readFileSync(path, 'utf8').replace(/^\uFEFF/, '');
}

/** Blanks as C's isspace(); trim() would also eat what is a letter to PgBouncer. */
function trimBlanks(value: string): string {
  return value.replace(/^[ \t\r\f\v]+/, '').replace(/[ \t\r\f\v]+$/, '');
}

/** A JSON string that survives `ini`: it splits at the first `=` and its `.` stops at U+2028 and U+2029. */
function encode(value: string): string {
  const hex = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(value).replace(/[=\u2028\u2029]/g, hex);
}

/** Reads files into numbered facts and canonical lines. */
class Reader {
  readonly diagnostics: Diagnostic[];
  /** Canonical text for `ini`; one ini section per header. */
  readonly canonical: string[] = [];
  /** Header names, by number of the ini section. */
  readonly sections: { readonly name: string; readonly place: Place }[] = [];
  /** Places of assignments, by their number. */
  readonly places: Place[] = [];

  constructor(diagnostics: Diagnostic[]) {
    this.diagnostics = diagnostics;
  }

  error(place: Place, message: string, hint?: string): void {
    this.diagnostics.push({ level: 'error', ...place, message, ...(hint === undefined ? {} : { hint }) });
  }

  /** False when the file or one that it includes could not be read or has a bad line. */
  readFile(file: string, depth: number): boolean {
    let content: string;
    try {
      content = readText(file);
    } catch (error) {
      this.error({ file, line: 0 }, `could not load file "${file}": ${describeError(error)}`);
      return false;
    }
    let good = true;
    content.split('\n').forEach((raw, index) => {
      good = this.readLine(trimBlanks(raw), { file, line: index + 1 }, depth) && good;
    });
    return good;
  }

  readLine(line: string, place: Place, depth: number): boolean {
    if (line === '' || line.startsWith(';') || line.startsWith('#')) return true;
    if (/^%include[ \t]/.test(line))
      return this.include(trimBlanks(line.slice('%include'.length)), place, depth);
    if (line.startsWith('[')) {
      const end = line.indexOf(']');
      if (end < 0) return this.syntaxError(line, place);
      this.canonical.push(`[s${this.sections.length}]`);
      this.sections.push({ name: line.slice(1, end), place });
      // like PgBouncer: what stands behind the header is read as a line of its own
      return this.readLine(trimBlanks(line.slice(end + 1)), place, depth);
    }
    const found = ASSIGNMENT.exec(line);
    if (found === null) return this.syntaxError(line, place);
    const [, quoted, bare, rest = ''] = found;
    const key = quoted?.replaceAll("''", "'") ?? bare ?? '';
    if (this.sections.length === 0) {
      this.error(
        place,
        `load_init_file: value without section: ${key}`,
        'write [pgbouncer] before the first setting',
      );
      return false;
    }
    if (rest.includes('\uFFFD')) {
      const message = `value of ${key} is not valid UTF-8 in configuration ${at(place)}`;
      this.diagnostics.push({ level: 'warning', ...place, message });
    }
    this.canonical.push(`${encode(`${this.places.length} ${key}`)} = ${encode(trimBlanks(rest))}`);
    this.places.push(place);
    return true;
  }

  include(file: string, place: Place, depth: number): boolean {
    let read = false;
    if (file === '') return this.syntaxError('%include', place);
    if (depth >= MAX_INCLUDE)
      this.error(place, `include nesting level too deep ${at(place)}, maximum is ${MAX_INCLUDE}`);
    else read = this.readFile(file, depth + 1);
    if (!read)
      this.error(place, `error processing include file in configuration ${at(place)}, stopping loading`);
    return read;
  }

  syntaxError(line: string, place: Place): boolean {
    const key = /^[^=]*=/.test(line)
      ? "a key with other characters than letters, digits and _ . - * needs 'single quotes'"
      : undefined;
    this.error(place, `syntax error in configuration ${at(place)}, stopping loading`, key);
    return false;
  }

  /** What `ini` makes of the canonical lines, with sections and places put back. */
  decode(): ConfigLine[] {
    const decoded = parse(this.canonical.join('\n'), { bracketedArray: false });
    const lines: ConfigLine[] = [];
    let count = 0;
    this.sections.forEach(({ name, place }, number) => {
      lines.push({ kind: 'section', name, place });
      for (const [numbered, value] of Object.entries(decoded[`s${number}`] ?? {})) {
        const blank = numbered.indexOf(' ');
        const where = this.places[Number(numbered.slice(0, blank))];
        if (where === undefined) continue;
        count++;
        // `ini` makes true, false and null of these words
        lines.push({
          kind: 'assignment',
          key: numbered.slice(blank + 1),
          value: String(value),
          place: where,
        });
      }
    });
    if (count !== this.places.length) throw new Error('ini lost lines of the configuration');
    return lines;
  }
}

/**
 * Reads `file` and what it includes (relative to the current directory). Errors go to `diagnostics`; what could be
 * read is returned all the same, so that the caller can check the rest.
 */
export function readConfigLines(file: string, diagnostics: Diagnostic[]): ConfigLine[] {
  const reader = new Reader(diagnostics);
  reader.readFile(file, 0);
  return reader.decode();
}
