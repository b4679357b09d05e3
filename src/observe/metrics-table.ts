/**
 * Every metric of our own, declared once: name, type, help, labels, and how it is read from a snapshot. The exposition
 * (metrics.ts) and docs/metrics.md (metrics-document.ts) come from this table.
 */

import { CLUSTER_METRICS } from './cluster-metrics.ts';
import type { HistogramMetric, LabelValues, MetricDefinition, NumberMetric } from './metric-definition.ts';
import { flag, PREFIX } from './metric-definition.ts';
import type { MetricsSnapshot } from './metrics-snapshot.ts';
import type { DatabaseGauges, PoolGauges } from './metrics-source.ts';
import { type CounterKey, counterOf, type HistogramKey, histogramOf } from './pool-totals.ts';

const NO_LABELS: LabelValues = {};
const POOL = ['database', 'user'];

const sum = <T>(rows: readonly T[], read: (row: T) => number): number =>
  rows.reduce((total, row) => total + read(row), 0);

const highest = <T>(rows: readonly T[], read: (row: T) => number): number =>
  rows.reduce((top, row) => Math.max(top, read(row)), 0);

function plain(name: string, help: string, read: (snapshot: MetricsSnapshot) => number): NumberMetric {
  return {
    name: PREFIX + name,
    type: 'gauge',
    help,
    labels: [],
    read: (snapshot) => [{ labels: NO_LABELS, value: read(snapshot) }],
  };
}

type PoolStates = readonly (readonly [state: string, read: (pool: PoolGauges) => number])[];

function byState(name: string, help: string, states: PoolStates): NumberMetric {
  const extras = states.map(([state, read]) => ({ extra: { state }, read }));
  return {
    name: PREFIX + name,
    type: 'gauge',
    help,
    labels: [...POOL, 'state'],
    read: (snapshot) =>
      snapshot.pools.flatMap((row) =>
        extras.map(({ extra, read }) => ({ labels: row.labels, extra, value: sum(row.pools, read) })),
      ),
  };
}

function ofDatabase(
  name: string,
  help: string,
  read: (row: DatabaseGauges) => number,
  over: 'sum' | 'any' = 'sum',
): NumberMetric {
  return {
    name: PREFIX + name,
    type: 'gauge',
    help,
    labels: ['database'],
    read: (snapshot) =>
      [...snapshot.databases].map(([database, rows]) => ({
        labels: { database },
        value: over === 'sum' ? sum(rows, read) : highest(rows, read),
      })),
  };
}

function total(name: string, help: string, key: CounterKey, scale = 1): NumberMetric {
  return {
    name: PREFIX + name,
    type: 'counter',
    help,
    labels: POOL,
    read: (snapshot) =>
      snapshot.totals.map((series) => ({ labels: series.labels, value: counterOf(series, key) / scale })),
  };
}

function duration(name: string, help: string, key: HistogramKey): HistogramMetric {
  return {
    name: PREFIX + name,
    type: 'histogram',
    help,
    labels: POOL,
    read: (snapshot) =>
      snapshot.totals.map((series) => ({ labels: series.labels, values: histogramOf(series, key) })),
  };
}

const US_PER_SECOND = 1e6;

const PROCESS_METRICS: readonly MetricDefinition[] = [
  {
    name: `${PREFIX}build_info`,
    type: 'gauge',
    help: 'Always 1; the version of pgconcierge and of Node.',
    labels: ['version', 'node_version'],
    read: (snapshot) => [
      { labels: { version: snapshot.version, node_version: process.versions.node }, value: 1 },
    ],
  },
  plain('healthy', '1 while new clients are served.', (s) => flag(s.healthy)),
  plain('shutting_down', '1 once a shutdown was asked for.', (s) => flag(s.shuttingDown)),
  plain('paused', '1 while everything is paused (PAUSE without a database).', (s) => flag(s.paused)),
  plain('suspended', '1 while everything is suspended (SUSPEND).', (s) => flag(s.suspended)),
  plain('client_sockets', 'Clients connected, in any state but login.', (s) => s.lists.usedClients),
  plain('client_logins_in_progress', 'Clients that are logging in.', (s) => s.lists.loginClients),
  plain('server_sockets_idle', 'Server connections that no client holds.', (s) => s.lists.freeServers),
  plain('server_sockets_used', 'Server connections that a client holds.', (s) => s.lists.usedServers),
  plain('pools', 'Pools in existence.', (s) => s.lists.pools),
  {
    name: `${PREFIX}config_limit`,
    type: 'gauge',
    help: 'Limits of the configuration file; 0 is no limit, as in the file.',
    labels: ['setting'],
    read: (snapshot) => [...snapshot.limits].map(([setting, value]) => ({ labels: { setting }, value })),
  },
  {
    name: `${PREFIX}closes_total`,
    type: 'counter',
    help: 'Connections closed and refused, by the reason that is in the log.',
    labels: ['reason'],
    read: (snapshot) => [...snapshot.closes].map(([reason, value]) => ({ labels: { reason }, value })),
  },
  {
    name: `${PREFIX}log_lines_dropped_total`,
    type: 'counter',
    help: 'Log lines that were dropped because their destination did not take them.',
    labels: [],
    read: (snapshot) => [{ labels: NO_LABELS, value: snapshot.droppedLogLines }],
  },
];

