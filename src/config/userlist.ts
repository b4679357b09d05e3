/**
 * auth_file: a line `"user" "secret"` per user, "" for a quote inside, the rest of a line ignored, `;` comments.
 * Nothing is unescaped: what COPY (SELECT '"'||rolname||'" "'||...) TO writes is taken as it stands, as PgBouncer
 * does. Other than PgBouncer, a line that cannot be read costs a warning and that line only, not all that follow.
 */
import { describeError } from '../util/system-error.ts';
import { readText } from './lines.ts';
import type { Diagnostic } from './types.ts';

const MAX_USER_BYTES = 128;
const MAX_SECRET_BYTES = 65531;

/** The quoted word that begins at `from` and the place behind it; null when it does not end on this line. */
function quotedWord(line: string, from: number): { readonly word: string; readonly end: number } | null {
  let at = from + 1;
  for (;;) {
    const quote = line.indexOf('"', at);
    if (quote < 0) return null;
    if (line[quote + 1] !== '"') {
      return { word: line.slice(from + 1, quote).replaceAll('""', '"'), end: quote + 1 };
    }
    at = quote + 2;
  }
}

/** [user, secret], or why the line is refused. */
function readLine(line: string): readonly [string, string] | string {
  if (!line.startsWith('"')) return 'a line is "user" "secret"';
  const user = quotedWord(line, 0);
  if (user === null) return 'the user name has no closing quote';
  const second = line.indexOf('"', user.end);
  const secret = second < 0 ? null : quotedWord(line, second);
  if (secret === null) return second < 0 ? 'the secret is missing' : 'the secret has no closing quote';
  if (user.word === '') return 'the user name is empty';
  if (Buffer.byteLength(user.word) >= MAX_USER_BYTES)
    return `username too long, at most ${MAX_USER_BYTES - 1} bytes`;
  if (Buffer.byteLength(secret.word) >= MAX_SECRET_BYTES)
    return `password too long, at most ${MAX_SECRET_BYTES - 1} bytes`;
  return [user.word, secret.word];
}

/** Users and secrets of the text of an auth_file; the last line of a user counts. `file` is for the warnings. */
export function parseUserlist(content: string, file: string, diagnostics: Diagnostic[]): Map<string, string> {
  const users = new Map<string, string>();
  content.split('\n').forEach((raw, index) => {
    const line = raw.trim();
    if (line === '' || line.startsWith(';')) return;
    const read = readLine(line);
    if (typeof read === 'string') {
      const message = `broken auth file (${file}:${index + 1}), line skipped`;
      diagnostics.push({ level: 'warning', file, line: index + 1, message, hint: read });
    } else {
      users.set(read[0], read[1]);
    }
  });
  return users;
}

/** Reads auth_file; null with a warning when it cannot be read. */
export function readUserlist(file: string, diagnostics: Diagnostic[]): Map<string, string> | null {
  let content: string;
  try {
    content = readText(file);
  } catch (error) {
    diagnostics.push({
      level: 'warning',
      file,
      line: 0,
      message: `could not open auth_file ${file}: ${describeError(error)}`,
    });
    return null;
  }
  return parseUserlist(content, file, diagnostics);
}
