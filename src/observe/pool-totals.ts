/**
 * The counters and histograms of one (database, user) as one vector of numbers, and the bound on how many of them are
 * shown by name. What is above the bound is summed under `_other`: by differences, so that the sum never goes
 * down when one of its pools goes away (Prometheus would take that for a restart and count everything again).
 */
import { HISTOGRAM_BUCKETS, type Histogram } from '../util/histogram.ts';
import type { PoolCounters, PoolTotals } from './metrics-source.ts';

export const OTHER = '_other';

/** The order of the counters in a vector. */
const COUNTER_KEYS = [
  'serverAssignments',
  'xacts',
  'queries',
  'bytesReceived',
  'bytesSent',
  'xactTimeUs',
  'queryTimeUs',
  'waitTimeUs',
  'clientParses',
  'serverParses',
  'binds',
  'clientLogins',
] as const satisfies readonly (keyof PoolCounters)[];

export type CounterKey = (typeof COUNTER_KEYS)[number];
export type HistogramKey = 'waitUs' | 'xactUs';

/** Buckets (with +Inf), sum, count. */
const HISTOGRAM_WIDTH = HISTOGRAM_BUCKETS + 3;
const AT: Readonly<Record<CounterKey | HistogramKey, number>> = {
  serverAssignments: 0,
  xacts: 1,
  queries: 2,
  bytesReceived: 3,
  bytesSent: 4,
  xactTimeUs: 5,
  queryTimeUs: 6,
  waitTimeUs: 7,
  clientParses: 8,
  serverParses: 9,
  binds: 10,
  clientLogins: 11,
  waitUs: 12,
  xactUs: 12 + HISTOGRAM_WIDTH,
};
const WIDTH = 12 + 2 * HISTOGRAM_WIDTH;

/** The labels of a pool; one object for its life, because prom-client keeps the rendered text by identity. */
export type PoolLabels = {
  readonly database: string;
  readonly user: string;
};

export interface PoolSeries {
  readonly labels: PoolLabels;
  readonly values: Float64Array;
}

export interface HistogramValues {
  /** Not cumulative; the last is +Inf. */
  readonly counts: Float64Array;
  readonly sumUs: number;
  readonly count: number;
}

export function counterOf(series: PoolSeries, key: CounterKey): number {
  return series.values[AT[key]] ?? 0;
}

export function histogramOf(series: PoolSeries, key: HistogramKey): HistogramValues {
  const at = AT[key];
  return {
    counts: series.values.subarray(at, at + HISTOGRAM_BUCKETS + 1),
    sumUs: series.values[at + HISTOGRAM_BUCKETS + 1] ?? 0,
    count: series.values[at + HISTOGRAM_BUCKETS + 2] ?? 0,
  };
}

function putHistogram(values: Float64Array, at: number, histogram: Histogram): void {
  values.set(histogram.counts, at);
  values[at + HISTOGRAM_BUCKETS + 1] = histogram.sumUs;
  values[at + HISTOGRAM_BUCKETS + 2] = histogram.count;
}

function vectorOf(row: PoolTotals): Float64Array {
  const values = new Float64Array(WIDTH);
  for (const key of COUNTER_KEYS) values[AT[key]] = row.counters[key];
  putHistogram(values, AT.waitUs, row.waitUs);
  putHistogram(values, AT.xactUs, row.xactUs);
  return values;
}

/** Adds what `now` has more than `before`; a vector that went down belongs to a pool that was made anew. */
function addGrowth(sum: Float64Array, before: Float64Array | undefined, now: Float64Array): void {
  let base = before;
  for (let i = 0; base !== undefined && i < WIDTH; i++) {
    if ((now[i] ?? 0) < (base[i] ?? 0)) base = undefined;
  }
  for (let i = 0; i < WIDTH; i++) sum[i] = (sum[i] ?? 0) + (now[i] ?? 0) - (base?.[i] ?? 0);
}

/** No name holds a NUL: it ends a string in the startup packet. */
const keyOf = (database: string, user: string): string => `${database}\0${user}`;

/**
 * Decides which (database, user) pairs have lines of their own: the first `max` that were seen, for as long as they
 * exist. A pair that came too late stays in `_other` while it exists, even when a place becomes free.
 */
export class PoolBounds {
  readonly #max: number;
  #named = new Map<string, PoolLabels>();
  #late = new Map<string, Float64Array | undefined>();
  readonly #otherLabels: PoolLabels = { database: OTHER, user: OTHER };
  readonly #otherSum = new Float64Array(WIDTH);
  #otherUsed = false;

  constructor(max: number) {
    this.#max = max;
  }

  /** Takes the pairs of one snapshot; forgets those that are gone. */
  update(totals: readonly PoolTotals[], pools: readonly PoolLabels[]): void {
    const live = new Set<string>();
    for (const row of totals) live.add(keyOf(row.database, row.user));
    for (const row of pools) live.add(keyOf(row.database, row.user));
    for (const key of this.#named.keys()) if (!live.has(key)) this.#named.delete(key);
    for (const key of this.#late.keys()) if (!live.has(key)) this.#late.delete(key);
    for (const row of [...pools, ...totals]) {
      const key = keyOf(row.database, row.user);
      if (this.#named.has(key) || this.#late.has(key)) continue;
      // a database that is really called _other would collide with our own lines
      if (this.#named.size < this.#max && row.database !== OTHER) {
        this.#named.set(key, { database: row.database, user: row.user });
      } else {
        this.#late.set(key, undefined);
      }
    }
  }

  /** The labels under which a pair is shown. */
  labels(database: string, user: string): PoolLabels {
    return this.#named.get(keyOf(database, user)) ?? this.#otherLabels;
  }

  /** One series a named pair, and `_other` once there was a late one. */
  series(totals: readonly PoolTotals[]): PoolSeries[] {
    const out: PoolSeries[] = [];
    for (const [key, values] of sumsByPair(totals)) {
      const labels = this.#named.get(key);
      if (labels !== undefined) {
        out.push({ labels, values });
      } else {
        addGrowth(this.#otherSum, this.#late.get(key), values);
        this.#late.set(key, values);
        this.#otherUsed = true;
      }
    }
    if (this.#otherUsed) out.push({ labels: this.#otherLabels, values: this.#otherSum.slice() });
    return out;
  }
}

/** A pair has a pool on each node of its cluster: one vector for all of them. */
function sumsByPair(totals: readonly PoolTotals[]): Map<string, Float64Array> {
  const sums = new Map<string, Float64Array>();
  for (const row of totals) {
    const key = keyOf(row.database, row.user);
    const values = vectorOf(row);
    const sum = sums.get(key);
    if (sum === undefined) sums.set(key, values);
    else for (let i = 0; i < WIDTH; i++) sum[i] = (sum[i] ?? 0) + (values[i] ?? 0);
  }
  return sums;
}
