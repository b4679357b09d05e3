/** The data plane as the console and HTTP see it (control/port.ts), by direct calls within the one process. */
import type { Config } from '../config/config.ts';
import { setOption, showConfig } from '../config/show.ts';
import type { Diagnostic } from '../config/types.ts';
import type {
  ClusterControl,
  ClusterRow,
  DecisionRow,
  ExplainRow,
  LearnedRow,
  NodeRow,
  RouteRow,
  ShadowRow,
} from '../control/cluster-port.ts';
import {
  type ClientRow,
  CommandError,
  type ConfigRow,
  type ControlPort,
  type DatabaseRow,
  type DnsHostRow,
  type ListsRow,
  type PeerPoolRow,
  type PeerRow,
  type PendingCommand,
  type PoolMetricsRow,
  type PoolRow,
  type ServerRow,
  type ShutdownMode,
  type StatsRow,
  type UserRow,
} from '../control/port.ts';
import { clientRow, databaseRows, listsRow, poolRows, serverRow, userRows } from './snapshots.ts';
import type { Worker } from './worker.ts';

/** What only the supervisor can do. */
export interface SupervisorDuties {
  reload(): { readonly ok: boolean; readonly diagnostics: readonly Diagnostic[] };
  /** A SET has changed the configuration of the worker: the monitors read theirs from it too. */
  changed(config: Config): void;
  shutdown(mode: ShutdownMode): void;
  droppedLogLines(): number;
}

export class WorkerControl implements ControlPort {
  readonly #worker: Worker;
  readonly #duties: SupervisorDuties;
  /** Set by the composition root when clusters are configured. */
  clusterControl: ClusterControl | null = null;

  constructor(worker: Worker, duties: SupervisorDuties) {
    this.#worker = worker;
    this.#duties = duties;
  }

  clients(): ClientRow[] {
    const { clock, clients } = this.#worker;
    const now = clock.now();
    const wall = clock.wall();
    return [...clients.clients].map((client) => clientRow(client, now, wall));
  }

  servers(): ServerRow[] {
    const { clock, pools } = this.#worker;
    const now = clock.now();
    const wall = clock.wall();
    const rows: ServerRow[] = [];
    for (const pool of pools.pools())
      for (const server of pool.servers) rows.push(serverRow(pool, server, now, wall));
    return rows;
  }

  pools(): PoolRow[] {
    return poolRows(this.#worker.pools, this.#worker.clients, this.#worker.clock.now());
  }

  databases(): DatabaseRow[] {
    return databaseRows(this.#worker.pools);
  }

  users(): UserRow[] {
    return userRows(this.#worker.pools);
  }

  peers(): PeerRow[] {
    const { config } = this.#worker;
    return [...config.peers.values()].map((peer) => ({
      peerId: peer.id,
      host: peer.host,
      port: peer.port,
      poolSize: peer.poolSize ?? config.settings.defaultPoolSize,
    }));
  }

  peerPools(): PeerPoolRow[] {
    return [...this.#worker.clients.cancels.forwarding].map(([peerId, running]) => ({
      peerId,
      clActiveCancelReq: running,
      clWaitingCancelReq: 0,
      svActiveCancel: running,
      svLogin: 0,
    }));
  }

  stats(): StatsRow[] {
    return this.#worker.stats.rows();
  }

  lists(): ListsRow {
    return listsRow(this.#worker.pools, this.#worker.clients);
  }

  dnsHosts(): DnsHostRow[] {
    return this.#worker.pools.resolver.rows();
  }

  config(): ConfigRow[] {
    return showConfig(this.#worker.config);
  }

  state(): { readonly active: boolean; readonly paused: boolean; readonly suspended: boolean } {
    const paused = this.#worker.pools.pausedAll;
    return { active: !paused, paused, suspended: false };
  }

  metrics(): PoolMetricsRow[] {
    return this.#worker.stats.metrics();
  }

  errorCounts(): ReadonlyMap<string, number> {
    return this.#worker.closes;
  }

  droppedLogLines(): number {
    return this.#duties.droppedLogLines();
  }

  healthy(): boolean {
    return !this.isShuttingDown();
  }

  isShuttingDown(): boolean {
    return this.#worker.clients.shuttingDown;
  }

  reload(): { readonly ok: boolean; readonly diagnostics: readonly Diagnostic[] } {
    return this.#duties.reload();
  }

  set(key: string, value: string): void {
    const changed = setOption(this.#worker.config, key, value);
    if (changed.error !== undefined) {
      this.#worker.log.error(changed.error);
      throw new CommandError('SET failed', '08P01', changed.error);
    }
    try {
      this.#worker.reconfigure(changed.config);
      this.#duties.changed(changed.config);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#worker.log.error(message);
      throw new CommandError('SET failed', '08P01', message);
    }
  }

  pause(database: string | null, timeoutMs: number): PendingCommand {
    return this.#worker.commands.pause(database, timeoutMs);
  }

  resume(database: string | null): void {
    this.#worker.commands.resume(database);
  }

  suspend(): PendingCommand {
    throw new CommandError('SUSPEND has been removed, as in PgBouncer 1.26; use PAUSE', '0A000');
  }

  disable(database: string): void {
    this.#worker.commands.disable(database);
  }

  enable(database: string): void {
    this.#worker.commands.enable(database);
  }

  kill(database: string | null): void {
    this.#worker.commands.kill(database);
  }

  killClient(id: number): void {
    this.#worker.commands.killClient(id);
  }

  reconnect(database: string | null): void {
    this.#worker.commands.reconnect(database);
  }

  waitClose(database: string | null): PendingCommand {
    return this.#worker.commands.waitClose(database);
  }

  shutdown(mode: ShutdownMode): void {
    this.#duties.shutdown(mode);
  }

  nodes(): NodeRow[] {
    return this.clusterControl?.nodes() ?? [];
  }

  clusters(): ClusterRow[] {
    return this.clusterControl?.clusters() ?? [];
  }

  routes(): RouteRow[] {
    return this.clusterControl?.routes() ?? [];
  }

  learned(): LearnedRow[] {
    return this.clusterControl?.learned() ?? [];
  }

  shadow(): ShadowRow[] {
    return this.clusterControl?.shadow() ?? [];
  }

  decisions(): DecisionRow[] {
    return this.clusterControl?.decisions() ?? [];
  }

  explainRoute(sql: string, database: string | null): ExplainRow[] {
    return this.#clusters().explainRoute(sql, database);
  }

  detach(node: string): void {
    this.#clusters().detach(node);
  }

  attach(node: string): void {
    this.#clusters().attach(node);
  }

  drain(node: string): PendingCommand {
    return this.#clusters().drain(node);
  }

  setWeight(node: string, weight: number): void {
    this.#clusters().setWeight(node, weight);
  }

  redetect(cluster: string | null): PendingCommand {
    return this.#clusters().redetect(cluster);
  }

  #clusters(): ClusterControl {
    if (this.clusterControl === null) throw new CommandError('no cluster is configured', '55000');
    return this.clusterControl;
  }
}
