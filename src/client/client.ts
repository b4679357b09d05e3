/**
 * One client at run time: its phase, its link to a server, what it carries from server to server, and how it ends.
 * Logging in is client-login.ts; its messages are request-stream.ts.
 */
import type { LearnedCredentials } from '../auth/credentials.ts';
import type { ConsoleSession } from '../control/console.ts';
import type { Counters } from '../control/port.ts';
import { CLIENT_READ_SIZE, type Transport, type TransportHandler } from '../net/transport.ts';
import type { Database } from '../pool/database.ts';
import type { Pool } from '../pool/pool.ts';
import type { PoolUser } from '../pool/user.ts';
import type { Waiter } from '../pool/waiter.ts';
import type { ServerConnection } from '../server/server-connection.ts';
import { NO_VARIABLES, type Variables } from '../server/variables.ts';
import { ERRORS, type ErrorCode, PoolerError } from '../util/errors.ts';
import type { Log } from '../util/log.ts';
import { type ErrorFields, errorResponse, poolerErrorFields } from '../wire/backend.ts';
import * as c from '../wire/codes.ts';
import { carryVariables } from './carry-variables.ts';
import type { ClientRegistry } from './client-registry.ts';
import { type ClientRouting, TO_REPLICA } from './client-routing.ts';
import { CLIENT_MOVES, type ClientPhase } from './client-states.ts';
import { expired } from './client-timeouts.ts';
import { QUEUED } from './own-answers.ts';
import { PreparedNames } from './prepared.ts';
import type { RequestHost } from './request-host.ts';
import { RequestStream } from './request-stream.ts';
import { awaitSample, outlives, reroute } from './routed-unit.ts';
import { codeForLostServer, giveUp, serverReady } from './server-ready.ts';
import { detachWhenClean } from './session-detach.ts';
import { SessionWatch } from './session-watch.ts';
import type { UnitRouter } from './unit-router.ts';

/** What a waiting client may still send before its reading stops. */
const HOLD_LIMIT = 4 * CLIENT_READ_SIZE;

/** A phase before the relay (login, console): takes the bytes. */
export interface ClientPhaseHandler {
  onData(buffer: Buffer, n: number): void;
  /** The client is gone or refused. */
  onEnd(): void;
}

export class Client implements TransportHandler, Waiter, RequestHost {
  readonly id: number;
  readonly registry: ClientRegistry;
  readonly requests: RequestStream;
  readonly prepared: PreparedNames;
  transport: Transport;
  /** Moved by `moveTo` only. */
  phase: ClientPhase = 'startup';
  /** Takes the input before and beside the relay; null = the relay does. */
  handler: ClientPhaseHandler | null = null;
  console: ConsoleSession | null = null;
  database: Database | null = null;
  user: PoolUser | null = null;
  pool: Pool | null = null;
  server: ServerConnection | null = null;
  /** Of a database that belongs to a cluster, else null. `pool` is then that of the last unit's node, or the hall. */
  routing: ClientRouting | null = null;
  router: UnitRouter | null = null;
  /** As people know it, also before there is a pool. */
  databaseName = '';
  userName = '';
  addr = '';
  port = 0;
  localAddr = '';
  localPort = 0;
  unix = false;
  /** Process of a unix socket's peer, 0 = not known. */
  peerPid = 0;
  tls = '';
  applicationName = '';
  replication: 'none' | 'logical' | 'physical' = 'none';
  readonly connectedAt: number;
  readonly connectedMs: number;
  /** Monotonic ms of the last request's start, of the transaction's start, of the last answer. */
  requestMs = 0;
  transactionMs = 0;
  readyMs = 0;
  waitingSinceMs = 0;
  /** The unit has been waiting in other queues since then; 0 = it has not. */
  heldSinceMs = 0;
  waitNotified = false;
  /** Secret found by auth_query, null = from auth_file. */
  foundSecret: string | null = null;
  /** What its login has taught, until the pool has it. */
  learned: LearnedCredentials | null = null;
  variables: Variables = NO_VARIABLES;
  /** Precede the next message on a server just linked. */
  setup: Buffer | null = null;
  /** BackendKeyData: process id and secret, as lower-case hex, the key of the registry. */
  cancelKey = '';
  /** A cancel request for this client is on its way. */
  canceling = 0;
  watch: SessionWatch | null = null;
  log: Log;

