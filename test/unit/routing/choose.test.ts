/** Which node a read goes to: exact shares, eligibility, zones, slow start, bans, the primary's part. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { RoutingSettings } from '../../../src/config/effective-routing.ts';
import { ReadChooser } from '../../../src/routing/choose.ts';
import type { ClusterRuntime } from '../../../src/routing/cluster-runtime.ts';
import type { NodeView } from '../../../src/routing/cluster-view.ts';
import { reasonId, reasonName } from '../../../src/routing/reasons.ts';
import { clusterView, nodeOf, nodeView, routingSettings, runtimeOf, seededRandom } from './support.ts';

function chooserOf(runtime: ClusterRuntime, settings: Partial<RoutingSettings> = {}): ReadChooser {
  return new ReadChooser(runtime, routingSettings(settings), seededRandom(7));
}

/** How often each node was chosen in `n` reads. */
function count(chooser: ReadChooser, n: number, nowMs = 0, bound = 0): Record<string, number> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < n; i++) {
    const name = chooser.choose(bound, nowMs, null)?.name ?? 'none';
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

function setViews(runtime: ClusterRuntime, ...replicas: NodeView[]): void {
  runtime.onView(clusterView([nodeView('pg1', { state: 'primary' }), ...replicas]));
}

test('weights are exact', () => {
  const shares = (...weights: number[]): Record<string, number> =>
    count(chooserOf(runtimeOf(weights.map((weight, i) => nodeView(`pg${i + 2}`, { weight })))), 1000);
  assert.deepEqual(shares(1, 1), { pg2: 500, pg3: 500 });
  assert.deepEqual(shares(1, 3), { pg2: 250, pg3: 750 });
  assert.deepEqual(shares(0, 1), { pg3: 1000 });
  assert.deepEqual(shares(0.5, 1.5), { pg2: 250, pg3: 750 });
  assert.deepEqual(shares(0.2, 0.3, 0.5), { pg2: 200, pg3: 300, pg4: 500 });
  assert.deepEqual(shares(0, 0), { pg1: 1000 }, 'weight 0 is no read, so the primary must');
});

test('1:3 comes without bursts', () => {
  const chooser = chooserOf(runtimeOf([nodeView('pg2'), nodeView('pg3', { weight: 3 })]));
  const names = Array.from({ length: 8 }, () => chooser.choose(0, 0, null)?.name);
  assert.deepEqual(names, ['pg3', 'pg2', 'pg3', 'pg3', 'pg3', 'pg2', 'pg3', 'pg3']);
});

test('a new weight counts from the next statement on, exactly', () => {
  const runtime = runtimeOf([nodeView('pg2'), nodeView('pg3')]);
  const chooser = chooserOf(runtime);
  assert.deepEqual(count(chooser, 333), { pg2: 167, pg3: 166 });
  setViews(runtime, nodeView('pg2', { weight: 3 }), nodeView('pg3'));
  assert.deepEqual(count(chooser, 1000), { pg2: 750, pg3: 250 });
  setViews(runtime, nodeView('pg2', { weight: 0 }), nodeView('pg3'));
  assert.deepEqual(count(chooser, 10), { pg3: 10 });
  setViews(runtime, nodeView('pg2'), nodeView('pg3'));
  assert.deepEqual(count(chooser, 1000), { pg2: 500, pg3: 500 });
});

test('property: over any window shares stay within two of exact while all are eligible', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 }),
      fc.nat(500),
      (weights, n) => {
        const chooser = chooserOf(runtimeOf(weights.map((weight, i) => nodeView(`pg${i + 2}`, { weight }))));
        const total = weights.reduce((a, b) => a + b, 0);
        const counts = count(chooser, n);
        weights.forEach((weight, i) => {
          assert.ok(Math.abs((counts[`pg${i + 2}`] ?? 0) - (n * weight) / total) <= 2);
        });
      },
    ),
  );
});

test('each chooser has a turn of its own', () => {
  const runtime = runtimeOf([nodeView('pg2'), nodeView('pg3')]);
  const [a, b] = [chooserOf(runtime), chooserOf(runtime)];
  assert.equal(a.choose(0, 0, null)?.name, 'pg2');
  assert.equal(b.choose(0, 0, null)?.name, 'pg2');
});

