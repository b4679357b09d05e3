/**
 * Why the clients of a pool get no server right now: the DETAIL of query_wait_timeout and its kin, whose own words
 * (which scripts know) do not tell a full pool from a server that is down.
 */
import type { Pool } from './pool.ts';

/** One sentence; '' = nothing is known to be wrong. */
export function whyWaiting(pool: Pool | null): string {
  if (pool === null) return '';
  const { database, limits, user } = pool;
  if (database.paused) return `Database "${database.name}" is paused.`;
  if (pool.lastFailure !== '') return `The last attempt to connect to a server failed: ${pool.lastFailure}.`;
  if (pool.size >= limits.poolSize) {
    return `All ${pool.size} server connections of pool ${database.name}/${user.name} are in use (pool_size ${limits.poolSize}).`;
  }
  if (limits.maxDbConnections > 0 && database.servers >= limits.maxDbConnections) {
    return `Database "${database.name}" has ${database.servers} server connections (max_db_connections).`;
  }
  if (limits.maxUserConnections > 0 && user.servers >= limits.maxUserConnections) {
    return `User "${user.name}" has ${user.servers} server connections (max_user_connections).`;
  }
  return '';
}
