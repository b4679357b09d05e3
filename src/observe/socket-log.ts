/**
 * PgBouncer's socket lines: `C-0x55ea9b64c258: db/user@127.0.0.1:49834 text`. One helper for clients and servers, so
 * that the form is the same everywhere.
 */
import { isIPv6 } from 'node:net';
import type { Log, LogFields, LogLevel } from '../util/log.ts';

export interface SocketName {
  /** Client or server side of the proxy. */
  readonly side: 'C' | 'S';
  /** `0x…`, as in SHOW CLIENTS. */
  readonly ptr: string;
  /** '' = not known yet. */
  readonly database: string;
  readonly user: string;
  /** IP address, or `unix`. */
  readonly addr: string;
  readonly port: number;
  /** Process of the other side of a unix socket, 0 = not known. */
  readonly remotePid: number;
}

/** `C-0x…: db/user@127.0.0.1:49834`; `(nodb)/(nouser)` until they are known, `unix(pid):port`, `[::1]:port`. */
export function socketPrefix(socket: SocketName): string {
  const { side, ptr, database, user, addr, port } = socket;
  const host = addr === 'unix' ? `unix(${socket.remotePid})` : isIPv6(addr) ? `[${addr}]` : addr;
  return `${side}-${ptr}: ${database || '(nodb)'}/${user || '(nouser)'}@${host}:${port}`;
}

/** A log that may say beforehand that a level is not shown. */
type MaybeGated = Log & { shows?(level: LogLevel): boolean };

/** A class and not an object of closures: there is one of these for every connection. */
class SocketLog implements Log {
  readonly #log: MaybeGated;
  readonly #prefix: () => string;

  constructor(log: MaybeGated, prefix: () => string) {
    this.#log = log;
    this.#prefix = prefix;
  }

  log(text: string, fields?: LogFields): void {
    this.#log.log(`${this.#prefix()} ${text}`, fields);
  }
  warning(text: string, fields?: LogFields): void {
    this.#log.warning(`${this.#prefix()} ${text}`, fields);
  }
  error(text: string, fields?: LogFields): void {
    this.#log.error(`${this.#prefix()} ${text}`, fields);
  }
  fatal(text: string, fields?: LogFields): void {
    this.#log.fatal(`${this.#prefix()} ${text}`, fields);
  }
  debug(text: string, fields?: LogFields): void {
    if (this.#shows('DEBUG')) this.#log.debug(`${this.#prefix()} ${text}`, fields);
  }
  noise(text: string, fields?: LogFields): void {
    if (this.#shows('NOISE')) this.#log.noise(`${this.#prefix()} ${text}`, fields);
  }

  #shows(level: LogLevel): boolean {
    return this.#log.shows?.(level) ?? true;
  }
}

/**
 * A log whose lines start with `prefix()`, asked only for lines that are shown (names change during the login). The
 * sink cleans the whole line, names of clients included.
 */
export function socketLog(log: MaybeGated, prefix: () => string): Log {
  return new SocketLog(log, prefix);
}
