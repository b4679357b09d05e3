/** Role changes behind clients that stay (issue 3, S-55, FAILOVER.md "What clients see"): PAUSE, promotion, RESUME; writes that wait. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Load, loadedCluster } from '../support/cluster-load.ts';
import {
  clusterRow,
  comeBackAsReplica,
  untilHeld,
  untilPrimary,
  untilWaiting,
} from '../support/cluster-views.ts';
import type { RawClient } from '../support/raw-client.ts';
import {
  bind,
  errorFields,
  execute,
  parse,
  query,
  rowsOf,
  sync,
  tagsOf,
  typesOf,
} from '../support/raw-messages.ts';
import { nodeAt, routedDaemon, whereAmI } from '../support/routed.ts';
import { Admin, answer, ask, login, refusal } from '../support/scenario.ts';
import { until } from '../support/until.ts';

const insert = (client: number, n = 1): string =>
  `INSERT INTO w (client, n) VALUES (${client}, ${n}) RETURNING inet_server_port()`;

test('S-55: PAUSE, promotion by hand, the old primary as a replica, RESUME: no error, no lost connection', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  const daemon = await routedDaemon(t, cluster);
  const admin = await Admin.login(t, daemon);
  const load = await Load.start(t, daemon, [
    'insert',
    'insert',
    'block',
    'block',
    'prepared',
    'prepared',
    'read',
    'read',
  ]);
  // one that has opened a block and thinks, as far as it knows
  const thinking = await login(t, daemon, 'app');
  assert.deepEqual(tagsOf(await thinking.query('BEGIN')), ['BEGIN']);
  await load.more(10);

  await admin.run('PAUSE app');
  assert.deepEqual(await admin.of('SERVERS', 'app'), []);
  await pg1.stop('fast');
  await cluster.promote(pg2);
  await comeBackAsReplica(pg1, pg2);
  await untilPrimary(admin, 'pg2');
  const late = await login(t, daemon, 'app_rw');
  assert.deepEqual(await late.rows(insert(100)), [[String(pg2.port)]], 'another database is not paused');
  await admin.run('RESUME app');
  await load.more(10);
  assert.deepEqual(await thinking.rows(insert(101)), [[String(pg2.port)]]);
  assert.deepEqual(tagsOf(await thinking.query('COMMIT')), ['COMMIT']);
  // pg1 takes reads as soon as it streams
  await until(() =>
    load.clients.some(({ kind, ports }) => kind === 'read' && ports.at(-1) === String(pg1.port)),
  );
  await load.stop();

  assert.deepEqual(load.errors, []);
  for (const client of load.clients) {
    if (client.kind === 'read') continue;
    assert.deepEqual(client.ports, [String(pg1.port), String(pg2.port)]);
  }
  await load.assertKept(cluster);
});

test('S-55 for PAUSE without a name, and with clients that wait in a queue when it comes', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  const daemon = await routedDaemon(t, cluster, { settings: { default_pool_size: 1 } });
  const admin = await Admin.login(t, daemon);
  const holder = await login(t, daemon, 'app');
  await holder.query('BEGIN');
  await holder.rows(insert(1));
  const [second, third] = [await login(t, daemon, 'app'), await login(t, daemon, 'app')];
  ask(second, insert(2));
  await untilWaiting(admin, 1);
  const pausing = admin.run('PAUSE');
  const other = await Admin.login(t, daemon);
  await until(async () =>
    (await other.show('DATABASES')).every(
      (row) => row.text('name') === 'pgbouncer' || row.int('paused') === 1,
    ),
  );
  ask(third, insert(3));
  await holder.query('COMMIT');
  await pausing;
  await pg1.stop('fast');
  await cluster.promote(pg2);
  await untilPrimary(admin, 'pg2');
  await admin.run('RESUME');
  assert.deepEqual(await answer(second), [[String(pg2.port)]]);
  assert.deepEqual(await answer(third), [[String(pg2.port)]]);
  assert.deepEqual(await holder.rows(insert(1, 2)), [[String(pg2.port)]]);
});

test('RESUME after a PAUSE in which nothing changed', async (t) => {
  const [cluster, pg1] = await loadedCluster(1);
  assert.ok(pg1);
  const daemon = await routedDaemon(t, cluster, { settings: { check_interval: 60, lsn_interval: 60 } });
  const admin = await Admin.login(t, daemon);
  const [writer, reader] = [await login(t, daemon, 'app'), await login(t, daemon, 'app')];
  await writer.rows(whereAmI);
  await admin.run('PAUSE app');
  ask(writer, insert(1, 2));
  ask(reader, whereAmI);
  await untilWaiting(admin, 2);
  await admin.run('RESUME app');
  assert.deepEqual(await answer(writer), [[String(pg1.port)]]);
  assert.equal((await answer(reader)).length, 1);
});

test('no primary: writes get 57P03 after primary_wait_timeout, their clients stay, reads go on', async (t) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  const daemon = await routedDaemon(t, cluster, { settings: { primary_wait_timeout: 1 } });
  const admin = await Admin.login(t, daemon);
  const [simple, block, extended, reader] = await Promise.all(
    Array.from({ length: 4 }, () => login(t, daemon, 'app')),
  );
  assert.ok(simple && block && extended && reader);
  for (const client of [simple, block, extended]) await client.rows(insert(1));
  // replicas are known to have all of it, so that reads need no primary
  const on2 = async (client: RawClient) => (await client.rows(whereAmI))[0]?.[0] === String(pg2.port);
  for (const client of [simple, block, extended]) await until(() => on2(client));
  await pg1.kill();
  await untilPrimary(admin, null);

  const message = /^no primary available in cluster "main" since \d\d:\d\d:\d\d$/;
  ask(simple, insert(2));
  const refused = await refusal(simple);
  assert.equal(refused.severity, 'ERROR');
  assert.equal(refused.code, '57P03');
  assert.match(refused.fields.get('M') ?? '', message);
  assert.equal(typesOf(await simple.until('Z')), 'Z');
  assert.equal(simple.transactionStatus, 'I');

  // inside of a block: it fails as a block does
  assert.deepEqual(tagsOf(await block.query('BEGIN')), ['BEGIN']);
  ask(block, insert(3));
  assert.equal((await refusal(block)).code, '57P03');
  await block.until('Z');
  assert.equal(block.transactionStatus, 'E');
  ask(block, 'SELECT 1');
  assert.equal((await refusal(block)).code, '25P02');
  await block.until('Z');
  assert.deepEqual(tagsOf(await block.query('COMMIT')), ['ROLLBACK']);
  assert.equal(block.transactionStatus, 'I');

  // two batches and a query in one packet
  const batch = (n: number) => [
    parse('', `INSERT INTO w (client, n) VALUES (4, ${n})`),
    bind('', ''),
    execute(''),
    sync(),
  ];
  extended.send(...batch(1), ...batch(2), query('SELECT 3'), ...batch(4));
  const first = await extended.until('Z', 15_000);
  assert.equal(typesOf(first), 'EZ');
  assert.ok(first[0]);
  assert.match(errorFields(first[0]).message, message);
  assert.equal(typesOf(await extended.until('Z', 15_000)), 'EZ');
  assert.deepEqual(rowsOf(await extended.until('Z', 15_000)), [['3']]);
  assert.equal(typesOf(await extended.until('Z', 15_000)), 'EZ');

  // another client's reads run on what is left
  assert.deepEqual(await reader.rows(whereAmI), [[String(pg2.port)]]);

  await cluster.promote(pg2);
  await untilPrimary(admin, 'pg2');
  for (const client of [simple, block, extended, reader])
    assert.deepEqual(await client.rows(insert(5)), [[String(pg2.port)]]);
  const { rows } = await cluster.sql(pg2, 'SELECT count(*) FROM w WHERE client IN (2, 3, 4)');
  assert.deepEqual(rows, [['0']], 'nothing that was refused has been done');
});

test('writes that are held go to the new primary, in the order in which they came', async (t) => {
  const [cluster, pg1, pg2, pg3] = await loadedCluster(2);
  assert.ok(pg1 && pg2 && pg3);
  const daemon = await routedDaemon(t, cluster, { settings: { default_pool_size: 1 } });
  const admin = await Admin.login(t, daemon);
  const clients = await Promise.all(Array.from({ length: 6 }, () => login(t, daemon, 'app')));
  for (const client of clients) await client.rows('SELECT 1');
  await pg1.kill();
  await untilPrimary(admin, null);
  const [simple, block, extended, pipelined, rw, both] = clients;
  assert.ok(simple && block && extended && pipelined && rw && both);
  const held = async (count: number) => untilHeld(admin, count);
  ask(simple, insert(1));
  await held(1);
  await block.query('BEGIN');
  ask(block, insert(2));
  await held(2);
  extended.send(parse('s', insert(3)), bind('', 's'), execute(''), sync());
  await held(3);
  pipelined.send(query(insert(4, 1)), query(insert(4, 2)), query('SELECT max(n) FROM w WHERE client = 4'));
  await held(4);
  // BEGIN and its first statement in one batch, as JDBC does it
  both.send(
    parse('', 'BEGIN'),
    bind('', ''),
    execute(''),
    parse('', insert(5)),
    bind('', ''),
    execute(''),
    sync(),
  );
  await held(5);
  ask(rw, insert(6));
  await held(6);
  const row = await clusterRow(admin);
  assert.equal(row.text('primary'), null);
  assert.match(row.text('no_primary_since') ?? '', /\d\d:\d\d:\d\d/);

  await cluster.promote(pg3);
  const on3 = [[String(pg3.port)]];
  assert.deepEqual(await answer(simple), on3);
  assert.deepEqual(await answer(block), on3);
  await block.query('COMMIT');
  assert.deepEqual(rowsOf(await extended.until('Z', 15_000)), on3);
  assert.deepEqual(await answer(pipelined), on3);
  assert.deepEqual(await answer(pipelined), on3);
  assert.deepEqual(await answer(pipelined), [['2']]);
  assert.deepEqual(rowsOf(await both.until('Z', 15_000)), on3);
  await both.query('COMMIT');
  assert.deepEqual(await answer(rw), on3);
  const { rows } = await cluster.sql(pg3, 'SELECT client, n FROM w ORDER BY id');
  const order = rows.map(([client]) => client);
  // a block keeps the only server until it ends; the second query of a pipeline queues again
  const firsts = order.filter((client, i) => order.indexOf(client) === i);
  assert.deepEqual(firsts, ['1', '2', '3', '4', '5', '6']);
  await untilHeld(admin, 0);
  assert.equal(nodeAt(cluster, (await rw.rows(insert(7)))[0]?.[0]), 'pg3');
});

test('a role change retires the pools: what runs ends in peace, its server is not used again', async (t: TestContext) => {
  const [cluster, pg1, pg2] = await loadedCluster(1);
  assert.ok(pg1 && pg2);
  const daemon = await routedDaemon(t, cluster, { settings: { check_interval: 60 } });
  const admin = await Admin.login(t, daemon);
  const reader = await login(t, daemon, 'app');
  await reader.query('BEGIN READ ONLY');
  assert.deepEqual(await reader.rows(whereAmI), [[String(pg2.port)]]);
  const pid = (await reader.rows('SELECT pg_backend_pid()'))[0]?.[0];
  const idler = await login(t, daemon, 'app');
  assert.deepEqual(await idler.rows(whereAmI), [[String(pg2.port)]]);
  const nodes = async () =>
    (await admin.of('SERVERS', 'app')).map((row) => `${row.text('node')} ${row.text('state')}`).sort();
  // one of the primary's has greeted the clients
  assert.deepEqual(await nodes(), ['pg1 idle', 'pg2 active', 'pg2 idle']);
  const writer = await login(t, daemon, 'app');
  await writer.rows(insert(1));
  const pools = (await admin.show('POOLS')).filter((row) => row.text('database') === 'app');
  assert.deepEqual(
    pools
      .map((row) => row.text('node') ?? '')
      .filter((node) => node !== '')
      .sort(),
    ['pg1', 'pg2'],
  );

  await pg1.stop('fast');
  await cluster.promote(pg2);
  await admin.run('REDETECT');
  assert.equal((await clusterRow(admin)).text('primary'), 'pg2');
  // the idle one is gone; the block goes on where it began
  assert.deepEqual(await nodes(), ['pg2 active']);
  assert.deepEqual(await reader.rows('SELECT pg_backend_pid()'), [[pid]]);
  assert.deepEqual(tagsOf(await reader.query('COMMIT')), ['COMMIT']);
  await daemon.log.waitFor(/closing because: node role changed: replica -> primary/);
  assert.deepEqual(await writer.rows(insert(2)), [[String(pg2.port)]]);
  assert.notDeepEqual(await writer.rows('SELECT pg_backend_pid()'), [[pid]]);
});
