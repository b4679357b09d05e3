/**
 * A file of passwords as libpq's .pgpass: `host:port:database:user:password` per line, `*` for anything, `\:` and
 * `\\` inside a field, lines with # are comments, the first line that fits counts. Refused, as libpq does, when it is
 * not a plain file or when group or others have any right on it.
 */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { describeError } from '../util/system-error.ts';
import type { Diagnostic } from './types.ts';

export interface PassLine {
  readonly host: string;
  readonly port: string;
  readonly database: string;
  readonly user: string;
  readonly password: string;
}

/** The five fields of a line; what follows a sixth colon is not looked at. null = fewer than five. */
function fieldsOf(line: string): PassLine | null {
  const fields = [''];
  for (let i = 0; i < line.length; i++) {
    const char = line[i] ?? '';
    if (char === ':') {
      if (fields.length === 5) break;
      fields.push('');
      continue;
    }
    const isEscape = char === '\\' && i + 1 < line.length;
    if (isEscape) i++;
    fields[fields.length - 1] += isEscape ? (line[i] ?? '') : char;
  }
  const [host, port, database, user, password] = fields;
  if (host === undefined || port === undefined || database === undefined) return null;
  if (user === undefined || password === undefined || password === '') return null;
  return Object.freeze({ host, port, database, user, password });
}

/** Lines of the text of a passfile. A line that cannot be read is warned of and skipped. */
export function parsePassfile(content: string, file: string, diagnostics: Diagnostic[]): readonly PassLine[] {
  const found: PassLine[] = [];
  content.split(/\r?\n/).forEach((text, index) => {
    if (text.trim() === '' || text.startsWith('#')) return;
    const line = fieldsOf(text);
    if (line !== null) {
      found.push(line);
      return;
    }
    const message = `broken passfile (${file}:${index + 1}), line skipped`;
    const hint = 'a line is host:port:database:user:password';
    diagnostics.push({ level: 'warning', file, line: index + 1, message, hint });
  });
  return Object.freeze(found);
}

/** Reads one. null with an error among the diagnostics when it is not to be read or to be trusted. */
export function readPassfile(file: string, diagnostics: Diagnostic[]): readonly PassLine[] | null {
  const refuse = (message: string, hint?: string): null => {
    diagnostics.push({ level: 'error', file, line: 0, message, ...(hint === undefined ? {} : { hint }) });
    return null;
  };
  let fd: number | null = null;
  try {
    fd = openSync(file, 'r');
    const stat = fstatSync(fd);
    if (!stat.isFile()) return refuse(`passfile "${file}" is not a plain file`);
    if (process.platform !== 'win32' && (stat.mode & 0o077) !== 0) {
      return refuse(`passfile "${file}" has group or world access`, `chmod 600 ${file}`);
    }
    return parsePassfile(readFileSync(fd, 'utf8').replace(/^\uFEFF/, ''), file, diagnostics);
  } catch (error) {
    return refuse(`could not open passfile "${file}": ${describeError(error)}`);
  } finally {
    if (fd !== null) closeSync(fd);
  }
}

/** The password of the first line that fits; null = none does. Unix sockets are `localhost` too, as in libpq. */
export function findPassword(
  lines: readonly PassLine[],
  target: { readonly host: string; readonly port: number; readonly database: string; readonly user: string },
): string | null {
  const { host, port, database, user } = target;
  const isLocal = host === '' || /^[/@]/.test(host);
  const fits = (field: string, value: string): boolean => field === '*' || field === value;
  const line = lines.find(
    (one) =>
      (fits(one.host, host) || (isLocal && one.host === 'localhost')) &&
      fits(one.port, String(port)) &&
      fits(one.database, database) &&
      fits(one.user, user),
  );
  return line?.password ?? null;
}
