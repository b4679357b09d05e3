/**
 * All databases, users and pools of the data plane: look-ups at login, limits across pools, opening of servers,
 * and what RELOAD changes.
 */
import type { Config } from '../config/load.ts';
import { databaseNeedsReconnect } from '../config/show.ts';
import type { DatabaseEntry } from '../config/types.ts';
import type { Resolver } from '../net/resolver.ts';
import type { ServerConnection } from '../server/server-connection.ts';
import { StatementRegistry } from '../server/statements.ts';
import { TrackedParameters } from '../server/variables.ts';
import type { Clock } from '../util/clock.ts';
import type { Log } from '../util/log.ts';
import { addCounters } from './counters.ts';
import { Database } from './database.ts';
import { ServerOpener } from './opener.ts';
import { NOWHERE, type Placement } from './placement.ts';
import { Pool } from './pool.ts';
import type { PoolHost } from './pool-host.ts';
import type { PoolNode } from './pool-node.ts';
import { resolveLimits } from './resolve-limits.ts';
import { serverTls } from './server-tls.ts';
import { PoolUser } from './user.ts';

/** What the worker lends to the registry. */
export interface RegistryDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** The next id of SHOW CLIENTS / SERVERS: one counter for both. */
  nextId(): number;
  serverLog(server: ServerConnection, pool: Pool): Log;
  countClose(reason: string): void;
  /** Socket options of a new server connection. */
  tune(server: ServerConnection): void;
}

export class PoolRegistry implements PoolHost {
  config: Config;
  readonly databases = new Map<string, Database>();
  readonly users = new Map<string, PoolUser>();
  readonly statements = new StatementRegistry();
  readonly tracked: TrackedParameters;
  readonly opener: ServerOpener;
  readonly log: Log;
  /** What is known of clusters; set by the worker's root before anything runs. */
  placement: Placement = NOWHERE;
  stopped = false;
  pausedAll = false;
  readonly #deps: RegistryDeps;

  constructor(config: Config, deps: RegistryDeps) {
    this.config = config;
    this.#deps = deps;
    this.log = deps.log;
    const s = config.settings;
    this.tracked = new TrackedParameters(s.trackExtraParameters);
    this.opener = new ServerOpener({
      clock: deps.clock,
      statements: this.statements,
      tracked: this.tracked,
      config: () => this.config,
      stopped: () => this.stopped,
      pools: () => this.pools(),
      nextId: () => deps.nextId(),
      onConnecting: (server, pool) => {
        deps.tune(server);
        deps.serverLog(server, pool).debug('connecting');
      },
    });
    for (const entry of config.databases.values())
      this.databases.set(entry.name, new Database(entry, entry.name, false));
    for (const [name, secret] of config.userlist) this.users.set(name, new PoolUser(name, secret));
    this.openForcedPools();
  }

  // --- look-ups

  /** The database a client asked for; `*` makes one. Null = there is none. */
  database(name: string): Database | null {
    const known = this.databases.get(name);
    if (known !== undefined) return known.removed ? null : known;
    const fallback = this.config.fallback;
    if (fallback === null || Buffer.byteLength(name) >= 64 || name === '') return null;
    const entry: DatabaseEntry = {
      ...fallback,
      name,
      dbname: fallback.dbname === '*' || fallback.dbname === '' ? name : fallback.dbname,
    };
    const made = new Database(entry, name, true);
    made.paused = this.pausedAll;
    made.idleSinceMs = this.now();
    this.databases.set(name, made);
    this.log.log(`registered new auto-database: ${name}`);
    return made;
  }

  /** The user as known, or null (no such user in auth_file). */
  user(name: string): PoolUser | null {
    return this.users.get(name) ?? null;
  }

  /** The user, made when it is not in auth_file (auth_type any, forced users, unknown names with a count). */
  userOrNew(name: string): PoolUser {
    let user = this.users.get(name);
    if (user === undefined) {
      user = new PoolUser(name, null);
      this.users.set(name, user);
    }
    return user;
  }

  /** The pool for a client of `database` logged in as `client`. */
  pool(database: Database, client: PoolUser): Pool {
    return this.poolAs(database, database.entry.user === null ? client : this.userOrNew(database.entry.user));
  }

  /** The pool of a database whose servers log in as `user` (auth_query: whatever the forced user is). */
  poolAs(database: Database, user: PoolUser): Pool {
    let pool = database.pools.get(user.name);
    if (pool === undefined) {
      pool = new Pool(database, user, resolveLimits(this.config, database.entry, user.name), this);
      database.pools.set(user.name, pool);
    }
    return pool;
  }

