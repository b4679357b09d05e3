/**
 * All clusters of the configuration, watched: the door of this room. Lives in the supervisor; what it finds goes to the
 * data plane through ClusterSink, and the data plane's hints come in as ClusterSource.
 */
import type { Config } from '../config/config.ts';
import type { ClusterSettings } from '../config/effective-routing.ts';
import { clusterSettings } from '../config/resolve-clusters.ts';
import type { ClusterSink, ClusterSource, Trouble } from '../control/cluster-port.ts';
import { Resolver } from '../net/resolver.ts';
import type { ClusterView } from '../routing/cluster-view.ts';
import type { ServerTls } from '../server/login.ts';
import type { Clock } from '../util/clock.ts';
import type { Log } from '../util/log.ts';
import { CatalogDesk } from './catalog-desk.ts';
import { ClusterState } from './cluster-state.ts';
import type { ClusterEvent } from './events.ts';
import { ClusterMonitor } from './monitor.ts';
import type { MonitorDeps } from './monitor-connection.ts';
import { type SavedCluster, StateFile } from './state-file.ts';
import { NO_MEMORY } from './topology.ts';

export interface ClustersDeps {
  readonly config: Config;
  readonly sink: ClusterSink;
  readonly log: Log;
  readonly clock: Clock;
  readonly tls: () => ServerTls;
}

/** A command named a node or cluster that is none, or one that several clusters have. */
export class ClusterCommandError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ClusterCommandError';
  }
}

interface Watch {
  readonly monitor: ClusterMonitor;
  readonly catalog: CatalogDesk;
}

export class Clusters implements ClusterSource {
  readonly #deps: ClustersDeps;
  readonly #monitorDeps: MonitorDeps;
  readonly #watches = new Map<string, Watch>();
  readonly #listeners = new Set<(event: ClusterEvent) => void>();
  #config: Config;
  #file: StateFile;
  /** As read at start, and of clusters that a RELOAD took away and another may bring back. */
  readonly #saved: Map<string, SavedCluster>;
  #started = false;
  #stopped = false;

  constructor(deps: ClustersDeps) {
    this.#deps = deps;
    this.#config = deps.config;
    const { clock } = deps;
    const { dnsMaxTtlMs, dnsNxdomainTtlMs, stateFile } = deps.config.settings;
    const resolver = new Resolver(dnsMaxTtlMs, dnsNxdomainTtlMs, () => clock.now());
    this.#monitorDeps = { clock, resolver, tls: deps.tls };
    this.#file = new StateFile(stateFile, deps.log);
    this.#saved = this.#file.read();
    for (const name of deps.config.clusters.keys()) this.#add(clusterSettings(deps.config, name));
  }

