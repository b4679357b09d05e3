/** Lag, cascades, positions and rights, seen by the observer on real streaming replication. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseLsn } from '../../src/cluster/lsn.ts';
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

test('paused replay: lagging beyond max_lag, back after it, an idle primary is no lag', async (t) => {
  const cluster = await withCluster(2);
  const [pg1, pg2] = cluster.nodes;
  assert.ok(pg1 && pg2);
  await cluster.sql(pg1, 'CREATE TABLE t (i int)');
  await cluster.waitCaughtUp();
  const watched = watch(t, cluster, { keys: 'max_lag=0.5 recover_lag=0.2 check_interval=0.1' });
  await watched.untilStates('pg1 primary, pg2 replica, pg3 replica');
  // longer than max_lag without a write, then one: nobody was late for even a moment
  await sleep(1_000);
  await cluster.sql(pg1, 'INSERT INTO t VALUES (1)');
  await cluster.waitCaughtUp();
  await watched.clusters.redetect(null).done;
  assert.deepEqual(watched.told, []);

  await cluster.sql(pg2, 'SELECT pg_wal_replay_pause()');
  await cluster.sql(pg1, 'INSERT INTO t VALUES (2)');
  await watched.untilStates('pg1 primary, pg2 lagging, pg3 replica');
  assert.ok((watched.node('pg2').lagMs ?? 0) > 500);
  assert.ok((watched.node('pg2').lagBytes ?? 0) > 0);
  await cluster.sql(pg2, 'SELECT pg_wal_replay_resume()');
  await watched.untilStates('pg1 primary, pg2 replica, pg3 replica');
  await until(() => watched.node('pg2').lagMs === 0);
  assert.deepEqual(watched.told, ['replica_down pg2', 'replica_up pg2']);
});

test('max_lag_bytes counts too', async (t) => {
  const cluster = await withCluster(1);
  const [pg1, pg2] = cluster.nodes;
  assert.ok(pg1 && pg2);
  const watched = watch(t, cluster, { keys: 'max_lag=0 max_lag_bytes=64kB' });
  await watched.untilStates('pg1 primary, pg2 replica');
  await cluster.sql(pg2, 'SELECT pg_wal_replay_pause()');
  await cluster.sql(pg1, 'CREATE TABLE t AS SELECT * FROM generate_series(1, 20000)');
  await watched.untilStates('pg1 primary, pg2 lagging');
  await cluster.sql(pg2, 'SELECT pg_wal_replay_resume()');
  await watched.untilStates('pg1 primary, pg2 replica');
});

test('lag_source = heartbeat: a row on the primary, made by itself', async (t) => {
  const cluster = await withCluster(1);
  const [pg1, pg2] = cluster.nodes;
  assert.ok(pg1 && pg2);
  const watched = watch(t, cluster, {
    keys: 'lag_source=heartbeat max_lag=0.6 recover_lag=0.5 check_interval=0.1',
  });
  await watched.untilStates('pg1 primary, pg2 replica');
  await until(() => watched.node('pg2').lagMs !== null);
  await cluster.sql(pg2, 'SELECT pg_wal_replay_pause()');
  await watched.untilStates('pg1 primary, pg2 lagging');
  await cluster.sql(pg2, 'SELECT pg_wal_replay_resume()');
  await watched.untilStates('pg1 primary, pg2 replica');
  const { rows } = await cluster.sql(pg1, 'SELECT cluster FROM pgconcierge_heartbeat');
  assert.deepEqual(rows, [['main']]);
});

test('S-67: a lost synchronous standby stops neither the heartbeat nor the checks', async (t) => {
  const cluster = await withCluster(1);
  const [pg1, pg2] = cluster.nodes;
  assert.ok(pg1 && pg2);
  pg1.configure({ synchronous_standby_names: 'nosuch' });
  await until(async () => {
    return (await cluster.sql(pg1, 'SHOW synchronous_standby_names')).rows[0]?.[0] === 'nosuch';
  });
  const watched = watch(t, cluster, { keys: 'lag_source=heartbeat check_interval=0.1 check_timeout=0.5' });
  await watched.untilStates('pg1 primary, pg2 replica');
  await until(() => watched.node('pg2').lagMs !== null);
  assert.deepEqual(watched.told, []);
});

test('a heartbeat that may not be written is told once and nothing else suffers', async (t) => {
  const cluster = await withCluster(1);
  const [pg1] = cluster.nodes;
  assert.ok(pg1);
  await cluster.sql(pg1, 'CREATE ROLE mon LOGIN');
  await cluster.sql(pg1, 'REVOKE CREATE ON SCHEMA public FROM PUBLIC');
  await cluster.waitCaughtUp();
  const watched = watch(t, cluster, { keys: 'lag_source=heartbeat check_user=mon check_interval=0.05' });
  await watched.untilStates('pg1 primary, pg2 replica');
  await until(() => watched.lines.some((line) => line.includes('cannot write table')));
  for (let i = 0; i < 5; i++) await watched.clusters.redetect(null).done;
  assert.equal(watched.lines.filter((line) => line.includes('cannot write table')).length, 1);
  assert.equal(watched.lines.filter((line) => line.includes('cannot read table')).length, 1);
  assert.equal(watched.states, 'pg1 primary, pg2 replica');
  // without pg_monitor: roles and positions are known, what is missing is said once for each node
  assert.equal(watched.lines.filter((line) => line.includes('GRANT pg_monitor')).length, 1);
  assert.ok(watched.node('pg2').replayedLsn > 0);
});

test('a delayed replica takes no reads and says so once', async (t) => {
  const cluster = await withCluster(2);
  const [pg1, pg2] = cluster.nodes;
  assert.ok(pg1 && pg2);
  pg2.configure({ recovery_min_apply_delay: '5min' });
  await until(async () => {
    const { rows } = await cluster.sql(pg2, 'SHOW recovery_min_apply_delay');
    return rows[0]?.[0] === '5min';
  });
  const watched = watch(t, cluster, { keys: 'check_interval=0.05' });
  await watched.untilStates('pg1 primary, pg2 lagging, pg3 replica');
  for (let i = 0; i < 5; i++) {
    await cluster.sql(pg1, 'SELECT txid_current()');
    await watched.clusters.redetect(null).done;
  }
  assert.equal(watched.states, 'pg1 primary, pg2 lagging, pg3 replica');
  assert.deepEqual(watched.told, []);
  assert.equal(watched.lines.filter((line) => line.includes('recovery_min_apply_delay')).length, 1);
});

test('a cascaded replica is used, and a receiver that ends puts a replica out', async (t) => {
  const cluster = await withCluster(2);
  const [pg1, pg2, pg3] = cluster.nodes;
  assert.ok(pg1 && pg2 && pg3);
  await cluster.follow(pg3, pg2);
  const watched = watch(t, cluster);
  await watched.untilStates('pg1 primary, pg2 replica, pg3 replica');
  await until(() => watched.node('pg3').upstream === `127.0.0.1:${pg2.port}`);
  // nobody listens there: the receiver ends, replay stands still, the node answers
  pg3.configure({
    primary_conninfo: 'host=127.0.0.1 port=1 user=postgres connect_timeout=1',
    wal_retrieve_retry_interval: '60s',
  });
  await watched.untilStates('pg1 primary, pg2 replica, pg3 lagging');
  assert.equal(watched.node('pg3').streaming, false);
  pg3.configure({ wal_retrieve_retry_interval: '100ms' });
  await cluster.follow(pg3, pg1);
  await watched.untilStates('pg1 primary, pg2 replica, pg3 replica');
  assert.deepEqual(watched.told, ['replica_down pg3', 'replica_up pg3']);
});

test('role_query has the word', async (t) => {
  const cluster = await withCluster(1);
  const [pg1, pg2] = cluster.nodes;
  assert.ok(pg1 && pg2);
  const query = `SELECT current_setting('port') <> '${pg1.port}'`;
  const watched = watch(t, cluster, { keys: `role_query='${query.replaceAll("'", "''")}'` });
  await watched.untilStates('pg1 primary, pg2 replica');
});

test('samples: announced before they are asked, and never below a commit that ended before', async (t) => {
  const cluster = await withCluster(1);
  const [pg1] = cluster.nodes;
  assert.ok(pg1);
  await cluster.sql(pg1, 'CREATE TABLE t (i int)');
  const watched = watch(t, cluster, { keys: 'lsn_interval=0.02' });
  await watched.untilStates('pg1 primary, pg2 replica');
  const { sink } = watched;
  for (let i = 0; i < 20; i++) {
    // a segment switch now and then: the trap of the page header
    await cluster.sql(pg1, i % 5 === 4 ? 'SELECT pg_switch_wal()' : 'INSERT INTO t VALUES (1)');
    const bound = (await cluster.sql(pg1, 'SELECT pg_current_wal_flush_lsn()')).rows[0]?.[0] ?? '';
    const mark = sink.samples.filter((one) => one.what === 'sent').length + 1;
    watched.clusters.wantSamples('main');
    const sample = await until(() => sink.samples.find((one) => one.what === 'in' && one.number >= mark));
    assert.ok(sample.lsn >= parseLsn(bound), `sample ${sample.number} ${sample.lsn} < ${bound}`);
    // an idle primary: the replica gets there, whatever the position looks like
    watched.clusters.wantSamples('main');
    await until(() => {
      watched.clusters.wantSamples('main');
      return (sink.replayed.get('pg2') ?? 0) >= sample.lsn;
    });
  }
  for (const [i, one] of sink.samples.entries()) {
    if (one.what === 'in') {
      assert.ok(
        sink.samples.slice(0, i).some((other) => other.what === 'sent' && other.number === one.number),
      );
    }
  }
  const sent = sink.samples.filter((one) => one.what === 'sent').map((one) => one.number);
  assert.deepEqual(
    sent,
    sent.map((_one, i) => i + 1),
  );
  // nobody wants them any more: it ends
  const end = await until(async () => {
    const before = sink.samples.length;
    await sleep(200);
    return sink.samples.length === before;
  });
  assert.ok(end);
});

test('samples go on while checks hang, and after a failover come from the new primary', async (t) => {
  const cluster = await withCluster(1);
  const [pg1, pg2] = cluster.nodes;
  assert.ok(pg1 && pg2);
  const watched = watch(t, cluster, { keys: 'lsn_interval=0.02' });
  await watched.untilStates('pg1 primary, pg2 replica');
  watched.clusters.wantSamples('main');
  await until(() => watched.sink.samples.some((one) => one.what === 'in'));
  await cluster.waitCaughtUp();
  await pg1.stop();
  await cluster.promote(pg2);
  await watched.untilStates('pg1 down, pg2 primary');
  const bound = parseLsn((await cluster.sql(pg2, 'SELECT pg_current_wal_insert_lsn()')).rows[0]?.[0] ?? null);
  const from = watched.sink.samples.length;
  const sample = await until(() => {
    watched.clusters.wantSamples('main');
    return watched.sink.samples.slice(from).find((one) => one.what === 'in');
  });
  assert.ok(sample.lsn >= bound - 40);
});

test('catalogs: volatile functions, overloads, unlogged tables and the views over them', async (t) => {
  const cluster = await withCluster(1);
  const [pg1] = cluster.nodes;
  assert.ok(pg1);
  for (const sql of [
    'CREATE SCHEMA app',
    "CREATE FUNCTION app.w() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'",
    "CREATE FUNCTION app.r() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'",
    "CREATE FUNCTION app.o(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'",
    "CREATE FUNCTION app.o(text) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'",
    'CREATE FUNCTION app."Größe"() RETURNS int LANGUAGE sql STABLE AS \'SELECT 1\'',
    "CREATE PROCEDURE app.p() LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION app.acc(int, int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1 + $2'",
    'CREATE AGGREGATE app.agg(int) (sfunc = app.acc, stype = int, initcond = 0)',
    'CREATE UNLOGGED TABLE app.u (i int)',
    'CREATE TABLE app.t (i int)',
    'CREATE VIEW app.vu AS SELECT * FROM app.u',
    'CREATE VIEW app.vvu AS SELECT * FROM app.vu',
    'CREATE VIEW app.vw AS SELECT app.w()',
    'CREATE VIEW app.vt AS SELECT * FROM app.t',
  ]) {
    await cluster.sql(pg1, sql);
  }
  const watched = watch(t, cluster);
  // asked for before there is a primary: loaded when there is one
  watched.clusters.wantCatalog('main', 'postgres', false);
  const { sink } = watched;
  // not by trying again every 5 s
  const first = await until(() => sink.catalogs.find((one) => one.facts !== null), { timeoutMs: 5_000 });
  const facts = first.facts;
  assert.ok(facts);
  const volatile = (schema: string, name: string): boolean | undefined =>
    facts.functions.find((one) => one.schema === schema && one.name === name)?.volatile;
  assert.equal(volatile('app', 'w'), true);
  assert.equal(volatile('app', 'r'), false);
  assert.equal(volatile('app', 'o'), true);
  assert.equal(volatile('app', 'p'), true);
  assert.equal(volatile('app', 'agg'), true);
  assert.equal(volatile('app', Buffer.from('Größe').latin1Slice()), false);
  assert.equal(volatile('pg_catalog', 'lower'), false);
  assert.equal(volatile('pg_catalog', 'sum'), false);
  assert.equal(volatile('pg_catalog', 'nextval'), true);
  const unlogged = facts.unlogged.filter((one) => one.schema === 'app').map((one) => one.name);
  assert.deepEqual(unlogged.sort(), ['u', 'vu', 'vvu', 'vw']);

  await cluster.sql(pg1, 'ALTER FUNCTION app.r() VOLATILE');
  watched.clusters.wantCatalog('main', 'postgres', true);
  await until(() =>
    sink.catalogs.some((one) =>
      one.facts?.functions.some((f) => f.name === 'r' && f.schema === 'app' && f.volatile),
    ),
  );
  watched.clusters.wantCatalog('main', 'nosuch', false);
  await until(() => sink.catalogs.some((one) => one.dbname === 'nosuch' && one.facts === null));
});
