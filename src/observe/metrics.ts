/**
 * The metrics as text: prom-client renders, the numbers come from a snapshot of the data plane taken at the scrape. The
 * text is kept for a second, scrapes at the same time share one rendering, and the loop is let go between the
 * families, so that a scrape of many pools does not hold up queries.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { collectDefaultMetrics, type Metric, type OpenMetricsContentType, Registry } from 'prom-client';
import { type Clock, SYSTEM_CLOCK } from '../util/clock.ts';
import { bucketBoundUs, HISTOGRAM_BUCKETS } from '../util/histogram.ts';
import type { LabelValues, MetricDefinition } from './metric-definition.ts';
import { type MetricsSnapshot, MetricsSnapshots } from './metrics-snapshot.ts';
import type { MetricsSource } from './metrics-source.ts';
import { METRICS } from './metrics-table.ts';
import type { HistogramValues } from './pool-totals.ts';

export type MetricsFormat = 'text' | 'openmetrics';

export interface MetricsOptions {
  /** The ControlPort. */
  readonly source: MetricsSource;
  /** Of the program, for build_info. */
  readonly version: string;
  /** Pairs of (database, user), databases, close reasons, nodes … shown by name; the rest is `_other`. Default 100. */
  readonly maxLabels?: number;
  /** Memory, CPU, event loop, garbage collection. Default true; they keep observers for the life of the process. */
  readonly processMetrics?: boolean;
  readonly clock?: Clock;
}

export interface Metrics {
  /** The exposition, at most a second old. Rejects when the data plane throws. */
  render(format: MetricsFormat): Promise<{ readonly contentType: string; readonly body: string }>;
}

const DEFAULT_MAX_LABELS = 100;
const CACHE_MS = 1000;
/** Bounds below this are of no use to anybody (16 µs) and cost lines. */
const FIRST_BUCKET = 4;

/** A value as prom-client's renderer takes it; the text of `sharedLabels` is cached by the object's identity. */
interface RenderedValue {
  readonly metricName?: string;
  readonly labels: LabelValues;
  readonly sharedLabels?: LabelValues;
  readonly value: number;
}
interface RenderedFamily {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly values: readonly RenderedValue[];
}

interface Rendering {
  readonly atMs: number;
  readonly snapshot: MetricsSnapshot;
  done: boolean;
  body: Promise<string>;
}

const BUCKET_LABELS: readonly LabelValues[] = Array.from({ length: HISTOGRAM_BUCKETS + 1 }, (_, i) => ({
  le: i === HISTOGRAM_BUCKETS ? '+Inf' : String(bucketBoundUs(i) / 1e6),
}));
const NONE: LabelValues = {};

function histogramLines(
  name: string,
  labels: LabelValues,
  { counts, sumUs, count }: HistogramValues,
): RenderedValue[] {
  const lines: RenderedValue[] = [];
  let cumulative = 0;
  BUCKET_LABELS.forEach((le, i) => {
    cumulative += counts[i] ?? 0;
    if (i >= FIRST_BUCKET) {
      lines.push({ metricName: `${name}_bucket`, labels: le, sharedLabels: labels, value: cumulative });
    }
  });
  lines.push({ metricName: `${name}_sum`, labels: NONE, sharedLabels: labels, value: sumUs / 1e6 });
  lines.push({ metricName: `${name}_count`, labels: NONE, sharedLabels: labels, value: count });
  return lines;
}

/** OpenMetrics names the family without `_total`; prom-client adds it to the samples again. */
function familyName(name: string, type: string, format: MetricsFormat): string {
  return format === 'openmetrics' && type === 'counter' ? name.replace(/_total$/, '') : name;
}

function renderFamily(
  metric: MetricDefinition,
  snapshot: MetricsSnapshot,
  format: MetricsFormat,
): RenderedFamily {
  const { name, help, type } = metric;
  const values: RenderedValue[] = [];
  if (metric.type === 'histogram') {
    for (const row of metric.read(snapshot)) values.push(...histogramLines(name, row.labels, row.values));
  } else {
    for (const row of metric.read(snapshot)) {
      values.push({ labels: row.extra ?? NONE, sharedLabels: row.labels, value: row.value });
    }
  }
  return { name: familyName(name, type, format), help, type, values };
}

