/** SHOW NODES, POOL_NODES (pgpool's table) and CLUSTER (repmgr's): the servers of the clusters and what is known of each. */
import type { NodeRow } from '../control/cluster-port.ts';
import { localTime } from './local-time.ts';
import type { Environment } from './outcome.ts';
import type { Field } from './view.ts';
import { field, view } from './view.ts';

interface Entry {
  /** Counts from 0, as pgpool's. */
  readonly id: number;
  readonly node: NodeRow;
  readonly isPrimary: boolean;
  /** Name of the node that it follows, else its address. */
  readonly upstream: string;
}

export const NODE_STATES: Readonly<Record<string, string>> = {
  starting: 'not checked yet since the start or since it was added',
  primary: 'the primary: takes writes, and reads as read_from_primary says',
  replica: 'follows the primary and takes reads',
  lagging:
    'follows the primary too far behind (max_lag, max_lag_bytes) or not at all, or its warmup_query runs: no reads until recover_lag',
  down: 'does not answer: last_error says why',
  detached: 'taken out by hand: DETACH or DRAIN, until ATTACH',
  conflict: 'accepts writes beside the primary, or belongs to another cluster: gets nothing',
};

/** pgpool's words; what detaches a node by hand leaves it `down` there too. */
const STATUS_OF: Readonly<Record<string, string>> = {
  starting: 'waiting',
  primary: 'up',
  replica: 'up',
  lagging: 'up',
  down: 'down',
  detached: 'down',
  conflict: 'quarantine',
};

const STATUSES = {
  up: 'it answers its checks (state primary, replica or lagging)',
  waiting: 'not checked yet (state starting)',
  down: 'it does not answer or was detached by hand (state down or detached)',
  quarantine: 'it must not be used (state conflict)',
};

const ROLES = {
  primary:
    'the primary of its cluster; without a usable one, the node that was writable when it was last heard of',
  standby: 'any other node',
};

const YES_NO = { 0: 'no', 1: 'yes' };

/**
 * The one node per cluster that is called its primary: the one in that state, else the one that last said that it is
 * not in recovery, on the newest timeline.
 */
function primaries(nodes: readonly NodeRow[]): Set<NodeRow> {
  const best = new Map<string, NodeRow>();
  const rank = (node: NodeRow): number => (node.state === 'primary' ? Number.MAX_VALUE : node.timeline);
  for (const node of nodes) {
    const wasWritable = !node.readOnly && node.timeline > 0 && node.state !== 'conflict';
    if (node.state !== 'primary' && !wasWritable) continue;
    const known = best.get(node.cluster);
    if (known === undefined || rank(node) > rank(known)) best.set(node.cluster, node);
  }
  return new Set(best.values());
}

/** `host:port` of the upstream by the name of the node there, when it is one of the cluster. */
function upstreamName(node: NodeRow, nodes: readonly NodeRow[]): string {
  const at = nodes.find((n) => n.cluster === node.cluster && `${n.host}:${n.port}` === node.upstream);
  return at?.name ?? node.upstream;
}

function entries(env: Environment): Entry[] {
  const nodes = env.port.nodes();
  const primary = primaries(nodes);
  return nodes.map((node, id) => ({
    id,
    node,
    isPrimary: primary.has(node),
    upstream: upstreamName(node, nodes),
  }));
}

const seconds = (ms: number | null): string | null => (ms === null ? null : (ms / 1000).toFixed(3));

const POOL_NODE_FIELDS: readonly Field<Entry>[] = [
  field('node_id', 'int4', 'Number of the node, from 0, in the order of the configuration.', (e) => e.id),
  field('hostname', 'text', 'Host of the node; empty = the unix socket directory.', (e) => e.node.host),
  field('port', 'int4', 'Port of the node.', (e) => e.node.port),
  field(
    'status',
    'text',
    'Whether it can be used, in the words of pgpool; `state` of SHOW NODES says more.',
    (e) => STATUS_OF[e.node.state] ?? e.node.state,
    STATUSES,
  ),
  field(
    'lb_weight',
    'numeric',
    'Share of the reads that its weight gives it, 0 to 1. SHOW NODES has the weight itself as `weight`.',
    (e) => e.node.share.toFixed(6),
  ),
  field('role', 'text', 'Its part in the cluster.', (e) => (e.isPrimary ? 'primary' : 'standby'), ROLES),
  field('select_cnt', 'int8', 'Reads sent there since the start.', (e) => e.node.reads),
  field(
    'load_balance_node',
    'text',
    'Whether the next read would go there.',
    (e) => (e.node.nextRead ? 'true' : 'false'),
    { true: 'it would', false: 'it would not' },
  ),
  field(
    'replication_delay',
    'int8',
    'Bytes of WAL that it has not replayed yet; 0 on the primary and when it is not known (lag_bytes is NULL then).',
    (e) => e.node.lagBytes ?? 0,
  ),
];