test('the primary: fallback, weighted, never', () => {
  const replica = nodeView('pg2');
  const fallback = chooserOf(runtimeOf([replica]));
  assert.deepEqual(count(fallback, 10), { pg2: 10 });
  assert.equal(reasonName(fallback.reason), 'balanced');

  const weighted = chooserOf(runtimeOf([replica]), { readFromPrimary: 'weighted' });
  assert.deepEqual(count(weighted, 1000), { pg1: 500, pg2: 500 });
  const skewed = chooserOf(runtimeOf([replica], {}, { weight: 0.25 }), { readFromPrimary: 'weighted' });
  assert.deepEqual(count(skewed, 1000), { pg1: 200, pg2: 800 });
  const none = chooserOf(runtimeOf([replica], {}, { weight: 0 }), { readFromPrimary: 'weighted' });
  assert.deepEqual(count(none, 10), { pg2: 10 });

  const down = nodeView('pg2', { state: 'down' });
  const alone = chooserOf(runtimeOf([down]));
  assert.equal(alone.choose(0, 0, null)?.name, 'pg1');
  assert.equal(alone.reason, reasonId('no replica eligible'));
  const aloneWeightless = chooserOf(runtimeOf([down], {}, { weight: 0 }), { readFromPrimary: 'weighted' });
  assert.equal(aloneWeightless.choose(0, 0, null)?.name, 'pg1');
  const never = chooserOf(runtimeOf([down]), { readFromPrimary: 'never' });
  assert.equal(never.choose(0, 0, null), null);
  assert.equal(never.reason, reasonId('no replica eligible'));
});

test('the reason of a weighted choice names the primary only when it was its turn', () => {
  const chooser = chooserOf(runtimeOf([nodeView('pg2')]), { readFromPrimary: 'weighted' });
  for (let i = 0; i < 4; i++) {
    const node = chooser.choose(0, 0, null);
    assert.equal(reasonName(chooser.reason), node?.name === 'pg1' ? 'weighted primary' : 'balanced');
  }
});

test('freshness: a replica behind the bound is passed over, and that is told', () => {
  const runtime = runtimeOf([nodeView('pg2'), nodeView('pg3')]);
  runtime.onReplayed('pg3', 2000);
  const chooser = chooserOf(runtime);
  assert.deepEqual(count(chooser, 4, 0, 1000), { pg2: 2, pg3: 2 });
  assert.equal(chooser.stale, false);
  assert.deepEqual(count(chooser, 4, 0, 1001), { pg3: 4 });
  assert.equal(chooser.stale, true);
  assert.equal(reasonName(chooser.reason), 'balanced');
  assert.deepEqual(count(chooser, 2, 0, Number.POSITIVE_INFINITY), { pg1: 2 });
  assert.equal(reasonName(chooser.reason), 'not fresh');
  setViews(runtime, nodeView('pg2', { state: 'down' }), nodeView('pg3', { state: 'lagging' }));
  chooser.choose(5000, 0, null);
  assert.equal(chooser.stale, false, 'waiting would not help');
  assert.equal(reasonName(chooser.reason), 'no replica eligible');
});

test('no primary: reads go on, and wait when none is fresh', () => {
  const runtime = runtimeOf([nodeView('pg2')]);
  runtime.onView(clusterView([nodeView('pg1', { state: 'down' }), nodeView('pg2')]));
  runtime.onReplayed('pg2', 1000);
  const chooser = chooserOf(runtime);
  assert.equal(chooser.choose(0, 0, null)?.name, 'pg2');
  assert.equal(chooser.choose(1001, 0, null), null);
  assert.equal(reasonName(chooser.reason), 'not fresh');
});

test('the node that has just failed the read is left out, also when it is the primary', () => {
  const runtime = runtimeOf([nodeView('pg2'), nodeView('pg3')]);
  const chooser = chooserOf(runtime);
  for (let i = 0; i < 5; i++) assert.equal(chooser.choose(0, 0, nodeOf(runtime, 'pg2'))?.name, 'pg3');
  setViews(runtime, nodeView('pg2', { state: 'down' }), nodeView('pg3', { state: 'down' }));
  assert.equal(chooser.choose(0, 0, nodeOf(runtime, 'pg1')), null);
});

test('lag limits of the database: strictly above is out', () => {
  const lag = (lagMs: number, lagBytes: number) =>
    chooserOf(runtimeOf([nodeView('pg2', { lagMs, lagBytes })]), { maxLagMs: 1000, maxLagBytes: 500 }).choose(
      0,
      0,
      null,
    )?.name;
  assert.equal(lag(1000, 500), 'pg2');
  assert.equal(lag(1001, 0), 'pg1');
  assert.equal(lag(0, 501), 'pg1');
});

test('zones: the own one while any of it is eligible', () => {
  const runtime = runtimeOf([
    nodeView('pg2', { zone: 'a' }),
    nodeView('pg3', { zone: 'b' }),
    nodeView('pg4', { zone: 'b', weight: 3 }),
  ]);
  assert.deepEqual(count(chooserOf(runtime, { zone: 'b' }), 1000), { pg3: 250, pg4: 750 });
  assert.deepEqual(count(chooserOf(runtime, { zone: 'a' }), 10), { pg2: 10 });
  assert.deepEqual(count(chooserOf(runtime, { zone: 'c' }), 1000), { pg2: 200, pg3: 200, pg4: 600 });
  runtime.onReplayed('pg2', 1);
  assert.deepEqual(count(chooserOf(runtime, { zone: 'a' }), 100, 0, 500), { pg3: 25, pg4: 75 });
});

