/**
 * Who wins where a thing can be set in several places (reference: pgbouncer.md sections 3 to 5): user > database >
 * global. In what belongs to a pool the user is the one of the servers: with a forced user its entry counts, not the
 * client's. Limits and times of which 0 cannot be told from "not set" in PgBouncer need a value above 0 to win.
 */
import type { Config } from './config.ts';
import type { DatabaseEntry, PoolMode, UserEntry } from './types.ts';

/** The [users] entry of the servers of a pool; `user` is the client's. */
function poolUser(config: Config, db: DatabaseEntry, user: string): UserEntry | undefined {
  return config.users.get(db.user ?? user);
}

/** `own` when it is set and above 0, else `general`. */
function positive(own: number | null | undefined, general: number): number {
  return own !== null && own !== undefined && own > 0 ? own : general;
}

/** Servers that the pool of (db, user) may open, without its reserve. */
export function effectivePoolSize(config: Config, db: DatabaseEntry, user: string): number {
  return poolUser(config, db, user)?.poolSize ?? db.poolSize ?? config.settings.defaultPoolSize;
}

export function effectivePoolMode(config: Config, db: DatabaseEntry, user: string): PoolMode {
  return poolUser(config, db, user)?.poolMode ?? databasePoolMode(config, db);
}

/**
 * The mode of a database for users without one. Databases of a cluster are pooled by transaction unless the file says
 * otherwise: there is no unit to route by in session mode, and no file of PgBouncer's can be broken by it.
 */
export function databasePoolMode(config: Config, db: DatabaseEntry): PoolMode {
  if (db.poolMode !== null) return db.poolMode;
  return db.cluster !== null && !config.hasPoolMode ? 'transaction' : config.settings.poolMode;
}

/** Servers beyond the pool size; 0 = none. */
export function effectiveReservePoolSize(config: Config, db: DatabaseEntry, user: string): number {
  return poolUser(config, db, user)?.reservePoolSize ?? db.reservePoolSize ?? config.settings.reservePoolSize;
}

/** Servers to keep open, never more than the pool, the database and the user may have. */
export function effectiveMinPoolSize(config: Config, db: DatabaseEntry, user: string): number {
  const wanted = db.minPoolSize ?? config.settings.minPoolSize;
  const limits = [maxDbConnections(config, db), maxUserConnections(config, db.user ?? user)].filter(
    (limit) => limit > 0,
  );
  return Math.min(wanted, effectivePoolSize(config, db, user), ...limits);
}

/** 0 = wait for ever. */
export function effectiveQueryWaitTimeoutMs(config: Config, db: DatabaseEntry, user: string): number {
  return (
    poolUser(config, db, user)?.queryWaitTimeoutMs ??
    db.queryWaitTimeoutMs ??
    config.settings.queryWaitTimeoutMs
  );
}

/** 0 = use each server once (only the global setting can say that). */
export function effectiveServerLifetimeMs(config: Config, db: DatabaseEntry): number {
  return positive(db.serverLifetimeMs, config.settings.serverLifetimeMs);
}

/** Servers of a database, all users together; 0 = no limit. */
export function maxDbConnections(config: Config, db: DatabaseEntry): number {
  return positive(db.maxDbConnections, config.settings.maxDbConnections);
}

/** Clients of a database; 0 = no limit. */
export function maxDbClientConnections(config: Config, db: DatabaseEntry): number {
  return positive(db.maxDbClientConnections, config.settings.maxDbClientConnections);
}

/** Servers of a user, all databases together; 0 = no limit. `user` = as whom the servers are logged in. */
export function maxUserConnections(config: Config, user: string): number {
  return positive(config.users.get(user)?.maxUserConnections, config.settings.maxUserConnections);
}

/** Clients logged in as a user; 0 = no limit. */
export function maxUserClientConnections(config: Config, user: string): number {
  return positive(config.users.get(user)?.maxUserClientConnections, config.settings.maxUserClientConnections);
}

export interface Timeouts {
  /** All in ms, 0 = off. */
  readonly queryMs: number;
  readonly idleTransactionMs: number;
  readonly transactionMs: number;
  readonly clientIdleMs: number;
}

/** The timeouts that a user may have of its own. With a forced user, pass that one. */
export function effectiveTimeouts(config: Config, user: string): Timeouts {
  const own = config.users.get(user);
  const general = config.settings;
  return {
    queryMs: positive(own?.queryTimeoutMs, general.queryTimeoutMs),
    idleTransactionMs: positive(own?.idleTransactionTimeoutMs, general.idleTransactionTimeoutMs),
    transactionMs: positive(own?.transactionTimeoutMs, general.transactionTimeoutMs),
    clientIdleMs: positive(own?.clientIdleTimeoutMs, general.clientIdleTimeoutMs),
  };
}

export interface AuthLookup {
  /** null = no auth_query. */
  readonly user: string | null;
  readonly query: string;
  /** Where the query runs; null = in the database that the client asks for. */
  readonly dbname: string | null;
}

/** Who looks up users that are not in auth_file, how and where. */
export function effectiveAuthLookup(config: Config, db: DatabaseEntry): AuthLookup {
  return {
    user: db.authUser ?? config.settings.authUser,
    query: db.authQuery ?? config.settings.authQuery,
    dbname: db.authDbname ?? config.settings.authDbname,
  };
}
