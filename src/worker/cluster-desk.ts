/**
 * The data plane's side of clusters: takes what the monitors say (ClusterSink), keeps a runtime per cluster to route by,
 * tells pools where they stand (Placement), and gives traffic's hints back to the monitors (ClusterSource).
 */
import { type DatabaseRouting, RouteDesks } from '../client/route-desk.ts';
import type { Config } from '../config/load.ts';
import { clusterSettings } from '../config/resolve-clusters.ts';
import type { ClusterSink, ClusterSource, Trouble } from '../control/cluster-port.ts';
import type { Placement } from '../pool/placement.ts';
import type { PoolRole } from '../pool/pool.ts';
import type { PoolNode } from '../pool/pool-node.ts';
import type { PoolRegistry } from '../pool/registry.ts';
import { applyTopology, type NodePlace } from '../pool/topology.ts';
import { ClusterRuntime } from '../routing/cluster-runtime.ts';
import type { CatalogFacts, ClusterView, NodeView } from '../routing/cluster-view.ts';
import { RouteLog } from '../routing/route-log.ts';
import { FactCache } from '../sql/fact-cache.ts';
import type { Clock } from '../util/clock.ts';
import type { Log } from '../util/log.ts';

/** Decisions that SHOW ROUTES remembers. */
const ROUTE_ROWS = 256;
const LEARNED_SWEEP_MS = 60_000;

export interface ClusterDeskDeps {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Log;
}

export class ClusterDesk implements ClusterSink, ClusterSource, Placement {
  readonly runtimes = new Map<string, ClusterRuntime>();
  readonly desks: RouteDesks;
  readonly log = new RouteLog(ROUTE_ROWS);
  /** The monitors; set by the composition root. Null while there are none. */
  monitors: ClusterSource | null = null;
  readonly #deps: ClusterDeskDeps;
  readonly #catalogs = new Map<string, CatalogFacts | null>();
  #config: Config;
  #pools: PoolRegistry | null = null;
  #sweptMs = 0;

  constructor(deps: ClusterDeskDeps) {
    this.#deps = deps;
    this.#config = deps.config;
    this.#makeRuntimes();
    this.desks = new RouteDesks({
      config: () => this.#config,
      runtime: (cluster) => this.runtimes.get(cluster) ?? null,
      facts: new FactCache(deps.config.settings.routeCacheSize),
      source: this,
      log: this.log,
    });
    this.desks.onShared = (shared) => this.#giveCatalog(shared);
  }

