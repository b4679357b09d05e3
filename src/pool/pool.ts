/**
 * The servers for one (database, user, node) and the clients that wait for them. A database of a cluster has one pool
 * more for each user, its hall: it has no node and never a server; who waits for a primary, or for any node, waits there. `serveWaiters` alone links servers:
 * FIFO, a freed server goes straight to the oldest waiter. The limits of opening are in may-open.ts, time-driven
 * duties in janitor.ts.
 */
import type { LearnedCredentials } from '../auth/credentials.ts';
import type { Counters } from '../control/port.ts';
import type { ServerConnection, ServerOwner } from '../server/server-connection.ts';
import { Deque } from '../util/deque.ts';
import { PoolerError } from '../util/errors.ts';
import { Histogram } from '../util/histogram.ts';
import type { ErrorFields } from '../wire/backend.ts';
import type { ServerError } from '../wire/fields.ts';
import type { ServerCancel } from './cancel.ts';
import { newCounters } from './counters.ts';
import type { Database } from './database.ts';
import type { PoolLimits } from './limits.ts';
import { loggedIn, loginFailed, retryMs } from './login-outcome.ts';
import { mayOpen } from './may-open.ts';
import type { PoolHost } from './pool-host.ts';
import type { PoolNode } from './pool-node.ts';
import { closeReason } from './retire.ts';
import { sendCancel } from './send-cancel.ts';
import type { PoolUser } from './user.ts';
import { WaitQueue } from './wait-queue.ts';
import type { Waiter } from './waiter.ts';

export type PoolRole = 'primary' | 'replica' | 'none';

export class Pool implements ServerOwner {
  readonly database: Database;
  /** The user that logs in to the servers. */
  readonly user: PoolUser;
  /** Where its servers go, for a database of a cluster. */
  node: PoolNode | null = null;
  /** The pool that all clients of this (database, user) join, when this one is of a node; else itself. */
  readonly hall: Pool;
  /** Of a hall: the pools of its nodes, by the node's name. */
  readonly byNode = new Map<string, Pool>();
  /** As what the node serves this pool's clients; `none` = it may not be used, or is gone. */
  role: PoolRole = 'none';
  readonly counters: Counters = newCounters();
  readonly waitUs = new Histogram();
  readonly xactUs = new Histogram();
  limits: PoolLimits;
  /** Of a user found by auth_query: good for this database only. */
  secret: string | null = null;
  learned: LearnedCredentials | null = null;
  /** Every server, in whatever state. */
  readonly servers = new Set<ServerConnection>();
  readonly idle = new Deque<ServerConnection>();
  readonly used = new Deque<ServerConnection>();
  readonly waiters = new WaitQueue();
  /** Clients that wait for the first welcome. */
  readonly loginWaiters = new Set<Waiter>();
  /** Clients of the pool, linked or not. */
  clients = 0;
  /** Parameters that the first server reported; null until then. */
  welcome: ReadonlyMap<string, string> | null = null;
  /** Values that a server of this pool has accepted (`name=value`); bounded. */
  readonly accepted = new Set<string>();
  generation = 0;
  generationReason = '';
  /** Connections being opened (DNS, TCP, login). */
  connecting = 0;
  /** Not before this time is another login tried after a failure. */
  retryAtMs = 0;
  /** What PostgreSQL said to the last login, null = it worked, or it was not PostgreSQL that failed. */
  lastLoginError: ServerError | null = null;
  /** Why the last attempt to get a server failed, whoever's fault; '' = it worked. */
  lastFailure = '';
  lastActiveMs = 0;
  /** When a server was last closed for its age. */
  lastRetiredMs = Number.NEGATIVE_INFINITY;
  readonly cancels = new Set<ServerCancel>();
  readonly #host: PoolHost;
  #serving = false;

  constructor(
    database: Database,
    user: PoolUser,
    limits: PoolLimits,
    host: PoolHost,
    hall: Pool | null = null,
  ) {
    this.database = database;
    this.hall = hall ?? this;
    this.user = user;
    this.limits = limits;
    this.#host = host;
    this.lastActiveMs = host.now();
  }

  // --- clients