  constructor(id: number, registry: ClientRegistry, log: Log) {
    this.id = id;
    this.registry = registry;
    this.log = log;
    this.requests = new RequestStream(this);
    this.prepared = new PreparedNames(registry.pools.statements);
    this.connectedAt = registry.clock.wall();
    this.connectedMs = registry.clock.now();
    this.transport = undefined as unknown as Transport;
  }

  /** The only place where the phase changes. */
  moveTo(next: ClientPhase): void {
    if (!CLIENT_MOVES[this.phase].includes(next))
      throw new Error(`client state: ${this.phase} -> ${next} is not a move`);
    this.phase = next;
  }

  get gone(): boolean {
    return this.phase === 'closing' || this.phase === 'closed';
  }

  // --- RequestHost

  get counters(): Counters {
    return (this.pool as Pool).counters;
  }

  get maxPrepared(): number {
    return (this.pool as Pool).limits.maxPreparedStatements;
  }

  get maxPacketSize(): number {
    return this.registry.maxPacketSize;
  }

  get disablePqexec(): boolean {
    return (this.pool as Pool).limits.disablePqexec;
  }

  get idleStatus(): number {
    return this.routing?.idleStatus ?? c.TX_IDLE;
  }

  get oneUnitAtATime(): boolean {
    const { routing } = this;
    if (routing === null || this.pool?.limits.mode === 'session') return false;
    return routing.onReplica || routing.target === TO_REPLICA;
  }

  awaitCluster(): void {
    awaitSample(this);
  }

  acquire(): ServerConnection | null {
    const { routing } = this;
    const now = this.registry.clock.now();
    if (routing !== null) this.pool = routing.place(now);
    const pool = this.pool as Pool;
    const since = this.heldSinceMs === 0 ? now : this.heldSinceMs;
    if (since === now && routing?.again !== true) {
      this.requestMs = now;
      this.transactionMs = now;
      pool.counters.queries += 1;
      pool.counters.xacts += 1;
    }
    this.setup = null;
    if (pool.limits.mode === 'session') this.watch ??= new SessionWatch();
    const server = pool.acquire(this, now, since);
    if (server === null) {
      if (!this.gone) this.moveTo('waiting');
      return null;
    }
    return this.#linkedTo(server, now) ? server : null;
  }

