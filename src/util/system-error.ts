/**
 * The words of strerror(3) for the error codes that people meet in start-up messages. PgBouncer prints these words and
 * scripts match on them; libuv's own differ in case and sometimes in substance.
 */
import { getSystemErrorMap } from 'node:util';

const STRERROR: Readonly<Record<string, string>> = {
  EADDRNOTAVAIL: 'Cannot assign requested address',
  EAFNOSUPPORT: 'Address family not supported by protocol',
  EPERM: 'Operation not permitted',
  EMFILE: 'Too many open files',
  ENFILE: 'Too many open files in system',
  ENAMETOOLONG: 'File name too long',
  EISDIR: 'Is a directory',
  ENOTDIR: 'Not a directory',
  EROFS: 'Read-only file system',
  ENOTSOCK: 'Socket operation on non-socket',
};

let names: Map<number, [code: string, text: string]> | undefined;

function systemErrors(): Map<number, [code: string, text: string]> {
  names ??= getSystemErrorMap() as Map<number, [string, string]>;
  return names;
}

/** The code (`EADDRINUSE`) of an error thrown by Node, or `` when it carries none. */
export function errorCode(error: unknown): string {
  if (!(error instanceof Error)) return '';
  const code: unknown = (error as NodeJS.ErrnoException).code;
  return typeof code === 'string' ? code : '';
}

/** The code of a positive errno as C functions report it, `errno N` when it is unknown. */
export function codeOfErrno(errno: number): string {
  return systemErrors().get(-errno)?.[0] ?? `errno ${errno}`;
}

/** `Address already in use` for `EADDRINUSE`; an unknown code is returned as it is. */
export function describeCode(code: string): string {
  const known = STRERROR[code];
  if (known !== undefined) return known;
  for (const [name, text] of systemErrors().values()) {
    if (name === code) return text.charAt(0).toUpperCase() + text.slice(1);
  }
  return code;
}

/** What went wrong, in the system's words: for errors of Node's own calls and for any other error alike. */
export function describeError(error: unknown): string {
  const code = errorCode(error);
  if (code !== '' && code.startsWith('E') && !code.startsWith('ERR_')) return describeCode(code);
  return error instanceof Error ? error.message : String(error);
}
