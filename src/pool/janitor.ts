/**
 * Everything that happens because time passes, in one sweep over the pools (PgBouncer's janitor): timeouts of
 * waiting clients and of servers, server_lifetime, min_pool_size, retries after failed logins.
 */
import type { ServerConnection } from '../server/server-connection.ts';
import { PoolerError } from '../util/errors.ts';
import { poolerErrorFields } from '../wire/backend.ts';
import type { Pool } from './pool.ts';
import { isTooOld } from './retire.ts';
import { whyWaiting } from './why-waiting.ts';

/** One sweep over one pool. */
export function sweepPool(pool: Pool, nowMs: number): void {
  sweepWaiters(pool, nowMs);
  for (const server of [...pool.servers]) if (!server.closed) sweepServer(pool, server, nowMs);
  for (const cancel of [...pool.cancels]) {
    const limit = pool.limits.cancelWaitTimeoutMs;
    if (limit > 0 && nowMs - cancel.startedMs >= limit) cancel.abandon('cancel_wait_timeout');
  }
  keepMinimum(pool);
  if (pool.waiters.count > 0 || pool.loginWaiters.size > 0) {
    pool.serveWaiters();
    pool.wantServers();
  }
}

function sweepWaiters(pool: Pool, nowMs: number): void {
  if (pool.waiters.count === 0) return;
  const { queryWaitTimeoutMs, queryTimeoutMs, queryWaitNotifyMs } = pool.limits;
  for (const waiter of [...pool.waiters]) {
    const waited = nowMs - waiter.waitingSinceMs;
    if (queryWaitTimeoutMs > 0 && waited >= queryWaitTimeoutMs) {
      pool.failWaiter(waiter, poolerErrorFields(new PoolerError('queryWaitTimeout'), whyWaiting(pool)));
    } else if (queryTimeoutMs > 0 && waited >= queryTimeoutMs) {
      pool.failWaiter(waiter, poolerErrorFields(new PoolerError('queryTimeoutWaiting'), whyWaiting(pool)));
    } else if (queryWaitNotifyMs > 0 && waited >= queryWaitNotifyMs && !waiter.waitNotified) {
      waiter.waitNotified = true;
      waiter.onWaitNotice();
    }
  }
}

function sweepServer(pool: Pool, server: ServerConnection, nowMs: number): void {
  const limits = pool.limits;
  const idleMs = nowMs - server.lastUsedMs;
  switch (server.state) {
    case 'connecting':
    case 'tls':
    case 'login':
      if (limits.serverConnectTimeoutMs > 0 && nowMs - server.startedMs >= limits.serverConnectTimeoutMs) {
        server.onLoginFailed(
          server.state === 'connecting' ? 'connect failed: timeout' : 'connect timeout',
          null,
        );
      }
      return;
    case 'idle':
    case 'used':
      if (
        limits.serverIdleTimeoutMs > 0 &&
        idleMs >= limits.serverIdleTimeoutMs &&
        pool.size > limits.minPoolSize
      ) {
        server.close('server idle timeout');
      } else if (limits.serverLifetimeMs > 0 && isTooOld(pool, server, nowMs)) {
        server.close('server lifetime over');
      } else if (pool.waiters.count === 0 && pool.size > limits.poolSize + limits.reserveSize) {
        server.close('too many servers in the pool');
      } else if (
        server.state === 'idle' &&
        limits.serverCheckQuery !== null &&
        idleMs > limits.serverCheckDelayMs
      ) {
        if (pool.idle.remove(server)) {
          server.moveTo('used');
          pool.used.pushBack(server);
        }
      }
      return;
    case 'tested':
      // a check or reset that hangs: the query_timeout of clients does not cover it
      if (
        limits.serverConnectTimeoutMs > 0 &&
        idleMs >= Math.max(limits.serverConnectTimeoutMs, 15_000) * 2
      ) {
        server.close('test query failed: timeout');
      }
      return;
    case 'active':
      pool.sweepPeer(server, nowMs);
      return;
    case 'canceled':
    case 'closed':
      return;
  }
}

/** min_pool_size: while the pool has clients, or always with a forced user. */
function keepMinimum(pool: Pool): void {
  const wanted = pool.limits.minPoolSize;
  if (wanted <= 0 || (pool.hall.clients === 0 && !pool.limits.forcedUser)) return;
  if (pool.size < wanted) pool.openForMinimum();
}