  #linkedTo(server: ServerConnection, nowMs: number): boolean {
    this.server = server;
    this.heldSinceMs = 0;
    this.routing?.onLinked(server, nowMs);
    return carryVariables(this, server);
  }

  onRequest(): void {
    const now = this.registry.clock.now();
    this.requestMs = now;
    const counters = this.counters;
    counters.queries += 1;
    if (this.server?.replies.status === c.TX_IDLE) {
      counters.xacts += 1;
      this.transactionMs = now;
    }
  }

  onTerminate(): void {
    this.leave('client close request');
  }

  onMessageComplete(): void {
    const server = this.server;
    if (server !== null && this.phase === 'linked' && server.ready) this.onServerReady(server, false);
  }

  // --- TransportHandler

  onData(buffer: Buffer, n: number): void {
    if (this.handler !== null) {
      this.handler.onData(buffer, n);
      return;
    }
    (this.pool as Pool).counters.bytesReceived += n;
    const phase = this.phase;
    if (phase === 'waiting' || phase === 'settling' || phase === 'welcome') {
      this.requests.hold(buffer, 0, n);
      if (this.requests.pending > HOLD_LIMIT) this.transport.pause();
      return;
    }
    if (phase !== 'idle' && phase !== 'linked') return;
    try {
      this.requests.onData(buffer, n);
    } catch (error) {
      this.#refused(error);
    }
  }

  onDrain(): void {
    this.server?.transport.resume();
    // it may have been paused for answers of our own that it did not read
    if ((this.phase === 'idle' || this.phase === 'linked') && !this.awaits) this.transport.resume();
  }

  onGone(reason: string): void {
    this.leave(reason === '' ? 'client unexpected eof' : `client unexpected eof (${reason})`);
  }

  // --- ServerPeer

  onServerReady(server: ServerConnection, answered = true): void {
    serverReady(this, server, answered);
  }

  /** Gives the server back; the client stays. */
  detach(server: ServerConnection, dirty: boolean, nowMs: number): void {
    this.routing?.onUnitEnd(server, nowMs);
    this.leaveServer();
    (this.pool as Pool).release(server, dirty, nowMs);
    if (this.awaits) this.onStatementsCertain();
    else this.transport.resume();
  }

  /** The link ends and the client stays; what becomes of the server is the caller's. */
  leaveServer(): void {
    this.server = null;
    this.moveTo('idle');
  }

  onServerGone(server: ServerConnection, reason: string): void {
    if (this.gone) return;
    this.log.debug(`server gone: ${reason}`);
    if (this.routing !== null && outlives(this, this.routing, server, reason)) return;
    // `server` stays: it says whether a reply was cut in the middle
    this.fail(codeForLostServer(reason));
  }

  onServerDrain(): void {
    if (this.phase === 'linked') this.transport.resume();
  }

  onServerParameter(name: string, value: string): boolean {
    const i = this.registry.pools.tracked.indexOf(name);
    // which node it is on for the moment is not the client's business
    if (i < 0) return this.routing === null || name !== 'in_hot_standby';
    this.variables = this.registry.pools.tracked.with(this.variables, i, value);
    if (name === 'application_name') {
      this.applicationName = value;
      this.registry.rerouteClient(this);
    }
    return true;
  }

  /** It holds a message until earlier ones are answered. */
  get awaits(): boolean {
    return this.requests.awaitsStatements || this.requests.awaitsUnit;
  }

  get awaitsStatements(): boolean {
    return this.requests.awaitsStatements;
  }

  onStatementsCertain(): void {
    this.guarded(() => this.requests.resumeHeld());
    this.transport.resume();
  }

  // --- Waiter

  onServerAssigned(server: ServerConnection): void {
    const now = this.registry.clock.now();
    this.transactionMs = now;
    if (!this.#linkedTo(server, now)) return;
    this.guarded(() => this.requests.resumeHeld());
    this.transport.resume();
  }

  onWaitFailed(error: ErrorFields, reason: string): void {
    if (!this.gone) this.#endWith(error, reason);
  }

  onReroute(): void {
    reroute(this);
  }

  onWaitNotice(): void {
    this.transport.writeOwned(QUEUED);
  }

  onWelcome(): void {
    this.registry.onWelcome(this);
  }

  onPause(): void {
    const server = this.server;
    if (server !== null && this.phase === 'linked' && this.pool?.limits.mode === 'session' && server.ready) {
      detachWhenClean(this, server);
    }
  }

  sweep(nowMs: number): void {
    const code = expired(this, nowMs);
    if (code !== null) this.fail(code);
  }

  // --- ending

  /** Refuses or ends the client with one of the proxy's own errors. */
  fail(code: ErrorCode, argument = '', detail = ''): void {
    if (this.gone) return;
    this.#endWith(poolerErrorFields(new PoolerError(code, argument), detail), ERRORS[code].text);
  }

  /** The last that the client is told; counted as `reason`, which quotes nothing of a client's. */
  #endWith(error: ErrorFields, reason: string): void {
    this.registry.countClose(reason);
    if (this.registry.logPoolerErrors) this.log.warning(`pooler error: ${error.message}`);
    this.tell(error);
    this.#close(error.message, true);
  }

  /** Sends an error, unless a reply is half sent: its bytes cannot be broken into. */
  tell(fields: ErrorFields): void {
    if (this.server?.replies.midMessage !== true) this.transport.writeOwned(errorResponse(fields));
  }

  /** The client ends by itself. */
  leave(reason: string): void {
    if (this.gone) return;
    this.#close(reason, false);
  }

  /** The console ends the client after its last bytes. */
  leaveAfterFlush(reason: string): void {
    if (!this.gone) this.#close(reason, true);
  }

  /** Runs relay code outside of `onData`, with the same boundary for errors. */
  guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#refused(error);
    }
  }

  #refused(error: unknown): void {
    if (!(error instanceof PoolerError)) throw error;
    this.fail(error.code, error.argument);
  }

  #close(reason: string, told: boolean): void {
    const server = this.server;
    const linked = this.phase === 'linked' || this.phase === 'settling';
    this.moveTo('closing');
    if (this.registry.logDisconnections) {
      const age = Math.round((this.registry.clock.now() - this.connectedMs) / 1000);
      this.log.log(`closing because: ${reason} (age=${age}s)`);
    }
    this.handler?.onEnd();
    this.handler = null;
    this.console?.onClose();
    this.console = null;
    if (told) this.transport.closeAfter(null);
    else this.transport.destroy();
    this.pool?.forget(this);
    this.server = null;
    this.prepared.clear();
    if (server !== null) giveUp(this, server, linked);
    this.registry.remove(this);
    this.moveTo('closed');
  }
}
