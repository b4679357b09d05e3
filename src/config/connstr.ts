/**
 * Connect strings, the values of [databases], [users] and [peers]: `key=value` pairs separated by blanks, blanks
 * around `=` allowed, a value may be 'quoted' with '' for a quote. Empty values are refused, as PgBouncer does.
 */
export type Connstr =
  | { readonly pairs: ReadonlyMap<string, string>; readonly error?: never }
  | { readonly error: string; readonly hint: string };

const bad = (hint: string): Connstr => ({ error: 'syntax error in connection string', hint });

/** Parses a connect string; a later pair wins over an earlier one of the same key. */
export function parseConnstr(source: string): Connstr {
  const pairs = new Map<string, string>();
  const pair = /[ \t]*([^\s='"]+)[ \t]*=[ \t]*(?:'((?:[^']|'')*)'(?=\s|$)|([^\s']\S*)|)/y;
  const end = source.trimEnd().length;
  while (pair.lastIndex < end) {
    const found = pair.exec(source);
    if (found === null) return bad('write key=value pairs separated by blanks');
    const [, key = '', quoted, bare] = found;
    if (quoted === undefined && bare === undefined) {
      return bad(
        /'/.test(source[pair.lastIndex] ?? '')
          ? `the quoted value of ${key} has no end, or text behind its closing quote`
          : `${key} has no value; leave it out instead`,
      );
    }
    const value = quoted === undefined ? (bare ?? '') : quoted.replaceAll("''", "'");
    if (value === '') return bad(`${key} has an empty value; leave it out instead`);
    pairs.set(key, value);
  }
  return { pairs };
}

/** What a password may be called by somebody who misspells it; a passfile is a path. */
const SECRET_KEY = '[^\\s=\'"]*(?:pas{1,3}(?!s?file)|pwd|secret)[^\\s=\'"]*';

/**
 * The same string with its passwords made unreadable, for messages. `misspelled` = keys that were meant to be one of a
 * password. A string that cannot be read is hidden from its first password on: who knows where that ends.
 */
export function maskPasswords(source: string, misspelled: readonly string[] = []): string {
  const isReadable = parseConnstr(source).error === undefined;
  const value = isReadable ? `'(?:[^']|'')*'|\\S+` : '.*';
  const keys = [SECRET_KEY, ...misspelled.map((key) => key.replace(/[^\w]/g, '\\$&'))];
  return source.replace(
    new RegExp(`(?<![^\\s'])((?:${keys.join('|')})\\s*=\\s*)(?:${value})`, 'gis'),
    '$1********',
  );
}