const POOL_GAUGES: readonly MetricDefinition[] = [
  byState(
    'clients',
    'Clients by state; active are those that hold a server (as in SHOW POOLS), idle ones are not in it.',
    [
      ['active', (pool) => pool.clActive],
      ['waiting', (pool) => pool.clWaiting],
      ['active_cancel_req', (pool) => pool.clActiveCancelReq],
      ['waiting_cancel_req', (pool) => pool.clWaitingCancelReq],
    ],
  ),
  byState('servers', 'Server connections by state.', [
    ['active', (pool) => pool.svActive],
    ['idle', (pool) => pool.svIdle],
    ['used', (pool) => pool.svUsed],
    ['tested', (pool) => pool.svTested],
    ['login', (pool) => pool.svLogin],
    ['active_cancel', (pool) => pool.svActiveCancel],
    ['being_canceled', (pool) => pool.svBeingCanceled],
  ]),
  {
    name: `${PREFIX}pool_maxwait_seconds`,
    type: 'gauge',
    help: 'How long the oldest waiting client has waited; 0 when nobody waits.',
    labels: POOL,
    read: (snapshot) =>
      snapshot.pools.map((row) => ({
        labels: row.labels,
        value: highest(row.pools, (pool) => pool.maxwaitUs) / US_PER_SECOND,
      })),
  },
  {
    name: `${PREFIX}pool_size`,
    type: 'gauge',
    help: 'Server connections that the pool may have, without its reserve.',
    labels: POOL,
    read: (snapshot) => snapshot.pools.map((row) => ({ labels: row.labels, value: row.poolSize })),
  },
  {
    name: `${PREFIX}pool_info`,
    type: 'gauge',
    help: 'The number of pools by mode; 1 for a pool that has lines of its own.',
    labels: [...POOL, 'mode'],
    read: (snapshot) =>
      snapshot.pools.flatMap((row) =>
        [...new Set(row.pools.map((pool) => pool.poolMode))].map((mode) => ({
          labels: row.labels,
          extra: { mode },
          value: row.pools.filter((pool) => pool.poolMode === mode).length,
        })),
      ),
  },
];

const DATABASE_GAUGES: readonly MetricDefinition[] = [
  ofDatabase('database_pool_size', 'pool_size of the database.', (row) => row.poolSize),
  ofDatabase('database_min_pool_size', 'min_pool_size of the database.', (row) => row.minPoolSize),
  ofDatabase(
    'database_reserve_pool_size',
    'reserve_pool_size of the database.',
    (row) => row.reservePoolSize,
  ),
  ofDatabase(
    'database_max_connections',
    'max_db_connections of the database; 0 is no limit.',
    (row) => row.maxConnections,
  ),
  ofDatabase('database_connections', 'Server connections of the database.', (row) => row.currentConnections),
  ofDatabase(
    'database_max_client_connections',
    'max_db_client_connections of the database; 0 is no limit.',
    (row) => row.maxClientConnections,
  ),
  ofDatabase(
    'database_client_connections',
    'Clients of the database.',
    (row) => row.currentClientConnections,
  ),
  ofDatabase('database_paused', '1 while the database is paused.', (row) => flag(row.paused), 'any'),
  ofDatabase(
    'database_disabled',
    '1 while new clients are refused (DISABLE).',
    (row) => flag(row.disabled),
    'any',
  ),
];

const POOL_TOTALS: readonly MetricDefinition[] = [
  total('server_assignments_total', 'Times that a server was given to a client.', 'serverAssignments'),
  total('transactions_total', 'Transactions (in session mode as well).', 'xacts'),
  total('queries_total', 'Queries.', 'queries'),
  total('received_bytes_total', 'Bytes received from clients.', 'bytesReceived'),
  total('sent_bytes_total', 'Bytes sent to clients.', 'bytesSent'),
  total('transaction_seconds_total', 'Time spent in transactions.', 'xactTimeUs', US_PER_SECOND),
  total('query_seconds_total', 'Time spent in queries.', 'queryTimeUs', US_PER_SECOND),
  total('wait_seconds_total', 'Time that clients waited for a server.', 'waitTimeUs', US_PER_SECOND),
  total('client_parses_total', 'Parse messages (prepared statements) from clients.', 'clientParses'),
  total('server_parses_total', 'Parse messages sent to servers for clients.', 'serverParses'),
  total('binds_total', 'Bind messages from clients.', 'binds'),
  total('client_logins_total', 'Logins of clients.', 'clientLogins'),
  duration('queue_wait_seconds', 'How long a client waited for a server.', 'waitUs'),
  duration('transaction_duration_seconds', 'How long a transaction held a server.', 'xactUs'),
];

export const METRICS: readonly MetricDefinition[] = [
  ...PROCESS_METRICS,
  ...POOL_GAUGES,
  ...DATABASE_GAUGES,
  ...POOL_TOTALS,
  ...CLUSTER_METRICS,
];
