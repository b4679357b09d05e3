/** The reducer of one node, and what its cluster makes of it: thresholds, hysteresis, slow and dead. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Limits, NODE_MOVES, newNode, next } from '../../../src/cluster/node-state.ts';
import { replicaFacts, Story } from './fixture.ts';

const LIMITS: Limits = {
  failThreshold: 3,
  maxLagMs: 120_000,
  recoverLagMs: 60_000,
  maxLagBytes: 0,
  warmUp: false,
};

test('every state can be reached from every other where the table says so, and the table names all states', () => {
  const states = Object.keys(NODE_MOVES).sort();
  assert.deepEqual(states, ['conflict', 'detached', 'down', 'lagging', 'primary', 'replica', 'starting']);
  const reached = new Set(['starting']);
  const moves: Readonly<Record<string, readonly string[]>> = NODE_MOVES;
  for (const state of reached) for (const to of moves[state] ?? []) reached.add(to);
  assert.deepEqual([...reached].sort(), states);
  for (const [state, to] of Object.entries(moves)) {
    assert.ok(!to.includes(state));
    // a person may take out whatever there is
    if (state !== 'detached') assert.ok(to.includes('detached'));
  }
});

/** A replica whose lag is what is said, one check after the other; the names of events. */
function lags(
  values: readonly number[],
  bytes = false,
  limits: Limits = LIMITS,
): { states: string[]; events: string[] } {
  let node = newNode('pg2', false, 0);
  const states: string[] = [];
  const events: string[] = [];
  let ms = 0;
  for (const lag of values) {
    ms += 1_000;
    const now = { ms, wall: ms };
    const facts = replicaFacts();
    const answered = next(node, { kind: 'answer', facts, primaryWell: true }, now, limits);
    const judged = next(
      answered.node,
      {
        kind: 'judged',
        role: 'replica',
        why: '',
        foreign: false,
        otherTimeline: false,
        lagMs: bytes ? 0 : lag,
        lagBytes: bytes ? lag : 0,
        orphaned: false,
      },
      now,
      limits,
    );
    node = judged.node;
    states.push(node.state);
    events.push(...[...answered.events, ...judged.events].map((event) => event.event));
  }
  return { states, events };
}

test('S-60: max_lag 120, recover_lag 60', () => {
  const s = 1_000;
  assert.deepEqual(lags([0, 119 * s, 120 * s]), { states: ['replica', 'replica', 'replica'], events: [] });
  assert.deepEqual(lags([0, 119 * s, 120 * s, 121 * s, 100 * s, 61 * s, 60 * s, 119 * s]), {
    states: ['replica', 'replica', 'replica', 'lagging', 'lagging', 'lagging', 'replica', 'replica'],
    events: ['replica_down', 'replica_up'],
  });
  const oscillating = Array.from({ length: 20 }, (_one, i) => (i % 2 === 0 ? 110 * s : 121 * s));
  assert.deepEqual(lags([0, ...oscillating]).events, ['replica_down']);
});

test('bytes: strictly above is out, half is back', () => {
  const limits = { ...LIMITS, maxLagBytes: 1_000 };
  assert.deepEqual(lags([0, 1_000, 1_001, 501, 500, 1_000], true, limits), {
    states: ['replica', 'replica', 'lagging', 'lagging', 'replica', 'replica'],
    events: ['replica_down', 'replica_up'],
  });
});

test('0 = no limit', () => {
  const limits = { ...LIMITS, maxLagMs: 0, recoverLagMs: 0 };
  assert.deepEqual(lags([0, 1e9, 0], false, limits).events, []);
});

test('a replica that lags from the start is no event; its return is one', () => {
  assert.deepEqual(lags([200_000, 200_000, 0]), {
    states: ['lagging', 'lagging', 'replica'],
    events: ['replica_up'],
  });
});

test('S-61: one or two failures are nothing, the third is down, once; the same one back is primary_up', () => {
  const story = new Story(['pg1', 'pg2']).primary('pg1').replica('pg2');
  assert.deepEqual(story.told(), []);
  for (const failures of [1, 2]) {
    story.fails('pg1', failures);
    assert.equal(story.of('pg1'), 'primary');
    assert.equal(story.state.primary, 'pg1');
    story.primary('pg1');
    assert.equal(story.state.node('pg1')?.failures, 0);
  }
  // not consecutive: five in all
  story.fails('pg1', 2).primary('pg1').fails('pg1', 2).primary('pg1').fails('pg1', 1);
  assert.deepEqual(story.told(), []);
  story.primary('pg1').fails('pg1', 3).fails('pg1', 5);
  assert.equal(story.of('pg1'), 'down');
  assert.equal(story.state.primary, null);
  assert.deepEqual(story.told(), ['primary_down pg1']);
  story.primary('pg1').primary('pg1');
  assert.deepEqual(story.told(), ['primary_up pg1']);
  assert.equal(story.state.view().noPrimarySinceAt, 0);
});