  /** The pools whose servers go to the nodes. Called once. */
  serve(pools: PoolRegistry): void {
    this.#pools = pools;
    pools.placement = this;
    pools.onDatabaseForgotten = ({ name, entry: { cluster, dbname } }) => {
      this.desks.forgetDatabase(name);
      // any name may have been asked for (`*`); a catalog that could be loaded is of a real database, which may come back
      const key = `${cluster ?? ''}\0${dbname}`;
      if (this.#catalogs.get(key) === null) this.#catalogs.delete(key);
    };
  }

  /** After RELOAD: settings, functions lists and routes are read again; what replicas taught is forgotten. */
  reconfigure(config: Config): void {
    this.#config = config;
    for (const name of this.runtimes.keys()) if (!config.clusters.has(name)) this.runtimes.delete(name);
    this.#makeRuntimes();
    for (const runtime of this.runtimes.values()) runtime.learned.clear();
    this.desks.forget();
    for (const runtime of this.runtimes.values()) this.#place(runtime);
  }

  // --- ClusterSink

  onView(view: ClusterView): void {
    const runtime = this.runtimes.get(view.name);
    if (runtime === undefined) return;
    if (runtime.onView(view)) this.#place(runtime);
  }

  onSampleSent(cluster: string, number: number): void {
    this.runtimes.get(cluster)?.freshness.onSent(number);
  }

  onSample(cluster: string, number: number, primaryLsn: number): void {
    const runtime = this.runtimes.get(cluster);
    runtime?.freshness.onSample(number, primaryLsn);
    this.#wakeHeld(cluster);
  }

  onReplayed(cluster: string, node: string, lsn: number): void {
    this.runtimes.get(cluster)?.onReplayed(node, lsn);
    this.#wakeHeld(cluster);
  }

  onGeometry(): void {
    // positions come in normalised
  }

  onCatalog(cluster: string, dbname: string, facts: CatalogFacts | null): void {
    this.#catalogs.set(`${cluster}\0${dbname}`, facts);
    for (const shared of this.desks.databases.values())
      if (shared.runtime.name === cluster && shared.dbname === dbname) shared.classifier.setCatalog(facts);
  }

  lastAnswerMs(cluster: string, node: string): number {
    return this.runtimes.get(cluster)?.nodes.get(node)?.lastAnswerMs ?? 0;
  }

  // --- ClusterSource: hints of the traffic, on their way to the monitors

  trouble(cluster: string, node: string, what: Trouble): void {
    const runtime = this.runtimes.get(cluster);
    const routed = runtime?.nodes.get(node);
    if (runtime !== undefined && routed !== undefined && what === 'refused') {
      routed.failed(this.#deps.clock.now(), runtime.settings.banTimeMs);
      // reads that wait for this node need not; not from inside of whatever has just failed
      if (routed !== runtime.primary) queueMicrotask(() => this.#leaveNode(cluster, node));
    } else if (routed !== undefined && what === 'lost') {
      // one lost server is no reason for a ban, but a node that was restarted may be further back than it was
      routed.replayedLsn = 0;
    }
    this.monitors?.trouble(cluster, node, what);
  }

  wantSamples(cluster: string): void {
    this.monitors?.wantSamples(cluster);
  }

  wantCatalog(cluster: string, dbname: string, fresh: boolean): void {
    this.monitors?.wantCatalog(cluster, dbname, fresh);
  }

  // --- Placement

  anyNode(cluster: string): PoolNode | null {
    const runtime = this.runtimes.get(cluster);
    if (runtime === undefined) return null;
    if (runtime.primary !== null) return runtime.primary.view;
    const now = this.#deps.clock.now();
    let any: NodeView | null = null;
    for (const node of runtime.nodes.values()) {
      if (roleOf(node.view) === 'none') continue;
      if (node.mayServe(now)) return node.view;
      any ??= node.view;
    }
    return any;
  }

  roleOf(cluster: string, node: string): PoolRole {
    const view = this.runtimes.get(cluster)?.nodes.get(node)?.view;
    return view === undefined ? 'none' : roleOf(view);
  }

  witness(cluster: string, node: string, inHotStandby: boolean): string {
    const runtime = this.runtimes.get(cluster);
    const routed = runtime?.nodes.get(node);
    if (runtime === undefined || routed === undefined) return '';
    const primary = runtime.primary === routed;
    // with role_query the administrator knows better than pg_is_in_recovery
    if (primary === !inHotStandby || runtime.settings.roleQuery !== '') return '';
    this.monitors?.trouble(cluster, node, inHotStandby ? 'hot_standby_on' : 'hot_standby_off');
    // a promoted replica still serves reads well until the monitors have looked
    return primary ? `node ${node} says that it is in recovery` : '';
  }

  /** What was learned is forgotten in time. Called by the worker's sweep. */
  sweep(nowMs: number): void {
    if (nowMs - this.#sweptMs < LEARNED_SWEEP_MS) return;
    this.#sweptMs = nowMs;
    for (const runtime of this.runtimes.values()) runtime.learned.sweep(this.#deps.clock.wall());
  }

  // --- inside

  #makeRuntimes(): void {
    for (const name of this.#config.clusters.keys()) {
      const settings = clusterSettings(this.#config, name);
      const known = this.runtimes.get(name);
      if (known === undefined) this.runtimes.set(name, new ClusterRuntime(name, settings));
      else known.settings = settings;
    }
  }

  #giveCatalog(shared: DatabaseRouting): void {
    const facts = this.#catalogs.get(`${shared.runtime.name}\0${shared.dbname}`);
    if (facts !== undefined) shared.classifier.setCatalog(facts);
  }

  #place(runtime: ClusterRuntime): void {
    if (this.#pools === null) return;
    const places = new Map<string, NodePlace>();
    for (const node of runtime.nodes.values())
      places.set(node.name, { node: node.view, role: roleOf(node.view) });
    applyTopology(this.#pools, runtime.name, places);
  }

  /** Clients in the halls may have waited for this sample. */
  #wakeHeld(cluster: string): void {
    for (const database of this.#pools?.databases.values() ?? []) {
      if (database.entry.cluster !== cluster) continue;
      for (const pool of database.pools.values()) if (pool.node === null) pool.rerouteWaiters();
    }
  }

  #leaveNode(cluster: string, node: string): void {
    for (const database of this.#pools?.databases.values() ?? []) {
      if (database.entry.cluster !== cluster) continue;
      for (const pool of [...database.pools.values()])
        if (pool.node?.name === node && pool.role === 'replica') pool.rerouteWaiters();
    }
  }
}

/** As what a node may be used by pools: a lagging replica keeps its servers, reads are kept from it by routing. */
function roleOf(view: NodeView): PoolRole {
  if (view.state === 'primary') return 'primary';
  return view.state === 'replica' || view.state === 'lagging' ? 'replica' : 'none';
}
