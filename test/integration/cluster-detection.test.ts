/**
 * How the proxy notices that a cluster has changed, and what clients see of it meanwhile (FAILOVER.md "Observing";
 * S-61 to S-65, S-68): the monitors' own look is an hour away in most of these, so it is the traffic that tells.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Load, loadedCluster } from '../support/cluster-load.ts';
import {
  assertTold,
  clusterRow,
  nodeRow,
  nodeStates,
  told,
  untilHeld,
  untilNodes,
  untilPrimary,
} from '../support/cluster-views.ts';
import { FloatingPort } from '../support/floating-port.ts';
import { RawClient } from '../support/raw-client.ts';
import { errorFields, query } from '../support/raw-messages.ts';
import { routedDaemon, whereAmI } from '../support/routed.ts';
import { Admin, answer, ask, login, logins } from '../support/scenario.ts';
import { until } from '../support/until.ts';

/** No look of its own before the test is over. */
const SELDOM = { check_interval: 3600 };

const insert = (client: number, n = 1): string =>
  `INSERT INTO w (client, n) VALUES (${client}, ${n}) RETURNING inet_server_port()`;

test('witness: a server of the primary that says it is in recovery is never given out', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  const vip = await FloatingPort.start(t, pg1.port);
  const daemon = await routedDaemon(t, cluster, { settings: SELDOM, nodes: { pg1: `port=${vip.port}` } });
  const admin = await Admin.login(t, daemon);
  const client = await login(t, daemon, 'app');
  assert.deepEqual(await client.rows(insert(1)), [[String(pg1.port)]]);
  // the address leads to the replica now, and nobody has told us
  vip.target = pg2.port;
  await admin.run('RECONNECT app');
  const from = daemon.log.mark();
  ask(client, insert(1, 2));
  await daemon.log.waitFor(/node pg1 says that it is in recovery/, { from });
  await daemon.log.waitFor(/node pg1 says that it is in recovery/, { from: daemon.log.mark() });
  assert.equal(client.pending.length, 0, 'it still waits');
  const servers = (await admin.of('SERVERS', 'app')).filter((row) => row.text('node') === 'pg1');
  assert.ok(servers.every((row) => row.text('state') !== 'active'));
  vip.target = pg1.port;
  assert.deepEqual(await answer(client), [[String(pg1.port)]]);
});

test('a promotion is noticed by the reads that run on the promoted replica', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  const daemon = await routedDaemon(t, cluster, { settings: SELDOM });
  const admin = await Admin.login(t, daemon);
  const [writer, reader] = await logins(t, daemon, 2, 'app');
  assert.ok(writer && reader);
  await until(async () => (await reader.rows(whereAmI))[0]?.[0] === String(pg2.port));
  await pg1.stop('fast');
  await untilPrimary(admin, null);
  ask(writer, insert(1));
  await untilHeld(admin, 1);
  await cluster.promote(pg2);
  assert.deepEqual(await reader.rows('SELECT 1'), [['1']]);
  assert.deepEqual(await answer(writer), [[String(pg2.port)]]);
  assert.equal(await nodeStates(admin), 'pg1 down, pg2 primary');
});

test('S-62: SIGKILL of the primary under load is seen at once; another than expected takes over', async (t) => {
  const [cluster, pg1, pg2, pg3] = await loadedCluster(2);
  assert.ok(pg1 && pg2 && pg3);
  const daemon = await routedDaemon(t, cluster, { settings: SELDOM });
  const idle = await logins(t, daemon, 3, 'app');
  for (const client of idle) await client.rows(insert(100));
  const load = await Load.start(t, daemon, ['insert', 'insert', 'block', 'prepared', 'read', 'read']);
  await load.more(5);
  await cluster.waitCaughtUp();
  await pg1.kill();
  await daemon.log.waitFor(/primary pg1 of cluster main is down/);
  const [held, ...others] = idle;
  assert.ok(held);
  ask(held, insert(100, 2));
  await cluster.promote(pg3);
  await daemon.log.waitFor(/pg3 is the primary of cluster main now \(timeline 2\), after pg1 was down since/);
  await load.more(5);
  await load.stop();
  assert.deepEqual(await answer(held), [[String(pg3.port)]]);
  for (const client of others) assert.deepEqual(await client.rows(insert(100, 3)), [[String(pg3.port)]]);
  for (const { kind, errors, lost, lastPort } of load.clients) {
    if (kind !== 'read') {
      // of those who had a write on its way when the primary died, that one failed (a later issue says how)
      assert.ok(lost || errors.length <= 1, errors.join('; '));
      assert.ok(lost || lastPort === String(pg3.port));
    } else assert.deepEqual(errors, []);
  }
  await assertTold(daemon, /primary pg1 of cluster main is down/, 1);
  await assertTold(daemon, /pg3 is the primary/, 1);
});