/**
 * prom-client takes any object with these fields as a metric (that is how own buckets are rendered), its types only
 * know its own classes.
 */
function asMetric(name: string, get: () => RenderedFamily | Promise<RenderedFamily>): Metric<string> {
  return { name, get } as unknown as Metric<string>;
}

class RegistryMetrics implements Metrics {
  readonly #clock: Clock;
  readonly #snapshots: MetricsSnapshots;
  readonly #process: Registry | null;
  readonly #registries: Readonly<Record<MetricsFormat, Registry | Registry<OpenMetricsContentType>>>;
  readonly #renderings = new Map<MetricsFormat, Rendering>();
  #snapshot: { readonly atMs: number; readonly value: MetricsSnapshot } | null = null;

  constructor(options: MetricsOptions) {
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    const maxLabels = options.maxLabels ?? DEFAULT_MAX_LABELS;
    this.#snapshots = new MetricsSnapshots(options.source, options.version, maxLabels);
    this.#process = options.processMetrics === false ? null : processRegistry();
    const open = new Registry<OpenMetricsContentType>();
    open.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
    this.#registries = { text: new Registry(), openmetrics: open };
    this.#register('text');
    this.#register('openmetrics');
  }

  async render(format: MetricsFormat): Promise<{ readonly contentType: string; readonly body: string }> {
    const nowMs = this.#clock.now();
    let rendering = this.#renderings.get(format);
    if (rendering === undefined || (rendering.done && nowMs - rendering.atMs >= CACHE_MS)) {
      rendering = this.#start(format, nowMs);
    }
    return { contentType: this.#registries[format].contentType, body: await rendering.body };
  }

  #start(format: MetricsFormat, nowMs: number): Rendering {
    const snapshot = this.#look(nowMs);
    const rendering: Rendering = { atMs: nowMs, snapshot, done: false, body: Promise.resolve('') };
    this.#renderings.set(format, rendering);
    rendering.body = this.#write(format).then(
      (text) => {
        rendering.done = true;
        return text;
      },
      (error: unknown) => {
        // a failure is for those who asked, not for a whole second
        this.#renderings.delete(format);
        throw error;
      },
    );
    return rendering;
  }

  async #write(format: MetricsFormat): Promise<string> {
    const registry = this.#registries[format];
    let text = '';
    for (const { name } of registry.getMetricsAsArray()) {
      text += `${await registry.getSingleMetricAsString(name)}\n`;
      await nextTurn();
    }
    return format === 'openmetrics' ? `${text}# EOF\n` : text;
  }

  /** Both formats of one moment come from one snapshot. */
  #look(nowMs: number): MetricsSnapshot {
    if (this.#snapshot === null || nowMs - this.#snapshot.atMs >= CACHE_MS) {
      this.#snapshot = { atMs: nowMs, value: this.#snapshots.take() };
    }
    return this.#snapshot.value;
  }

  #register(format: MetricsFormat): void {
    const registry = this.#registries[format];
    for (const metric of METRICS) {
      registry.registerMetric(
        asMetric(metric.name, () => {
          const snapshot = this.#renderings.get(format)?.snapshot ?? this.#look(this.#clock.now());
          return renderFamily(metric, snapshot, format);
        }),
      );
    }
    const processMetrics = this.#process;
    if (processMetrics === null) return;
    for (const { name, type } of processMetrics.getMetricsAsArray() as unknown as RenderedFamily[]) {
      registry.registerMetric(
        asMetric(name, async () => {
          const metric = processMetrics.getSingleMetric(name) as unknown as {
            get(): Promise<RenderedFamily>;
          };
          const family = await metric.get();
          return { ...family, name: familyName(name, type, format) };
        }),
      );
    }
  }
}

/** prom-client's default metrics, without those that list every socket of the process at each scrape. */
function processRegistry(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const { name } of registry.getMetricsAsArray()) {
    if (/^nodejs_active_/.test(name)) registry.removeSingleMetric(name);
  }
  return registry;
}

/** Builds the registries; nothing is read before the first `render`. Called once by the supervisor. */
export function createMetrics(options: MetricsOptions): Metrics {
  return new RegistryMetrics(options);
}
