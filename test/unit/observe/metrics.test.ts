/** The exposition read back and compared with what the data plane said. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMetrics, type Metrics, type MetricsFormat } from '../../../src/observe/metrics.ts';
import { METRICS } from '../../../src/observe/metrics-table.ts';
import { ERRORS, PoolerError } from '../../../src/util/errors.ts';
import { type Family, parseExposition, sampleValue } from './exposition.ts';
import { databaseRow, FakeControl, metricsRow, poolRow, userRow } from './fake-control.ts';

interface Bench {
  readonly control: FakeControl;
  readonly metrics: Metrics;
  /** Lets the cache run out and scrapes. */
  scrape(format?: MetricsFormat): Promise<Map<string, Family>>;
  pass(ms: number): void;
}

function bench(maxLabels = 100, processMetrics = false): Bench {
  const control = new FakeControl();
  let nowMs = 0;
  const clock = { now: () => nowMs, wall: () => 0 };
  const metrics = createMetrics({ source: control, version: '1.2.3', maxLabels, processMetrics, clock });
  return {
    control,
    metrics,
    pass: (ms) => {
      nowMs += ms;
    },
    async scrape(format = 'text') {
      nowMs += 1000;
      return parseExposition((await metrics.render(format)).body, format);
    },
  };
}

const AB = { database: 'a', user: 'b' };

test('gauges of pools: clients and servers by state, the longest wait, size and mode', async () => {
  const { control, scrape } = bench();
  control.databaseRows = [databaseRow('a', { poolSize: 7 }), databaseRow('x', { poolSize: 9 })];
  control.userRows = [userRow('b', null), userRow('big', 50)];
  control.poolRows = [
    poolRow('a', 'b', {
      clActive: 11,
      clWaiting: 3,
      clActiveCancelReq: 1,
      clWaitingCancelReq: 2,
      svActive: 5,
      svIdle: 4,
      svUsed: 6,
      svTested: 8,
      svLogin: 9,
      svActiveCancel: 10,
      svBeingCanceled: 12,
      maxwaitUs: 1_500_000,
    }),
    poolRow('x', 'big', { poolMode: 'session' }),
  ];
  const got = await scrape();
  const clients = { active: 11, waiting: 3, active_cancel_req: 1, waiting_cancel_req: 2 };
  for (const [state, count] of Object.entries(clients)) {
    assert.equal(sampleValue(got, 'pgconcierge_clients', { ...AB, state }), count, state);
  }
  const servers = { active: 5, idle: 4, used: 6, tested: 8, login: 9, active_cancel: 10, being_canceled: 12 };
  for (const [state, count] of Object.entries(servers)) {
    assert.equal(sampleValue(got, 'pgconcierge_servers', { ...AB, state }), count, state);
  }
  assert.equal(sampleValue(got, 'pgconcierge_pool_maxwait_seconds', AB), 1.5);
  assert.equal(sampleValue(got, 'pgconcierge_pool_size', AB), 7);
  assert.equal(sampleValue(got, 'pgconcierge_pool_size', { database: 'x', user: 'big' }), 50);
  assert.equal(sampleValue(got, 'pgconcierge_pool_info', { ...AB, mode: 'transaction' }), 1);
  assert.equal(sampleValue(got, 'pgconcierge_pool_info', { database: 'x', user: 'big', mode: 'session' }), 1);
});

