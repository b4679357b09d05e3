/** The observer over real streaming replication: roles, failovers, split brain, blips. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import { withCluster } from '../support/postgres.ts';
import { until } from '../support/until.ts';
import { WatchedCluster, type WatchOptions } from '../support/watched-cluster.ts';

function watch(
  t: { after(fn: () => void): void },
  cluster: PostgresCluster,
  options: WatchOptions = {},
): WatchedCluster {
  const watched = new WatchedCluster(cluster.nodes, options);
  t.after(() => watched.stop());
  return watched;
}

test('roles are found, with timeline, system identifier, positions and the upstream', async (t) => {
  const cluster = await withCluster(2);
  const watched = watch(t, cluster);
  await watched.untilStates('pg1 primary, pg2 replica, pg3 replica');
  const { view } = watched;
  assert.equal(view.primary, 'pg1');
  assert.equal(view.timeline, 1);
  assert.equal(view.noPrimarySinceAt, 0);
  const id = (await cluster.sql(cluster.primary, 'SELECT system_identifier FROM pg_control_system()'))
    .rows[0]?.[0];
  assert.equal(view.systemId, id);
  await until(() => view.nodes.every((node) => node.writtenLsn > 0));
  const [pg1, pg2] = cluster.nodes;
  assert.ok(pg1 && pg2);
  assert.equal(watched.node('pg2').upstream, `127.0.0.1:${pg1.port}`);
  assert.equal(watched.node('pg2').streaming, true);
  await until(() => watched.node('pg2').syncState === 'async');
  assert.equal(watched.sink.segmentBytes, 1024 * 1024);
  assert.deepEqual(watched.told, [], 'what is found at start is no event');
});

test('kill -9, promotion of another one, the old one comes back: each told once', async (t) => {
  const cluster = await withCluster(2);
  const [pg1, pg2, pg3] = cluster.nodes;
  assert.ok(pg1 && pg2 && pg3);
  const watched = watch(t, cluster, { keys: 'check_interval=60' });
  await watched.untilStates('pg1 primary, pg2 replica, pg3 replica');
  await cluster.waitCaughtUp();
  const trouble = (): void => watched.clusters.trouble('main', 'pg1', 'refused');

  await pg1.kill();
  // the monitor's own connection breaks: nobody waits for the next interval
  await watched.untilStates('pg1 down, pg2 replica, pg3 replica');
  assert.equal(watched.view.primary, null);
  assert.ok(watched.view.noPrimarySinceAt > 0);
  assert.deepEqual(watched.told, ['primary_down pg1']);

  await cluster.promote(pg3);
  trouble();
  await watched.untilStates('pg1 down, pg2 lagging, pg3 primary');
  assert.equal(watched.view.timeline, 2);
  assert.equal(watched.events.find(({ event }) => event === 'primary_up')?.old, 'pg1');

  await cluster.follow(pg2, pg3);
  await watched.clusters.redetect(null).done;
  await watched.untilStates('pg1 down, pg2 replica, pg3 primary');
  assert.deepEqual(watched.told, [
    'primary_down pg1',
    'replica_down pg2',
    'primary_up pg3',
    'replica_up pg2',
  ]);

  // writable, on the old timeline
  await pg1.start();
  await watched.clusters.redetect('main').done;
  await watched.untilStates('pg1 conflict, pg2 replica, pg3 primary');
  for (let i = 0; i < 5; i++) await watched.clusters.redetect(null).done;
  assert.equal(watched.view.primary, 'pg3');
  assert.deepEqual(watched.told.slice(4), ['conflict pg1']);

  await cluster.reclone(pg1, pg3);
  await watched.clusters.redetect('main').done;
  await watched.untilStates('pg1 replica, pg2 replica, pg3 primary');
  await until(() => watched.told.at(-1) === 'replica_up pg1');

  // the control file of pg2 still says timeline 1: with its walreceiver it must not lose the one that it has followed to
  await pg3.kill();
  await watched.untilStates('pg1 replica, pg2 replica, pg3 down');
  await watched.clusters.redetect('main').done;
  assert.equal(watched.states, 'pg1 replica, pg2 replica, pg3 down');
  assert.deepEqual(watched.told.slice(6), ['primary_down pg3']);
  assert.ok(watched.sink.views.every((view) => view.nodes.filter((n) => n.state === 'primary').length <= 1));
});

test('a promotion beside a living primary: the higher timeline wins, and stays', async (t) => {
  const cluster = await withCluster(1);
  const [pg1, pg2] = cluster.nodes;
  assert.ok(pg1 && pg2);
  const watched = watch(t, cluster);
  await watched.untilStates('pg1 primary, pg2 replica');
  await cluster.promote(pg2);
  await watched.untilStates('pg1 conflict, pg2 primary');
  const from = watched.sink.views.length;
  for (let i = 0; i < 10; i++) await watched.clusters.redetect(null).done;
  assert.ok(watched.sink.views.slice(from).every((view) => view.primary === 'pg2'));
  assert.deepEqual(watched.told, ['conflict pg1', 'primary_up pg2']);
});

test('a primary that is stopped with SIGSTOP is slow while clients are served, else down', async (t) => {
  const cluster = await withCluster(1);
  const [pg1] = cluster.nodes;
  assert.ok(pg1);
  const watched = watch(t, cluster, { keys: 'check_timeout=0.3 fail_threshold=2' });
  await watched.untilStates('pg1 primary, pg2 replica');
  watched.sink.answered = (node) => (node === 'pg1' ? performance.now() : 0);
  pg1.pause();
  try {
    await until(() => watched.node('pg1').slowChecks >= 3, { timeoutMs: 10_000 });
    assert.equal(watched.states, 'pg1 primary, pg2 replica');
    assert.equal(watched.node('pg1').failures, 0);
    watched.sink.answered = () => 0;
    await watched.untilStates('pg1 down, pg2 replica');
  } finally {
    pg1.resume();
  }
  await watched.untilStates('pg1 primary, pg2 replica');
  assert.deepEqual(watched.told, ['primary_down pg1', 'primary_up pg1']);
});

test('a node of another system is refused', async (t) => {
  const cluster = await withCluster(1);
  const stranger = await withCluster(0);
  const [other] = stranger.nodes;
  assert.ok(other);
  const nodes = [...cluster.nodes, { name: 'pg9', host: other.host, port: other.port }];
  const watched = new WatchedCluster(nodes);
  t.after(() => watched.stop());
  await watched.untilStates('pg1 primary, pg2 replica, pg9 conflict');
  assert.deepEqual(watched.told, ['refused_node pg9']);
  assert.match(watched.node('pg9').lastError, /system identifier/);
});
