/** What a metric is: the shape of the rows of metrics-table.ts and cluster-metrics.ts. */
import type { MetricsSnapshot } from './metrics-snapshot.ts';
import type { HistogramValues } from './pool-totals.ts';

export type LabelValues = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels: LabelValues;
  /** Added to `labels`, for samples that share one labels object. */
  readonly extra?: LabelValues;
  readonly value: number;
}

interface Common {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
}
export interface NumberMetric extends Common {
  readonly type: 'counter' | 'gauge';
  read(snapshot: MetricsSnapshot): Sample[];
}
export interface HistogramMetric extends Common {
  readonly type: 'histogram';
  /** Values are microseconds; they are shown as seconds. */
  read(snapshot: MetricsSnapshot): { readonly labels: LabelValues; readonly values: HistogramValues }[];
}
export type MetricDefinition = NumberMetric | HistogramMetric;

export const PREFIX = 'pgconcierge_';

export const flag = (value: boolean): number => (value ? 1 : 0);