test('every counter of a pool, times in seconds', async () => {
  const { control, scrape } = bench();
  control.metricsRows = [
    metricsRow('a', 'b', {
      serverAssignments: 1,
      xacts: 2,
      queries: 3,
      bytesReceived: 4,
      bytesSent: 5e12,
      xactTimeUs: 6_500_000,
      queryTimeUs: 7_000_000,
      waitTimeUs: 250_000,
      clientParses: 9,
      serverParses: 10,
      binds: 11,
      clientLogins: 12,
    }),
  ];
  const want = {
    server_assignments: 1,
    transactions: 2,
    queries: 3,
    received_bytes: 4,
    sent_bytes: 5e12,
    transaction_seconds: 6.5,
    query_seconds: 7,
    wait_seconds: 0.25,
    client_parses: 9,
    server_parses: 10,
    binds: 11,
    client_logins: 12,
  };
  for (const format of ['text', 'openmetrics', 'text'] as const) {
    const got = await scrape(format);
    for (const [name, value] of Object.entries(want)) {
      assert.equal(sampleValue(got, `pgconcierge_${name}_total`, AB), value, `${name} in ${format}`);
    }
  }
});

test('histograms are cumulative, monotonic, and agree with sum and count', async () => {
  const { control, scrape } = bench();
  // on a bound, above it, beyond the last one
  const waits = [0, 3, 16, 17, 1024, 1025, 5_000_000, 120_000_000];
  control.metricsRows = [metricsRow('a', 'b', {}, waits, [500])];
  const got = await scrape();
  const name = 'pgconcierge_queue_wait_seconds';
  const buckets = got.get(name)?.samples.filter((sample) => sample.name === `${name}_bucket`) ?? [];
  assert.equal(buckets.length, 24);
  let before = { bound: 0, count: 0 };
  for (const { labels, value } of buckets) {
    const le = labels.get('le') ?? '';
    const bound = le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le);
    assert.ok(bound > before.bound, `bounds rise: ${le}`);
    assert.ok(value >= before.count, `counts do not fall: ${le}`);
    assert.equal(value, waits.filter((us) => us <= bound * 1e6 + 1e-6).length, `le=${le}`);
    before = { bound, count: value };
  }
  assert.equal(before.bound, Number.POSITIVE_INFINITY);
  assert.equal(sampleValue(got, `${name}_count`, AB), waits.length);
  assert.equal(sampleValue(got, `${name}_sum`, AB), waits.reduce((sum, us) => sum + us, 0) / 1e6);
  assert.equal(sampleValue(got, 'pgconcierge_transaction_duration_seconds_count', AB), 1);
});

test('the process: build, health, limits, databases, dropped lines', async () => {
  const { control, scrape } = bench();
  control.states = { active: false, paused: true, suspended: false };
  control.dropped = 17;
  const plain = { default: null, changeable: true };
  control.configRows = [
    { key: 'max_client_conn', value: '100', ...plain },
    { key: 'max_db_connections', value: '0', ...plain },
    { key: 'auth_type', value: 'md5', ...plain },
    { key: 'default_pool_size', value: null, ...plain },
  ];
  control.databaseRows = [
    databaseRow('a', { paused: true, currentConnections: 4, maxConnections: 30, reservePoolSize: 2 }),
    databaseRow('b', {
      disabled: true,
      currentClientConnections: 8,
      maxClientConnections: 60,
      minPoolSize: 1,
    }),
  ];
  const got = await scrape();
  const build = { version: '1.2.3', node_version: process.versions.node };
  assert.equal(sampleValue(got, 'pgconcierge_build_info', build), 1);
  assert.equal(sampleValue(got, 'pgconcierge_healthy'), 1);
  assert.equal(sampleValue(got, 'pgconcierge_paused'), 1);
  assert.equal(sampleValue(got, 'pgconcierge_log_lines_dropped_total'), 17);
  assert.equal(sampleValue(got, 'pgconcierge_client_sockets'), 12);
  assert.equal(sampleValue(got, 'pgconcierge_client_logins_in_progress'), 3);
  assert.deepEqual(
    got.get('pgconcierge_config_limit')?.samples.map(({ labels, value }) => [labels.get('setting'), value]),
    [
      ['max_client_conn', 100],
      ['max_db_connections', 0],
    ],
  );
  for (const [database, paused, disabled] of [
    ['a', 1, 0],
    ['b', 0, 1],
  ] as const) {
    assert.equal(sampleValue(got, 'pgconcierge_database_paused', { database }), paused);
    assert.equal(sampleValue(got, 'pgconcierge_database_disabled', { database }), disabled);
  }
  assert.equal(sampleValue(got, 'pgconcierge_database_connections', { database: 'a' }), 4);
  assert.equal(sampleValue(got, 'pgconcierge_database_max_connections', { database: 'a' }), 30);
  assert.equal(sampleValue(got, 'pgconcierge_database_reserve_pool_size', { database: 'a' }), 2);
  assert.equal(sampleValue(got, 'pgconcierge_database_min_pool_size', { database: 'b' }), 1);
  assert.equal(sampleValue(got, 'pgconcierge_database_client_connections', { database: 'b' }), 8);
  assert.equal(sampleValue(got, 'pgconcierge_database_max_client_connections', { database: 'b' }), 60);
  assert.equal(sampleValue(got, 'pgconcierge_database_pool_size', { database: 'b' }), 20);
  control.serving = false;
  control.shuttingDown = true;
  const later = await scrape();
  assert.equal(sampleValue(later, 'pgconcierge_healthy'), 0);
  assert.equal(sampleValue(later, 'pgconcierge_shutting_down'), 1);
});

