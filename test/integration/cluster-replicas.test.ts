/** Replicas that die, refuse and come back behind clients that only read (FAILOVER.md, ROUTING.md "Bans", S-39, S-66). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { PostgresInstance } from '../../src/demo/postgres-instance.ts';
import { signalProcess } from '../../src/demo/processes.ts';
import { Load, loadedCluster } from '../support/cluster-load.ts';
import { assertTold, nodeRow, untilNodes } from '../support/cluster-views.ts';
import { RawClient } from '../support/raw-client.ts';
import { nodeAt, routedDaemon, whereAmI } from '../support/routed.ts';
import { Admin, answer, ask, login, logins } from '../support/scenario.ts';
import { until } from '../support/until.ts';

async function prepared(replicas: number): Promise<[PostgresCluster, ...PostgresInstance[]]> {
  const [cluster, ...nodes] = await loadedCluster(replicas);
  await cluster.sql(cluster.primary, 'INSERT INTO w (client, n) VALUES (0, 0)');
  await cluster.waitCaughtUp();
  return [cluster, ...nodes];
}

const insert = (client: number, n = 1): string =>
  `INSERT INTO w (client, n) VALUES (${client}, ${n}) RETURNING inet_server_port()`;

/** One backend is killed: PostgreSQL ends all others and starts again inside, refusing logins with 57P03 meanwhile. */
async function crash(node: PostgresInstance): Promise<void> {
  const victim = await RawClient.login({ port: node.port }, { user: 'postgres', database: 'postgres' });
  const pid = Number((await victim.rows('SELECT pg_backend_pid()'))[0]?.[0]);
  const from = node.log.mark();
  signalProcess(pid, 'SIGKILL');
  await victim.closed();
  victim.destroy();
  await node.log.waitFor(/database system is ready to accept (read-only )?connections/, {
    from,
    timeoutMs: 30_000,
  });
}

test('kill -9 of a replica under reads: no error, no lost connection; it takes part again when it is back', async (t) => {
  const [cluster, pg1, pg2, pg3] = await prepared(2);
  assert.ok(pg1 && pg2 && pg3);
  const daemon = await routedDaemon(t, cluster, { clusters: 'ban_time=0.2' });
  const admin = await Admin.login(t, daemon);
  const load = await Load.start(
    t,
    daemon,
    Array.from({ length: 8 }, () => 'read' as const),
  );
  await load.more(10);
  for (let round = 0; round < 3; round++) {
    await pg2.kill();
    await untilNodes(admin, 'pg1 primary, pg2 down, pg3 replica');
    await load.more(10);
    await pg2.start();
    await untilNodes(admin, 'pg1 primary, pg2 replica, pg3 replica');
    const before = (await nodeRow(admin, 'pg2')).int('reads');
    await until(async () => (await nodeRow(admin, 'pg2')).int('reads') > before + 10);
  }
  await load.stop();
  assert.deepEqual(load.errors, []);
  assert.deepEqual(load.lost, []);
});

test('both replicas die one after the other: the primary takes the reads (S-39)', async (t) => {
  const [cluster, pg1, pg2, pg3] = await prepared(2);
  assert.ok(pg1 && pg2 && pg3);
  const daemon = await routedDaemon(t, cluster);
  const admin = await Admin.login(t, daemon);
  const load = await Load.start(t, daemon, ['read', 'read', 'read', 'read'], 'app');
  const ro = await Load.start(t, daemon, ['read', 'read'], 'app_ro');
  await load.more(5);
  await ro.more(5);
  await pg2.kill();
  await untilNodes(admin, 'pg1 primary, pg2 down, pg3 replica');
  // a read is sent again once: it must not meet the second death too
  await load.more(2);
  await ro.more(2);
  await pg3.kill();
  await untilNodes(admin, 'pg1 primary, pg2 down, pg3 down');
  await load.more(10);
  await ro.more(10);
  for (const client of [...load.clients, ...ro.clients]) assert.equal(client.lastPort, String(pg1.port));
  await load.stop();
  await ro.stop();
  assert.deepEqual([...load.errors, ...ro.errors], []);
});

test('a replica that crashes and recovers by itself costs no client anything', async (t) => {
  const [cluster, pg1, pg2] = await prepared(1);
  assert.ok(pg1 && pg2);
  const daemon = await routedDaemon(t, cluster, {
    clusters: 'ban_time=0.1',
    settings: { server_login_retry: 15, default_pool_size: 2 },
  });
  const admin = await Admin.login(t, daemon);
  const load = await Load.start(
    t,
    daemon,
    Array.from({ length: 6 }, () => 'read' as const),
  );
  await load.more(5);
  await crash(pg2);
  await load.more(5);
  const before = (await nodeRow(admin, 'pg2')).int('reads');
  await until(async () => (await nodeRow(admin, 'pg2')).int('reads') > before + 10, { timeoutMs: 10_000 });
  await load.stop();
  assert.deepEqual(load.errors, []);
  assert.deepEqual(load.lost, []);
});