test('S-68: slow is not dead', () => {
  const story = new Story(['pg1', 'pg2']).primary('pg1').replica('pg2');
  for (let i = 0; i < 10; i++) story.slow('pg1').slow('pg2');
  assert.equal(story.of('pg1'), 'primary');
  assert.equal(story.of('pg2'), 'replica');
  assert.equal(story.state.view().nodes[0]?.slowChecks, 10);
  assert.equal(story.state.view().nodes[0]?.failures, 0);
  assert.deepEqual(story.told(), []);
  story.fails('pg1', 3);
  assert.deepEqual(story.told(), ['primary_down pg1']);
});

test('a replica down and up again: one event each, and it is ready since then', () => {
  const story = new Story(['pg1', 'pg2']).primary('pg1').replica('pg2');
  assert.equal(story.state.view().nodes[1]?.readySinceMs, 0);
  story.fails('pg2', 7);
  assert.deepEqual(story.told(), ['replica_down pg2']);
  assert.equal(story.state.view().nodes[1]?.readySinceMs, 0);
  story.tick().replica('pg2');
  assert.deepEqual(story.told(), ['replica_up pg2']);
  assert.equal(story.state.view().nodes[1]?.readySinceMs, story.nowMs);
  // down while it lagged: it was out already
  story.replica('pg2', { applyDelayMs: 60_000 }).told();
  story.fails('pg2', 3).replica('pg2', { applyDelayMs: 60_000 });
  assert.deepEqual(story.told(), []);
});

test('a delayed replica stays out however idle the primary is', () => {
  const story = new Story(['pg1', 'pg2']).primary('pg1').replica('pg2', { applyDelayMs: 300_000 });
  for (let i = 1; i <= 10; i++) {
    story.tick().primary('pg1', { writtenLsn: 1_000_000 + i * 1_000 });
    story.replica('pg2', { applyDelayMs: 300_000, replayedLsn: 1_000_000 + i * 1_000 });
    assert.equal(story.of('pg2'), 'lagging');
  }
  assert.deepEqual(story.told(), []);
});

test('the first write after an idle hour makes no replica late', () => {
  const story = new Story(['pg1', 'pg2']);
  for (let i = 0; i < 10; i++) story.tick().primary('pg1').replica('pg2', { replayAgeMs: 3_600_000 });
  // the write is seen on the primary before the replica has replayed it
  story.tick().primary('pg1', { writtenLsn: 1_000_400 }).replica('pg2', { replayAgeMs: 3_600_000 });
  assert.equal(story.of('pg2'), 'replica');
  assert.equal(story.state.node('pg2')?.lagMs, 1_000);
  assert.deepEqual(story.told(), []);
  // it does not come: then it is late
  for (let i = 0; i < 10; i++) {
    story.tick().primary('pg1', { writtenLsn: 1_000_400 }).replica('pg2', { replayAgeMs: 3_600_000 });
  }
  assert.equal(story.of('pg2'), 'lagging');
  assert.deepEqual(story.told(), ['replica_down pg2']);
});

test('without a primary lag means nothing: reads go on where they were, and lagging ones stay out', () => {
  const story = new Story(['pg1', 'pg2', 'pg3'])
    .primary('pg1')
    .replica('pg2')
    .replica('pg3', { replayAgeMs: 60_000, replayedLsn: 1 });
  assert.equal(story.of('pg3'), 'lagging');
  story.fails('pg1', 3).told();
  for (let i = 0; i < 30; i++) {
    story.tick().replica('pg2', { replayedLsn: 999_000, replayAgeMs: 20_000 + i, streaming: false });
    story.replica('pg3', { replayedLsn: 1, replayAgeMs: 90_000, streaming: false });
  }
  assert.equal(story.of('pg2'), 'replica');
  assert.equal(story.of('pg3'), 'lagging');
  assert.deepEqual(story.told(), []);
});

