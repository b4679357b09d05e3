/**
 * The data plane put together: pools, clients, listeners, the sweep. Everything that it needs comes in; what the
 * control plane may see and do is control-port.ts.
 */
import type net from 'node:net';
import type { Client } from '../client/client.ts';
import { ClientRegistry } from '../client/client-registry.ts';
import type { Config } from '../config/load.ts';
import type { Settings } from '../config/options.ts';
import type { OpenConsole } from '../control/console.ts';
import { type Listeners, openListeners } from '../net/listeners.ts';
import { createSocketTuner, type SocketTuner } from '../net/socket-options.ts';
import { socketLog, socketPrefix } from '../observe/socket-log.ts';
import { sweepPool } from '../pool/janitor.ts';
import type { Pool } from '../pool/pool.ts';
import { PoolRegistry } from '../pool/registry.ts';
import { serverTls } from '../pool/server-tls.ts';
import type { ServerConnection } from '../server/server-connection.ts';
import type { Clock } from '../util/clock.ts';
import type { Log } from '../util/log.ts';
import { ClusterDesk } from './cluster-desk.ts';
import { Commands } from './commands.ts';
import { ptrOf } from './snapshots.ts';
import { Stats } from './stats.ts';

/** The sweep: timeouts are exact to this. */
const SWEEP_MS = 100;
/** Different close reasons that are counted by name. */
const MAX_REASONS = 500;

export interface WorkerDeps {
  readonly config: Config;
  readonly log: Log;
  readonly clock: Clock;
  readonly openConsole: OpenConsole;
}

export class Worker {
  readonly pools: PoolRegistry;
  readonly clusters: ClusterDesk;
  readonly clients: ClientRegistry;
  readonly commands: Commands;
  readonly stats: Stats;
  readonly clock: Clock;
  readonly log: Log;
  readonly closes = new Map<string, number>();
  config: Config;
  /** Called after each sweep; the control plane looks whether a shutdown is complete. */
  onSweep: () => void = () => {};
  #listeners: Listeners | null = null;
  #timer: NodeJS.Timeout | null = null;
  #tune: SocketTuner;
  #nextId = 1;

  constructor(deps: WorkerDeps) {
    this.config = deps.config;
    this.clock = deps.clock;
    this.log = deps.log;
    this.#tune = createSocketTuner(tcpOptions(deps.config.settings), deps.log);
    const nextId = (): number => this.#nextId++;
    const countClose = (reason: string): void => this.#countClose(reason);
    this.clusters = new ClusterDesk({ config: deps.config, clock: deps.clock, log: deps.log });
    this.pools = new PoolRegistry(deps.config, {
      clock: deps.clock,
      log: deps.log,
      nextId,
      countClose,
      serverLog: (server, pool) => this.#serverLog(server, pool),
      tune: (server) => {
        if (server.address.unixPath === null) server.transport.whenConnected((socket) => this.#tune(socket));
      },
    });
    this.clusters.serve(this.pools);
    this.clients = new ClientRegistry(deps.config, this.pools, {
      desks: this.clusters.desks,
      clock: deps.clock,
      log: deps.log,
      nextId,
      countClose,
      clientLog: (client) => this.#clientLog(client),
      tune: (socket) => this.#tune(socket),
      openConsole: deps.openConsole,
    });
    this.pools.onDatabaseRemoved = (database) => {
      this.clients.endAll('databaseRemoved', (client) => client.database === database);
    };
    this.pools.onClusterChanged = (database) => {
      this.clients.endAll('databaseChanged', (client) => client.database === database);
    };
    this.commands = new Commands(this.pools, this.clients);
    this.stats = new Stats(this.pools, deps.clock.now());
  }

  /** Opens the listeners and begins to serve. Rejects with FatalError. */
  async start(): Promise<void> {
    const s = this.config.settings;
    this.#listeners = await openListeners(
      {
        listenAddr: s.listenAddr,
        listenPort: s.listenPort,
        unixSocketDir: s.unixSocketDir,
        unixSocketMode: s.unixSocketMode,
        unixSocketGroup: s.unixSocketGroup,
        backlog: s.listenBacklog,
        soReuseport: s.soReuseport,
        tcpDeferAccept: s.tcpDeferAccept !== 0,
      },
      (socket: net.Socket, via) => this.clients.accept(socket, via === 'unix'),
      this.log,
    );
    this.#timer = setInterval(() => this.#sweep(), SWEEP_MS);
  }

  /** Takes over a new configuration. Throws FatalError when it cannot be used; then nothing has changed. */
  reconfigure(next: Config): void {
    // the files of both sides are tried before either side changes
    serverTls(next.settings);
    this.clients.reconfigure(next);
    this.pools.reconfigure(next);
    this.config = next;
    this.clusters.reconfigure(next);
    for (const client of this.clients.clients) this.clients.rerouteClient(client);
    this.#tune = createSocketTuner(tcpOptions(next.settings), this.log);
  }

  /** New TCP clients are refused from now on. */
  closeTcp(): void {
    this.#listeners?.closeTcp();
  }

  /** Ends everything at once; used at exit. */
  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.pools.stopped = true;
    this.#listeners?.closeAll();
  }

  #sweep(): void {
    const now = this.clock.now();
    for (const pool of this.pools.pools()) sweepPool(pool, now);
    this.clients.sweep(now);
    this.pools.forgetIdle(now);
    this.clusters.sweep(now);
    const s = this.config.settings;
    const line = this.stats.tick(now, s.statsPeriodMs);
    if (line !== null && s.logStats) this.log.log(line);
    this.onSweep();
  }

  #countClose(reason: string): void {
    const known = this.closes.get(reason);
    if (known !== undefined) this.closes.set(reason, known + 1);
    else if (this.closes.size < MAX_REASONS) this.closes.set(reason, 1);
    else this.closes.set('_other', (this.closes.get('_other') ?? 0) + 1);
  }

  #serverLog(server: ServerConnection, pool: Pool): Log {
    const { address } = server;
    return socketLog(this.log, () =>
      socketPrefix({
        side: 'S',
        ptr: ptrOf(server.id),
        database: pool.database.name,
        user: pool.user.name,
        addr: address.unixPath !== null ? 'unix' : address.address,
        port: address.port,
        remotePid: server.pid,
      }),
    );
  }

  #clientLog(client: Client): Log {
    return socketLog(this.log, () =>
      socketPrefix({
        side: 'C',
        ptr: ptrOf(client.id),
        database: client.databaseName,
        user: client.userName,
        addr: client.addr,
        port: client.port,
        remotePid: client.peerPid,
      }),
    );
  }
}

function tcpOptions(s: Settings): Parameters<typeof createSocketTuner>[0] {
  return {
    keepalive: s.tcpKeepalive,
    keepIdleMs: s.tcpKeepidleMs,
    keepIntervalMs: s.tcpKeepintvlMs,
    keepCount: s.tcpKeepcnt,
    userTimeoutMs: s.tcpUserTimeoutMs,
    socketBuffer: s.tcpSocketBuffer,
  };
}