test('names with quotes, backslashes and newlines come back as they were', async () => {
  const { control, scrape } = bench();
  const odd = { database: 'a"b\\c\nd', user: 'ü{},=' };
  control.metricsRows = [metricsRow(odd.database, odd.user, { xacts: 5 }, [10])];
  for (const format of ['text', 'openmetrics'] as const) {
    const got = await scrape(format);
    assert.equal(sampleValue(got, 'pgconcierge_transactions_total', odd), 5);
    assert.equal(sampleValue(got, 'pgconcierge_queue_wait_seconds_count', odd), 1);
  }
});

test('close reasons: templates instead of names, and a bound', async () => {
  const { control, scrape } = bench(5);
  control.errors = new Map([
    ['client close request', 3],
    [new PoolerError('noSuchDatabase', 'x1').message, 1],
    [new PoolerError('noSuchDatabase', 'x2').message, 2],
    [new PoolerError('passwordAuthFailed', 'u1').message, 4],
    [new PoolerError('databaseDisabled', 'd').message, 1],
    ['server lifetime over', 1],
    ['one too many', 10],
    ['two too many', 20],
  ]);
  const got = await scrape();
  const samples = got.get('pgconcierge_closes_total')?.samples ?? [];
  assert.deepEqual(Object.fromEntries(samples.map(({ labels, value }) => [labels.get('reason'), value])), {
    'client close request': 3,
    'no such database: %s': 3,
    'password authentication failed for user "%s"': 4,
    'database "%s" is disabled': 1,
    'server lifetime over': 1,
    _other: 30,
  });
});

test('a text of the error table that quotes nothing stays what it is', async () => {
  const { control, scrape } = bench();
  const fixed = Object.values(ERRORS)
    .map((row) => row.text as string)
    .filter((text) => !text.includes('%s'));
  control.errors = new Map(fixed.map((text) => [text, 1]));
  const got = await scrape();
  for (const reason of fixed)
    assert.equal(sampleValue(got, 'pgconcierge_closes_total', { reason }), 1, reason);
});

const OTHER = { database: '_other', user: '_other' };

