/** SHOW STATS, STATS_TOTALS, STATS_AVERAGES, TOTALS. PgBouncer names the same counters differently in each. */
import type { Counters, StatsRow } from '../control/port.ts';
import type { Field } from './view.ts';
import { field, view } from './view.ts';

interface Counted {
  readonly key: keyof Counters;
  /** In STATS after `total_`. */
  readonly total: string;
  /** In STATS after `avg_`. */
  readonly average: string;
  /** In STATS_TOTALS. */
  readonly totals: string;
  /** In STATS_AVERAGES. */
  readonly averages: string;
  /** In TOTALS, after `total_` and `avg_`. */
  readonly grand: string;
  readonly doc: string;
  readonly averageDoc: string;
  /** Mean per …: the counter that weighs this one's average; null = per second. */
  readonly per: keyof Counters | null;
}

function counted(
  key: keyof Counters,
  name: string,
  doc: string,
  averageDoc: string,
  other: Partial<Omit<Counted, 'key' | 'doc' | 'averageDoc'>> = {},
): Counted {
  return {
    key,
    total: name,
    average: name,
    totals: name,
    averages: name,
    grand: name,
    doc,
    averageDoc,
    per: null,
    ...other,
  };
}

const COUNTED: readonly Counted[] = [
  counted(
    'serverAssignments',
    'server_assignment_count',
    'Times a server was given to a client.',
    'Assignments per second.',
  ),
  counted('xacts', 'xact_count', 'Transactions.', 'Transactions per second.'),
  counted(
    'queries',
    'query_count',
    'Queries; a whole pipeline up to its ReadyForQuery counts once.',
    'Queries per second.',
  ),
  counted(
    'bytesReceived',
    'received',
    'Bytes received from clients.',
    'Bytes received from clients per second.',
    {
      average: 'recv',
      totals: 'bytes_received',
      averages: 'bytes_received',
      grand: 'client_bytes',
    },
  ),
  counted('bytesSent', 'sent', 'Bytes sent to clients.', 'Bytes sent to clients per second.', {
    totals: 'bytes_sent',
    averages: 'bytes_sent',
    grand: 'server_bytes',
  }),
  counted(
    'xactTimeUs',
    'xact_time',
    'Microseconds that clients held a server for transactions.',
    'Mean duration of a transaction, microseconds.',
    {
      per: 'xacts',
    },
  ),
  counted(
    'queryTimeUs',
    'query_time',
    'Microseconds that queries took.',
    'Mean duration of a query, microseconds.',
    { per: 'queries' },
  ),
  counted(
    'waitTimeUs',
    'wait_time',
    'Microseconds that clients waited for a server.',
    'Mean wait for a server, microseconds.',
    {
      per: 'serverAssignments',
    },
  ),
  counted(
    'clientParses',
    'client_parse_count',
    'Prepared statements made by clients.',
    'Prepared statements made by clients per second.',
    {
      averages: 'avg_client_parse_count',
      grand: 'ps_client_parse_count',
    },
  ),
  counted(
    'serverParses',
    'server_parse_count',
    'Prepared statements made on servers.',
    'Prepared statements made on servers per second.',
    {
      averages: 'avg_server_parse_count',
      grand: 'ps_server_parse_count',
    },
  ),
  counted(
    'binds',
    'bind_count',
    'Prepared statements bound by clients.',
    'Prepared statements bound by clients per second.',
    {
      averages: 'avg_bind_count',
      grand: 'ps_bind_count',
    },
  ),
  counted('clientLogins', 'client_login_count', 'Logins of clients.', 'Logins of clients per second.', {
    averages: 'avg_client_login_count',
  }),
];

const database: Field<StatsRow> = field('database', 'text', 'Database name.', (s) => s.database);

function totals(name: (c: Counted) => string): Field<StatsRow>[] {
  return COUNTED.map((c) => field(name(c), 'numeric', c.doc, (s) => s.totals[c.key]));
}

function averages(name: (c: Counted) => string): Field<StatsRow>[] {
  return COUNTED.map((c) =>
    field(name(c), 'numeric', `${c.averageDoc} Over the last stats_period.`, (s) => s.averages[c.key]),
  );
}

export const STATS = view<StatsRow>({
  name: 'STATS',
  doc: 'One row for each database: totals since start and averages over the last stats_period.',
  source: (env) => env.port.stats(),
  fields: [database, ...totals((c) => `total_${c.total}`), ...averages((c) => `avg_${c.average}`)],
});

export const STATS_TOTALS = view<StatsRow>({
  name: 'STATS_TOTALS',
  doc: 'One row for each database: totals since start.',
  source: (env) => env.port.stats(),
  fields: [database, ...totals((c) => c.totals)],
});

export const STATS_AVERAGES = view<StatsRow>({
  name: 'STATS_AVERAGES',
  doc: 'One row for each database: averages over the last stats_period.',
  source: (env) => env.port.stats(),
  fields: [database, ...averages((c) => c.averages)],
});

function sum(rows: readonly StatsRow[], key: keyof Counters, of: 'totals' | 'averages'): number {
  return rows.reduce((all, row) => all + row[of][key], 0);
}

/** Rates add up; means are weighed by how often each database did the thing. */
function grandAverage(rows: readonly StatsRow[], c: Counted): number {
  const { per } = c;
  if (per === null) return sum(rows, c.key, 'averages');
  const weight = sum(rows, per, 'averages');
  if (weight <= 0) return 0;
  return rows.reduce((all, row) => all + row.averages[c.key] * row.averages[per], 0) / weight;
}

interface Total {
  readonly name: string;
  readonly value: number;
}

export const TOTALS = view<Total>({
  name: 'TOTALS',
  doc: 'The sums of STATS over all databases, one row for each counter.',
  source: (env) => {
    const rows = env.port.stats();
    return [
      ...COUNTED.map((c) => ({ name: `total_${c.grand}`, value: sum(rows, c.key, 'totals') })),
      ...COUNTED.map((c) => ({ name: `avg_${c.grand}`, value: grandAverage(rows, c) })),
    ];
  },
  fields: [
    field(
      'name',
      'text',
      'Counter, with `total_` (since start) or `avg_` (over the last stats_period) before it.',
      (t) => t.name,
    ),
    field('value', 'numeric', 'Its value.', (t) => t.value),
  ],
});