  /** The pool of a hall's database and user on one node. */
  poolOn(hall: Pool, node: PoolNode): Pool {
    let pool = hall.byNode.get(node.name);
    if (pool === undefined) {
      const { database, user } = hall;
      pool = new Pool(database, user, hall.limits, this, hall);
      pool.node = node;
      pool.role = this.placement.roleOf(database.entry.cluster ?? '', node.name);
      hall.byNode.set(node.name, pool);
      database.pools.set(`${user.name}\0${node.name}`, pool);
    }
    return pool;
  }

  /** Where a query of the proxy's own goes: the pool of a usable node instead of its hall. */
  placeInternal(pool: Pool): Pool {
    const { cluster } = pool.database.entry;
    if (cluster === null || pool.database.paused) return pool.hall;
    const node = this.placement.anyNode(cluster);
    return node === null ? pool.hall : this.poolOn(pool.hall, node);
  }

  *pools(): Generator<Pool> {
    for (const database of this.databases.values()) yield* database.pools.values();
  }

  // --- PoolHost

  now(): number {
    return this.#deps.clock.now();
  }

  get resolver(): Resolver {
    return this.opener.resolver;
  }

  isHall(pool: Pool): boolean {
    return pool.node === null && pool.database.entry.cluster !== null;
  }

  wantWelcome(hall: Pool): void {
    const pool = this.placeInternal(hall);
    if (pool !== hall) pool.wantServers();
  }

  witness(pool: Pool, server: ServerConnection): string {
    const { cluster } = pool.database.entry;
    if (cluster === null || pool.node === null || server.inHotStandby === null) return '';
    return this.placement.witness(cluster, pool.node.name, server.inHotStandby);
  }

  onTrouble(pool: Pool, what: 'refused' | 'lost'): void {
    const { cluster } = pool.database.entry;
    if (cluster !== null && pool.node !== null) this.placement.trouble(cluster, pool.node.name, what);
  }

  get logConnections(): boolean {
    return this.config.settings.logConnections;
  }

  serverLog(server: ServerConnection, pool: Pool): Log {
    return this.#deps.serverLog(server, pool);
  }

  countClose(reason: string): void {
    this.#deps.countClose(reason);
  }

  mayOpen(pool: Pool, evict: boolean): boolean {
    const { maxDbConnections, maxUserConnections } = pool.limits;
    const { database, user } = pool;
    const room = (
      limit: number,
      counted: { servers: number },
      pools: () => Pool[],
      reason: string,
    ): boolean => {
      if (limit <= 0) return true;
      while (evict && counted.servers >= limit && this.#evict(pools(), pool, reason));
      return counted.servers < limit;
    };
    const users = (): Pool[] => [...this.pools()].filter((other) => other.user === user);
    return (
      room(
        maxDbConnections,
        database,
        () => [...database.pools.values()],
        'evicted for max_db_connections',
      ) && room(maxUserConnections, user, users, 'evicted for max_user_connections')
    );
  }

  open(pool: Pool): void {
    this.opener.open(pool);
  }

  // --- changes

  /** Takes over a new configuration (already validated and merged). Throws when its TLS files cannot be read. */
  reconfigure(next: Config): void {
    const tls = serverTls(next.settings);
    const tlsChanged = JSON.stringify(tls) !== JSON.stringify(this.opener.tls);
    const old = this.config;
    this.opener.tls = tls;
    this.config = next;
    this.resolver.maxTtlMs = next.settings.dnsMaxTtlMs;
    this.resolver.nxdomainTtlMs = next.settings.dnsNxdomainTtlMs;
    for (const [name, secret] of next.userlist) {
      const user = this.userOrNew(name);
      if (user.secret !== secret) user.learned = null;
      user.secret = secret;
    }
    for (const user of this.users.values()) {
      // as in PgBouncer: a user that left the file keeps existing, but no password fits any more
      if (!next.userlist.has(user.name) && user.secret !== null) user.secret = '';
    }
    for (const entry of next.databases.values()) this.#reconfigureDatabase(entry);
    for (const database of this.databases.values()) {
      if (database.auto) {
        if (next.fallback === null) this.#removeDatabase(database);
        else if (old.fallback !== null && databaseNeedsReconnect(old.fallback, next.fallback)) {
          const dbname =
            next.fallback.dbname === '*' || next.fallback.dbname === ''
              ? database.name
              : next.fallback.dbname;
          this.#changeEntry(database, { ...next.fallback, name: database.name, dbname });
        }
      } else if (!next.databases.has(database.name)) this.#removeDatabase(database);
    }
    for (const pool of this.pools()) {
      const session = pool.limits.mode === 'session';
      pool.limits = resolveLimits(next, pool.database.entry, pool.user.name);
      // what sessions have left on their servers is not for the next transaction of somebody else
      if (session && pool.limits.mode !== 'session') pool.newGeneration('pool_mode changed');
      if (tlsChanged) pool.newGeneration('server TLS configuration changed');
      pool.wantServers();
    }
    this.openForcedPools();
  }

  /** Pools with a forced user and a minimum exist without clients. */
  openForcedPools(): void {
    for (const database of this.databases.values()) {
      const { entry } = database;
      if (entry.user === null || database.removed) continue;
      const minimum = entry.minPoolSize ?? this.config.settings.minPoolSize;
      if (minimum > 0) this.pool(database, this.userOrNew(entry.user));
    }
  }

  /** Forgets idle auto-databases and idle pools (autodb_idle_timeout, pool_idle_timeout). */
  forgetIdle(nowMs: number): void {
    const autoMs = this.config.settings.autodbIdleTimeoutMs;
    for (const database of this.databases.values()) {
      for (const pool of database.pools.values()) this.#forgetPool(database, pool, nowMs);
      if (database.clients > 0 || database.servers > 0) {
        database.idleSinceMs = nowMs;
        continue;
      }
      const idleTooLong = database.auto && autoMs > 0 && nowMs - database.idleSinceMs >= autoMs;
      if (!database.removed && !idleTooLong) continue;
      this.databases.delete(database.name);
      this.onDatabaseForgotten(database);
      this.log.log(
        `dropping database '${database.name}' as it does not exist anymore or inactive auto-database`,
      );
    }
  }

  #forgetPool(database: Database, pool: Pool, nowMs: number): void {
    const limit = pool.limits.poolIdleTimeoutMs;
    const unused = pool.node !== null && pool.role === 'none';
    const used = pool.waiters.count > 0 || pool.byNode.size > 0;
    const busy = used || pool.servers.size > 0 || pool.connecting > 0;
    if (busy || (pool.hall.clients > 0 && !unused) || limit <= 0) return;
    if (pool.limits.forcedUser && pool.limits.minPoolSize > 0 && !unused) return;
    const age = nowMs - pool.lastActiveMs;
    if (age < limit) return;
    addCounters(database.retired, pool.counters);
    if (pool.node !== null) pool.hall.byNode.delete(pool.node.name);
    database.pools.delete(pool.node === null ? pool.user.name : `${pool.user.name}\0${pool.node.name}`);
    this.log.log(
      `cleaning up idle pool for user ${pool.user.name} on db ${database.name} because: pool idle timeout (age=${Math.round(age / 1000)}s)`,
    );
  }