test('pools above the bound are summed under _other', async () => {
  const { control, scrape } = bench(3);
  const names = Array.from({ length: 10 }, (_, i) => `d${i}`);
  control.databaseRows = names.map((name) => databaseRow(name, { paused: name === 'd9' }));
  control.poolRows = names.map((name, i) =>
    poolRow(name, 'u', { clActive: 1, svIdle: 2, maxwaitUs: i * 1e6 }),
  );
  control.metricsRows = names.map((name, i) => metricsRow(name, 'u', { xacts: i }, [100, 200]));
  control.shadowRows = names.map((database, i) => ({
    database,
    units: i,
    reads: 0,
    wouldReplica: 0,
    wouldStale: 0,
    writes: 0,
  }));
  const got = await scrape();
  for (const metric of METRICS.filter(({ labels }) => labels.includes('database'))) {
    const shown = got.get(metric.name)?.samples.map((sample) => sample.labels.get('database'));
    assert.deepEqual(new Set(shown), new Set(['d0', 'd1', 'd2', '_other']), metric.name);
  }
  assert.equal(sampleValue(got, 'pgconcierge_clients', { ...OTHER, state: 'active' }), 7);
  assert.equal(sampleValue(got, 'pgconcierge_servers', { ...OTHER, state: 'idle' }), 14);
  assert.equal(sampleValue(got, 'pgconcierge_pool_maxwait_seconds', OTHER), 9);
  assert.equal(sampleValue(got, 'pgconcierge_pool_size', OTHER), 140);
  assert.equal(sampleValue(got, 'pgconcierge_pool_info', { ...OTHER, mode: 'transaction' }), 7);
  assert.equal(sampleValue(got, 'pgconcierge_transactions_total', OTHER), 3 + 4 + 5 + 6 + 7 + 8 + 9);
  assert.equal(sampleValue(got, 'pgconcierge_transactions_total', { database: 'd2', user: 'u' }), 2);
  assert.equal(sampleValue(got, 'pgconcierge_queue_wait_seconds_count', OTHER), 14);
  assert.equal(sampleValue(got, 'pgconcierge_database_pool_size', { database: '_other' }), 140);
  assert.equal(sampleValue(got, 'pgconcierge_database_paused', { database: '_other' }), 1);
  assert.equal(sampleValue(got, 'pgconcierge_shadow_units_total', { database: '_other' }), 42);
});

test('a pair with pools on several nodes has one series: the sum, by name and under _other', async () => {
  const { control, scrape } = bench(1);
  const rows = (more: number): void => {
    control.metricsRows = [
      metricsRow('a', 'b', { xacts: 1 }, [20]),
      metricsRow('a', 'b', { xacts: 10 + more }, [20]),
      metricsRow('c', 'd', { xacts: 100 }),
      metricsRow('c', 'd', { xacts: 1000 + more }),
    ];
  };
  rows(0);
  const first = await scrape();
  assert.equal(sampleValue(first, 'pgconcierge_transactions_total', AB), 11);
  assert.equal(first.get('pgconcierge_transactions_total')?.samples.length, 2);
  assert.equal(sampleValue(first, 'pgconcierge_queue_wait_seconds_count', AB), 2);
  rows(5);
  const second = await scrape();
  assert.equal(sampleValue(second, 'pgconcierge_transactions_total', AB), 16);
  assert.equal(sampleValue(second, 'pgconcierge_transactions_total', OTHER), 1105);
});

test('_other never goes down: not when its pools go away, start anew, or a place becomes free', async () => {
  const { control, scrape } = bench(1);
  const other = async (): Promise<number | undefined> =>
    sampleValue(await scrape(), 'pgconcierge_transactions_total', OTHER);
  control.metricsRows = [metricsRow('d0', 'u', { xacts: 1 }), metricsRow('d1', 'u', { xacts: 10 })];
  assert.equal(await other(), 10);
  assert.equal(await other(), 10);
  control.metricsRows = [
    metricsRow('d0', 'u', { xacts: 1 }),
    metricsRow('d1', 'u', { xacts: 15 }, [7]),
    metricsRow('d2', 'u', { xacts: 100 }),
  ];
  assert.equal(await other(), 115);
  // d1 goes away, the named d0 too; d2 does not change its label
  control.metricsRows = [metricsRow('d2', 'u', { xacts: 101 })];
  assert.equal(await other(), 116);
  // d1 is back, and gets the free place; d2 was made anew
  control.metricsRows = [metricsRow('d2', 'u', { xacts: 4 }), metricsRow('d1', 'u', { xacts: 2 })];
  const got = await scrape();
  assert.equal(sampleValue(got, 'pgconcierge_transactions_total', OTHER), 120);
  assert.equal(sampleValue(got, 'pgconcierge_transactions_total', { database: 'd1', user: 'u' }), 2);
  assert.equal(sampleValue(got, 'pgconcierge_queue_wait_seconds_count', OTHER), 1);
  control.metricsRows = [];
  assert.equal(await other(), 120);
});