  /**
   * A server for the client: at once (the caller goes on with it), or null: the client is queued and
   * `onServerAssigned`, `onWaitFailed` or `onReroute` comes later. `sinceMs`: it has been waiting elsewhere.
   */
  acquire(waiter: Waiter, nowMs: number, sinceMs = nowMs): ServerConnection | null {
    if (this.waiters.count === 0 && !this.database.paused) {
      const server = this.#take();
      if (server !== null) {
        this.#link(server, waiter, nowMs, 0);
        return server;
      }
    }
    // one that only looks for a place again goes on with the wait that it may have been told of
    if (sinceMs === nowMs) waiter.waitNotified = false;
    this.waiters.add(waiter, sinceMs);
    const failing = this.lastLoginError !== null && this.servers.size === 0 && nowMs < this.retryAtMs;
    if (failing && this.lastLoginError !== null && this.role !== 'replica') {
      const error = new PoolerError('serverLoginFailing', this.lastLoginError.message);
      this.failWaiter(waiter, { severity: 'FATAL', sqlstate: error.sqlstate, message: error.message });
      return null;
    }
    this.wantServers();
    return null;
  }

  /** The client waits no longer (gone, timed out). */
  forget(waiter: Waiter): void {
    this.waiters.remove(waiter);
    this.loginWaiters.delete(waiter);
  }

  /** Takes the waiter out of the queue and tells it why. */
  failWaiter(waiter: Waiter, error: ErrorFields): void {
    this.forget(waiter);
    waiter.onWaitFailed(error, error.message);
  }

  /** A client in login wants the pool's welcome. True = it is known; else `onWelcome` comes later. */
  wantWelcome(waiter: Waiter): boolean {
    if (this.welcome !== null) return true;
    this.loginWaiters.add(waiter);
    this.wantServers();
    return false;
  }

  /**
   * The client gives its server back. It must be ready (nothing owed, not in a transaction) and not closed.
   * `dirty` = it may hold session state: the reset query runs first.
   */
  release(server: ServerConnection, dirty: boolean, nowMs: number): void {
    server.unlink();
    server.lastUsedMs = nowMs;
    const reason = closeReason(this, server, nowMs);
    if (reason !== '') {
      server.close(reason);
      return;
    }
    const reset = this.limits.serverResetQuery;
    server.resetDue = dirty && reset !== '';
    if (server.cancelsInFlight > 0) {
      server.moveTo('canceled');
      return;
    }
    if (server.resetDue) {
      server.moveTo('tested');
      server.runChecked(reset, 'reset query failed');
      return;
    }
    server.moveTo('idle');
    this.#setFree(server, nowMs);
  }

  // --- ServerOwner

