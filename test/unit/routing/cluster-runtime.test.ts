/** What a new view of the cluster does to nodes, primary and freshness. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterView, nodeOf, nodeView, runtimeOf } from './support.ts';

const primary = nodeView('pg1', { state: 'primary' });

test('nodes come and go; unchanged views change nothing', () => {
  const runtime = runtimeOf([nodeView('pg2')]);
  const pg2 = nodeOf(runtime, 'pg2');
  assert.equal(runtime.primary?.name, 'pg1');
  assert.equal(runtime.onView(clusterView([primary, nodeView('pg2', { lagMs: 7 })])), false);
  assert.equal(nodeOf(runtime, 'pg2'), pg2);
  assert.equal(pg2.view.lagMs, 7);
  assert.equal(pg2.replayedLsn, 1000);
  assert.equal(runtime.onView(clusterView([primary, nodeView('pg3')])), true);
  assert.deepEqual([...runtime.nodes.keys()], ['pg1', 'pg3']);
});

test('nodes stand in the order of the configuration, also one that came back', () => {
  const runtime = runtimeOf([nodeView('pg2')]);
  const pg2 = nodeOf(runtime, 'pg2');
  runtime.onView(clusterView([nodeView('pg2')]));
  const version = runtime.nodesVersion;
  runtime.onView(clusterView([primary, nodeView('pg2')]));
  assert.deepEqual([...runtime.nodes.keys()], ['pg1', 'pg2']);
  assert.equal(nodeOf(runtime, 'pg2'), pg2);
  assert.equal(runtime.primary?.name, 'pg1');
  assert.ok(runtime.nodesVersion > version);
});

test('roles, addresses and states are changes; a weight is one for choosers only', () => {
  const runtime = runtimeOf([nodeView('pg2')]);
  const version = runtime.nodesVersion;
  assert.equal(runtime.onView(clusterView([primary, nodeView('pg2', { weight: 3 })])), false);
  assert.ok(runtime.nodesVersion > version);
  assert.equal(runtime.onView(clusterView([primary, nodeView('pg2', { port: 5433 })])), true);
  assert.equal(
    runtime.onView(clusterView([primary, nodeView('pg2', { port: 5433, state: 'lagging' })])),
    true,
  );
  assert.equal(runtime.onView(clusterView([nodeView('pg1', { state: 'down' }), nodeView('pg2')])), true);
  assert.equal(runtime.primary, null);
});

test('whatever may be a restart makes the replayed position unknown until the next sample', () => {
  const runtime = runtimeOf([nodeView('pg2')]);
  const pg2 = nodeOf(runtime, 'pg2');
  for (const change of [
    { failures: 1 },
    { timeline: 2 },
    { systemId: '8' },
    { host: 'x' },
    { state: 'down' as const },
  ]) {
    runtime.onView(clusterView([primary, nodeView('pg2')]));
    runtime.onReplayed('pg2', 1000);
    runtime.onView(clusterView([primary, nodeView('pg2', change)]));
    assert.equal(pg2.replayedLsn, 0, JSON.stringify(change));
  }
  runtime.onReplayed('pg2', 900);
  assert.equal(pg2.replayedLsn, 900, 'set, not raised');
  runtime.onReplayed('nobody', 1);
});

test('a node that comes back, or is another one, is not banned', () => {
  const runtime = runtimeOf([nodeView('pg2')]);
  const pg2 = nodeOf(runtime, 'pg2');
  pg2.failed(0, 60_000);
  runtime.onView(clusterView([primary, nodeView('pg2', { state: 'down' })]));
  assert.equal(pg2.mayServe(10), false);
  runtime.onView(clusterView([primary, nodeView('pg2')]));
  assert.equal(pg2.mayServe(10), true);
});

test('another primary or timeline ends the old history of samples, an interruption does not', () => {
  const runtime = runtimeOf([nodeView('pg2')]);
  const { freshness } = runtime;
  freshness.onSent(1);
  freshness.onSample(1, 500);
  assert.equal(freshness.boundOf(1), 500);
  runtime.onView(clusterView([nodeView('pg1', { state: 'down' }), nodeView('pg2')]));
  runtime.onView(clusterView([primary, nodeView('pg2')]));
  assert.equal(freshness.boundOf(1), 500, 'the same primary again');
  runtime.onView(clusterView([primary, nodeView('pg2')], { timeline: 0 }));
  runtime.onView(clusterView([primary, nodeView('pg2')]));
  assert.equal(freshness.boundOf(1), 500, 'its timeline was not known for a while');
  runtime.onView(
    clusterView([nodeView('pg1', { state: 'down' }), nodeView('pg2', { state: 'primary' })], { timeline: 2 }),
  );
  assert.equal(freshness.boundOf(1), Number.POSITIVE_INFINITY);
});