test('slow start: the share grows monotonically from at most 10 % of the weight to all of it', () => {
  const runtime = runtimeOf([nodeView('pg2'), nodeView('pg3', { readySinceMs: 5000 })], {
    slowStartMs: 10_000,
  });
  const chooser = chooserOf(runtime);
  const shares: number[] = [];
  for (let second = 0; second <= 12; second++) {
    shares.push((count(chooser, 1000, 5000 + second * 1000)['pg3'] ?? 0) / 1000);
  }
  assert.ok((shares[0] ?? 1) > 0.05 && (shares[0] ?? 1) <= 0.1, `starts with ${shares[0]}`);
  for (let i = 1; i < 11; i++) assert.ok((shares[i] ?? 0) > (shares[i - 1] ?? 1), shares.join(' '));
  assert.ok(Math.abs((shares[11] ?? 0) - 0.5) <= 0.001);
  assert.deepEqual(count(chooser, 1000, 20_000), { pg2: 500, pg3: 500 });
});

test('slow start: a clock before the beginning, and the only replica', () => {
  const runtime = runtimeOf([nodeView('pg2', { readySinceMs: 5000 })], { slowStartMs: 10_000 });
  assert.deepEqual(count(chooserOf(runtime), 10, 4000), { pg2: 10 });
});

test('a ban is half-open: one read tries, then all or none', () => {
  const runtime = runtimeOf([nodeView('pg2'), nodeView('pg3')]);
  const chooser = chooserOf(runtime);
  const pg3 = nodeOf(runtime, 'pg3');
  pg3.failed(0, 1000);
  runtime.onReplayed('pg3', 1000);
  assert.deepEqual(count(chooser, 10, 999), { pg2: 10 });
  assert.equal(count(chooser, 10, 1000)['pg3'], 1, 'one tries');
  pg3.failed(1001, 1000);
  assert.deepEqual(count(chooser, 10, 3000), { pg2: 10 });
  assert.equal(count(chooser, 10, 3001)['pg3'], 1);
  pg3.succeeded();
  const after = count(chooser, 1000, 3002);
  assert.ok(Math.abs((after['pg2'] ?? 0) - (after['pg3'] ?? 0)) <= 4, JSON.stringify(after));
});

test('least_busy: fewer in flight per weight; idle nodes share by weight', () => {
  const runtime = runtimeOf([nodeView('pg2'), nodeView('pg3', { weight: 3 })]);
  const chooser = chooserOf(runtime, { balance: 'least_busy' });
  const idle = count(chooser, 4000)['pg3'] ?? 0;
  assert.ok(idle > 2800 && idle < 3200, `${idle} of 4000`);
  nodeOf(runtime, 'pg3').inFlight = 4;
  nodeOf(runtime, 'pg2').inFlight = 1;
  assert.deepEqual(count(chooser, 50), { pg2: 50 }, '1/1 is less busy than 4/3');
  nodeOf(runtime, 'pg2').inFlight = 2;
  assert.deepEqual(count(chooser, 50), { pg3: 50 });
});

test('fastest: service time and queue decide; the slow one is tried again after a while', () => {
  const runtime = runtimeOf([nodeView('pg2'), nodeView('pg3')]);
  const chooser = chooserOf(runtime, { balance: 'fastest' });
  const [pg2, pg3] = [nodeOf(runtime, 'pg2'), nodeOf(runtime, 'pg3')];
  const unknown = count(chooser, 2000)['pg2'] ?? 0;
  assert.ok(unknown > 800 && unknown < 1200, `nothing known: by weight, ${unknown}`);
  for (const [node, us] of [
    [pg2, 1000],
    [pg3, 4000],
  ] as const) {
    node.begin(0, true, 0);
    node.end(100, us);
  }
  assert.deepEqual(count(chooser, 50, 100), { pg2: 50 });
  pg2.inFlight = 9;
  assert.deepEqual(count(chooser, 50, 100), { pg3: 50 }, 'a queue of 9 costs more than 4 times as slow');
  pg2.inFlight = 0;
  pg2.lastAnswerMs = 60_000;
  assert.deepEqual(count(chooser, 50, 60_000), { pg3: 50 }, 'an old opinion fades');
});

const anyNode = fc.record({
  weight: fc.constantFrom(0, 0.5, 1, 3),
  state: fc.constantFrom('replica', 'replica', 'lagging', 'down', 'detached', 'conflict', 'starting'),
  streaming: fc.boolean(),
  zone: fc.constantFrom('', 'a', 'b'),
  lagMs: fc.constantFrom(null, 0, 2000),
  replayed: fc.nat(10),
  banned: fc.boolean(),
  readySinceMs: fc.constantFrom(0, 50),
});

