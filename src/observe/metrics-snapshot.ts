/** One consistent look at the data plane, from which every metric of a scrape is computed. Plain values. */
import { countsByReason } from './close-reasons.ts';
import { type ClusterSnapshot, ClusterSnapshots } from './cluster-snapshot.ts';
import type { DatabaseGauges, MetricsSource, PoolGauges, SocketLists } from './metrics-source.ts';
import { OTHER, PoolBounds, type PoolLabels, type PoolSeries } from './pool-totals.ts';

/** Sums of the pools that share one pair of labels. */
export interface PoolGaugeRow {
  readonly labels: PoolLabels;
  readonly pools: readonly PoolGauges[];
  /** Servers that these pools may have together. */
  readonly poolSize: number;
}

export interface MetricsSnapshot {
  readonly version: string;
  readonly healthy: boolean;
  readonly shuttingDown: boolean;
  readonly paused: boolean;
  readonly suspended: boolean;
  readonly lists: SocketLists;
  readonly pools: readonly PoolGaugeRow[];
  readonly totals: readonly PoolSeries[];
  /** Keyed by label: a database, or `_other`. */
  readonly databases: ReadonlyMap<string, readonly DatabaseGauges[]>;
  /** Limits of the configuration that are plain numbers. */
  readonly limits: ReadonlyMap<string, number>;
  readonly closes: ReadonlyMap<string, number>;
  readonly droppedLogLines: number;
  readonly cluster: ClusterSnapshot;
}

const LIMITS = [
  'max_client_conn',
  'default_pool_size',
  'min_pool_size',
  'reserve_pool_size',
  'max_db_connections',
  'max_db_client_connections',
  'max_user_connections',
  'max_user_client_connections',
  'max_prepared_statements',
];

function limitsOf(source: MetricsSource): Map<string, number> {
  const out = new Map<string, number>();
  const rows = new Map(source.config().map((row) => [row.key, row.value]));
  for (const key of LIMITS) {
    const value = rows.get(key);
    if (value !== undefined && value !== null && /^\d+$/.test(value)) out.set(key, Number(value));
  }
  return out;
}

/** Takes the snapshots of one process; it remembers which labels were given out. */
export class MetricsSnapshots {
  readonly #source: MetricsSource;
  readonly #version: string;
  readonly #max: number;
  readonly #bounds: PoolBounds;
  readonly #clusters: ClusterSnapshots;

  constructor(source: MetricsSource, version: string, maxLabels: number) {
    this.#source = source;
    this.#version = version;
    this.#max = maxLabels;
    this.#bounds = new PoolBounds(maxLabels);
    this.#clusters = new ClusterSnapshots(source, maxLabels);
  }

  take(): MetricsSnapshot {
    const source = this.#source;
    const state = source.state();
    const pools = source.pools();
    const totals = source.metrics();
    const databases = source.databases();
    this.#bounds.update(totals, pools);
    return {
      version: this.#version,
      healthy: source.healthy(),
      shuttingDown: source.isShuttingDown(),
      paused: state.paused,
      suspended: state.suspended,
      lists: source.lists(),
      pools: this.#poolRows(pools, databases),
      totals: this.#bounds.series(totals),
      databases: this.#databaseRows(databases),
      limits: limitsOf(source),
      closes: countsByReason(source.errorCounts(), this.#max),
      droppedLogLines: source.droppedLogLines(),
      cluster: this.#clusters.take(),
    };
  }

  #poolRows(pools: readonly PoolGauges[], databases: readonly DatabaseGauges[]): PoolGaugeRow[] {
    const ofDatabase = new Map(databases.map((row) => [row.name, row.poolSize]));
    const ofUser = new Map(this.#source.users().map((row) => [row.name, row.poolSize]));
    const groups = new Map<PoolLabels, { pools: PoolGauges[]; poolSize: number }>();
    for (const pool of pools) {
      const labels = this.#bounds.labels(pool.database, pool.user);
      const group = groups.get(labels) ?? { pools: [], poolSize: 0 };
      group.pools.push(pool);
      // a user's own pool_size goes before the database's
      group.poolSize += ofUser.get(pool.user) ?? ofDatabase.get(pool.database) ?? 0;
      groups.set(labels, group);
    }
    return [...groups].map(([labels, group]) => ({ labels, ...group }));
  }

  /** Gauges only, so the bound may be by order of the rows: nothing has to stay monotonic. */
  #databaseRows(databases: readonly DatabaseGauges[]): Map<string, DatabaseGauges[]> {
    const out = new Map<string, DatabaseGauges[]>();
    let named = 0;
    for (const row of databases) {
      const label = named < this.#max && row.name !== OTHER ? row.name : OTHER;
      if (label !== OTHER) named += 1;
      const rows = out.get(label);
      if (rows === undefined) out.set(label, [row]);
      else rows.push(row);
    }
    return out;
  }
}