const MORE_FIELDS: readonly Field<Entry>[] = [
  field('cluster', 'text', 'Cluster that it belongs to.', (e) => e.node.cluster),
  field(
    'name',
    'text',
    'Name of the node; DETACH, ATTACH, DRAIN and SET WEIGHT take it.',
    (e) => e.node.name,
  ),
  field('zone', 'text', 'zone of the node; empty = none.', (e) => e.node.zone),
  field('state', 'text', 'What it is used for now.', (e) => e.node.state, NODE_STATES),
  field('lag_bytes', 'int8', 'Bytes of WAL not replayed yet; NULL = not known.', (e) => e.node.lagBytes),
  field('lag_seconds', 'numeric', 'How far behind it is in time; NULL = not known.', (e) =>
    seconds(e.node.lagMs),
  ),
  field('timeline', 'int4', 'Timeline that it is on; 0 = not known.', (e) => e.node.timeline),
  field(
    'sync_state',
    'text',
    'sync_state in pg_stat_replication of the primary; empty = it is not seen there.',
    (e) => e.node.syncState,
    {
      async: 'commits do not wait for it',
      potential: 'becomes synchronous when another one fails',
      sync: 'commits wait for it',
      quorum: 'commits wait for some of those in the quorum',
    },
  ),
  field(
    'upstream',
    'text',
    'Node (or address) that it receives WAL from; empty = from none.',
    (e) => e.upstream,
  ),
  field(
    'override',
    'text',
    'What was changed by hand and is still in force; empty = nothing.',
    (e) => e.node.override,
    { detached: 'DETACH or DRAIN; ATTACH ends it', weight: 'SET WEIGHT' },
  ),
  field(
    'written_lsn',
    'text',
    'On a primary the end of its WAL, on a replica what it has received.',
    (e) => e.node.writtenLsn,
  ),
  field('replayed_lsn', 'text', 'On a replica what it has replayed.', (e) => e.node.replayedLsn),
  field(
    'in_flight',
    'int4',
    'Units (statements or transactions) that run there now.',
    (e) => e.node.inFlight,
  ),
  field(
    'service_us',
    'int8',
    'Moving average of the time that a unit takes there, in microseconds.',
    (e) => e.node.serviceUs,
  ),
  field('reads', 'int8', 'Reads sent there since the start.', (e) => e.node.reads),
  field('writes', 'int8', 'Writes sent there since the start.', (e) => e.node.writes),
  field(
    'slow_checks',
    'int8',
    'Checks that timed out while queries of clients still finished: slow, not down.',
    (e) => e.node.slowChecks,
  ),
  field(
    'banned',
    'int4',
    'Gets no reads for ban_time, because a connection to it failed.',
    (e) => (e.node.banned ? 1 : 0),
    YES_NO,
  ),
  field('since', 'text', 'Since when it is in this state (local time).', (e) => localTime(e.node.sinceAt)),
  field('last_check', 'text', 'When it was last checked; empty = never.', (e) =>
    localTime(e.node.lastCheckAt),
  ),
  field(
    'last_error',
    'text',
    'Why it is lagging or in conflict, else the text of its last failed check; empty = none failed.',
    (e) => e.node.lastError,
  ),
  field('last_error_time', 'text', 'When a check failed last.', (e) => localTime(e.node.lastErrorAt)),
  field('system_id', 'text', 'System identifier of PostgreSQL; empty = not known.', (e) => e.node.systemId),
  field('weight', 'numeric', 'Weight in force, from [nodes] or SET WEIGHT; 0 = no reads.', (e) =>
    plainNumber(e.node.weight),
  ),
  field(
    'streaming',
    'int4',
    'Its walreceiver runs and is on the timeline of the primary.',
    (e) => (e.node.streaming ? 1 : 0),
    YES_NO,
  ),
];

/** Without an exponent, which numeric in binary could not take: 0.0000001 is 0. */
function plainNumber(value: number): string {
  return value.toFixed(6).replace(/\.?0+$/, '');
}

export const NODES = view<Entry>({
  name: 'NODES',
  doc: 'One row for each node of each cluster. The first nine columns are those of pgpool (SHOW POOL_NODES).',
  source: entries,
  fields: [...POOL_NODE_FIELDS, ...MORE_FIELDS],
});

export const POOL_NODES = view<Entry>({
  name: 'POOL_NODES',
  doc: 'As NODES, with the columns of pgpool only.',
  source: entries,
  fields: POOL_NODE_FIELDS,
});

const REPMGR_ROLES = {
  '* master': 'the primary',
  '  standby': 'a node in recovery, or one that was detached by hand',
  '  FAILED': 'down, or in conflict with the primary',
  '  unknown': 'not checked yet',
};

function repmgrRole({ node }: Entry): keyof typeof REPMGR_ROLES {
  if (node.state === 'primary') return '* master';
  if (node.state === 'down' || node.state === 'conflict') return '  FAILED';
  return node.state === 'starting' ? '  unknown' : '  standby';
}

/** As libpq reads it. */
function connectionString({ node }: Entry): string {
  const host = /[\s'\\]/.test(node.host) ? `'${node.host.replace(/['\\]/g, '\\$&')}'` : node.host;
  return host === '' ? `port=${node.port}` : `host=${host} port=${node.port}`;
}

export const CLUSTER = view<Entry>({
  name: 'CLUSTER',
  doc: 'As `repmgr cluster show`: one row for each node.',
  source: entries,
  fields: [
    field('Role', 'text', 'Its part in the cluster.', repmgrRole, REPMGR_ROLES),
    field('Name', 'text', 'Name of the node.', (e) => e.node.name),
    field(
      'Upstream',
      'text',
      'Node (or address) that it receives WAL from; empty = from none.',
      (e) => e.upstream,
    ),
    field('Connection String', 'text', 'Where it is, as libpq takes it.', connectionString),
  ],
});
