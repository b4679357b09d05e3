/** Which node may take what, seen by clients: lag (S-60), other sources of the roles (S-6A), cascaded and delayed replicas (S-6B). */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { PostgresInstance } from '../../src/demo/postgres-instance.ts';
import { Load, loadedCluster } from '../support/cluster-load.ts';
import { assertTold, nodeRow, told, untilHeld, untilNodes, untilPrimary } from '../support/cluster-views.ts';
import type { RawClient } from '../support/raw-client.ts';
import { nodeAt, routedDaemon, whereAmI } from '../support/routed.ts';
import { Admin, answer, ask, login } from '../support/scenario.ts';
import { until } from '../support/until.ts';

const INSERT = 'INSERT INTO w (client, n) VALUES (1, 1) RETURNING inet_server_port()';

/** Names of the nodes that answer some reads. */
async function readers(cluster: PostgresCluster, client: RawClient): Promise<string> {
  const names = new Set<string>();
  for (let i = 0; i < 20; i++) names.add(nodeAt(cluster, (await client.rows(whereAmI))[0]?.[0]));
  return [...names].sort().join(' ');
}

/** An HTTP door whose answer the test changes. */
interface Door {
  readonly url: string;
  status: number;
  body: string;
}

async function door(t: TestContext): Promise<Door> {
  const server = createServer((_request, response) => {
    response.writeHead(made.status);
    response.end(made.body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const made: Door = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    status: 200,
    body: '',
  };
  return made;
}

for (const [source, keys] of [
  ['wal', 'max_lag=2 recover_lag=1'],
  // a beat is as old as the checks are apart
  ['heartbeat', 'lag_source=heartbeat max_lag=3 recover_lag=2'],
] as const) {
  test(`S-60, lag_source = ${source}: a lagging replica takes no reads until it has caught up, and is not cut`, async (t) => {
    const [cluster, pg1, pg2, pg3] = await loadedCluster(2);
    assert.ok(pg1 && pg2 && pg3);
    const daemon = await routedDaemon(t, cluster, {
      clusters: `${keys} check_interval=0.1 read_consistency=eventual`,
    });
    const admin = await Admin.login(t, daemon);
    const client = await login(t, daemon, 'app');
    const all = 'pg1 primary, pg2 replica, pg3 replica';
    await untilNodes(admin, all);
    if (source === 'heartbeat') {
      await until(async () => (await nodeRow(admin, 'pg2')).text('lag_seconds') !== null);
      await until(async () => (await nodeRow(admin, 'pg3')).text('lag_seconds') !== null);
    }
    assert.equal(await readers(cluster, client), 'pg2 pg3');
    const held = [await login(t, daemon, 'app'), await login(t, daemon, 'app')];
    for (const one of held) await one.query('BEGIN READ ONLY');
    const places: string[] = [];
    for (const one of held) places.push(nodeAt(cluster, (await one.rows(whereAmI))[0]?.[0]));
    const onPg2 = held[places.indexOf('pg2')];
    assert.ok(onPg2);
    for (let round = 1; round <= 2; round++) {
      await cluster.sql(pg2, 'SELECT pg_wal_replay_pause()');
      await cluster.sql(pg1, `INSERT INTO w (client, n) VALUES (9, ${round})`);
      await untilNodes(admin, 'pg1 primary, pg2 lagging, pg3 replica');
      assert.equal(await readers(cluster, client), 'pg3');
      assert.deepEqual(await onPg2.rows(whereAmI), [[String(pg2.port)]]);
      // it stays that way, however often one looks
      for (let i = 0; i < 5; i++) await admin.run('REDETECT');
      assert.equal(await readers(cluster, client), 'pg3');
      await assertTold(daemon, /node pg2 of cluster main: it is .* s behind/, round);
      await cluster.sql(pg2, 'SELECT pg_wal_replay_resume()');
      await untilNodes(admin, all);
      assert.equal(await readers(cluster, client), 'pg2 pg3');
      await assertTold(daemon, /node pg2 of cluster main: it takes reads again/, round);
    }
    await onPg2.query('COMMIT');
    assert.deepEqual(told(daemon, /node pg3 of cluster main: it/), []);
  });
}

test('S-6A: check = http: 503 takes the writes from a node that would take them, 200 gives them back', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  const [one, two] = [await door(t), await door(t)];
  two.status = 503;
  const daemon = await routedDaemon(t, cluster, {
    nodes: { pg1: `check=${one.url}`, pg2: `check=${two.url}` },
  });
  const admin = await Admin.login(t, daemon);
  const [writer, reader] = [await login(t, daemon, 'app'), await login(t, daemon, 'app')];
  assert.deepEqual(await writer.rows(INSERT), [[String(pg1.port)]]);
  one.status = 503;
  await untilPrimary(admin, null);
  ask(writer, INSERT);
  await untilHeld(admin, 1);
  assert.deepEqual(await reader.rows(whereAmI), [[String(pg2.port)]]);
  one.status = 200;
  assert.deepEqual(await answer(writer), [[String(pg1.port)]]);
  // both doors say "primary", and one node is none
  two.status = 200;
  await admin.run('REDETECT');
  assert.deepEqual(await writer.rows(INSERT), [[String(pg1.port)]]);
  await cluster.waitCaughtUp();
  await until(async () => (await reader.rows(whereAmI))[0]?.[0] === String(pg2.port));
});

test('S-6A: Patroni moves the leader under load: writes follow its word, never two at a time', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  const patroni = await door(t);
  const say = (leader: PostgresInstance | null, timeline: number): void => {
    const member = (node: PostgresInstance) => ({
      name: node.name,
      role: node === leader ? 'leader' : 'replica',
      state: node === leader ? 'running' : 'streaming',
      host: node.host,
      port: node.port,
      timeline,
      lag: 0,
    });
    patroni.body = JSON.stringify({ members: [member(pg1), member(pg2)], scope: 'demo' });
  };
  say(pg1, 1);
  const daemon = await routedDaemon(t, cluster, {
    clusters: `check=patroni:${patroni.url} check_interval=0.1`,
  });
  const admin = await Admin.login(t, daemon);
  const load = await Load.start(t, daemon, ['insert', 'prepared', 'block', 'read']);
  await load.more(5);
  // as Patroni does it: nobody leads, the candidate is promoted, then it leads
  say(null, 1);
  await untilPrimary(admin, null);
  // what was sent before that ends; then nobody writes
  await until(async () => (await nodeRow(admin, 'pg1')).int('in_flight') === 0);
  await cluster.waitCaughtUp();
  await cluster.promote(pg2);
  for (let i = 0; i < 3; i++) await admin.run('REDETECT');
  await untilPrimary(admin, null);
  say(pg2, 2);
  await untilPrimary(admin, 'pg2');
  await load.more(10);
  await load.stop();
  assert.deepEqual(load.errors, []);
  for (const { kind, ports } of load.clients)
    if (kind !== 'read') assert.deepEqual(ports, [String(pg1.port), String(pg2.port)]);
});

