/** May a pool open one more server now: max_connecting, pool_size and its reserve, the limits of database and user. */
import type { Pool } from './pool.ts';
import type { PoolHost } from './pool-host.ts';

/** `evict` = an idle server of another pool may be closed to make room. */
export function mayOpen(pool: Pool, host: PoolHost, evict: boolean): boolean {
  const { limits } = pool;
  if (host.isHall(pool) || (pool.node !== null && pool.role === 'none')) return false;
  const now = host.now();
  if (pool.connecting >= limits.maxConnecting || now < pool.retryAtMs) return false;
  const size = pool.size;
  const first = pool.hall.welcome === null && size === 0;
  if (first || size < limits.poolSize) return host.mayOpen(pool, evict);
  if (limits.reserveSize <= 0 || limits.reserveTimeoutMs <= 0) return false;
  const oldest = pool.waiters.oldest();
  const waited = oldest === null ? 0 : now - oldest.waitingSinceMs;
  if (size >= limits.poolSize + limits.reserveSize || waited < limits.reserveTimeoutMs) return false;
  if (!host.mayOpen(pool, evict)) return false;
  host.log.warning(`${pool.database.name}/${pool.user.name}: taking connection from reserve_pool`);
  return true;
}
