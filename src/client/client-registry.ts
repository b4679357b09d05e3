/**
 * All clients of the data plane, and what they share: limits, cancel keys, the rules of logging in. Accepts sockets,
 * hands logged-in clients to their pools or to the console, finds the target of a cancel request.
 */
import type net from 'node:net';
import os from 'node:os';
import type { HbaRule } from '../auth/hba.ts';
import type { IdentMaps } from '../auth/ident.ts';
import { isConsoleDatabase } from '../config/config.ts';
import { maxDbClientConnections, maxUserClientConnections } from '../config/effective.ts';
import type { Config } from '../config/load.ts';
import type { OpenConsole } from '../control/console.ts';
import { peerCredentials } from '../net/peer-credentials.ts';
import { Transport } from '../net/transport.ts';
import type { Database } from '../pool/database.ts';
import type { Pool } from '../pool/pool.ts';
import type { PoolRegistry } from '../pool/registry.ts';
import { whyWaiting } from '../pool/why-waiting.ts';
import { withDefaults } from '../server/variables.ts';
import type { Clock } from '../util/clock.ts';
import { PoolerError } from '../util/errors.ts';
import type { Log } from '../util/log.ts';
import { backendKeyData, noticeResponse, parameterStatus, readyForQuery } from '../wire/backend.ts';
import { TX_IDLE } from '../wire/codes.ts';
import { readAuthFiles } from './auth-files.ts';
import { askSecret } from './auth-query.ts';
import { CancelDesk } from './cancel-desk.ts';
import { newCancelKey } from './cancel-key.ts';
import { Client } from './client.ts';
import { AUTHENTICATED, ClientLogin } from './client-login.ts';
import { ClientRouting } from './client-routing.ts';
import { type ClientTls, clientTls } from './client-tls.ts';
import { ConsoleClient } from './console-client.ts';
import { ownSetting } from './own-settings.ts';
import type { RouteDesks } from './route-desk.ts';
import { sweepHeld } from './routed-unit.ts';
import type { StartupRequest, StartupRules } from './startup.ts';
import { UnitRouter } from './unit-router.ts';
import { welcomeVariables } from './welcome.ts';

export interface ClientRegistryDeps {
  readonly clock: Clock;
  readonly log: Log;
  nextId(): number;
  /** Log with the prefix of this client. */
  clientLog(client: Client): Log;
  countClose(reason: string): void;
  /** Socket options of a new client connection. */
  tune(socket: net.Socket): void;
  openConsole: OpenConsole;
  /** Routing of databases that belong to clusters. */
  readonly desks: RouteDesks;
}

export class ClientRegistry {
  readonly clients = new Set<Client>();
  readonly pools: PoolRegistry;
  readonly clock: Clock;
  readonly cancels: CancelDesk;
  config: Config;
  clientTls: ClientTls | null;
  startupRules: StartupRules;
  hbaRules: readonly HbaRule[] = [];
  identMaps: IdentMaps = new Map();
  maxPacketSize: number;
  logDisconnections: boolean;
  logPoolerErrors: boolean;
  shuttingDown = false;
  /** Wall time minus monotonic time, ms: the sweep keeps it true. */
  wallOffset: number;
  /** Clients of cancel requests do not count. */
  logins = 0;
  readonly #deps: ClientRegistryDeps;

  constructor(config: Config, pools: PoolRegistry, deps: ClientRegistryDeps) {
    this.pools = pools;
    this.clock = deps.clock;
    this.#deps = deps;
    this.wallOffset = deps.clock.wall() - deps.clock.now();
    this.config = config;
    this.clientTls = clientTls(config.settings);
    this.maxPacketSize = config.settings.maxPacketSize;
    this.logDisconnections = config.settings.logDisconnections;
    this.logPoolerErrors = config.settings.logPoolerErrors;
    this.startupRules = this.#rules(config);
    this.#readAuthFiles(config);
    this.cancels = new CancelDesk(this, deps.log);
  }

