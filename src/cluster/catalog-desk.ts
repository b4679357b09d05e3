/**
 * When catalogs are loaded: at once when a database is used for the first time or DDL has passed, then every minute; one
 * load at a time for each database.
 */
import type { ClusterSink } from '../control/cluster-port.ts';
import type { Log } from '../util/log.ts';
import { loadCatalog } from './catalog.ts';
import type { MonitorDeps, MonitorTarget } from './monitor-connection.ts';

/** A catalog is loaded again after this. */
const AGE_MS = 60_000;
const RETRY_MS = 5_000;
const MAX_RETRY_MS = 60_000;
/** With a `*` database clients name what they like: so many that could not be loaded are remembered. */
const MAX_FAILING = 200;
const TIMEOUT_MS = 30_000;

interface Known {
  running: boolean;
  /** Asked for while a load was running: that one may have been too early. */
  again: boolean;
  loadedMs: number;
  nextMs: number;
  /** Grows with every failure in a row. */
  retryMs: number;
  failure: string;
  /** It was told that there is none. */
  toldNone: boolean;
}

export class CatalogDesk {
  readonly #cluster: string;
  readonly #sink: Pick<ClusterSink, 'onCatalog'>;
  readonly #log: Log;
  readonly #deps: MonitorDeps;
  readonly #target: (dbname: string) => MonitorTarget | null;
  readonly #known = new Map<string, Known>();
  #version = 0;
  #stopped = false;
  #timer: NodeJS.Timeout | null = null;

  /** `target`: where the primary's database is; null = there is no primary now. */
  constructor(
    cluster: string,
    sink: Pick<ClusterSink, 'onCatalog'>,
    log: Log,
    deps: MonitorDeps,
    target: (dbname: string) => MonitorTarget | null,
  ) {
    this.#cluster = cluster;
    this.#sink = sink;
    this.#log = log;
    this.#deps = deps;
    this.#target = target;
  }

  /** `fresh` = load again, even if it is known. */
  want(dbname: string, fresh: boolean): void {
    if (this.#stopped) return;
    const nowMs = this.#deps.clock.now();
    let known = this.#known.get(dbname);
    if (known === undefined) {
      this.#makeRoom();
      known = {
        running: false,
        again: false,
        loadedMs: 0,
        nextMs: nowMs,
        retryMs: RETRY_MS,
        failure: '',
        toldNone: false,
      };
      this.#known.set(dbname, known);
    }
    if (fresh) known.nextMs = nowMs;
    if (known.running) known.again ||= fresh;
    else if (known.nextMs <= nowMs) this.#load(dbname, known);
    this.#timer ??= setInterval(() => this.#sweep(), 1_000);
  }

  /** There is a primary (again): what waited for one is loaded now. */
  retry(): void {
    const nowMs = this.#deps.clock.now();
    for (const [dbname, known] of this.#known) {
      if (known.loadedMs === 0 && !known.running) {
        known.nextMs = nowMs;
        this.#load(dbname, known);
      }
    }
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #sweep(): void {
    const nowMs = this.#deps.clock.now();
    for (const [dbname, known] of this.#known) {
      if (!known.running && known.nextMs <= nowMs) this.#load(dbname, known);
    }
  }

  /** Forgets the oldest of those that never could be loaded, when there are too many. */
  #makeRoom(): void {
    const failing = [...this.#known].filter(([, known]) => known.loadedMs === 0 && !known.running);
    const [oldest] = failing;
    if (oldest !== undefined && failing.length >= MAX_FAILING) this.#known.delete(oldest[0]);
  }

  #load(dbname: string, known: Known): void {
    const target = this.#target(dbname);
    if (target === null) {
      known.nextMs = this.#deps.clock.now() + RETRY_MS;
      return;
    }
    known.running = true;
    known.again = false;
    loadCatalog(target, this.#deps, TIMEOUT_MS, ++this.#version)
      .then(
        (facts) => {
          if (this.#stopped) return;
          if (known.failure !== '')
            this.#log.log(`cluster ${this.#cluster}: the catalog of "${dbname}" is known again`);
          known.failure = '';
          known.retryMs = RETRY_MS;
          known.toldNone = false;
          known.loadedMs = this.#deps.clock.now();
          known.nextMs = known.loadedMs + AGE_MS;
          this.#sink.onCatalog(this.#cluster, dbname, facts);
        },
        (error: unknown) => this.#failed(dbname, known, error),
      )
      .finally(() => {
        known.running = false;
        if (known.again && !this.#stopped) this.#load(dbname, known);
      });
  }

  #failed(dbname: string, known: Known, error: unknown): void {
    if (this.#stopped) return;
    const text = error instanceof Error ? error.message : String(error);
    if (known.failure !== text) {
      this.#log.warning(
        `cluster ${this.#cluster}: cannot load the catalog of "${dbname}", its functions count as writes: ${text}`,
      );
    }
    known.failure = text;
    known.nextMs = this.#deps.clock.now() + known.retryMs;
    known.retryMs = Math.min(known.retryMs * 2, MAX_RETRY_MS);
    // an older one stays in use: functions change seldom
    if (known.loadedMs === 0 && !known.toldNone) {
      known.toldNone = true;
      this.#sink.onCatalog(this.#cluster, dbname, null);
    }
  }
}