test('property: never a node that may not take the read, and null only when nobody may', () => {
  fc.assert(
    fc.property(
      fc.array(anyNode, { maxLength: 5 }),
      fc.record({
        balance: fc.constantFrom('weighted', 'least_busy', 'fastest'),
        readFromPrimary: fc.constantFrom('fallback', 'weighted', 'never'),
        zone: fc.constantFrom('', 'a'),
        maxLagMs: fc.constantFrom(0, 1000),
      }),
      fc.nat(12),
      fc.nat(5),
      fc.boolean(),
      (nodes, settings, bound, excluded, hasPrimary) => {
        const runtime = runtimeOf([], { slowStartMs: 100 });
        const views = nodes.map(({ replayed, banned, ...view }, i) => nodeView(`pg${i + 2}`, view));
        runtime.onView(clusterView([nodeView('pg1', { state: hasPrimary ? 'primary' : 'down' }), ...views]));
        for (const [i, { replayed, banned }] of nodes.entries()) {
          const node = nodeOf(runtime, `pg${i + 2}`);
          if (banned) node.failed(0, 1000);
          node.replayedLsn = replayed;
        }
        const exclude = runtime.nodes.get(`pg${excluded + 1}`) ?? null;
        const chooser = chooserOf(runtime, settings);
        const fits = ({
          weight,
          state,
          streaming,
          lagMs,
          replayed,
          banned,
        }: (typeof nodes)[number]): boolean =>
          state === 'replica' &&
          streaming &&
          weight > 0 &&
          !banned &&
          replayed >= bound &&
          !(settings.maxLagMs > 0 && lagMs !== null && lagMs > settings.maxLagMs);
        const eligible = nodes.filter((node, i) => fits(node) && exclude?.name !== `pg${i + 2}`);
        const primaryServes = runtime.primary !== null && exclude !== runtime.primary;
        for (let i = 0; i < 5; i++) {
          const chosen = chooser.choose(bound, 60, exclude);
          if (chosen === null) {
            assert.equal(eligible.length, 0);
            assert.ok(!primaryServes || settings.readFromPrimary === 'never');
            continue;
          }
          assert.notEqual(chosen, exclude);
          if (chosen === runtime.primary) {
            assert.notEqual(settings.readFromPrimary, 'never');
            if (settings.readFromPrimary === 'fallback') assert.equal(eligible.length, 0);
            continue;
          }
          const index = Number(chosen.name.slice(2)) - 2;
          const its = nodes[index];
          assert.ok(its !== undefined && fits(its), `${chosen.name} was not eligible`);
          const local = eligible.some((node) => node.zone === settings.zone);
          if (settings.zone !== '' && local) assert.equal(its.zone, settings.zone);
        }
      },
    ),
    { numRuns: 1000 },
  );
});

test('explain names every node and why; peek and explain change nothing', () => {
  const runtime = runtimeOf([
    nodeView('pg2'),
    nodeView('pg3', { state: 'down', lastError: 'refused' }),
    nodeView('pg4', { weight: 0 }),
    nodeView('pg5', { streaming: false }),
    nodeView('pg6'),
    nodeView('pg7', { weight: 3 }),
    nodeView('pg8', { lagMs: 5000, lagBytes: 70 }),
  ]);
  nodeOf(runtime, 'pg6').failed(0, 1000);
  for (const name of ['pg6', 'pg8']) runtime.onReplayed(name, 1000);
  runtime.onReplayed('pg2', 10);
  const chooser = chooserOf(runtime, { maxLagMs: 1000 });
  const why = Object.fromEntries(
    chooser.explain(20, 0).map((row) => [row.node, `${row.eligible} ${row.why}`]),
  );
  assert.deepEqual(why, {
    pg1: 'false primary: reads only when no replica may serve (read_from_primary = fallback)',
    pg2: 'false has not replayed the bound yet',
    pg3: 'false state down: refused',
    pg4: 'false weight 0',
    pg5: 'false not streaming from the primary',
    pg6: 'false banned after a failure',
    pg7: 'true 100.0 % of the reads',
    pg8: 'false lag 5000 ms, 70 bytes; max_lag 1000 ms, max_lag_bytes 0',
  });
  assert.equal(chooser.countEligible(0), 2);
  const peeked = [chooser.peek(0)?.name, chooser.peek(0)?.name];
  assert.deepEqual(peeked, ['pg7', 'pg7']);
  assert.equal(chooser.choose(0, 0, null)?.name, 'pg7');
  assert.equal(chooser.eligible(nodeOf(runtime, 'pg2'), 0, 0), true);
  assert.equal(chooser.eligible(nodeOf(runtime, 'pg2'), 20, 0), false);
});
