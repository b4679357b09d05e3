/**
 * What the clients of one database share for routing: classifier, chooser, freshness mark of the database. One
 * RouteDesk for each way of routing in it (a user or an application may have a `route` of its own).
 */
import type { RoutingSettings } from '../config/effective-routing.ts';
import type { Config } from '../config/load.ts';
import { routeOf, routingSettings } from '../config/resolve-clusters.ts';
import type { Route } from '../config/types.ts';
import type { ClusterSource } from '../control/cluster-port.ts';
import type { Database } from '../pool/database.ts';
import { ReadChooser } from '../routing/choose.ts';
import { Classifier } from '../routing/classifier.ts';
import type { ClusterRuntime } from '../routing/cluster-runtime.ts';
import { type Reason, reasonId } from '../routing/reasons.ts';
import { type RouteLog, Shadow } from '../routing/route-log.ts';
import type { FactCache } from '../sql/fact-cache.ts';

/** What all clients of a database share. */
export interface DatabaseRouting {
  readonly runtime: ClusterRuntime;
  readonly dbname: string;
  readonly classifier: Classifier;
  readonly chooser: ReadChooser;
  readonly shadow: Shadow;
  readonly written: DatabaseWrites;
}

/** read_consistency = database: of all entries that mean the same database of the same cluster. */
export interface DatabaseWrites {
  /** Freshness mark of the last write, whoever's; 0 = none. */
  mark: number;
  /** The LSN that marks of before have turned into. */
  waitLsn: number;
}

export interface RouteDesk {
  readonly source: ClusterSource;
  readonly log: RouteLog;
  readonly shared: DatabaseRouting;
  readonly settings: RoutingSettings;
  readonly route: Route;
  /** Why, for a route that is not auto. */
  readonly reason: Reason;
  /** route=auto, and not only for show (route_shadow). */
  readonly balances: boolean;
}

export interface RouteDesksDeps {
  readonly config: () => Config;
  readonly runtime: (cluster: string) => ClusterRuntime | null;
  readonly facts: FactCache;
  readonly source: ClusterSource;
  readonly log: RouteLog;
}

const BY_ENTRY: Readonly<Record<Route, Reason>> = {
  auto: reasonId('balanced'),
  primary: reasonId('route=primary'),
  replica: reasonId('route=replica'),
};

export class RouteDesks {
  readonly source: ClusterSource;
  readonly log: RouteLog;
  readonly #deps: RouteDesksDeps;
  readonly #shared = new Map<string, DatabaseRouting>();
  readonly #desks = new Map<string, RouteDesk>();
  /** By dbname; kept over RELOADs, as long as the samples are that the marks count. */
  readonly #written = new WeakMap<ClusterRuntime, Map<string, DatabaseWrites>>();

  constructor(deps: RouteDesksDeps) {
    this.#deps = deps;
    this.source = deps.source;
    this.log = deps.log;
  }

  /** Databases that are routed, by name. */
  get databases(): ReadonlyMap<string, DatabaseRouting> {
    return this.#shared;
  }

  /** The desk of a client; null = its database is a plain entry. `user` = the client's own name. */
  deskFor(database: Database, user: string, applicationName: string): RouteDesk | null {
    const shared = this.sharedOf(database);
    if (shared === null) return null;
    const config = this.#deps.config();
    const settings = routingSettings(config, database.entry, user);
    const route = routeOf(config, database.entry, user, applicationName);
    const rule = route !== routeOf(config, database.entry, user);
    const key = `${database.name}\0${user}\0${route}\0${rule}`;
    let desk = this.#desks.get(key);
    if (desk === undefined) {
      const reason = rule ? reasonId('route rule') : BY_ENTRY[route];
      const balances = route === 'auto' && !settings.routeShadow;
      desk = { shared, settings, route, reason, balances, source: this.source, log: this.log };
      this.#desks.set(key, desk);
    }
    return desk;
  }

  /** What the clients of a database share; null = it belongs to no cluster. */
  sharedOf(database: Database): DatabaseRouting | null {
    const { cluster, dbname } = database.entry;
    if (cluster === null) return null;
    let shared = this.#shared.get(database.name);
    if (shared === undefined) {
      const runtime = this.#deps.runtime(cluster);
      if (runtime === null) return null;
      const settings = routingSettings(this.#deps.config(), database.entry, '');
      shared = {
        runtime,
        dbname,
        classifier: new Classifier({
          cache: this.#deps.facts,
          writeFunctions: settings.writeFunctions,
          readFunctions: settings.readFunctions,
          learned: runtime.learned,
          cluster,
          database: dbname,
        }),
        chooser: new ReadChooser(runtime, settings),
        shadow: new Shadow(),
        written: this.#writtenIn(runtime, dbname),
      };
      this.#shared.set(database.name, shared);
      this.onShared(shared);
      this.source.wantCatalog(cluster, dbname, false);
    }
    return shared;
  }

  /** Gives a classifier made just now what is known of its catalog already; set by the worker. */
  onShared: (shared: DatabaseRouting) => void = () => {};

  /** After RELOAD: function lists, balance and routes may be others. Freshness marks are kept. */
  forget(): void {
    this.#desks.clear();
    this.#shared.clear();
  }

  /** The database is gone, or nobody has used it for long: what was kept for it goes, except a freshness mark. */
  forgetDatabase(name: string): void {
    const shared = this.#shared.get(name);
    this.#shared.delete(name);
    if (shared !== undefined) this.#dropUnwritten(shared);
    for (const key of this.#desks.keys()) if (key.startsWith(`${name}\0`)) this.#desks.delete(key);
  }

  #dropUnwritten({ runtime, dbname, written }: DatabaseRouting): void {
    if (written.mark > 0 || written.waitLsn > 0) return;
    for (const other of this.#shared.values()) if (other.written === written) return;
    this.#written.get(runtime)?.delete(dbname);
  }

  #writtenIn(runtime: ClusterRuntime, dbname: string): DatabaseWrites {
    let databases = this.#written.get(runtime);
    if (databases === undefined) {
      databases = new Map();
      this.#written.set(runtime, databases);
    }
    let written = databases.get(dbname);
    if (written === undefined) {
      written = { mark: 0, waitLsn: 0 };
      databases.set(dbname, written);
    }
    return written;
  }
}
