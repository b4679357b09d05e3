/**
 * One connection of the proxy to one PostgreSQL node: its state, what it owes, what it remembers (variables,
 * statements), and the queries that the proxy runs on it for itself. Policy (who gets it, when it is closed)
 * is the pool's.
 */
import { Transport, type TransportHandler } from '../net/transport.ts';
import { describeCode } from '../util/system-error.ts';
import { decodeRow, type ServerError } from '../wire/fields.ts';
import { query } from '../wire/frontend.ts';
import { type LoginEvents, type LoginRequest, type LoginResult, ServerLogin } from './login.ts';
import { OWED_QUERY, SWALLOW } from './owed-replies.ts';
import type { ReplyEvents, ReplyPeer } from './reply-events.ts';
import { ReplyStream } from './reply-stream.ts';
import { SERVER_MOVES, type ServerState } from './server-states.ts';
import { ServerStatements, type Statement, type StatementRegistry } from './statements.ts';
import { NO_VARIABLES, type TrackedParameters, type Variables } from './variables.ts';

/** The client that a server is linked to. */
export interface ServerPeer extends ReplyPeer {
  /** Nothing is owed any more; the transaction status is `server.replies.status`. */
  onServerReady(server: ServerConnection): void;
  /** The server is gone (the client may have been sent the server's own FATAL error before). */
  onServerGone(server: ServerConnection, reason: string): void;
  /** Unsent bytes to the server have left: the client's reading may go on. */
  onServerDrain(): void;
}

/** The pool. */
export interface ServerOwner {
  onServerLoggedIn(server: ServerConnection): void;
  onServerLoginFailed(server: ServerConnection, reason: string, error: ServerError | null): void;
  /** An internal query is over and the server is in state idle. */
  onServerFree(server: ServerConnection): void;
  /** PostgreSQL reported (at login or later) whether this node is in recovery (14 and newer). */
  onServerHotStandby(server: ServerConnection): void;
  /** Called once, whatever the reason. */
  onServerClosed(server: ServerConnection, reason: string): void;
}

/** Where the connection goes: a resolved address, or a unix socket path. */
export interface ServerAddress {
  readonly host: string;
  readonly address: string;
  readonly port: number;
  readonly unixPath: string | null;
}

export interface ServerContext {
  readonly registry: StatementRegistry;
  readonly tracked: TrackedParameters;
  readonly maxPacketSize: number;
}

export class ServerConnection implements TransportHandler, LoginEvents, ReplyEvents {
  readonly id: number;
  readonly owner: ServerOwner;
  readonly address: ServerAddress;
  readonly transport: Transport;
  readonly replies: ReplyStream;
  readonly statements: ServerStatements;
  /** Moved by `moveTo` only. */
  state: ServerState = 'connecting';
  peer: ServerPeer | null = null;
  variables: Variables = NO_VARIABLES;
  pid = 0;
  secret: Buffer = Buffer.alloc(4);
  tls = '';
  loggedIn = false;
  /** Parameter in_hot_standby, null = not reported (PostgreSQL before 14). */
  inHotStandby: boolean | null = null;
  /** The connection broke by itself after login. */
  crashed = false;
  /** Pool generation at creation; an older one than the pool's is closed when it comes back. */
  generation: number;
  /** Close when it is released, with this reason; '' = no. */
  closeNeeded = '';
  /** Clock times (ms, monotonic; wall for connectedAt). */
  startedMs: number;
  connectedAt: number;
  /** Last time it became free or was given out. */
  lastUsedMs: number;
  requestAt = 0;
  /** Cancel requests on their way to this server's backend. */
  cancelsInFlight = 0;
  /** The last client's session state is still on it: the reset query must run before it is given out. */
  resetDue = false;
  /** The server has sent a FATAL error; its end is near. */
  fatal = '';
  /** Parameters as reported at login, for the pool's welcome. */
  welcome: ReadonlyMap<string, string> = new Map();
  readonly #tracked: TrackedParameters;
  #login: ServerLogin | null;