test('S-63: a replica that still follows the dead primary takes no reads until it follows the new one', async (t) => {
  const [cluster, pg1, pg2, pg3] = await loadedCluster(2);
  assert.ok(pg1 && pg2 && pg3);
  const daemon = await routedDaemon(t, cluster);
  const admin = await Admin.login(t, daemon);
  await cluster.waitCaughtUp();
  await pg1.kill();
  await cluster.promote(pg2);
  await untilNodes(admin, 'pg1 down, pg2 primary, pg3 lagging');
  const client = await login(t, daemon, 'app');
  for (let i = 0; i < 10; i++) assert.deepEqual(await client.rows(whereAmI), [[String(pg2.port)]]);
  assert.equal((await nodeRow(admin, 'pg3')).int('streaming'), 0);
  await cluster.follow(pg3, pg2);
  await untilNodes(admin, 'pg1 down, pg2 primary, pg3 replica');
  assert.deepEqual(await client.rows(whereAmI), [[String(pg3.port)]]);
  assert.equal((await nodeRow(admin, 'pg3')).text('upstream'), 'pg2');
  assert.equal((await nodeRow(admin, 'pg3')).int('timeline'), 2);
});

test('S-64: two writable nodes: the higher timeline gets all writes, the other none, and everybody is told', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  const daemon = await routedDaemon(t, cluster);
  const admin = await Admin.login(t, daemon);
  const load = await Load.start(t, daemon, ['insert', 'block', 'prepared', 'read']);
  await load.more(3);
  await cluster.promote(pg2);
  await untilNodes(admin, 'pg1 conflict, pg2 primary');
  await load.more(20);
  for (let i = 0; i < 5; i++) await admin.run('REDETECT');
  await load.more(5);
  await load.stop();
  assert.deepEqual(
    load.errors.filter((error) => !error.startsWith('stale')),
    [],
  );
  for (const client of load.clients) {
    if (client.kind === 'read') continue;
    assert.deepEqual(client.ports, [String(pg1.port), String(pg2.port)], 'from one to the other, once');
  }
  await assertTold(daemon, /it takes writes beside the primary pg2/, 1);
  const pools = await admin.show('POOL_NODES');
  assert.deepEqual(
    pools.map((row) => `${row.text('port')} ${row.text('status')} ${row.text('role')}`),
    [`${pg1.port} quarantine standby`, `${pg2.port} up primary`],
  );
  const roles = (await admin.show('CLUSTER')).map((row) => `${row.text('Role')} ${row.text('Name')}`);
  assert.deepEqual(roles, ['  FAILED pg1', '* master pg2']);
  assert.match((await nodeRow(admin, 'pg1')).text('last_error') ?? '', /takes writes beside the primary pg2/);
  // whoever comes to the console hears of it
  const console_ = await RawClient.connect(daemon);
  t.after(() => console_.destroy());
  const greeting = await console_.login({ user: 'postgres', database: 'pgbouncer', password: 'postgres' });
  const notices = greeting.filter(({ type }) => type === 'N').map((message) => errorFields(message));
  assert.equal(notices.length, 1);
  assert.equal(notices[0]?.severity, 'WARNING');
  assert.match(notices[0]?.message ?? '', /node "pg1" of cluster "main" is in conflict/);
  // a node that is not used has no servers any more
  await until(async () => (await admin.of('SERVERS', 'app')).every((row) => row.text('node') === 'pg2'));
});

test('S-65: REDETECT finds the new primary at once, five times changes nothing more', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  const daemon = await routedDaemon(t, cluster, { settings: SELDOM });
  const admin = await Admin.login(t, daemon);
  const writer = await login(t, daemon, 'app');
  await writer.rows(insert(1));
  await pg1.stop('fast');
  await untilPrimary(admin, null);
  ask(writer, insert(2));
  await untilHeld(admin, 1);
  await cluster.promote(pg2);
  assert.equal((await clusterRow(admin)).text('primary'), null, 'nobody has said so yet');
  for (let i = 0; i < 5; i++) {
    assert.equal(await admin.run('REDETECT'), 'REDETECT');
    assert.equal((await clusterRow(admin)).text('primary'), 'pg2');
  }
  assert.deepEqual(await answer(writer), [[String(pg2.port)]]);
  await admin.run('REDETECT main');
  await assertTold(daemon, /pg2 is the primary of cluster main now/, 1);
  await assertTold(daemon, /primary pg1 of cluster main is down/, 1);
});

