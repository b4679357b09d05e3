/**
 * One connection of a monitor to one node, opened when it is needed and kept: one query at a time, each with a time
 * limit that counts for name look-up, connecting and login too. After a time-out the connection is thrown away, for a
 * host that has vanished never answers again.
 */
import type { Resolver } from '../net/resolver.ts';
import type { ServerTls } from '../server/login.ts';
import { type ServerAddress, ServerConnection, type ServerOwner } from '../server/server-connection.ts';
import { StatementRegistry } from '../server/statements.ts';
import { TrackedParameters } from '../server/variables.ts';
import type { Clock } from '../util/clock.ts';
import type { ServerError } from '../wire/fields.ts';
import type { Row } from './observe-sql.ts';

const MAX_MESSAGE = 0x3fff_ffff;
const KEEPALIVE_MS = 10_000;

export interface MonitorTarget {
  /** '' = the unix socket directory below; `/dir` and `@name` are unix sockets too. */
  readonly host: string;
  readonly port: number;
  readonly unixSocketDir: string;
  readonly user: string;
  readonly password: string | null;
  readonly dbname: string;
}

/** What monitor connections share. */
export interface MonitorDeps {
  readonly clock: Clock;
  readonly resolver: Resolver;
  readonly tls: () => ServerTls;
}

/**
 * refused: nobody is there; lost: the connection broke; timeout: silence; login: it answers, but lets us not in; sql: it
 * refused the query.
 */
export type CheckErrorKind = 'refused' | 'lost' | 'timeout' | 'login' | 'sql';

export class CheckError extends Error {
  readonly kind: CheckErrorKind;
  constructor(kind: CheckErrorKind, message: string) {
    super(message);
    this.name = 'CheckError';
    this.kind = kind;
  }
}

interface Job {
  readonly sql: string;
  readonly beforeWrite: () => void;
  readonly resolve: (rows: readonly Row[]) => void;
  readonly reject: (error: CheckError) => void;
  readonly timer: NodeJS.Timeout;
  sent: boolean;
  rows: readonly Row[];
  error: string | null;
}

/** Monitors use no statements and carry no variables: one of each serves all. */
const statements = new StatementRegistry();
const tracked = new TrackedParameters([]);
let nextId = 1;

export class MonitorConnection implements ServerOwner {
  readonly target: MonitorTarget;
  /** The connection broke while nothing was asked, or the node said that its role has changed. */
  onNews: (what: 'lost' | 'role') => void = () => {};
  readonly #deps: MonitorDeps;
  #server: ServerConnection | null = null;
  #job: Job | null = null;
  /** Counts attempts to connect: a name look-up that comes late is not ours any more. */
  #attempt = 0;
  #openedMs = 0;

  constructor(target: MonitorTarget, deps: MonitorDeps) {
    this.target = target;
    this.#deps = deps;
  }

  leadsTo(target: MonitorTarget): boolean {
    return JSON.stringify(target) === JSON.stringify(this.target);
  }

  get busy(): boolean {
    return this.#job !== null;
  }

  /** Monotonic ms of the current connection's start; 0 = there is none. */
  get openedMs(): number {
    return this.#server === null ? 0 : this.#openedMs;
  }

