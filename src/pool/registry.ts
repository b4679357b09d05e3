/**
 * All databases, users and pools of the data plane: look-ups at login, limits across pools, opening of servers,
 * and what RELOAD changes.
 */
import type { Config } from '../config/load.ts';
import { databaseNeedsReconnect } from '../config/show.ts';
import type { DatabaseEntry } from '../config/types.ts';
import { Resolver } from '../net/resolver.ts';
import type { ServerTls } from '../server/login.ts';
import { type ServerAddress, ServerConnection } from '../server/server-connection.ts';
import { StatementRegistry } from '../server/statements.ts';
import { TrackedParameters } from '../server/variables.ts';
import type { Clock } from '../util/clock.ts';
import type { Log } from '../util/log.ts';
import { addCounters } from './counters.ts';
import { Database } from './database.ts';
import { Pool } from './pool.ts';
import type { PoolHost } from './pool-host.ts';
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
  readonly resolver: Resolver;
  readonly log: Log;
  stopped = false;
  pausedAll = false;
  readonly #deps: RegistryDeps;
  #tls: ServerTls;

  constructor(config: Config, deps: RegistryDeps) {
    this.config = config;
    this.#deps = deps;
    this.log = deps.log;
    const s = config.settings;
    this.tracked = new TrackedParameters(s.trackExtraParameters);
    this.resolver = new Resolver(s.dnsMaxTtlMs, s.dnsNxdomainTtlMs, () => deps.clock.now());
    this.resolver.onAddressGone = (_name, address) => this.#addressGone(address);
    this.#tls = serverTls(s);
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

  *pools(): Generator<Pool> {
    for (const database of this.databases.values()) yield* database.pools.values();
  }

  // --- PoolHost

  now(): number {
    return this.#deps.clock.now();
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
    const entry = pool.database.entry;
    const { hosts } = entry;
    if (hosts.length === 0) {
      this.#connect(pool, this.config.settings.unixSocketDir, '');
      return;
    }
    const at = pool.database.nextHost % hosts.length;
    if (entry.loadBalanceHosts === 'round-robin') pool.database.nextHost += 1;
    const host = hosts[at] as string;
    if (host.startsWith('/') || host.startsWith('@')) {
      this.#connect(pool, host, '');
      return;
    }
    try {
      const address = this.resolver.cached(host);
      if (address !== null) {
        this.#connect(pool, host, address);
        return;
      }
    } catch (error) {
      queueMicrotask(() => this.#openFailed(pool, error));
      return;
    }
    const { generation } = pool;
    this.resolver.resolve(host).then(
      (address) => {
        const { paused, removed } = pool.database;
        // after a RELOAD the name may not be the database's any more
        if (this.stopped || paused || removed || generation !== pool.generation) pool.onOpenFailed('', true);
        else this.#connect(pool, host, address);
      },
      (error: unknown) => this.#openFailed(pool, error),
    );
  }

  // --- changes

  /** Takes over a new configuration (already validated and merged). Throws when its TLS files cannot be read. */
  reconfigure(next: Config): void {
    const tls = serverTls(next.settings);
    const tlsChanged = JSON.stringify(tls) !== JSON.stringify(this.#tls);
    const old = this.config;
    this.#tls = tls;
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
      this.log.log(
        `dropping database '${database.name}' as it does not exist anymore or inactive auto-database`,
      );
    }
  }

  #forgetPool(database: Database, pool: Pool, nowMs: number): void {
    const limit = pool.limits.poolIdleTimeoutMs;
    if (pool.clients > 0 || pool.servers.size > 0 || pool.connecting > 0 || limit <= 0) return;
    if (pool.limits.forcedUser && pool.limits.minPoolSize > 0) return;
    const age = nowMs - pool.lastActiveMs;
    if (age < limit) return;
    addCounters(database.retired, pool.counters);
    database.pools.delete(pool.user.name);
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
    if (!databaseNeedsReconnect(before, next)) return;
    for (const pool of database.pools.values()) {
      pool.limits = resolveLimits(this.config, next, pool.user.name);
      pool.welcome = null;
      pool.retryAtMs = 0;
      pool.newGeneration('database configuration changed');
    }
  }

  #removeDatabase(database: Database): void {
    database.removed = true;
    for (const pool of database.pools.values()) pool.closeFree('database removed');
    this.onDatabaseRemoved(database);
  }

  /** The worker disconnects the clients of a database that is gone. */
  onDatabaseRemoved: (database: Database) => void = () => {};

  #openFailed(pool: Pool, error: unknown): void {
    pool.onOpenFailed(error instanceof Error ? error.message : String(error), false);
  }

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

  #addressGone(address: string): void {
    for (const pool of this.pools()) {
      for (const server of pool.servers) {
        if (server.address.address !== address) continue;
        server.closeNeeded = 'obsolete connection';
        if (server.peer === null) server.close('obsolete connection');
      }
    }
  }

  #connect(pool: Pool, host: string, address: string): void {
    const { entry } = pool.database;
    const unix = address === '';
    const where: ServerAddress = {
      host,
      address,
      port: entry.port,
      unixPath: unix ? unixPath(host, entry.port) : null,
    };
    const forced = entry.user !== null;
    const forcedSecret = forced && pool.user.name === entry.user ? entry.password : null;
    const secret = forcedSecret ?? pool.secret ?? pool.user.secret;
    const parameters: Record<string, string> = { user: pool.user.name, database: entry.dbname };
    for (const [name, value] of entry.startupParameters) parameters[name] = value;
    const server = new ServerConnection(
      this.#deps.nextId(),
      pool,
      where,
      {
        credentials: { user: pool.user.name, secret, learned: pool.learned ?? pool.user.learned },
        parameters,
        tls: this.#tls,
        hostName: unix ? '' : host,
      },
      {
        registry: this.statements,
        tracked: this.tracked,
        maxPacketSize: this.config.settings.maxPacketSize,
      },
      pool.generation,
      this.now(),
      this.#deps.clock.wall(),
    );
    pool.onOpened(server);
    this.#deps.tune(server);
    this.#deps.serverLog(server, pool).debug('connecting');
  }
}

function unixPath(directory: string, port: number): string {
  const path = `${directory}/.s.PGSQL.${port}`;
  // an abstract name is written with a leading @ and meant with a leading NUL
  return directory.startsWith('@') ? `\0${path.slice(1)}` : path;
}