  /** Takes over a new configuration. Throws FatalError when its TLS files cannot be used; then nothing changes. */
  reconfigure(next: Config): void {
    this.clientTls = clientTls(next.settings);
    this.config = next;
    this.maxPacketSize = next.settings.maxPacketSize;
    this.logDisconnections = next.settings.logDisconnections;
    this.logPoolerErrors = next.settings.logPoolerErrors;
    this.startupRules = this.#rules(next);
    this.#readAuthFiles(next);
  }

  // --- coming

  /** A new connection from a listener (paused). */
  accept(socket: net.Socket, unix: boolean): void {
    const client = new Client(this.#deps.nextId(), this, this.#deps.log);
    client.log = this.#deps.clientLog(client);
    client.unix = unix;
    client.handler = new ClientLogin(client);
    this.clients.add(client);
    client.transport = Transport.adopt(socket, client);
    const own = client.transport.socket;
    client.addr = unix ? 'unix' : plainAddress(own.remoteAddress ?? '');
    client.port = unix ? this.config.settings.listenPort : (own.remotePort ?? 0);
    client.localAddr = unix ? 'unix' : plainAddress(own.localAddress ?? '');
    client.localPort = unix ? this.config.settings.listenPort : (own.localPort ?? 0);
    if (unix) client.peerPid = peerCredentials(own)?.pid ?? 0;
    else this.#deps.tune(own);
  }

  isConsole(database: string): boolean {
    return isConsoleDatabase(this.config, database);
  }

  isAdmin(user: string): boolean {
    return this.config.settings.adminUsers.includes(user);
  }

  mayUseConsole(user: string): boolean {
    return (
      this.isAdmin(user) ||
      this.config.settings.statsUsers.includes(user) ||
      this.config.settings.authType === 'any'
    );
  }

  /** max_client_conn: all clients count, those of the console too. */
  tooManyClients(): boolean {
    return this.clients.size > this.config.settings.maxClientConn;
  }

  maxDbClients(database: Database): number {
    return maxDbClientConnections(this.config, database.entry);
  }

  maxUserClients(user: string): number {
    return maxUserClientConnections(this.config, user);
  }

  /**
   * The secret that a login is checked against, from auth_file or by auth_query; null = nobody of that name.
   * Rejects with PoolerError when auth_query fails or, unlike for users of auth_file, finds nobody.
   */
  async findUser(client: Client, request: StartupRequest): Promise<string | null> {
    if (this.config.settings.authType === 'any') {
      this.pools.userOrNew(request.user);
      return '';
    }
    const known = this.config.userlist.get(request.user);
    if (known !== undefined || client.database === null) return known ?? null;
    const asked = askSecret(this.pools, this.config, client.database, request.user, client.log);
    if (asked === null) return null;
    const secret = await asked;
    if (secret === null) throw new PoolerError('noSuchUser');
    this.pools.userOrNew(request.user);
    client.foundSecret = secret;
    return secret;
  }

  /** application_name_add_host appends where the client comes from. */
  applicationName(client: Client, request: StartupRequest): string {
    if (!this.config.settings.applicationNameAddHost) return request.applicationName;
    const name = request.applicationName === '' ? 'app' : request.applicationName;
    const from = client.unix
      ? `unix(${process.pid}@${os.hostname()}):${client.port}`
      : `${client.addr.includes(':') ? `[${client.addr}]` : client.addr}:${client.port}`;
    return `${name} - ${from}`;
  }

  // --- logged in

  /** Authentication is done: the client joins its pool and is welcomed when the pool can. `rest` = further input. */
  enterPool(client: Client, request: StartupRequest, rest: Buffer): void {
    const database = client.database as Database;
    const user = client.user;
    if (this.config.settings.authType === 'any' && database.entry.user === null)
      throw new PoolerError('bouncerConfigError');
    if (user === null) throw new PoolerError('noSuchUser');
    const pool = this.pools.pool(database, user);
    client.pool = pool;
    if (pool.user === user) this.#keepCredentials(client, pool);
    pool.clients += 1;
    pool.lastActiveMs = this.clock.now();
    const named = this.applicationName(client, request);
    if (named !== request.applicationName) {
      const at = this.pools.tracked.indexOf('application_name');
      const values = [...client.variables];
      while (values.length <= at) values.push(undefined);
      values[at] = named;
      client.variables = values;
    }
    this.#route(client, request);
    client.handler = null;
    client.requests.hold(rest, 0, rest.length);
    client.moveTo('welcome');
    const long = request.minor >= 2;
    this.#welcomes.set(client, { long });
    if (pool.wantWelcome(client)) this.onWelcome(client);
  }

  /** A client of a cluster's database gets its routing. */
  #route(client: Client, request: StartupRequest): void {
    const desk = this.#deps.desks.deskFor(
      client.database as Database,
      client.userName,
      request.applicationName,
    );
    const [own] = request.own;
    if (desk === null) {
      if (own !== undefined) throw new PoolerError('unsupportedStartupParameter', own[0]);
      return;
    }
    const routing = new ClientRouting(client, desk);
    client.routing = routing;
    client.router = new UnitRouter(client, routing);
    for (const [name, value] of request.own) {
      const asked = { verb: 'set', name: name.slice('pgconcierge.'.length), value, local: false } as const;
      const result = ownSetting(routing, asked);
      if (result !== 'wait' && 'sqlstate' in result) throw new PoolerError('badOwnSetting', result.message);
    }
  }

  /** After RELOAD, or when the client's application_name changes: its route may be another. */
  rerouteClient(client: Client): void {
    const { routing, database } = client;
    if (routing === null || database === null) return;
    const desk = this.#deps.desks.deskFor(database, client.userName, client.applicationName);
    if (desk !== null) routing.desk = desk;
  }

  /** What the login has taught logs in to servers, as this user only; found by auth_query: in this database only. */
  #keepCredentials(client: Client, pool: Pool): void {
    if (client.foundSecret !== null) {
      pool.secret = client.foundSecret;
      pool.learned = client.learned;
    } else if (client.learned !== null) {
      pool.user.learned = client.learned;
    }
    client.learned = null;
  }

  readonly #welcomes = new WeakMap<Client, { readonly long: boolean }>();

  /** The pool's parameters are known: the client gets its welcome and may send queries. */
  onWelcome(client: Client): void {
    if (client.phase !== 'welcome') return;
    const pool = client.pool as Pool;
    const welcome = pool.welcome ?? new Map<string, string>();
    const { tracked } = this.pools;
    const base = welcomeVariables(tracked, pool);
    client.variables = withDefaults(client.variables, base);
    const key = newCancelKey(this.config.settings.peerId, this.#welcomes.get(client)?.long === true);
    client.cancelKey = key.id;
    this.cancels.register(client);
    const parts: Buffer[] = [AUTHENTICATED];
    for (const [name, value] of welcome)
      if (tracked.indexOf(name) < 0) parts.push(parameterStatus(name, ownView(client, name, value)));
    tracked.names.forEach((name, i) => {
      const value = client.variables[i];
      // a parameter that this server does not report is not ours to report either
      if (value !== undefined && base[i] !== undefined) parts.push(parameterStatus(name, value));
    });
    const at = tracked.indexOf('application_name');
    client.applicationName = client.variables[at] ?? client.applicationName;
    parts.push(backendKeyData(key.pid, key.secret));
    const notice = this.config.settings.loginNotifyMessage;
    if (notice !== '') parts.push(noticeResponse({ severity: 'NOTICE', sqlstate: '00000', message: notice }));
    parts.push(readyForQuery(TX_IDLE));
    client.moveTo('idle');
    client.readyMs = this.clock.now();
    client.requestMs = client.readyMs;
    this.logins += 1;
    pool.counters.clientLogins += 1;
    client.transport.writeOwned(Buffer.concat(parts));
    if (client.requests.pending > 0) client.guarded(() => client.requests.resumeHeld());
    client.transport.resume();
  }

  /** Hands the client over to the admin console. `rest` = further input. */
  openConsole(client: Client, admin: boolean, greeting: Buffer, rest: Buffer): void {
    const handler = new ConsoleClient(client, this.config.settings.maxPacketSize);
    client.handler = handler;
    client.moveTo('console');
    const key = newCancelKey(this.config.settings.peerId, false);
    client.cancelKey = key.id;
    this.cancels.register(client);
    client.transport.writeOwned(greeting);
    const who = { user: client.userName, admin, clientId: client.id, pid: key.pid, secret: key.secret };
    client.console = this.#deps.openConsole(who, handler);
    if (rest.length > 0) handler.onData(rest, rest.length);
  }

  /** A cancel connection: `bytes` = process id and secret. */
  onCancelRequest(client: Client, bytes: Buffer): void {
    this.cancels.request(client, bytes);
  }

  // --- going

  /** Called by the client at its end. */
  remove(client: Client): void {
    if (!this.clients.delete(client)) return;
    this.cancels.unregister(client);
    if (client.database !== null) client.database.clients -= 1;
    if (client.user !== null) client.user.clients -= 1;
    if (client.pool !== null) {
      client.pool.hall.clients -= 1;
      client.pool.hall.lastActiveMs = this.clock.now();
    }
  }

  countClose(reason: string): void {
    this.#deps.countClose(reason);
  }

  /** Ends all clients of a database, or all; console clients only with `console`. */
  endAll(
    code: 'databaseChanged' | 'databaseRemoved' | 'poolerShuttingDown' | 'serverShuttingDown',
    of: (client: Client) => boolean,
  ): void {
    for (const client of [...this.clients]) if (of(client)) client.fail(code);
  }

  /** Timeouts of clients without a server: login and idle. */
  sweep(nowMs: number): void {
    const loginMs = this.config.settings.clientLoginTimeoutMs;
    this.wallOffset = this.clock.wall() - nowMs;
    for (const client of this.clients) {
      switch (client.phase) {
        case 'startup':
        case 'tls':
        case 'auth':
        case 'cancel':
          if (loginMs > 0 && nowMs - client.connectedMs >= loginMs) client.fail('clientLoginTimeout');
          break;
        case 'welcome': {
          const waitMs = client.pool?.limits.queryWaitTimeoutMs ?? 0;
          const age = nowMs - client.connectedMs;
          const paused = client.database?.paused === true;
          if (!paused && loginMs > 0 && age >= loginMs)
            client.fail('clientLoginTimeoutServerDown', '', whyWaiting(client.pool));
          else if (waitMs > 0 && age >= waitMs) client.fail('queryWaitTimeout', '', whyWaiting(client.pool));
          break;
        }
        case 'idle': {
          const idleMs = client.pool?.limits.clientIdleTimeoutMs ?? 0;
          if (idleMs > 0 && nowMs - client.readyMs >= idleMs) client.fail('clientIdleTimeout');
          break;
        }
        case 'waiting':
          if (client.routing !== null) sweepHeld(client, client.routing, nowMs);
          break;
        default:
      }
    }
  }

  // --- inside

  #rules(config: Config): StartupRules {
    return {
      tracked: this.pools.tracked,
      ignored: new Set(config.settings.ignoreStartupParameters.map((name) => name.toLowerCase())),
    };
  }

  #readAuthFiles(config: Config): void {
    const read = readAuthFiles(config, this.#deps.log);
    this.hbaRules = read.hba ?? this.hbaRules;
    this.identMaps = read.ident ?? this.identMaps;
  }
}

/** Behind route=auto it is the primary that the client is connected to, whichever node was asked first. */
function ownView(client: Client, name: string, value: string): string {
  if (name !== 'in_hot_standby' || client.routing === null) return value;
  return client.routing.desk.route === 'replica' ? 'on' : 'off';
}

/** IPv4 addresses that arrived on a v6 socket are shown as IPv4. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') ? address.slice(7) : address;
}
