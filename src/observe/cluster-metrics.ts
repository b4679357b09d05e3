/** The metrics of clusters and of routing, declared once as those of metrics-table.ts, which takes them in. */
import type { SeriesIn } from './bounded-series.ts';
import type { ClusterSnapshot } from './cluster-snapshot.ts';
import type { LabelValues, NumberMetric, Sample } from './metric-definition.ts';
import { flag, PREFIX } from './metric-definition.ts';
import type { NodeGauges } from './metrics-source.ts';

const NODE = ['cluster', 'node'];

const STATES = ['starting', 'primary', 'replica', 'lagging', 'down', 'detached', 'conflict'] as const;
/** Those in which a node answers its checks. */
const UP: ReadonlySet<string> = new Set(['primary', 'replica', 'lagging']);

/** How the nodes above the bound make one number. */
const FOLD = {
  sum: (values: readonly number[]): number => values.reduce((total, value) => total + value, 0),
  lowest: (values: readonly number[]): number => Math.min(...values),
  highest: (values: readonly number[]): number => Math.max(...values),
};

/** `read` null = not known: no sample. */
function ofNode(
  name: string,
  help: string,
  fold: keyof typeof FOLD,
  read: (node: NodeGauges) => number | null,
): NumberMetric {
  return {
    name: PREFIX + name,
    type: 'gauge',
    help,
    labels: NODE,
    read: ({ cluster }) =>
      cluster.nodes.flatMap(({ labels, nodes }): Sample[] => {
        const values = nodes.map(read).filter((value) => value !== null);
        return values.length === 0 ? [] : [{ labels, value: FOLD[fold](values) }];
      }),
  };
}

function nodeSet(name: string, help: string, label: string, of: SetMembers): NumberMetric {
  const extras = of.map(([value, holds]) => ({ extra: { [label]: value }, holds }));
  return {
    name: PREFIX + name,
    type: 'gauge',
    help,
    labels: [...NODE, label],
    read: ({ cluster }) =>
      cluster.nodes.flatMap(({ labels, nodes }) =>
        extras.map(({ extra, holds }) => ({ labels, extra, value: nodes.filter(holds).length })),
      ),
  };
}

type SetMembers = readonly (readonly [value: string, holds: (node: NodeGauges) => boolean])[];

/** A counter out of column `at` of the series that `of` picks. */
function counted(
  name: string,
  help: string,
  labels: readonly string[],
  of: (cluster: ClusterSnapshot) => readonly SeriesIn[],
  at = 0,
): NumberMetric {
  const labelled = (series: SeriesIn): LabelValues =>
    Object.fromEntries(labels.map((label, i) => [label, series.labels[i] ?? '']));
  return {
    name: PREFIX + name,
    type: 'counter',
    help,
    labels,
    read: ({ cluster }) =>
      of(cluster).map((series) => ({ labels: labelled(series), value: series.values[at] ?? 0 })),
  };
}

function ofCluster(
  name: string,
  help: string,
  fold: keyof typeof FOLD,
  read: (row: {
    readonly primary: string | null;
    readonly eligible: number;
    readonly held: number;
  }) => number,
): NumberMetric {
  return {
    name: PREFIX + name,
    type: 'gauge',
    help,
    labels: ['cluster'],
    read: (snapshot) =>
      [...snapshot.cluster.clusters].map(([cluster, rows]) => ({
        labels: { cluster },
        value: FOLD[fold](rows.map(read)),
      })),
  };
}

const nodeTotals = (cluster: ClusterSnapshot): readonly SeriesIn[] => cluster.nodeTotals;
const shadow = (cluster: ClusterSnapshot): readonly SeriesIn[] => cluster.shadow;

const shadowCount = (name: string, help: string, at: number): NumberMetric =>
  counted(`shadow_${name}_total`, help, ['database'], shadow, at);

export const CLUSTER_METRICS: readonly NumberMetric[] = [
  ofNode(
    'node_up',
    '1 while the node answers its checks (state primary, replica or lagging).',
    'lowest',
    (n) => flag(UP.has(n.state)),
  ),
  nodeSet(
    'node_state',
    '1 for the state that the node is in, 0 for the others; the states of SHOW NODES.',
    'state',
    STATES.map((state) => [state, (n: NodeGauges) => n.state === state] as const),
  ),
  nodeSet('node_role', '1 for the part that the node has in its cluster now, 0 for the other.', 'role', [
    ['primary', (n) => n.state === 'primary'],
    ['standby', (n) => n.state === 'replica' || n.state === 'lagging'],
  ]),
  ofNode('node_weight', 'Weight in force, from the file or SET WEIGHT.', 'sum', (n) => n.weight),
  ofNode('node_lag_seconds', 'How far a replica is behind; absent when not known.', 'highest', (n) =>
    n.lagMs === null ? null : n.lagMs / 1000,
  ),
  ofNode(
    'node_lag_bytes',
    'WAL that a replica has not replayed yet; absent when not known.',
    'highest',
    (n) => n.lagBytes,
  ),
  ofNode('node_timeline', 'Timeline that the node is on; 0 = not known.', 'highest', (n) => n.timeline),
  ofNode('node_in_flight', 'Statements and transactions that run there now.', 'sum', (n) => n.inFlight),
  ofNode('node_banned', '1 while the node gets no reads because a connection to it failed.', 'sum', (n) =>
    flag(n.banned),
  ),
  counted('node_reads_total', 'Reads sent to the node.', NODE, nodeTotals, 0),
  counted('node_writes_total', 'Writes sent to the node.', NODE, nodeTotals, 1),
  counted(
    'node_slow_checks_total',
    'Checks that timed out while queries of clients on the node still finished.',
    NODE,
    nodeTotals,
    2,
  ),
  ofCluster('cluster_primary_known', '1 while the cluster has a usable primary.', 'lowest', (row) =>
    flag(row.primary !== null),
  ),
  ofCluster('cluster_eligible_replicas', 'Replicas that take reads now.', 'sum', (row) => row.eligible),
  ofCluster('cluster_held_clients', 'Clients that wait for a primary.', 'sum', (row) => row.held),
  counted(
    'route_decisions_total',
    'Decisions where a statement goes; reason as in SHOW ROUTES.',
    ['cluster', 'class', 'reason', 'node'],
    (cluster) => cluster.decisions,
  ),
  {
    name: `${PREFIX}learned_statements`,
    type: 'gauge',
    help: 'Statements known as writes because a replica has refused them (SHOW LEARNED).',
    labels: ['cluster'],
    read: ({ cluster: { learned } }) =>
      [...learned].map(([cluster, value]) => ({ labels: { cluster }, value })),
  },
  shadowCount('units', 'Units (statements, batches, transactions) of a database with route_shadow.', 0),
  shadowCount('reads', 'Of those, the ones that only read.', 1),
  shadowCount('would_replica', 'Reads that would have gone to a replica.', 2),
  shadowCount('would_stale', 'Reads that no replica could have answered freshly enough.', 3),
  shadowCount('writes', 'Units that may write.', 4),
];
