/** What a login to a server means for its pool: a server more and a welcome for clients, or a wait and an error. */
import { localEnd, type ServerConnection } from '../server/server-connection.ts';
import type { ServerError } from '../wire/fields.ts';
import type { Pool } from './pool.ts';
import type { PoolHost } from './pool-host.ts';

/** A server that does not look like its node's role is tried again after this time at the latest. */
const WITNESS_RETRY_MS = 200;
const NODE_RETRY_MS = 1000;

/** Called by the pool. */
export function loggedIn(pool: Pool, host: PoolHost, server: ServerConnection): void {
  pool.connecting -= 1;
  pool.retryAtMs = 0;
  pool.lastLoginError = null;
  pool.lastFailure = '';
  const log = host.serverLog(server, pool);
  if (host.logConnections) log.log(`new connection to server (from ${localEnd(server)})`);
  if (server.tls !== '') log.log(`SSL established: ${server.tls}`);
  const doubt = host.witness(pool, server);
  if (doubt !== '') {
    // not the server that it is taken for: another try when the cluster has been looked at
    pool.lastFailure = doubt;
    pool.retryAtMs = host.now() + Math.min(WITNESS_RETRY_MS, pool.limits.serverLoginRetryMs);
    server.close(doubt);
    return;
  }
  if (pool.welcome === null) pool.welcome = server.welcome;
  if (pool.hall.welcome === null) pool.hall.welcome = server.welcome;
  server.moveTo('tested');
  const connectQuery = pool.limits.connectQuery;
  if (connectQuery === null || connectQuery === '') {
    server.moveTo('idle');
    pool.onServerFree(server);
  } else {
    server.runInternal(connectQuery, (error) => {
      if (error !== null) log.error(`exec_on_connect query failed: ${error}`);
    });
  }
  // they know all that they waited for, whatever becomes of this server
  const waiters = [...pool.hall.loginWaiters];
  pool.hall.loginWaiters.clear();
  for (const waiter of waiters) waiter.onWelcome();
}

/** What a node says to a login while it goes down: another one takes its place, or it comes back. */
const CRASHES: ReadonlySet<string> = new Set(['57P01', '57P02']);

/** Called by the pool. `error` null = it was not PostgreSQL that refused. */
export function loginFailed(
  pool: Pool,
  host: PoolHost,
  server: ServerConnection,
  reason: string,
  error: ServerError | null,
): void {
  const now = host.now();
  // a node that starts or stops refuses nobody for good: later clients are not told off with it either
  const passing =
    error === null || error.sqlstate === '57P03' || (pool.node !== null && CRASHES.has(error.sqlstate));
  pool.lastLoginError = passing && pool.node !== null ? null : error;
  pool.lastFailure = reason;
  pool.retryAtMs = now + retryMs(pool);
  host.serverLog(server, pool).warning(reason);
  host.onTrouble(pool, 'refused');
  // a starting or stopping server, or one that cannot be reached, may come back: clients keep waiting
  if (passing || usable(pool, server) > 0) return;
  // reads need not fail with one replica
  if (pool.role === 'replica') {
    pool.rerouteWaiters();
    return;
  }
  const fields = { severity: 'FATAL', sqlstate: error.sqlstate, message: error.message };
  for (const waiter of [...pool.waiters, ...pool.loginWaiters]) pool.failWaiter(waiter, fields);
  if (pool.hall !== pool)
    for (const waiter of [...pool.hall.loginWaiters]) pool.hall.failWaiter(waiter, fields);
}

/** When to try again after a failure: nodes are watched, so there is no need to be as shy as with a plain entry. */
export function retryMs(pool: Pool): number {
  const { serverLoginRetryMs } = pool.limits;
  return pool.node === null ? serverLoginRetryMs : Math.min(serverLoginRetryMs, NODE_RETRY_MS);
}

function usable(pool: Pool, except: ServerConnection): number {
  let n = 0;
  for (const server of pool.servers) if (server !== except && server.loggedIn) n += 1;
  return n;
}
