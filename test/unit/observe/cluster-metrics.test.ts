/** The metrics of clusters and routing, read back from the exposition. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BoundedSeries } from '../../../src/observe/bounded-series.ts';
import { createMetrics } from '../../../src/observe/metrics.ts';
import { METRICS } from '../../../src/observe/metrics-table.ts';
import type { NodeState } from '../../../src/routing/cluster-view.ts';
import { clusterRow, nodeRow } from '../../support/fake-clusters.ts';
import { type Family, parseExposition, sampleValue } from './exposition.ts';
import { FakeControl } from './fake-control.ts';

const STATES: readonly NodeState[] = [
  'starting',
  'primary',
  'replica',
  'lagging',
  'down',
  'detached',
  'conflict',
];

function bench(maxLabels = 100): {
  control: FakeControl;
  value(name: string, labels: Readonly<Record<string, string>>): number | undefined;
  scrape(): Promise<Map<string, Family>>;
} {
  const control = new FakeControl();
  let nowMs = 0;
  let got = new Map<string, Family>();
  const clock = { now: () => nowMs, wall: () => 0 };
  const metrics = createMetrics({ source: control, version: '1', maxLabels, processMetrics: false, clock });
  return {
    control,
    value: (name, labels) => sampleValue(got, `pgconcierge_${name}`, labels),
    async scrape() {
      nowMs += 1000;
      got = parseExposition((await metrics.render('text')).body, 'text');
      return got;
    },
  };
}

test('every gauge and counter of a node', async () => {
  const { control, scrape, value } = bench();
  control.nodeRows = [
    nodeRow('pg1', { state: 'primary', lagMs: null, lagBytes: null, writes: 7, timeline: 3 }),
    nodeRow('pg2', {
      weight: 2.5,
      lagMs: 1500,
      lagBytes: 4096,
      inFlight: 4,
      banned: true,
      reads: 5,
      slowChecks: 6,
    }),
  ];
  await scrape();
  const pg1 = { cluster: 'main', node: 'pg1' };
  const pg2 = { cluster: 'main', node: 'pg2' };
  const want = {
    node_up: [1, 1],
    node_weight: [1, 2.5],
    node_lag_seconds: [undefined, 1.5],
    node_lag_bytes: [undefined, 4096],
    node_timeline: [3, 1],
    node_in_flight: [0, 4],
    node_banned: [0, 1],
    node_reads_total: [0, 5],
    node_writes_total: [7, 0],
    node_slow_checks_total: [0, 6],
  };
  for (const [name, expected] of Object.entries(want)) {
    assert.deepEqual([value(name, pg1), value(name, pg2)], expected, name);
  }
  assert.equal(value('node_role', { ...pg1, role: 'primary' }), 1);
  assert.equal(value('node_role', { ...pg1, role: 'standby' }), 0);
  assert.equal(value('node_role', { ...pg2, role: 'standby' }), 1);
});

test('exactly one state of a node is 1, and up is what answers', async () => {
  for (const state of STATES) {
    const { control, scrape, value } = bench();
    control.nodeRows = [nodeRow('pg1', { state })];
    await scrape();
    const labels = { cluster: 'main', node: 'pg1' };
    const on = STATES.filter((each) => value('node_state', { ...labels, state: each }) === 1);
    assert.deepEqual(on, [state]);
    assert.equal(value('node_up', labels), ['primary', 'replica', 'lagging'].includes(state) ? 1 : 0, state);
  }
});

test('clusters, decisions, what was learned, shadow counts', async () => {
  const { control, scrape, value } = bench();
  control.clusterRows = [
    clusterRow('main', { eligible: 2, held: 0 }),
    clusterRow('old', { primary: null, eligible: 0, held: 9 }),
  ];
  control.decisionRows = [
    { cluster: 'main', class: 'read', reason: 'weighted', node: 'pg2', count: 12 },
    { cluster: 'main', class: 'write', reason: 'command', node: 'pg1', count: 13 },
  ];
  const learned = { database: 'app', text: 'SELECT f()', sqlstate: '25006', since: 0, hits: 0 };
  control.learnedRows = [
    { ...learned, cluster: 'main' },
    { ...learned, cluster: 'main', text: 'SELECT g()' },
  ];
  control.shadowRows = [{ database: 'app', units: 1, reads: 2, wouldReplica: 3, wouldStale: 4, writes: 5 }];
  await scrape();
  for (const [cluster, known, eligible, held, count] of [
    ['main', 1, 2, 0, 2],
    ['old', 0, 0, 9, 0],
  ] as const) {
    assert.equal(value('cluster_primary_known', { cluster }), known);
    assert.equal(value('cluster_eligible_replicas', { cluster }), eligible);
    assert.equal(value('cluster_held_clients', { cluster }), held);
    assert.equal(value('learned_statements', { cluster }), count);
  }
  const decision = { cluster: 'main', class: 'write', reason: 'command', node: 'pg1' };
  assert.equal(value('route_decisions_total', decision), 13);
  const shadow = ['units', 'reads', 'would_replica', 'would_stale', 'writes'];
  assert.deepEqual(
    shadow.map((name) => value(`shadow_${name}_total`, { database: 'app' })),
    [1, 2, 3, 4, 5],
  );
});

test('without clusters no metric of theirs has a sample', async () => {
  const { scrape } = bench();
  const got = await scrape();
  const theirs = METRICS.filter(({ name }) => /_(node|cluster|route|learned|shadow)_/.test(name));
  assert.ok(theirs.length > 15);
  for (const { name } of theirs) assert.equal(got.get(name)?.samples.length ?? 0, 0, name);
});

test('what is above the bound is folded into _other, so that trouble there shows', async () => {
  const { control, scrape, value } = bench(2);
  control.nodeRows = Array.from({ length: 5 }, (_, i) =>
    nodeRow(`n${i}`, { reads: i, lagMs: i * 1000, state: i === 4 ? 'down' : 'replica' }),
  );
  control.clusterRows = ['a', 'b', 'c', 'd'].map((name) =>
    clusterRow(name, { held: 1, primary: name === 'd' ? null : 'n0' }),
  );
  control.decisionRows = Array.from({ length: 50 }, (_, i) => ({
    cluster: 'main',
    class: 'read' as const,
    reason: `r${i}`,
    node: 'n0',
    count: 1,
  }));
  const got = await scrape();
  const other = { cluster: '_other', node: '_other' };
  assert.equal(got.get('pgconcierge_node_up')?.samples.length, 3);
  assert.equal(value('node_up', other), 0);
  assert.equal(value('node_lag_seconds', other), 4);
  assert.equal(value('node_state', { ...other, state: 'replica' }), 2);
  assert.equal(value('node_reads_total', other), 2 + 3 + 4);
  assert.equal(value('cluster_primary_known', { cluster: '_other' }), 0);
  assert.equal(value('cluster_held_clients', { cluster: '_other' }), 2);
  assert.equal(got.get('pgconcierge_route_decisions_total')?.samples.length, 21);
  const rest = { ...other, class: '_other', reason: '_other' };
  assert.equal(value('route_decisions_total', rest), 30);
});

test('bounded series: nothing is lost, no series goes down while its row does not, names stay', () => {
  const key = fc.constantFrom('a', 'b', 'c', 'd', '_other');
  fc.assert(
    fc.property(fc.array(fc.dictionary(key, fc.nat(9)), { maxLength: 12 }), fc.nat(3), (steps, max) => {
      const bound = new BoundedSeries(max);
      const counts = new Map<string, number>();
      let before = new Map<string, number>();
      for (const step of steps) {
        for (const [name, more] of Object.entries(step)) counts.set(name, (counts.get(name) ?? 0) + more);
        const rows = [...counts].map(([name, value]) => ({ labels: [name], values: [value] }));
        const out = new Map(bound.take(rows, ['_other']).map((s) => [s.labels[0] ?? '', s.values[0] ?? 0]));
        assert.ok(out.size <= max + 1);
        const total = (values: Iterable<number>): number => [...values].reduce((a, b) => a + b, 0);
        assert.equal(total(out.values()), total(counts.values()));
        for (const [name, value] of before) assert.ok((out.get(name) ?? -1) >= value, name);
        before = out;
      }
    }),
  );
});

test('bounded series: the rest stays when its parts go, rows with the same labels are one', () => {
  const bound = new BoundedSeries(1);
  const take = (...rows: [string, number][]): Record<string, number> =>
    Object.fromEntries(
      bound
        .take(
          rows.map(([name, value]) => ({ labels: [name], values: [value] })),
          ['_other'],
        )
        .map((s) => [s.labels[0], s.values[0]]),
    );
  assert.deepEqual(take(['a', 1], ['b', 5], ['a', 2]), { a: 3, _other: 5 });
  assert.deepEqual(take(['a', 3], ['b', 6], ['c', 10]), { a: 3, _other: 16 });
  assert.deepEqual(take(['c', 11]), { _other: 17 }, 'c keeps its place in the rest');
  assert.deepEqual(take(['c', 2], ['d', 4]), { _other: 19, d: 4 }, 'c was made anew, d found room');
});
