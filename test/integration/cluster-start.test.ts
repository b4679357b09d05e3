/** Clusters that are not as they should be when clients come: nobody there yet, a wrong password, a door that is shut. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { signalProcess } from '../../src/demo/processes.ts';
import { loadedCluster, prepareLoad } from '../support/cluster-load.ts';
import { assertTold, nodeRow, untilHeld, untilNodes } from '../support/cluster-views.ts';
import { withCluster } from '../support/postgres.ts';
import { RawClient } from '../support/raw-client.ts';
import { errorFields } from '../support/raw-messages.ts';
import { routedConfig, routedDaemon, whereAmI } from '../support/routed.ts';
import { Admin, answer, ask, login, logins, refusal } from '../support/scenario.ts';
import { until } from '../support/until.ts';

const INSERT = 'INSERT INTO w (client, n) VALUES (1, 1) RETURNING inet_server_port()';

test('all nodes are down when the proxy starts: clients wait in their login and are served when they come', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  await pg1.stop('fast');
  await pg2.stop('fast');
  const daemon = await routedDaemon(t, cluster);
  await daemon.log.waitFor(/cluster main: primary unknown/);
  const admin = await Admin.login(t, daemon);
  await untilNodes(admin, 'pg1 down, pg2 down');
  const greeted = await RawClient.connect(daemon);
  const greeting = await greeted.login({ user: 'postgres', database: 'pgbouncer', password: 'postgres' });
  greeted.destroy();
  const notices = greeting.filter(({ type }) => type === 'N').map((message) => errorFields(message).message);
  assert.equal(notices.length, 3);
  assert.match(notices.join('\n'), /cluster "main" has no primary/);
  assert.match(
    notices.join('\n'),
    /node "pg1" of cluster "main" is down since .*: connect failed: Connection refused/,
  );

  const coming = ['app', 'app_rw', 'app_ro'].map(async (database) => {
    const client = await RawClient.connect(daemon);
    t.after(() => client.destroy());
    client.startup({ user: 'app', database });
    await client.until('Z', 30_000);
    return client;
  });
  await until(
    async () => (await admin.show('CLIENTS')).filter((row) => row.text('user') === 'app').length === 3,
  );
  // the replica alone is enough for a welcome and for reads
  await pg2.start();
  const [app, rw, ro] = await Promise.all(coming);
  assert.ok(app && rw && ro);
  assert.deepEqual(await ro.rows(whereAmI), [[String(pg2.port)]]);
  assert.deepEqual(await app.rows(whereAmI), [[String(pg2.port)]]);
  ask(app, INSERT);
  ask(rw, INSERT);
  await untilHeld(admin, 2);
  await pg1.start();
  assert.deepEqual(await answer(app), [[String(pg1.port)]]);
  assert.deepEqual(await answer(rw), [[String(pg1.port)]]);
  await untilNodes(admin, 'pg1 primary, pg2 replica');
});

test('a wrong password of check_user: said once for each node, clients wait; RELOAD with the right one serves them', async (t) => {
  const cluster = await withCluster(1, { hba: ['host all mon all scram-sha-256'] });
  await prepareLoad(cluster);
  await cluster.sql(cluster.primary, "CREATE ROLE mon LOGIN PASSWORD 'right' IN ROLE pg_monitor");
  await cluster.waitCaughtUp();
  const check = (password: string) => ({
    clusters: `check_user=mon check_password=${password}`,
    settings: { primary_wait_timeout: 60 },
  });
  const daemon = await routedDaemon(t, cluster, check('wrong'));
  const admin = await Admin.login(t, daemon);
  await untilNodes(admin, 'pg1 down, pg2 down');
  assert.match(
    (await nodeRow(admin, 'pg1')).text('last_error') ?? '',
    /password authentication failed for user "mon"/,
  );
  const client = await RawClient.connect(daemon);
  t.after(() => client.destroy());
  client.startup({ user: 'app', database: 'app' });
  await until(async () => (await admin.of('CLIENTS', 'app')).length === 1);
  for (let i = 0; i < 3; i++) await admin.run('REDETECT');
  const lines = daemon.log
    .lines()
    .filter((line) => /check failed: .*password authentication failed/.test(line));
  assert.equal(lines.length, 2);
  await daemon.reload(routedConfig(cluster, check('right')));
  await client.until('Z', 30_000);
  assert.deepEqual(await client.rows(INSERT), [[String(cluster.primary.port)]]);
  await untilNodes(admin, 'pg1 primary, pg2 replica');
});

test('a host name that is none: the others serve, the node says why it is down', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  const daemon = await routedDaemon(t, cluster, {
    extra: 'pg9 = cluster=main host=no..such..name port=5432',
  });
  const admin = await Admin.login(t, daemon);
  await untilNodes(admin, 'pg1 primary, pg2 replica, pg9 down');
  assert.match((await nodeRow(admin, 'pg9')).text('last_error') ?? '', /no\.\.such\.\.name/);
  const client = await login(t, daemon, 'app');
  for (let i = 0; i < 5; i++) assert.deepEqual(await client.rows(whereAmI), [[String(pg2.port)]]);
  assert.deepEqual(await client.rows(INSERT), [[String(pg1.port)]]);
  await assertTold(daemon, /node pg9 .*check failed/, 1);
});

test('a primary that lets nobody in for the moment (57P03) ends no client, not even the later ones', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  const daemon = await routedDaemon(t, cluster);
  const admin = await Admin.login(t, daemon);
  const clients = await logins(t, daemon, 3, 'app');
  const [one, two, three] = clients;
  assert.ok(one && two && three && pg1.pid !== null);
  // smart shutdown: who is in goes on, the monitors among them, and nobody else comes in
  signalProcess(pg1.pid, 'SIGTERM');
  await pg1.log.waitFor(/received smart shutdown request/);
  await admin.run('RECONNECT app');
  await until(async () => (await admin.of('SERVERS', 'app')).every((row) => row.text('node') !== 'pg1'));
  const from = daemon.log.mark();
  ask(one, INSERT);
  await daemon.log.waitFor(/the database system is shutting down/, { from });
  ask(two, INSERT);
  await three.query('BEGIN');
  ask(three, INSERT);
  // another attempt, after all of them have come
  await daemon.log.waitFor(/the database system is shutting down/, {
    from: daemon.log.mark(),
    timeoutMs: 15_000,
  });
  await pg1.stop('fast');
  await pg1.start();
  for (const client of clients) assert.deepEqual(await answer(client), [[String(pg1.port)]]);
  assert.deepEqual(
    clients.filter((client) => client.ended),
    [],
  );
});

test('a login that the primary refuses is told at once, and names the reason', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  const daemon = await routedDaemon(t, cluster, { databases: { nowhere: 'cluster=main dbname=nosuchdb' } });
  const coming = await RawClient.connect(daemon);
  t.after(() => coming.destroy());
  coming.startup({ user: 'app', database: 'nowhere' });
  const error = await refusal(coming);
  assert.equal(error.code, '3D000');
  assert.match(error.message, /database "nosuchdb" does not exist/);
  await coming.closed();
  // and it is no trouble of the cluster's
  const client = await login(t, daemon, 'app');
  assert.deepEqual(await client.rows(whereAmI), [[String(pg2.port)]]);
  assert.deepEqual(await client.rows(INSERT), [[String(pg1.port)]]);
});