test('S-6A: role_query makes a replica of the primary, and its clients wait', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  await cluster.sql(pg1, "CREATE TABLE role AS SELECT 'pg1'::text AS leads");
  await cluster.waitCaughtUp();
  const query = 'SELECT pg_is_in_recovery() OR leads = $$nobody$$ FROM role';
  const daemon = await routedDaemon(t, cluster, { clusters: `role_query='${query}'` });
  const admin = await Admin.login(t, daemon);
  const client = await login(t, daemon, 'app');
  assert.deepEqual(await client.rows(INSERT), [[String(pg1.port)]]);
  await cluster.sql(pg1, "UPDATE role SET leads = 'nobody'");
  await untilPrimary(admin, null);
  ask(client, INSERT);
  await untilHeld(admin, 1);
  await cluster.sql(pg1, "UPDATE role SET leads = 'pg1'");
  assert.deepEqual(await answer(client), [[String(pg1.port)]]);
});

test('S-6B: a cascaded replica is used and read-your-writes holds there; a delayed one never is, and says so once', async (t) => {
  const [cluster, pg1, pg2, pg3, pg4] = await loadedCluster(3);
  assert.ok(pg1 && pg2 && pg3 && pg4);
  await cluster.follow(pg3, pg2);
  pg4.configure({ recovery_min_apply_delay: '1h' });
  await until(async () => (await cluster.sql(pg4, 'SHOW recovery_min_apply_delay')).rows[0]?.[0] === '1h');
  const daemon = await routedDaemon(t, cluster, { clusters: 'check_interval=0.1' });
  const admin = await Admin.login(t, daemon);
  await untilNodes(admin, 'pg1 primary, pg2 replica, pg3 replica, pg4 lagging');
  assert.equal((await nodeRow(admin, 'pg3')).text('upstream'), 'pg2');
  const load = await Load.start(t, daemon, ['insert', 'block', 'read', 'read']);
  await load.more(30);
  await until(async () => (await nodeRow(admin, 'pg3')).int('reads') > 20);
  await load.stop();
  assert.deepEqual(load.errors, [], 'nothing stale');
  assert.equal((await nodeRow(admin, 'pg4')).int('reads'), 0);
  for (let i = 0; i < 5; i++) {
    await cluster.sql(pg1, 'INSERT INTO w (client, n) VALUES (9, 9)');
    await admin.run('REDETECT');
  }
  assert.equal((await nodeRow(admin, 'pg4')).text('state'), 'lagging');
  await assertTold(daemon, /pg4.*recovery_min_apply_delay/, 1);
});
