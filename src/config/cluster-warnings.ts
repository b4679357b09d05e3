/** What is right in a file with clusters and yet will surprise: told at start, nothing is refused. */
import type { Config } from './config.ts';
import { databasePoolMode } from './effective.ts';
import { routeOf } from './resolve-clusters.ts';
import type { DatabaseEntry, Diagnostic } from './types.ts';

const ELSEWHERE =
  'add a database with route=replica for reads elsewhere (name_ro = cluster=… dbname=… route=replica), or use pool_mode=transaction';

/** `file:line` of an entry, taken apart. */
function warning(at: string, message: string, hint: string): Diagnostic {
  const colon = at.lastIndexOf(':');
  return {
    level: 'warning',
    file: at.slice(0, colon),
    line: Number(at.slice(colon + 1)),
    message: `${message} (${at})`,
    hint,
  };
}

/** Warnings about a configuration that has no errors. */
export function clusterWarnings(config: Config): Diagnostic[] {
  const found: Diagnostic[] = [];
  const databases = [...config.databases.values(), ...(config.fallback === null ? [] : [config.fallback])];
  const isAuto = (db: DatabaseEntry): boolean => db.cluster !== null && routeOf(config, db, '') === 'auto';
  for (const db of databases) {
    if (!isAuto(db) || databasePoolMode(config, db) !== 'session') continue;
    const message = `database ${db.name}: with pool_mode=session, route=auto means the primary`;
    found.push(warning(db.at, message, ELSEWHERE));
  }
  for (const user of config.users.values()) {
    const isAutoUser = user.route === 'auto' || (user.route === null && databases.some(isAuto));
    if (user.poolMode !== 'session' || !isAutoUser || databases.every((db) => db.cluster === null)) continue;
    const message = `user ${user.name}: with pool_mode=session, route=auto means the primary`;
    found.push(warning(user.at, message, ELSEWHERE));
  }
  for (const cluster of config.clusters.values()) {
    const { recoverLagMs } = cluster;
    const maxLagMs = cluster.maxLagMs ?? config.settings.maxLagMs;
    if (recoverLagMs === null || maxLagMs === 0 || recoverLagMs <= maxLagMs) continue;
    const message = `cluster ${cluster.name}: recover_lag is above max_lag, which counts for both`;
    found.push(warning(cluster.at, message, 'leave recover_lag out for half of max_lag'));
  }
  return found;
}