  start(): void {
    this.#started = true;
    for (const { monitor } of this.#watches.values()) monitor.start();
  }

  /** Takes over a new configuration; clusters and nodes that stay keep what is known of them. */
  reconfigure(config: Config): void {
    this.#config = config;
    const { dnsMaxTtlMs, dnsNxdomainTtlMs, stateFile } = config.settings;
    this.#monitorDeps.resolver.maxTtlMs = dnsMaxTtlMs;
    this.#monitorDeps.resolver.nxdomainTtlMs = dnsNxdomainTtlMs;
    if (stateFile !== this.#file.path) this.#file = new StateFile(stateFile, this.#deps.log);
    for (const [name, watch] of this.#watches) {
      if (config.clusters.has(name)) continue;
      this.#saved.set(name, saved(watch.monitor.state));
      this.#end(watch);
      this.#watches.delete(name);
    }
    for (const name of config.clusters.keys()) {
      const settings = clusterSettings(config, name);
      const known = this.#watches.get(name);
      if (known !== undefined) known.monitor.reconfigure(settings);
      else if (this.#started) this.#add(settings).monitor.start();
      else this.#add(settings);
    }
    this.#save();
  }

  stop(): void {
    if (this.#stopped) return;
    this.#save();
    this.#stopped = true;
    for (const watch of this.#watches.values()) this.#end(watch);
    this.#listeners.clear();
  }

  views(): ClusterView[] {
    return [...this.#watches.values()].map(({ monitor }) => monitor.view());
  }

  /** Throws ClusterCommandError for an unknown name. */
  settings(name: string): ClusterSettings {
    return this.#named(name).monitor.state.settings;
  }

  /** Called for every event, after the views have been sent. Returns a function that ends it. */
  onEvent(listener: (event: ClusterEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // --- by a person; a node is named `pg2`, or `main.pg2` when several clusters have a pg2. Throw ClusterCommandError.

  detach(node: string): void {
    const { monitor, name } = this.#nodeNamed(node);
    monitor.override(name, { detached: true });
    this.#deps.log.log(`node ${name} of cluster ${monitor.state.settings.name} was taken out (DETACH)`);
  }

  attach(node: string): void {
    const { monitor, name } = this.#nodeNamed(node);
    monitor.override(name, { detached: false });
    this.#deps.log.log(`node ${name} of cluster ${monitor.state.settings.name} was put back (ATTACH)`);
    monitor.doubt();
  }

  /** Of reads; 0 = none. As long as it is not the configured one, it is an override, which survives RELOAD. */
  setWeight(node: string, weight: number): void {
    if (!Number.isFinite(weight) || weight < 0) {
      throw new ClusterCommandError(`a weight is a number of at least 0, not ${weight}`);
    }
    const { monitor, name } = this.#nodeNamed(node);
    const configured = monitor.state.settings.nodes.find((one) => one.name === name)?.weight;
    monitor.override(name, { weight: weight === configured ? null : weight });
    this.#deps.log.log(`node ${name} of cluster ${monitor.state.settings.name} has weight ${weight} now`);
  }

  /** Checks all nodes now; `done` when the answers are in. Changes nothing when nothing has changed. */
  redetect(cluster: string | null): { readonly done: Promise<void>; cancel(): void } {
    const watches = cluster === null ? [...this.#watches.values()] : [this.#named(cluster)];
    let cancel = (): void => {};
    const canceled = new Promise<void>((resolve) => {
      cancel = resolve;
    });
    const all = Promise.all(watches.map(({ monitor }) => monitor.recheck())).then(() => {});
    return { done: Promise.race([all, canceled]), cancel: () => cancel() };
  }

  // --- ClusterSource

  trouble(cluster: string, _node: string, _what: Trouble): void {
    // what is wrong with one node is known only when the others have been asked too
    this.#watches.get(cluster)?.monitor.doubt();
  }

  wantSamples(cluster: string): void {
    this.#watches.get(cluster)?.monitor.wantSamples();
  }

  wantCatalog(cluster: string, dbname: string, fresh: boolean): void {
    this.#watches.get(cluster)?.catalog.want(dbname, fresh);
  }

  // --- inside

  #add(settings: ClusterSettings): Watch {
    const { sink, log, clock } = this.#deps;
    const known = this.#saved.get(settings.name);
    const state = new ClusterState(
      settings,
      known?.memory ?? NO_MEMORY,
      known?.primaryUp ?? false,
      known?.overrides ?? new Map(),
      { ms: clock.now(), wall: clock.wall() },
    );
    let primary = state.primary;
    const monitor = new ClusterMonitor(state, {
      sink,
      log,
      deps: this.#monitorDeps,
      unixSocketDir: () => this.#config.settings.unixSocketDir,
      onChange: () => {
        this.#save();
        if (state.primary !== primary && state.primary !== null) catalog.retry();
        primary = state.primary;
      },
      onEvent: (event) => {
        for (const listener of this.#listeners) listener(event);
      },
    });
    const catalog = new CatalogDesk(settings.name, sink, log, this.#monitorDeps, (dbname) =>
      monitor.primaryTarget(dbname),
    );
    const watch: Watch = { monitor, catalog };
    this.#watches.set(settings.name, watch);
    return watch;
  }

  #end({ monitor, catalog }: Watch): void {
    monitor.stop();
    catalog.stop();
  }

  #save(): void {
    if (this.#stopped || this.#file.path === '') return;
    const all = new Map(this.#saved);
    for (const [name, { monitor }] of this.#watches) all.set(name, saved(monitor.state));
    this.#file.write(all);
  }

  #named(cluster: string): Watch {
    const watch = this.#watches.get(cluster);
    if (watch === undefined) throw new ClusterCommandError(`no such cluster: ${cluster}`);
    return watch;
  }

  #nodeNamed(text: string): { readonly monitor: ClusterMonitor; readonly name: string } {
    const found: { monitor: ClusterMonitor; name: string }[] = [];
    for (const { monitor } of this.#watches.values()) {
      const { name: cluster, nodes } = monitor.state.settings;
      for (const { name } of nodes) {
        if (text === name || text === `${cluster}.${name}`) found.push({ monitor, name });
      }
    }
    const [only] = found;
    if (only === undefined) throw new ClusterCommandError(`no such node: ${text}`);
    if (found.length > 1) {
      const names = found.map(({ monitor, name }) => `${monitor.state.settings.name}.${name}`).join(', ');
      throw new ClusterCommandError(`several clusters have a node ${text}, say which: ${names}`);
    }
    return only;
  }
}

function saved(state: ClusterState): SavedCluster {
  return { memory: state.memory, primaryUp: state.primaryToldUp, overrides: state.overrides };
}