test('a database that is called _other does not collide with ours', async () => {
  const { control, scrape } = bench(2);
  control.databaseRows = ['_other', 'a', 'b', 'c'].map((name) => databaseRow(name));
  control.metricsRows = ['_other', 'a', 'b', 'c'].map((name) => metricsRow(name, '_other', { xacts: 1 }));
  const got = await scrape();
  assert.equal(sampleValue(got, 'pgconcierge_transactions_total', OTHER), 2);
  assert.equal(sampleValue(got, 'pgconcierge_database_pool_size', { database: '_other' }), 40);
});

test('the text is kept for a second, and shared by scrapes at the same time', async () => {
  const { control, metrics, pass } = bench();
  const [one, two] = await Promise.all([metrics.render('text'), metrics.render('text')]);
  assert.equal(one.body, two.body);
  pass(999);
  control.dropped = 5;
  assert.equal((await metrics.render('text')).body, one.body);
  assert.equal(control.looks, 1);
  // the other format of the same moment comes from the same look
  assert.match((await metrics.render('openmetrics')).body, /^pgconcierge_log_lines_dropped_total 0$/m);
  assert.equal(control.looks, 1);
  pass(1);
  assert.match((await metrics.render('text')).body, /^pgconcierge_log_lines_dropped_total 5$/m);
  assert.equal(control.looks, 2);
});

test('a failing data plane fails the scrape, not the next one', async () => {
  const { control, metrics } = bench();
  control.trouble = new Error('no snapshot');
  await assert.rejects(metrics.render('text'), /no snapshot/);
  control.trouble = null;
  assert.match((await metrics.render('text')).body, /pgconcierge_healthy 1/);
});

test('the loop is let go during a large scrape', async () => {
  const { control, metrics } = bench(100);
  control.metricsRows = Array.from({ length: 100 }, (_, i) =>
    metricsRow(`d${i}`, 'u', { xacts: i }, [i], [i]),
  );
  let turns = 0;
  const beat = (): void => {
    turns += 1;
    next = setImmediate(beat);
  };
  let next = setImmediate(beat);
  await metrics.render('text');
  clearImmediate(next);
  assert.ok(turns >= METRICS.length, `${turns} turns`);
});

test('the metrics of the process are there in both formats, again and again', async () => {
  const { scrape } = bench(100, true);
  for (const format of ['text', 'openmetrics', 'text', 'openmetrics'] as const) {
    const got = await scrape(format);
    assert.ok((sampleValue(got, 'process_resident_memory_bytes') ?? 0) > 1e6, format);
    assert.ok((sampleValue(got, 'process_cpu_seconds_total') ?? 0) > 0, format);
    assert.equal(got.get('nodejs_eventloop_lag_p99_seconds')?.samples.length, 1);
    assert.equal(got.has('nodejs_active_handles'), false);
  }
});

test('the table: prefix, help, units, and no family twice in OpenMetrics', () => {
  const families = METRICS.map(({ name }) => name.replace(/_total$/, ''));
  assert.equal(new Set(families).size, families.length);
  for (const { name, type, help } of METRICS) {
    assert.match(name, /^pgconcierge_[a-z_]+$/);
    assert.match(help, /^[\w].*\.$/);
    assert.equal(name.endsWith('_total'), type === 'counter', name);
  }
});
