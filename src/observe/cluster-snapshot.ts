/** The clusters in one snapshot of the metrics: rows under their labels, bounded as the pools are. */
import type { SeriesIn } from './bounded-series.ts';
import { BoundedSeries } from './bounded-series.ts';
import type { ClusterGauges, MetricsSource, NodeGauges } from './metrics-source.ts';
import { OTHER } from './pool-totals.ts';

export interface NodeLabels extends Readonly<Record<string, string>> {
  readonly cluster: string;
  readonly node: string;
}

/** The nodes that share one pair of labels: one, but for `_other`. */
export interface NodeGaugeRow {
  readonly labels: NodeLabels;
  readonly nodes: readonly NodeGauges[];
}

export interface ClusterSnapshot {
  readonly nodes: readonly NodeGaugeRow[];
  /** Labels cluster, node; values reads, writes, slow checks. */
  readonly nodeTotals: readonly SeriesIn[];
  /** Keyed by label: a cluster, or `_other`. */
  readonly clusters: ReadonlyMap<string, readonly ClusterGauges[]>;
  /** Statements learned, by cluster. */
  readonly learned: ReadonlyMap<string, number>;
  /** Label database; values units, reads, would go to a replica, would be stale, writes. */
  readonly shadow: readonly SeriesIn[];
  /** Labels cluster, class, reason, node; one value. */
  readonly decisions: readonly SeriesIn[];
}

/** A decision has four labels: more series of it are shown than of anything else. */
const DECISIONS_PER_LABEL = 10;

/** Takes the snapshots of one process; it remembers which labels were given out. */
export class ClusterSnapshots {
  readonly #source: MetricsSource;
  readonly #max: number;
  readonly #nodeTotals: BoundedSeries;
  readonly #shadow: BoundedSeries;
  readonly #decisions: BoundedSeries;

  constructor(source: MetricsSource, maxLabels: number) {
    this.#source = source;
    this.#max = maxLabels;
    this.#nodeTotals = new BoundedSeries(maxLabels);
    this.#shadow = new BoundedSeries(maxLabels);
    this.#decisions = new BoundedSeries(maxLabels * DECISIONS_PER_LABEL);
  }

  take(): ClusterSnapshot {
    const source = this.#source;
    const nodes = source.nodes();
    const totals = nodes.map((n) => ({
      labels: [n.cluster, n.name],
      values: [n.reads, n.writes, n.slowChecks],
    }));
    const shadow = source.shadow().map((s) => ({
      labels: [s.database],
      values: [s.units, s.reads, s.wouldReplica, s.wouldStale, s.writes],
    }));
    const decisions = source.decisions().map((d) => ({
      labels: [d.cluster, d.class, d.reason, d.node],
      values: [d.count],
    }));
    const clusters = source.clusters();
    const labels = this.#labels(clusters.map((row) => row.name));
    return {
      nodes: this.#nodeRows(nodes),
      nodeTotals: this.#nodeTotals.take(totals, [OTHER, OTHER]),
      clusters: grouped(clusters, (row) => labels.get(row.name) ?? OTHER),
      learned: this.#learned(labels),
      shadow: this.#shadow.take(shadow, [OTHER]),
      decisions: this.#decisions.take(decisions, [OTHER, OTHER, OTHER, OTHER]),
    };
  }

  /** Gauges only, so the bound may be by order: nothing has to stay monotonic. */
  #labels(names: readonly string[]): Map<string, string> {
    return new Map(names.map((name, i) => [name, i < this.#max && name !== OTHER ? name : OTHER]));
  }

  #nodeRows(nodes: readonly NodeGauges[]): NodeGaugeRow[] {
    const rows: NodeGaugeRow[] = [];
    const rest: NodeGauges[] = [];
    for (const node of nodes) {
      if (rows.length < this.#max && node.cluster !== OTHER) {
        rows.push({ labels: { cluster: node.cluster, node: node.name }, nodes: [node] });
      } else {
        rest.push(node);
      }
    }
    if (rest.length > 0) rows.push({ labels: { cluster: OTHER, node: OTHER }, nodes: rest });
    return rows;
  }

  /** A cluster that has learned nothing shows 0. */
  #learned(labels: ReadonlyMap<string, string>): Map<string, number> {
    const out = new Map([...labels.values()].map((label) => [label, 0]));
    for (const { cluster } of this.#source.learned()) {
      const label = labels.get(cluster) ?? OTHER;
      out.set(label, (out.get(label) ?? 0) + 1);
    }
    return out;
  }
}

function grouped<T>(rows: readonly T[], labelOf: (row: T) => string): Map<string, T[]> {
  const out = new Map<string, T[]>();
  for (const row of rows) {
    const label = labelOf(row);
    const group = out.get(label);
    if (group === undefined) out.set(label, [row]);
    else group.push(row);
  }
  return out;
}
