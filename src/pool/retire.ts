/** Why a server that has come back to its pool must not be kept. */
import type { ServerConnection } from '../server/server-connection.ts';
import type { Pool } from './pool.ts';

/** '' = it may be kept. */
export function closeReason(pool: Pool, server: ServerConnection, nowMs: number): string {
  if (pool.database.paused) return 'pause mode';
  if (pool.database.removed) return 'database removed';
  if (server.closeNeeded !== '') return server.closeNeeded;
  if (server.generation !== pool.generation) return pool.generationReason;
  if (server.replies.tainted !== '') return server.replies.tainted;
  return isTooOld(pool, server, nowMs) ? 'server lifetime over' : '';
}

/**
 * server_lifetime is over (0 = each server is used once). Closings for age are spaced, so that a pool is not renewed
 * all at once; true takes the place.
 */
export function isTooOld(pool: Pool, server: ServerConnection, nowMs: number): boolean {
  const { serverLifetimeMs, poolSize } = pool.limits;
  if (serverLifetimeMs === 0) return server.requestAt !== 0;
  if (nowMs - server.startedMs < serverLifetimeMs) return false;
  if (nowMs - pool.lastRetiredMs < serverLifetimeMs / Math.max(1, poolSize)) return false;
  pool.lastRetiredMs = nowMs;
  return true;
}