  /**
   * Runs one simple query (several statements allowed) and resolves with all rows. Rejects with CheckError. `beforeWrite`
   * is called when the connection is up, right before the query is written. One at a time.
   */
  query(sql: string, timeoutMs: number, beforeWrite: () => void = () => {}): Promise<readonly Row[]> {
    if (this.#job !== null) return Promise.reject(new Error('a query is running already'));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#fail(new CheckError('timeout', `no answer within ${timeoutMs / 1000} s`));
      }, timeoutMs);
      this.#job = { sql, beforeWrite, resolve, reject, timer, sent: false, rows: [], error: null };
      if (this.#server === null) this.#open();
      else if (this.#server.state === 'idle') this.#send(this.#server);
    });
  }

  /** Closes the connection; a query that is running is rejected. */
  close(): void {
    const job = this.#take();
    this.#drop();
    job?.reject(new CheckError('lost', 'the monitor was stopped'));
  }

  #open(): void {
    const { host, port, unixSocketDir } = this.target;
    const attempt = ++this.#attempt;
    const directory = host === '' ? unixSocketDir : host;
    if (host === '' || host.startsWith('/') || host.startsWith('@')) {
      const path = `${directory}/.s.PGSQL.${port}`;
      // an abstract name is written with a leading @ and meant with a leading NUL
      const unixPath = directory.startsWith('@') ? `\0${path.slice(1)}` : path;
      this.#connect({ host: directory, address: '', port, unixPath });
      return;
    }
    this.#deps.resolver.resolve(host).then(
      (address) => {
        if (attempt === this.#attempt && this.#job !== null) {
          this.#connect({ host, address, port, unixPath: null });
        }
      },
      (error: unknown) => {
        if (attempt !== this.#attempt) return;
        this.#fail(new CheckError('refused', error instanceof Error ? error.message : String(error)));
      },
    );
  }

  #connect(address: ServerAddress): void {
    const { user, password, dbname, host } = this.target;
    const { clock, tls } = this.#deps;
    this.#openedMs = clock.now();
    const server = new ServerConnection(
      nextId++,
      this,
      address,
      {
        credentials: { user, secret: password, learned: null },
        parameters: {
          user,
          database: dbname,
          application_name: 'pgconcierge monitor',
          client_encoding: 'UTF8',
        },
        tls: tls(),
        hostName: address.unixPath === null ? host : '',
      },
      { registry: statements, tracked, maxPacketSize: MAX_MESSAGE },
      0,
      this.#openedMs,
      clock.wall(),
    );
    this.#server = server;
    server.transport.whenConnected((socket) => {
      if (address.unixPath === null) socket.setKeepAlive(true, KEEPALIVE_MS);
    });
  }

  #send(server: ServerConnection): void {
    const job = this.#job;
    if (job === null || job.sent) return;
    job.sent = true;
    server.moveTo('tested');
    job.beforeWrite();
    server.runInternal(job.sql, (error, rows) => {
      job.error = error;
      job.rows = rows;
    });
  }

  /** The job is over, whatever became of it. */
  #take(): Job | null {
    const job = this.#job;
    this.#job = null;
    if (job !== null) clearTimeout(job.timer);
    return job;
  }

  /** Forgets the connection without a word from its end. */
  #drop(): void {
    this.#attempt += 1;
    const server = this.#server;
    this.#server = null;
    server?.close('monitor');
  }

  #fail(error: CheckError): void {
    const job = this.#take();
    this.#drop();
    job?.reject(error);
  }

  // --- ServerOwner

  onServerLoggedIn(server: ServerConnection): void {
    if (server !== this.#server) return;
    server.moveTo('idle');
    this.#send(server);
  }

  onServerLoginFailed(server: ServerConnection, reason: string, error: ServerError | null): void {
    if (server !== this.#server) return;
    this.#fail(new CheckError(loginKind(error, reason), reason));
  }

  onServerFree(server: ServerConnection): void {
    if (server !== this.#server) return;
    const job = this.#take();
    if (job === null) return;
    if (job.error === null) job.resolve(job.rows);
    else job.reject(new CheckError('sql', job.error));
  }

  onServerHotStandby(server: ServerConnection): void {
    if (server === this.#server && server.loggedIn) this.onNews('role');
  }

  onServerClosed(server: ServerConnection, reason: string): void {
    if (server !== this.#server) return;
    const idle = this.#job === null;
    this.#fail(new CheckError('lost', reason));
    if (idle) this.onNews('lost');
  }
}

/** Whether the node is gone or only says no. Starting up and shutting down (57P0x) count as gone. */
function loginKind(error: ServerError | null, reason: string): CheckErrorKind {
  if (error === null) return reason.startsWith('connect failed') ? 'refused' : 'lost';
  return error.sqlstate.startsWith('57P0') ? 'refused' : 'login';
}