test('S-61: a blip of two checks is nothing, one of three is one primary_down and one primary_up', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  const vip = await FloatingPort.start(t, pg1.port);
  const daemon = await routedDaemon(t, cluster, {
    clusters: 'fail_threshold=3',
    settings: SELDOM,
    nodes: { pg1: `port=${vip.port}` },
  });
  const admin = await Admin.login(t, daemon);
  for (const count of [1, 2]) {
    vip.dropNext = count;
    const before = vip.dropped;
    vip.cut();
    await until(() => vip.dropped === before + count);
    await admin.run('REDETECT');
    assert.equal(await nodeStates(admin), 'pg1 primary, pg2 replica');
  }
  assert.deepEqual(told(daemon, /cluster main is (down|back)/), []);
  const client = await login(t, daemon, 'app');
  assert.deepEqual(await client.rows(insert(1)), [[String(pg1.port)]]);
  vip.dropNext = Number.MAX_SAFE_INTEGER;
  vip.cut();
  await daemon.log.waitFor(/primary pg1 of cluster main is down: 3 checks failed/);
  ask(client, insert(2));
  await untilHeld(admin, 1);
  vip.dropNext = 0;
  await admin.run('REDETECT');
  assert.deepEqual(await answer(client), [[String(pg1.port)]]);
  await assertTold(daemon, /cluster main is down/, 1);
  await assertTold(daemon, /primary pg1 of cluster main is back/, 1);
});

test('S-68: a primary that answers no check while its clients are served stays the primary', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  // an exclusive lock on what the check reads: it hangs, and nothing else does
  await cluster.sql(pg1, 'CREATE TABLE role_of_mine AS SELECT pg_is_in_recovery() AS standby');
  await cluster.waitCaughtUp();
  const daemon = await routedDaemon(t, cluster, {
    clusters: `role_query='SELECT pg_is_in_recovery() FROM role_of_mine' check_timeout=0.5 fail_threshold=2`,
  });
  const admin = await Admin.login(t, daemon);
  const load = await Load.start(t, daemon, ['insert', 'block', 'read', 'read']);
  await load.more(2);
  const locker = await RawClient.login({ port: pg1.port }, { user: 'postgres', database: 'postgres' });
  t.after(() => locker.destroy());
  await locker.rows('BEGIN');
  await locker.rows('LOCK TABLE role_of_mine');
  await until(async () => (await nodeRow(admin, 'pg1')).int('slow_checks') >= 4, { timeoutMs: 20_000 });
  assert.equal(await nodeStates(admin), 'pg1 primary, pg2 replica');
  await load.more(3);
  await locker.rows('COMMIT');
  await load.stop();
  assert.deepEqual(load.errors, []);
  assert.deepEqual(told(daemon, /cluster main is (down|back)/), []);
  assert.match((await nodeRow(admin, 'pg1')).text('last_error') ?? '', /no answer within 0.5 s/);
});

test('S-68: a primary that is stopped with SIGSTOP goes down, and its clients stay when it goes on', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  const daemon = await routedDaemon(t, cluster, { clusters: 'check_timeout=0.3 fail_threshold=2' });
  const admin = await Admin.login(t, daemon);
  const [running, later, reader] = await logins(t, daemon, 3, 'app');
  assert.ok(running && later && reader);
  await until(async () => (await reader.rows(whereAmI))[0]?.[0] === String(pg2.port));
  await running.rows('BEGIN');
  await running.rows(insert(1));
  pg1.pause();
  try {
    running.send(query(insert(1, 2)));
    await untilNodes(admin, 'pg1 down, pg2 replica');
    ask(later, insert(2));
    await untilHeld(admin, 1);
    assert.deepEqual(await reader.rows(whereAmI), [[String(pg2.port)]]);
  } finally {
    pg1.resume();
  }
  // the transaction that was open goes on where it was: nobody has torn it
  assert.deepEqual(await answer(running), [[String(pg1.port)]]);
  await running.rows('COMMIT');
  assert.deepEqual(await answer(later), [[String(pg1.port)]]);
  await untilNodes(admin, 'pg1 primary, pg2 replica');
  const { rows } = await cluster.sql(pg1, 'SELECT count(*) FROM w');
  assert.deepEqual(rows, [['3']]);
});