  onServerLoggedIn(server: ServerConnection): void {
    loggedIn(this, this.#host, server);
  }

  onServerLoginFailed(server: ServerConnection, reason: string, error: ServerError | null): void {
    loginFailed(this, this.#host, server, reason, error);
  }

  onServerFree(server: ServerConnection): void {
    const now = this.#host.now();
    const reason = closeReason(this, server, now);
    if (reason !== '') server.close(reason);
    else this.#setFree(server, now);
  }

  onServerClosed(server: ServerConnection, reason: string): void {
    if (!server.loggedIn) this.connecting -= 1;
    this.servers.delete(server);
    this.idle.remove(server);
    this.used.remove(server);
    this.database.servers -= 1;
    this.user.servers -= 1;
    for (const cancel of [...this.cancels])
      if (cancel.server === server) cancel.abandon('server connection closed');
    const age = Math.round((this.#host.now() - server.startedMs) / 1000);
    this.#host.serverLog(server, this).log(`closing because: ${reason} (age=${age}s)`);
    this.#host.countClose(reason);
    if (server.crashed) this.#host.onTrouble(this, 'lost');
    this.database.notifyWatchers();
    this.wantServers();
  }

  // --- opening

  /** A connection object exists for the attempt that `host.open` began. */
  onOpened(server: ServerConnection): void {
    this.servers.add(server);
  }

  /** The attempt ended before there was a connection: no address, or it is not wanted any more (pause, reload). */
  onOpenFailed(reason: string, unwanted: boolean): void {
    this.connecting -= 1;
    this.database.servers -= 1;
    this.user.servers -= 1;
    if (unwanted) {
      this.database.notifyWatchers();
      this.wantServers();
      return;
    }
    this.lastFailure = reason;
    this.retryAtMs = this.#host.now() + retryMs(this);
    this.#host.onTrouble(this, 'refused');
    this.#host.log.warning(`${this.database.name}/${this.user.name}: ${reason}`);
    this.#host.countClose(reason);
    this.database.notifyWatchers();
  }

  /** Opens servers while clients wait and the limits allow. */
  wantServers(): void {
    if (this.#host.stopped || this.database.paused || this.database.removed) return;
    if (this.#host.isHall(this)) {
      if (this.loginWaiters.size > 0) this.#host.wantWelcome(this);
      return;
    }
    if (this.used.size > 0 && this.idle.size === 0) this.#testUsed();
    const logins = this.hall.welcome === null && this.hall.loginWaiters.size > 0 ? 1 : 0;
    const demand = this.waiters.count + logins - this.#soonFree();
    while (this.connecting < demand && mayOpen(this, this.#host, true)) this.openOne();
  }

  /** One more server towards min_pool_size; never evicts. */
  openForMinimum(): void {
    if (this.#host.stopped || this.database.paused || !mayOpen(this, this.#host, false)) return;
    this.openOne();
  }

  /** A linked client looks at its own timeouts. */
  sweepPeer(server: ServerConnection, nowMs: number): void {
    (server.peer as Waiter | null)?.sweep(nowMs);
  }

  /** Begins one connection; the caller has checked the limits. */
  openOne(): void {
    this.connecting += 1;
    this.database.servers += 1;
    this.user.servers += 1;
    this.#host.open(this);
  }

  /** How many connections exist or are being made (DNS included). */
  get size(): number {
    let resolving = this.connecting;
    for (const server of this.servers) if (!server.loggedIn) resolving -= 1;
    return this.servers.size + resolving;
  }

  /** New servers from now on; those of before are closed when they come back. */
  newGeneration(reason: string): void {
    this.generation += 1;
    this.generationReason = reason;
    this.closeFree(reason);
    this.accepted.clear();
    this.wantServers();
  }

  /** The node has another role or may not be used: everybody who waits here looks for a place again, in order. */
  rerouteWaiters(): void {
    for (const waiter of [...this.waiters]) waiter.onReroute();
  }

  onServerHotStandby(server: ServerConnection): void {
    const doubt = this.#host.witness(this, server);
    if (doubt === '') return;
    server.closeNeeded = doubt;
    if (server.peer === null) server.close(doubt);
  }

  /** Closes everything that no client holds. */
  closeFree(reason: string): void {
    for (const server of [...this.servers]) {
      if (server.peer === null) server.close(reason);
    }
  }

  isStale(server: ServerConnection): boolean {
    return server.generation !== this.generation || server.closeNeeded !== '';
  }

  // --- cancel

  /** Sends a cancel request for what runs on `server`; `done` when it is over. False = too many at once. */
  cancel(server: ServerConnection, stillWanted: () => boolean, done: () => void): boolean {
    return sendCancel(this, this.#host, server, stillWanted, done);
  }

  // --- inside

  /** Servers in a check or reset: they will be free in a moment. */
  #soonFree(): number {
    let n = 0;
    for (const server of this.servers) if (server.state === 'tested') n += 1;
    return n;
  }

  #setFree(server: ServerConnection, nowMs: number): void {
    server.lastUsedMs = nowMs;
    if (
      this.limits.serverCheckDelayMs === 0 &&
      this.limits.serverCheckQuery !== null &&
      server.requestAt !== 0
    ) {
      server.moveTo('used');
      this.used.pushBack(server);
      if (this.waiters.count > 0) this.#testUsed();
      return;
    }
    this.idle.pushBack(server);
    if (this.waiters.count > 0) this.serveWaiters();
  }

  /** The next idle server that may be given out. */
  #take(): ServerConnection | null {
    return (this.limits.roundRobin ? this.idle.popFront() : this.idle.popBack()) ?? null;
  }

  #testUsed(): void {
    let wanted = this.waiters.count - this.#soonFree();
    while (wanted > 0 && this.used.size > 0) {
      const server = this.used.popBack();
      if (server === undefined) return;
      wanted -= 1;
      server.moveTo('tested');
      server.requestAt = 0;
      server.lastUsedMs = this.#host.now();
      server.runChecked(this.limits.serverCheckQuery ?? '', 'test query failed');
    }
  }

  /** Gives idle servers to the waiting clients, oldest first. */
  serveWaiters(): void {
    if (this.#serving) return;
    this.#serving = true;
    try {
      while (this.waiters.count > 0 && this.idle.size > 0 && !this.database.paused) {
        const server = this.#take();
        if (server === null) break;
        const now = this.#host.now();
        const since = this.waiters.oldest()?.waitingSinceMs ?? now;
        const waiter = this.waiters.shift() as Waiter;
        const waitedUs = (now - since) * 1000;
        this.#link(server, waiter, now, waitedUs);
        waiter.onServerAssigned(server);
      }
    } finally {
      this.#serving = false;
    }
  }

  #link(server: ServerConnection, waiter: Waiter, nowMs: number, waitedUs: number): void {
    server.link(waiter);
    server.lastUsedMs = nowMs;
    server.requestAt = nowMs;
    this.lastActiveMs = nowMs;
    this.counters.serverAssignments += 1;
    this.counters.waitTimeUs += waitedUs;
    this.waitUs.observe(waitedUs);
  }
}