  constructor(
    id: number,
    owner: ServerOwner,
    address: ServerAddress,
    request: LoginRequest,
    context: ServerContext,
    generation: number,
    nowMs: number,
    wall: number,
  ) {
    this.id = id;
    this.owner = owner;
    this.address = address;
    this.generation = generation;
    this.startedMs = nowMs;
    this.lastUsedMs = nowMs;
    this.connectedAt = wall;
    this.#tracked = context.tracked;
    this.statements = new ServerStatements(context.registry);
    const where =
      address.unixPath === null
        ? { host: address.address, port: address.port, autoSelectFamily: false }
        : { path: address.unixPath };
    this.transport = Transport.connect(where, this, () => this.#login?.start());
    this.replies = new ReplyStream(this.transport, this);
    this.replies.maxLength = Math.min(this.replies.maxLength, context.maxPacketSize);
    this.#login = new ServerLogin(this.transport, request, this);
  }

  /** The only place where the state changes. */
  moveTo(next: ServerState): void {
    if (!SERVER_MOVES[this.state].includes(next)) {
      throw new Error(`server state: ${this.state} -> ${next} is not a move`);
    }
    this.state = next;
  }

  get closed(): boolean {
    return this.state === 'closed';
  }

  /** True when the server is between transactions and nothing is owed. */
  get ready(): boolean {
    const { owed, status, unsynced } = this.replies;
    return owed.length === 0 && status === 0x49 && !unsynced;
  }

  /** Assigns the server to a client. */
  link(peer: ServerPeer): void {
    this.moveTo('active');
    this.peer = peer;
    this.replies.peer = peer;
    this.replies.beginUnit();
  }

  /** Takes it away; the caller moves the state on. */
  unlink(): void {
    this.peer = null;
    this.replies.peer = null;
    this.replies.commits = null;
    this.replies.guard.reset();
    this.transport.resume();
  }

  /** Runs a simple query of the proxy's own; the answers reach nobody but `onDone` (error text or null). */
  runInternal(sql: string, onDone: (error: string | null, rows: (string | null)[][]) => void): void {
    const rows: (string | null)[][] = [];
    this.replies.owed.push(OWED_QUERY | SWALLOW, {
      internal: true,
      onRow: (body) => rows.push(decodeRow(body)),
      onDone: (error) => onDone(error, rows),
    });
    this.transport.writeOwned(query(sql));
  }

  /** As runInternal; an error closes the connection. */
  runChecked(sql: string, failure: string): void {
    this.runInternal(sql, (error) => {
      if (error !== null) this.close(`${failure}: ${error}`);
    });
  }

  /** Closes the connection, politely when it is between messages. */
  close(reason: string): void {
    if (this.closed) return;
    const polite = this.state === 'idle' || this.state === 'used' || (this.state === 'active' && this.ready);
    const peer = this.peer;
    this.moveTo('closed');
    this.replies.broken = true;
    this.#login?.cancel();
    this.#login = null;
    this.statements.clear();
    this.peer = null;
    this.replies.peer = null;
    if (polite && !this.transport.closed) this.transport.closeAfter(Buffer.from([0x58, 0, 0, 0, 4]));
    else this.transport.destroy();
    this.owner.onServerClosed(this, reason);
    peer?.onServerGone(this, reason);
  }

  // --- TransportHandler

  onData(buffer: Buffer, n: number): void {
    if (this.#login !== null) this.#login.onData(buffer, n);
    else this.replies.onData(buffer, n);
  }

  onDrain(): void {
    this.peer?.onServerDrain();
  }

  onGone(reason: string): void {
    if (this.closed) return;
    if (this.#login !== null) {
      const text =
        reason === ''
          ? 'server closed the connection during login'
          : `connect failed: ${describeCode(reason)}`;
      this.onLoginFailed(text, null);
      return;
    }
    this.crashed = true;
    this.close(this.fatal === '' ? 'server conn crashed?' : this.fatal);
  }

  // --- LoginEvents

  onTls(): void {
    this.moveTo('tls');
  }

  onStartup(): void {
    this.moveTo('login');
  }

  onLoginFailed(reason: string, error: ServerError | null): void {
    this.owner.onServerLoginFailed(this, reason, error);
    this.close(reason);
  }

  onLoggedIn(result: LoginResult): void {
    this.#login = null;
    this.loggedIn = true;
    this.pid = result.pid;
    this.secret = result.secret;
    this.tls = result.tls;
    this.welcome = result.parameters;
    for (const [name, value] of result.parameters) this.#setVariable(name, value);
    const standby = result.parameters.get('in_hot_standby');
    if (standby !== undefined) this.inHotStandby = standby === 'on';
    this.owner.onServerLoggedIn(this);
    const { rest } = result;
    if (rest.length > 0 && !this.closed) this.replies.onData(rest, rest.length);
  }

  // --- ReplyEvents

  onReady(internal: boolean): void {
    if (this.peer !== null) {
      if (!internal) this.peer.onServerReady(this);
    } else if (this.state === 'tested') {
      if (!this.ready) {
        this.close('server was left in a transaction');
        return;
      }
      this.moveTo('idle');
      this.owner.onServerFree(this);
    }
  }

  onParameter(name: string, value: string): void {
    this.#setVariable(name, value);
    if (name !== 'in_hot_standby') return;
    this.inHotStandby = value === 'on';
    this.owner.onServerHotStandby(this);
  }

  onServerError(error: ServerError, linked: boolean): void {
    if (linked) {
      if (error.severity === 'FATAL' || error.severity === 'PANIC') this.fatal = error.message;
      return;
    }
    this.close(
      error.message === '' ? 'SV_IDLE server got dirty' : `server said while idle: ${error.message}`,
    );
  }

  onBroken(reason: string): void {
    this.close(reason);
  }

  onParseLost(statement: Statement): void {
    this.statements.remove(statement);
  }

  onCloseLost(statement: Statement): void {
    this.statements.add(statement);
  }

  onStatementsDropped(): void {
    this.statements.clear();
  }

  #setVariable(name: string, value: string): void {
    const i = this.#tracked.indexOf(name);
    if (i >= 0) this.variables = this.#tracked.with(this.variables, i, value);
  }
}

/** Our end of its socket, as PgBouncer logs it. */
export function localEnd(server: ServerConnection): string {
  const { address, transport } = server;
  if (address.unixPath !== null) return 'unix';
  const { localAddress = '', localPort = 0 } = transport.socket;
  return `${localAddress.includes(':') ? `[${localAddress}]` : localAddress}:${localPort}`;
}
