/** How many servers the pools of a configuration may come to open: for the start log, and against max_connections. */
import type { Config } from '../config/config.ts';
import {
  effectivePoolSize,
  effectiveReservePoolSize,
  maxDbConnections,
  maxUserConnections,
} from '../config/effective.ts';
import type { DatabaseEntry } from '../config/types.ts';
import type { PoolDemand } from './limits.ts';

/** Pools as PgBouncer counts them for its estimate of file descriptors; a database of a cluster has one per node. */
export function poolDemands({ databases, nodes, settings }: Config): PoolDemand[] {
  const all = [...nodes.values()];
  return [...databases.values()].map((entry) => ({
    poolSize:
      (entry.poolSize ?? settings.defaultPoolSize) *
      (entry.cluster === null ? 1 : all.filter((node) => node.cluster === entry.cluster).length),
    forcedUser: entry.user !== null,
  }));
}

/** Users that are known by name. */
export function usersOf(config: Config): number {
  return userNames(config).length;
}

function userNames({ users, userlist }: Config): string[] {
  return [...new Set([...users.keys(), ...userlist.keys()])];
}

/**
 * The most servers that pools of `databases`, all on one instance, may open on it: pool and reserve of each known user,
 * within max_db_connections and max_user_connections. Users that only auth_query knows count as one.
 */
export function serversOn(config: Config, databases: readonly DatabaseEntry[]): number {
  const known = userNames(config);
  const byUser = new Map<string, number>();
  let byDatabase = 0;
  for (const db of databases) {
    let sum = 0;
    const users = db.user !== null ? [db.user] : known.length > 0 ? known : [''];
    for (const user of users) {
      const size = effectivePoolSize(config, db, user) + effectiveReservePoolSize(config, db, user);
      byUser.set(user, (byUser.get(user) ?? 0) + size);
      sum += size;
    }
    byDatabase += capped(sum, maxDbConnections(config, db));
  }
  let sum = 0;
  for (const [user, size] of byUser) sum += capped(size, maxUserConnections(config, user));
  return Math.min(byDatabase, sum);
}

function capped(size: number, limit: number): number {
  return limit > 0 ? Math.min(size, limit) : size;
}