test('a walreceiver that is away for a moment is nothing, one that stays away is', () => {
  const story = new Story(['pg1', 'pg2']).primary('pg1').replica('pg2');
  story.replica('pg2', { streaming: false }).replica('pg2', { streaming: false }).replica('pg2');
  assert.deepEqual(story.told(), []);
  // the primary fails too: it is not the replica's fault
  story.fails('pg1');
  for (let i = 0; i < 5; i++) story.replica('pg2', { streaming: false });
  assert.equal(story.of('pg2'), 'replica');
  story.primary('pg1');
  for (let i = 0; i < 3; i++) story.replica('pg2', { streaming: false });
  assert.equal(story.of('pg2'), 'lagging');
  assert.equal(story.state.view().nodes[1]?.streaming, false);
  story.replica('pg2');
  assert.deepEqual(story.told(), ['replica_down pg2', 'replica_up pg2']);
});

test('detached by a person: no event, no traffic, and back without ceremony', () => {
  const story = new Story(['pg1', 'pg2']).primary('pg1').replica('pg2');
  story.events.push(...story.state.override('pg2', { detached: true }, story.now));
  assert.equal(story.of('pg2'), 'detached');
  assert.equal(story.state.view().nodes[1]?.override, 'detached');
  story.replica('pg2').fails('pg2', 5).replica('pg2');
  assert.equal(story.of('pg2'), 'detached');
  story.tick().events.push(...story.state.override('pg2', { detached: false }, story.now));
  assert.equal(story.of('pg2'), 'replica');
  assert.equal(story.state.view().nodes[1]?.readySinceMs, story.nowMs);
  assert.deepEqual(story.told(), []);
});

test('warmup_query: a replica that was down is cold until it has been warmed; nobody else is', () => {
  const story = new Story(['pg1', 'pg2'], { warmupQuery: 'SELECT 1' });
  story.primary('pg1').replica('pg2');
  assert.equal(story.state.node('pg2')?.state, 'replica', 'not at the start of the proxy');
  story.fails('pg2', 2).replica('pg2');
  assert.equal(story.state.node('pg2')?.state, 'replica', 'not after a blip');
  story.fails('pg2', 3).replica('pg2');
  assert.equal(story.state.node('pg2')?.state, 'lagging');
  assert.deepEqual(
    story.events.map(({ event }) => event),
    ['replica_down'],
  );
  // it has failed again meanwhile: what was run then does not count
  story.fails('pg2');
  assert.deepEqual(story.state.warmed('pg2', story.now), []);
  story.replica('pg2');
  story.events.push(...story.state.warmed('pg2', story.now));
  assert.equal(story.state.node('pg2')?.state, 'replica');
  story.replica('pg2').primary('pg1');
  assert.deepEqual(
    story.events.map(({ event }) => event),
    ['replica_down', 'replica_up'],
  );
});

test('warmup_query keeps no replica out when there is no primary, and none from becoming it', () => {
  const story = new Story(['pg1', 'pg2', 'pg3'], { warmupQuery: 'SELECT 1' });
  story.primary('pg1').replica('pg2').replica('pg3').fails('pg2', 3).fails('pg1', 3);
  story.replica('pg2');
  assert.equal(story.state.node('pg2')?.state, 'replica');
  story.fails('pg3', 3).primary('pg3', { timeline: 2 });
  assert.equal(story.state.node('pg3')?.state, 'primary');
});

test('a replica that loses its walreceiver keeps the timeline that it followed to, one that began anew does not', () => {
  const story = new Story(['pg1', 'pg2']).primary('pg1', { timeline: 2 }).replica('pg2', { timeline: 2 });
  story.fails('pg1', 3);
  // its last restartpoint was on timeline 1
  story.tick().replica('pg2', { timeline: 1, streaming: false, writtenLsn: 1_000_000 });
  assert.equal(story.of('pg2'), 'replica');
  story.tick().replica('pg2', { timeline: 1, streaming: false, writtenLsn: 0 });
  assert.equal(story.of('pg2'), 'lagging', 'it has received nothing: restarted, or another copy of the data');
});

test('a lagging replica says why it takes no reads, also while it is on its way back', () => {
  const story = new Story(['pg1', 'pg2']).primary('pg1').replica('pg2');
  const why = (): string | undefined => story.state.view().nodes[1]?.lastError;
  const lag = (replayAgeMs: number) => story.tick().replica('pg2', { replayedLsn: 1, replayAgeMs });
  assert.equal(why(), '');
  lag(11_000);
  assert.equal(story.of('pg2'), 'lagging');
  assert.match(why() ?? '', /^it is \d+\.\d s behind, max_lag is 10 s$/);
  lag(7_000);
  assert.equal(story.of('pg2'), 'lagging');
  assert.match(why() ?? '', /^it is \d\.\d s behind, it takes reads again at 5 s \(recover_lag\)$/);
});
