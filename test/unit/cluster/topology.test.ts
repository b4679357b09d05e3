/** Who is the primary: two writable nodes, old ones that come back, strangers, restarts. Never two, never alternating. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Story, settings } from './fixture.ts';

const THREE = ['pg1', 'pg2', 'pg3'];

function running(): Story {
  const story = new Story(THREE).primary('pg1').replica('pg2').replica('pg3');
  story.told();
  return story;
}

test('no role before every node has been asked: an old primary may answer first', () => {
  const story = new Story(THREE).primary('pg1');
  assert.equal(story.state.primary, null);
  assert.equal(story.of('pg1'), 'starting');
  story.replica('pg3', { timeline: 2 }).primary('pg2', { timeline: 2 });
  assert.equal(story.state.primary, 'pg2');
  assert.equal(story.of('pg1'), 'conflict');
  assert.equal(story.of('pg3'), 'replica');
  assert.deepEqual(story.told(), ['conflict pg1']);
});

test('a node that does not answer holds the start up only until the time for it is over', () => {
  const story = new Story(THREE).primary('pg1').replica('pg2');
  assert.equal(story.state.primary, null);
  story.state.settle(story.now);
  assert.equal(story.state.primary, 'pg1');
  assert.equal(story.of('pg3'), 'starting');
  assert.deepEqual(story.told(), []);
});

test('S-62: the primary dies, another one than expected is promoted', () => {
  const story = running();
  story.fails('pg1', 3);
  assert.ok(story.state.view().noPrimarySinceAt > 0);
  story.primary('pg3', { timeline: 2 });
  assert.equal(story.state.primary, 'pg3');
  assert.deepEqual(story.told(), ['primary_down pg1', 'replica_down pg2', 'primary_up pg3']);
  story.replica('pg2', { timeline: 2 });
  assert.deepEqual(story.told(), ['replica_up pg2']);
});

test('a promotion is seen before the old one counts as down: both are told at once', () => {
  const story = running();
  story.fails('pg1').primary('pg2', { timeline: 2 });
  assert.equal(story.state.primary, 'pg2');
  assert.deepEqual(story.told(), ['conflict pg1', 'replica_down pg3', 'primary_up pg2']);
  story.fails('pg1', 2);
  assert.equal(story.of('pg1'), 'down');
  assert.deepEqual(story.told(), []);
});

test('S-63: a replica that still follows the old one is out until it follows the new one', () => {
  const story = running();
  story.fails('pg1', 3).primary('pg2', { timeline: 2 });
  story.told();
  for (let i = 0; i < 5; i++) story.replica('pg3', { streaming: false });
  assert.equal(story.of('pg3'), 'lagging');
  assert.deepEqual(story.told(), []);
  story.replica('pg3', { timeline: 2 });
  assert.equal(story.of('pg3'), 'replica');
  assert.deepEqual(story.told(), ['replica_up pg3']);
});

test('S-64: writable on the same timeline: the known one stays, the other is in conflict, once', () => {
  const story = running();
  for (let i = 0; i < 10; i++) {
    story.primary('pg2').primary('pg1');
    assert.equal(story.state.primary, 'pg1');
  }
  assert.equal(story.of('pg2'), 'conflict');
  assert.deepEqual(story.told(), ['conflict pg2']);
  story.fails('pg1', 3);
  assert.equal(story.state.primary, 'pg2');
  story.primary('pg1');
  assert.equal(story.state.primary, 'pg2');
  assert.equal(story.of('pg1'), 'conflict');
});

test('S-64: a higher timeline wins, and an old one is not believed again, not even alone', () => {
  const story = running();
  story.primary('pg2', { timeline: 2 });
  assert.equal(story.state.primary, 'pg2');
  story.told();
  for (let i = 0; i < 5; i++) story.primary('pg1').primary('pg2', { timeline: 2 });
  assert.equal(story.of('pg1'), 'conflict');
  story.fails('pg2', 3).primary('pg1');
  assert.equal(story.state.primary, null);
  assert.equal(story.of('pg1'), 'conflict');
  assert.deepEqual(story.told(), ['primary_down pg2']);
  story.primary('pg2', { timeline: 2 });
  assert.deepEqual(story.told(), ['primary_up pg2']);
});

test('the old primary comes back as a replica of the new one', () => {
  const story = running();
  story.fails('pg1', 3).primary('pg2', { timeline: 2 }).replica('pg3', { timeline: 2 }).told();
  story.replica('pg1', { timeline: 2 });
  assert.equal(story.of('pg1'), 'replica');
  assert.deepEqual(story.told(), ['replica_up pg1']);
});

test('a stranger is refused once, whatever it says', () => {
  const story = new Story(THREE).primary('pg1').replica('pg2').primary('pg3', { systemId: '8', timeline: 9 });
  assert.equal(story.state.primary, 'pg1');
  assert.equal(story.of('pg3'), 'conflict');
  story.primary('pg3', { systemId: '8', timeline: 10 }).replica('pg3', { systemId: '8' });
  assert.equal(story.of('pg3'), 'conflict');
  assert.deepEqual(story.told(), ['refused_node pg3']);
  story.fails('pg1', 3);
  assert.equal(story.state.primary, null);
});

test('a cluster that was built anew (pg_upgrade) is accepted when all of it says so', () => {
  const story = running();
  story.primary('pg1', { systemId: '8' });
  assert.equal(story.state.primary, null);
  story.replica('pg2', { systemId: '8' }).replica('pg3', { systemId: '8' });
  assert.equal(story.state.primary, 'pg1');
  assert.equal(story.state.view().systemId, '8');
});

test('a cascaded replica, and one behind an unknown timeline, are replicas', () => {
  const story = new Story(THREE)
    .primary('pg1')
    .replica('pg2')
    .replica('pg3', { upstream: '10.0.0.2:5432', timeline: 0 });
  assert.equal(story.of('pg3'), 'replica');
});

test('a primary taken out by a person: none is usable, and nobody else is chosen', () => {
  const story = running();
  story.events.push(...story.state.override('pg1', { detached: true }, story.now));
  assert.equal(story.state.primary, null);
  assert.deepEqual(story.told(), ['primary_down pg1']);
  story.primary('pg1').replica('pg2');
  assert.equal(story.of('pg2'), 'replica');
  story.primary('pg2', { timeline: 2 });
  assert.equal(story.state.primary, 'pg2');
  assert.equal(story.of('pg1'), 'detached');
});

test('logical replication: another system and no timeline, by role_query and heartbeat', () => {
  const changes = { roleQuery: 'SELECT false', lagSource: 'heartbeat' } as const;
  const story = new Story(['pg1', 'pg2'], changes).primary('pg1');
  story.replica('pg2', { logical: true, systemId: '8', timeline: 5, streaming: false, replayedLsn: 0 });
  assert.equal(story.state.primary, 'pg1');
  for (let i = 0; i < 5; i++) {
    story.replica('pg2', { logical: true, systemId: '8', timeline: 5, streaming: false, replayedLsn: 0 });
  }
  assert.equal(story.of('pg2'), 'replica');
});

test('Patroni does not let a writable node lead: it is neither primary nor replica', () => {
  const story = new Story(['pg1', 'pg2']).primary('pg1', { timeline: 2 });
  story.replica('pg2', { replayedLsn: 0, writtenLsn: 5_000, streaming: false });
  assert.equal(story.of('pg2'), 'lagging');
});

const MEMORY = { primary: 'pg1', timeline: 1, systemId: '7' };

test('restart: nothing has changed, nothing is told', () => {
  const story = new Story(THREE, {}, MEMORY).replica('pg2').replica('pg3').primary('pg1');
  assert.equal(story.state.primary, 'pg1');
  assert.deepEqual(story.told(), []);
});

test('restart: another primary was promoted meanwhile, told once as missed', () => {
  const story = new Story(THREE, {}, MEMORY).fails('pg1', 3).replica('pg3', { timeline: 2 });
  story.primary('pg2', { timeline: 2 });
  assert.deepEqual(
    story.events.map(({ event, node, missed }) => [event, node, missed]),
    [
      ['primary_down', 'pg1', true],
      ['primary_up', 'pg2', true],
    ],
  );
  story.told();
  story.fails('pg2', 3);
  assert.deepEqual(
    story.events.map(({ event, missed }) => [event, missed]),
    [['primary_down', false]],
  );
});

test('restart: the old primary is still down, and that was told already', () => {
  const story = new Story(THREE, {}, MEMORY, false).fails('pg1', 3).replica('pg2').replica('pg3');
  assert.deepEqual(story.told(), []);
  story.primary('pg1');
  assert.deepEqual(story.told(), ['primary_up pg1']);
});

test('restart: an older timeline than the one known is not believed', () => {
  const story = new Story(THREE, {}, { ...MEMORY, primary: 'pg2', timeline: 2 });
  story.primary('pg1').fails('pg2', 3).replica('pg3');
  assert.equal(story.state.primary, null);
  assert.equal(story.of('pg1'), 'conflict');
  assert.equal(story.of('pg3'), 'lagging');
});

test('RELOAD: nodes come and go, the cluster stays what it is; a new address is another node', () => {
  const story = running();
  story.state.reconfigure(settings(['pg1', 'pg2', 'pg4']), story.now);
  assert.equal(story.state.primary, 'pg1');
  assert.deepEqual(
    story.state.view().nodes.map((node) => `${node.name} ${node.state}`),
    ['pg1 primary', 'pg2 replica', 'pg4 starting'],
  );
  const moved = settings(['pg2', 'pg1']);
  story.events.push(...story.state.reconfigure(moved, story.now));
  assert.equal(story.of('pg1'), 'starting');
  assert.equal(story.state.primary, null);
  story.primary('pg1');
  assert.equal(story.state.primary, 'pg1');
  story.events.push(...story.state.reconfigure(settings([]), story.now));
  assert.equal(story.told().at(-1), 'primary_down pg1');
});

test('the version grows with what routing must know, not with each check', () => {
  const story = running();
  const { version } = story.state.view();
  story.tick().primary('pg1', { writtenLsn: 2_000_000 }).replica('pg2').replica('pg3');
  assert.equal(story.state.view().version, version);
  story.state.override('pg2', { weight: 3 }, story.now);
  assert.equal(story.state.view().nodes[1]?.weight, 3);
  assert.equal(story.state.view().nodes[1]?.override, 'weight');
  assert.ok(story.state.view().version > version);
});

test("whatever the nodes say, at most one is primary, it is the view's, and events alternate", () => {
  const node = fc.constantFrom(...THREE);
  const timeline = fc.integer({ min: 0, max: 3 });
  const system = fc.constantFrom('7', '7', '7', '8', '');
  const step = fc.oneof(
    fc.record({ kind: fc.constant('primary' as const), node, timeline, system }),
    fc.record({ kind: fc.constant('replica' as const), node, timeline, system }),
    fc.record({ kind: fc.constant('fails' as const), node, times: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ kind: fc.constant('slow' as const), node }),
    fc.record({ kind: fc.constant('detached' as const), node, on: fc.boolean() }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const story = new Story(THREE);
      let highest = 0;
      for (const one of steps) {
        const known = story.state.primary;
        if (one.kind === 'primary') story.primary(one.node, { timeline: one.timeline, systemId: one.system });
        else if (one.kind === 'replica')
          story.replica(one.node, { timeline: one.timeline, systemId: one.system });
        else if (one.kind === 'fails') story.fails(one.node, one.times);
        else if (one.kind === 'slow') story.slow(one.node);
        else story.events.push(...story.state.override(one.node, { detached: one.on }, story.now));
        story.tick(10);
        const view = story.state.view();
        const primaries = view.nodes.filter((n) => n.state === 'primary').map((n) => n.name);
        assert.deepEqual(primaries, view.primary === null ? [] : [view.primary]);
        assert.equal(view.noPrimarySinceAt === 0, view.primary !== null);
        // the known one is left for a higher timeline, or because of what was just seen of it
        if (known !== null && view.primary !== null && view.primary !== known && one.node !== known) {
          assert.ok(view.timeline > highest);
        }
        highest = view.systemId === '7' ? view.timeline : 0;
      }
      let up: string | null = null;
      for (const { event, node: about } of story.events) {
        if (event === 'primary_up') {
          assert.notEqual(up, about);
          up = about;
        } else if (event === 'primary_down') {
          assert.ok(up === null || up === about);
          up = null;
        }
      }
    }),
    { numRuns: 500 },
  );
});