test('a replica that refuses the login costs no client anything, and is tried again after a ban', async (t) => {
  const [cluster, pg1, pg2] = await prepared(1);
  assert.ok(pg1 && pg2);
  pg2.setHba(['host all app all reject']);
  const daemon = await routedDaemon(t, cluster, {
    clusters: 'ban_time=0.1',
    settings: { server_login_retry: 15 },
  });
  const admin = await Admin.login(t, daemon);
  const load = await Load.start(t, daemon, ['read', 'read', 'insert', 'read']);
  await load.more(5);
  // several bans are over in the meantime
  for (let bans = 0; bans < 4; bans++) {
    const from = daemon.log.mark();
    await daemon.log.waitFor(/pg_hba.conf rejects/, { from, timeoutMs: 15_000 });
    await load.more(2);
  }
  assert.equal((await nodeRow(admin, 'pg2')).text('state'), 'replica');
  assert.deepEqual(load.errors, []);
  pg2.setHba([]);
  await until(async () => (await nodeRow(admin, 'pg2')).int('reads') > 10, { timeoutMs: 15_000 });
  await load.stop();
  assert.deepEqual(load.errors, []);
  assert.deepEqual(load.lost, []);
});

test('a primary that crashes and recovers by itself: who had nothing on it stays and is served', async (t) => {
  const [cluster, pg1, pg2] = await prepared(1);
  assert.ok(pg1 && pg2);
  const daemon = await routedDaemon(t, cluster, {
    settings: { server_login_retry: 15, default_pool_size: 2 },
  });
  const admin = await Admin.login(t, daemon);
  const clients = await logins(t, daemon, 6, 'app');
  const onPrimary = async (): Promise<number> =>
    (await admin.of('SERVERS', 'app')).filter((row) => row.text('node') === 'pg1').length;
  for (let round = 0; round < 3; round++) {
    for (const client of clients) await client.rows(insert(round));
    const crashed = crash(pg1);
    await until(async () => (await onPrimary()) === 0);
    // logins are refused now, with 57P03 or because nobody listens
    for (const client of clients) ask(client, insert(round, 2));
    for (const client of clients) assert.deepEqual(await answer(client), [[String(pg1.port)]]);
    await crashed;
  }
  await untilNodes(admin, 'pg1 primary, pg2 replica');
});

test('S-66: slow_start: a replica that is back gets a small share of the reads first', async (t) => {
  const [cluster, pg1, pg2, pg3] = await prepared(2);
  assert.ok(pg1 && pg2 && pg3);
  const daemon = await routedDaemon(t, cluster, { clusters: 'slow_start=3600 ban_time=0' });
  const admin = await Admin.login(t, daemon);
  const client = await login(t, daemon, 'app');
  const share = async (): Promise<number> => {
    let there = 0;
    for (let i = 0; i < 110; i++)
      there += nodeAt(cluster, (await client.rows(whereAmI))[0]?.[0]) === 'pg2' ? 1 : 0;
    return there;
  };
  assert.equal(await share(), 55, 'at the start of the proxy all is as it was');
  await pg2.kill();
  await untilNodes(admin, 'pg1 primary, pg2 down, pg3 replica');
  await pg2.start();
  await untilNodes(admin, 'pg1 primary, pg2 replica, pg3 replica');
  // 0.1 of 1.1, and a little more with every second of the hour
  const there = await share();
  assert.ok(there >= 9 && there <= 13, `${there} of 110 reads`);
});

test('S-66: warmup_query runs once on a replica that is back, before the first read of a client', async (t) => {
  const [cluster, pg1, pg2] = await prepared(1);
  assert.ok(pg1 && pg2);
  // it takes as long as the test wants
  await cluster.sql(pg1, 'CREATE TABLE gate AS SELECT false AS open');
  await cluster.sql(
    pg1,
    `CREATE FUNCTION warm() RETURNS void LANGUAGE plpgsql AS
     'BEGIN WHILE NOT (SELECT open FROM gate) LOOP PERFORM pg_sleep(0.02); END LOOP; END'`,
  );
  await cluster.waitCaughtUp();
  const daemon = await routedDaemon(t, cluster, {
    clusters: "warmup_query='SELECT warm()' check_interval=0.1",
  });
  const admin = await Admin.login(t, daemon);
  const client = await login(t, daemon, 'app');
  assert.deepEqual(await client.rows(whereAmI), [[String(pg2.port)]], 'not at the start of the proxy');
  await pg2.kill();
  await untilNodes(admin, 'pg1 primary, pg2 down');
  pg2.configure({ log_statement: 'all' });
  const from = pg2.log.mark();
  await pg2.start();
  const statements = () =>
    pg2.log.lines(from).filter((line) => /statement: .*(warm\(\)|inet_server_port)/.test(line));
  await pg2.log.waitFor(/statement: SELECT warm\(\)/, { from });
  for (let i = 0; i < 5; i++) {
    await admin.run('REDETECT');
    assert.deepEqual(await client.rows(whereAmI), [[String(pg1.port)]]);
  }
  await untilNodes(admin, 'pg1 primary, pg2 lagging');
  assert.equal(statements().length, 1);
  await cluster.sql(pg1, 'UPDATE gate SET open = true');
  await daemon.log.waitFor(/node pg2 of cluster main: warmup_query was run/);
  await untilNodes(admin, 'pg1 primary, pg2 replica');
  assert.deepEqual(await client.rows(whereAmI), [[String(pg2.port)]]);
  await until(() => statements().length === 2);
  assert.match(statements()[0] ?? '', /warm/);
});

test('a warmup_query that fails is told, and the replica is used', async (t) => {
  const [cluster, pg1, pg2] = await prepared(1);
  assert.ok(pg1 && pg2);
  const daemon = await routedDaemon(t, cluster, { clusters: "warmup_query='SELECT 1/0'" });
  const admin = await Admin.login(t, daemon);
  await pg2.kill();
  await untilNodes(admin, 'pg1 primary, pg2 down');
  await pg2.start();
  await untilNodes(admin, 'pg1 primary, pg2 replica');
  await assertTold(daemon, /node pg2 of cluster main: warmup_query has failed: division by zero/, 1);
});
