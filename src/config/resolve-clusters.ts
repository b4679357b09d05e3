/**
 * Clusters and routing, resolved: database over cluster over global. Who needs to know how a cluster is observed or
 * where the statements of a client go asks here, never the entries.
 */
import type { Config } from './config.ts';
import type { ClusterSettings, NodeTarget, RoutingSettings } from './effective-routing.ts';
import { findPassword } from './passfile.ts';
import type { ClusterEntry, DatabaseEntry, NodeEntry, Route } from './types.ts';

/** PostgreSQL cuts longer names too; what a rule sees is what pg_stat_activity shows. */
const MAX_APPLICATION_NAME = 63;

/** How the cluster `name` is observed. Throws for a name that Config.clusters does not have. */
export function clusterSettings(config: Config, name: string): ClusterSettings {
  const entry = config.clusters.get(name);
  if (entry === undefined) throw new Error(`no cluster "${name}" is configured`);
  const { settings } = config;
  const check = entry.check ?? settings.check;
  const maxLagMs = entry.maxLagMs ?? settings.maxLagMs;
  const nodes = [...config.nodes.values()].filter((node) => node.cluster === name);
  const password = passwordOf(config, entry, nodes[0]);
  return Object.freeze({
    name,
    checkUser: entry.checkUser ?? settings.checkUser,
    checkPassword: password,
    checkDbname: entry.checkDbname ?? settings.checkDbname,
    checkIntervalMs: entry.checkIntervalMs ?? settings.checkIntervalMs,
    checkTimeoutMs: entry.checkTimeoutMs ?? settings.checkTimeoutMs,
    failThreshold: entry.failThreshold ?? settings.failThreshold,
    patroniUrl: check === 'sql' ? '' : check.replace(/^patroni:/, '').replace(/\/+$/, ''),
    roleQuery: entry.roleQuery ?? settings.roleQuery,
    lagSource: entry.lagSource ?? settings.lagSource,
    maxLagMs,
    maxLagBytes: entry.maxLagBytes ?? settings.maxLagBytes,
    recoverLagMs: Math.min(entry.recoverLagMs ?? settings.recoverLagMs ?? maxLagMs / 2, maxLagMs),
    lsnIntervalMs: entry.lsnIntervalMs ?? settings.lsnIntervalMs,
    slowStartMs: entry.slowStartMs ?? settings.slowStartMs,
    warmupQuery: entry.warmupQuery ?? settings.warmupQuery,
    banTimeMs: entry.banTimeMs ?? settings.banTimeMs,
    nodes: Object.freeze(nodes.map((node) => target(node, passwordOf(config, entry, node), password))),
  });
}

function target(node: NodeEntry, password: string | null, usual: string | null): NodeTarget {
  const { name, host, port, weight, zone, check } = node;
  const own = password === null || password === usual ? {} : { checkPassword: password };
  return Object.freeze({ name, host, port, weight, zone, check: check ?? '', ...own });
}

/** The password of the check user on one node: the narrowest scope that knows one, last auth_file. */
function passwordOf(config: Config, entry: ClusterEntry, node: NodeEntry | undefined): string | null {
  const { settings } = config;
  const user = entry.checkUser ?? settings.checkUser;
  const database = entry.checkDbname ?? settings.checkDbname;
  const fromFile = (path: string | null): string | null => {
    const lines = path === null ? undefined : config.passfiles.get(path);
    if (lines === undefined || node === undefined) return null;
    return findPassword(lines, { host: node.host, port: node.port, database, user });
  };
  return (
    entry.checkPassword ??
    fromFile(entry.passfile) ??
    settings.checkPassword ??
    fromFile(settings.passfile) ??
    fromAuthFile(config, user)
  );
}

/** A SCRAM secret proves who somebody else is, but cannot be logged in with. */
function fromAuthFile(config: Config, user: string): string | null {
  const secret = config.userlist.get(user) ?? '';
  return secret === '' || secret.startsWith('SCRAM-SHA-256$') ? null : secret;
}

function clusterOf(config: Config, db: DatabaseEntry): ClusterEntry | undefined {
  return db.cluster === null ? undefined : config.clusters.get(db.cluster);
}

/**
 * How the statements of a client of `db` who logged in as `user` are routed. With an `applicationName`, [routes] count
 * too. The result means nothing for a plain entry (`db.cluster` null).
 */
export function routingSettings(
  config: Config,
  db: DatabaseEntry,
  user: string,
  applicationName: string | null = null,
): RoutingSettings {
  const { settings } = config;
  const cluster = clusterOf(config, db);
  return Object.freeze({
    route: routeOf(config, db, user, applicationName),
    readConsistency: db.readConsistency ?? cluster?.readConsistency ?? settings.readConsistency,
    staleRead: db.staleRead ?? cluster?.staleRead ?? settings.staleRead,
    staleReadWaitMs: db.staleReadWaitMs ?? cluster?.staleReadWaitMs ?? settings.staleReadWaitMs,
    balance: db.balance ?? cluster?.balance ?? settings.balance,
    readFromPrimary: db.readFromPrimary ?? cluster?.readFromPrimary ?? settings.readFromPrimary,
    writeFunctions: db.writeFunctions ?? cluster?.writeFunctions ?? settings.writeFunctions,
    readFunctions: db.readFunctions ?? cluster?.readFunctions ?? settings.readFunctions,
    maxLagMs: db.maxLagMs ?? cluster?.maxLagMs ?? settings.maxLagMs,
    maxLagBytes: db.maxLagBytes ?? cluster?.maxLagBytes ?? settings.maxLagBytes,
    routeShadow: db.routeShadow ?? cluster?.routeShadow ?? settings.routeShadow,
    primaryWaitTimeoutMs:
      db.primaryWaitTimeoutMs ?? cluster?.primaryWaitTimeoutMs ?? settings.primaryWaitTimeoutMs,
    zone: settings.zone,
  });
}

/** The route of the first rule of [routes] that fits; null = none does. */
export function routeForApplication(config: Config, applicationName: string): Route | null {
  const name = applicationName.slice(0, MAX_APPLICATION_NAME);
  return config.routes.find((rule) => rule.applicationName.test(name))?.route ?? null;
}

/**
 * Where the statements of a client go, before what its session SETs: the user's route, else the first fitting rule of
 * [routes], else the database's. A database with `route=primary` or `replica` is an alias that somebody wrote for exactly
 * that: rules leave it alone. `user` is the client's, also when servers are logged in as a forced one.
 */
export function routeOf(
  config: Config,
  db: DatabaseEntry,
  user: string,
  applicationName: string | null = null,
): Route {
  const own = config.users.get(user)?.route ?? null;
  if (own !== null) return own;
  const route = db.route ?? clusterOf(config, db)?.route ?? config.settings.route;
  if (route !== 'auto' || applicationName === null) return route;
  return routeForApplication(config, applicationName) ?? route;
}
