/**
 * Runs stories about one pool: steps in, events out. Time is the story's, servers are stand-ins that log in when the
 * story says so; the pool, its queue and its limits are the real ones.
 */
import type { DatabaseEntry } from '../../src/config/types.ts';
import { Database } from '../../src/pool/database.ts';
import { sweepPool } from '../../src/pool/janitor.ts';
import type { PoolLimits } from '../../src/pool/limits.ts';
import { Pool } from '../../src/pool/pool.ts';
import type { PoolHost } from '../../src/pool/pool-host.ts';
import { PoolUser } from '../../src/pool/user.ts';
import type { Waiter } from '../../src/pool/waiter.ts';
import type { ServerConnection } from '../../src/server/server-connection.ts';
import { SILENT } from '../../src/util/log.ts';

export type Step =
  /** Client asks for a server. */
  | readonly ['ask', client: string]
  /** Client gives its server back, between transactions. */
  | readonly ['release', client: string]
  /** Client waits no longer. */
  | readonly ['leave', client: string]
  /** The oldest connection in the making logs in. */
  | readonly ['login']
  /** The oldest connection in the making is refused with this SQLSTATE ('' = cannot be reached). */
  | readonly ['refuse', sqlstate: string]
  /** Milliseconds go by, then one sweep. */
  | readonly ['wait', ms: number]
  | readonly ['pause']
  | readonly ['resume']
  | readonly ['renew', reason: string];

export const LIMITS: PoolLimits = {
  mode: 'transaction',
  poolSize: 2,
  minPoolSize: 0,
  reserveSize: 0,
  reserveTimeoutMs: 5000,
  maxConnecting: 3,
  maxDbConnections: 0,
  maxUserConnections: 0,
  queryWaitTimeoutMs: 120_000,
  queryWaitNotifyMs: 0,
  queryTimeoutMs: 0,
  idleTransactionTimeoutMs: 0,
  transactionTimeoutMs: 0,
  clientIdleTimeoutMs: 0,
  serverLifetimeMs: 3_600_000,
  serverIdleTimeoutMs: 600_000,
  serverConnectTimeoutMs: 15_000,
  serverLoginRetryMs: 15_000,
  serverCheckDelayMs: 30_000,
  serverCheckQuery: null,
  serverResetQuery: '',
  serverResetAlways: false,
  serverFastClose: false,
  roundRobin: false,
  cancelWaitTimeoutMs: 10_000,
  maxPreparedStatements: 0,
  connectQuery: null,
  disablePqexec: false,
  poolIdleTimeoutMs: 0,
  forcedUser: false,
};

/** What the pool uses of a server connection. */
class StandIn {
  state = 'login';
  loggedIn = false;
  peer: Waiter | null = null;
  closeNeeded = '';
  cancelsInFlight = 0;
  requestAt = 0;
  lastUsedMs = 0;
  resetDue = false;
  tls = '';
  welcome = new Map([['server_version', '18']]);
  replies = { tainted: '' };
  readonly name: string;
  readonly generation: number;
  readonly startedMs: number;
  readonly #pool: Pool;

  constructor(name: string, pool: Pool, nowMs: number) {
    this.name = name;
    this.#pool = pool;
    this.generation = pool.generation;
    this.startedMs = nowMs;
    this.lastUsedMs = nowMs;
  }

  get closed(): boolean {
    return this.state === 'closed';
  }
  link(peer: Waiter): void {
    this.peer = peer;
    this.state = 'active';
  }
  unlink(): void {
    this.peer = null;
  }
  moveTo(state: string): void {
    this.state = state;
  }
  onLoginFailed(reason: string): void {
    this.#pool.onServerLoginFailed(this as unknown as ServerConnection, reason, null);
    this.close(reason);
  }
  close(reason: string): void {
    if (this.closed) return;
    this.state = 'closed';
    this.#pool.onServerClosed(this as unknown as ServerConnection, reason);
  }
}

/** The events of a story: `open s1`, `a gets s1`, `b fails query_wait_timeout`, `s1 closed: pause mode`. */
export function tell(steps: readonly Step[], limits: Partial<PoolLimits> = {}): string[] {
  const events: string[] = [];
  const making: StandIn[] = [];
  const held = new Map<string, ServerConnection>();
  const clients = new Map<string, Waiter>();
  let now = 1;
  let opened = 0;
  const host: PoolHost = {
    now: () => now,
    log: SILENT,
    serverLog: (server) => ({
      ...SILENT,
      log: (text) => {
        const found = /closing because: (.*) \(age/.exec(text);
        if (found !== null) events.push(`${(server as unknown as StandIn).name} closed: ${found[1]}`);
      },
    }),
    open: (of) => {
      opened += 1;
      const server = new StandIn(`s${opened}`, of, now);
      events.push(`open ${server.name}`);
      making.push(server);
      of.onOpened(server as unknown as ServerConnection);
    },
    mayOpen: () => true,
    isHall: () => false,
    wantWelcome: () => {},
    witness: () => '',
    onTrouble: () => {},
    countClose: () => {},
    logConnections: false,
    stopped: false,
  };
  const database = new Database({ name: 'd' } as DatabaseEntry, 'd', false);
  const pool = new Pool(database, new PoolUser('u', null), { ...LIMITS, ...limits }, host);

  const nameOf = (server: ServerConnection): string => (server as unknown as StandIn).name;
  const client = (name: string): Waiter => {
    let known = clients.get(name);
    if (known === undefined) {
      known = {
        id: clients.size,
        waitingSinceMs: 0,
        waitNotified: false,
        onServerAssigned: (server: ServerConnection) => {
          held.set(name, server);
          events.push(`${name} gets ${nameOf(server)}`);
        },
        onWaitFailed: (_fields: unknown, reason: string) => events.push(`${name} fails ${reason}`),
        onWaitNotice: () => events.push(`${name} is told that it is queued`),
        onWelcome: () => {},
        onPause: () => {},
        sweep: () => {},
      } as unknown as Waiter;
      clients.set(name, known);
    }
    return known;
  };

  const play = (step: Step): void => {
    switch (step[0]) {
      case 'ask': {
        const server = pool.acquire(client(step[1]), now);
        if (server === null) return;
        held.set(step[1], server);
        events.push(`${step[1]} gets ${nameOf(server)}`);
        return;
      }
      case 'release': {
        const server = held.get(step[1]);
        if (server === undefined) throw new Error(`${step[1]} holds no server`);
        held.delete(step[1]);
        pool.release(server, false, now);
        return;
      }
      case 'leave':
        pool.forget(client(step[1]));
        return;
      case 'login':
      case 'refuse': {
        const server = making.shift();
        if (server === undefined) throw new Error('no connection is being made');
        const real = server as unknown as ServerConnection;
        if (step[0] === 'login') {
          server.loggedIn = true;
          pool.onServerLoggedIn(real);
        } else {
          const message = `refused with ${step[1]}`;
          const error = { severity: 'FATAL', sqlstate: step[1], message, routine: '' };
          pool.onServerLoginFailed(real, 'server login failed', step[1] === '' ? null : error);
          server.close('server login failed');
        }
        return;
      }
      case 'wait':
        now += step[1];
        sweepPool(pool, now);
        return;
      case 'pause':
        database.paused = true;
        pool.closeFree('pause mode');
        return;
      case 'resume':
        database.paused = false;
        pool.serveWaiters();
        pool.wantServers();
        return;
      case 'renew':
        pool.newGeneration(step[1]);
    }
  };
  for (const step of steps) play(step);
  return events;
}