  #reconfigureDatabase(entry: DatabaseEntry): void {
    const known = this.databases.get(entry.name);
    if (known === undefined) {
      const made = new Database(entry, entry.name, false);
      made.paused = this.pausedAll;
      this.databases.set(entry.name, made);
      return;
    }
    known.auto = false;
    known.removed = false;
    this.#changeEntry(known, entry);
  }

  #changeEntry(database: Database, entry: DatabaseEntry): void {
    const before = database.entry;
    let next = entry;
    if (before.user !== null && entry.user === null) {
      this.log.warning(`${database.name}: losing forced user not supported, keeping old setting`);
      next = { ...entry, user: before.user, password: before.password };
    }
    database.entry = next;
    if (before.cluster !== next.cluster) this.#leaveCluster(database);
    if (!databaseNeedsReconnect(before, next)) return;
    for (const pool of database.pools.values()) {
      pool.limits = resolveLimits(this.config, next, pool.user.name);
      pool.welcome = null;
      pool.retryAtMs = 0;
      pool.newGeneration('database configuration changed');
    }
  }

  /** The database's clients and servers belong to another place now; the pools of its nodes die out. */
  #leaveCluster(database: Database): void {
    for (const pool of [...database.pools.values()]) {
      if (pool.node === null) continue;
      pool.role = 'none';
      pool.hall.byNode.delete(pool.node.name);
      pool.newGeneration('database configuration changed');
    }
    this.onClusterChanged(database);
  }

  /** The worker disconnects the clients of a database that has moved into, out of or between clusters. */
  onClusterChanged: (database: Database) => void = () => {};

  #removeDatabase(database: Database): void {
    database.removed = true;
    for (const pool of database.pools.values()) pool.closeFree('database removed');
    this.onDatabaseRemoved(database);
  }

  /** What else is kept for a database that nobody uses any more can go. */
  onDatabaseForgotten: (database: Database) => void = () => {};

  /** The worker disconnects the clients of a database that is gone. */
  onDatabaseRemoved: (database: Database) => void = () => {};

  /** Closes the server that has been free longest in the other pools; false = there is none. */
  #evict(pools: readonly Pool[], wanting: Pool, reason: string): boolean {
    let oldest: ServerConnection | null = null;
    for (const pool of pools) {
      if (pool === wanting || pool.waiters.count > 0) continue;
      for (const free of [pool.idle, pool.used]) {
        for (const server of free) {
          if (oldest === null || server.lastUsedMs < oldest.lastUsedMs) oldest = server;
        }
      }
    }
    oldest?.close(reason);
    return oldest !== null;
  }
}
