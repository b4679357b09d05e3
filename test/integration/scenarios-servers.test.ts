/** The life of server connections: how many, how long, in which order, checked and reset by what. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import postgres from 'postgres';
import {
  commandComplete,
  errorResponse,
  FakeServer,
  oneColumn,
  readyForQuery,
} from '../support/fake-server.ts';
import { type TestPostgres, withPostgres } from '../support/postgres.ts';
import type { RawClient } from '../support/raw-client.ts';
import { Admin, answer, ask, login, logins, scenarioDaemon, target } from '../support/scenario.ts';
import { until } from '../support/until.ts';

let server: TestPostgres;

before(async () => {
  server = await withPostgres({
    setup: ['CREATE ROLE app LOGIN', 'CREATE ROLE svc LOGIN', 'CREATE DATABASE realapp'],
  });
});

const pidOf = async (client: RawClient): Promise<string> =>
  (await client.rows('SELECT pg_backend_pid()'))[0]?.[0] ?? '';

/** Opens `count` servers at once and frees them. */
async function openServers(clients: readonly RawClient[]): Promise<string[]> {
  await Promise.all(clients.map((client) => client.rows('BEGIN')));
  const pids = await Promise.all(clients.map(pidOf));
  for (const client of clients) await client.rows('COMMIT');
  return pids;
}

test('min_pool_size: kept open while the pool has a client; with a forced user without any', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: {
      app: target(server, 'dbname=postgres min_pool_size=3'),
      forced: target(server, 'dbname=postgres user=svc min_pool_size=2'),
    },
    settings: { server_idle_timeout: 1 },
  });
  const admin = await Admin.login(t, daemon);
  await admin.untilPool('forced', { sv_idle: 2, cl_active: 0 }, 'svc');
  assert.equal((await admin.of('SERVERS', 'app')).length, 0);
  const client = await login(t, daemon, 'app');
  await admin.untilPool('app', { sv_idle: 3 });
  // older than server_idle_timeout by now, and kept
  await server.sql('SELECT pg_sleep(1.5)');
  assert.equal((await admin.pool('app')).int('sv_idle'), 3);
  assert.equal((await admin.pool('forced', 'svc')).int('sv_idle'), 2);
  // one that is killed is replaced
  await server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'svc' LIMIT 1");
  await daemon.log.waitFor(/ S-0x.*forced\/svc@.* closing because: /);
  await admin.untilPool('forced', { sv_idle: 2 }, 'svc');
  await client.end();
  await admin.untilPool('app', { sv_idle: 3, cl_active: 0 });
});

test('server_idle_timeout closes what nobody uses', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { server_idle_timeout: 1 },
  });
  const admin = await Admin.login(t, daemon);
  const clients = await logins(t, daemon, 4, 'app');
  await openServers(clients);
  await daemon.log.waitFor(/ closing because: server idle timeout \(age=\d+s\)/);
  await admin.untilPool('app', { sv_idle: 0, sv_active: 0 });
  assert.deepEqual(await clients[0]?.rows('SELECT 1'), [['1']]);
});

test('server_lifetime: an old server is replaced between transactions, never within one', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server, 'dbname=postgres server_lifetime=1 pool_size=1') },
  });
  const client = await login(t, daemon, 'app');
  await client.rows('BEGIN');
  const pid = await pidOf(client);
  await server.sql('SELECT pg_sleep(1.3)');
  assert.equal(await pidOf(client), pid);
  await client.rows('COMMIT');
  await daemon.log.waitFor(/ closing because: server lifetime over/);
  assert.notEqual(await pidOf(client), pid);
});

test('server_lifetime = 0: every server is used once', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { server_lifetime: 0 },
  });
  const client = await login(t, daemon, 'app');
  const pids = new Set<string>();
  for (let i = 0; i < 5; i++) pids.add(await pidOf(client));
  assert.equal(pids.size, 5);
});

for (const roundRobin of [0, 1]) {
  test(`server_round_robin = ${roundRobin}`, async (t) => {
    const daemon = await scenarioDaemon(t, {
      databases: { app: target(server) },
      settings: { server_round_robin: roundRobin },
    });
    const clients = await logins(t, daemon, 3, 'app');
    const pids = await openServers(clients);
    const [client] = clients;
    assert.ok(client);
    const seen: string[] = [];
    for (let i = 0; i < 6; i++) seen.push(await pidOf(client));
    // freed in the order of `pids`: first in, first out goes round; last in, first out stays at the last
    const expected = roundRobin === 1 ? [...pids, ...pids] : Array.from({ length: 6 }, () => pids[2]);
    assert.deepEqual(seen, expected);
  });
}

test('server_check_delay = 0: checked before every use, by one server and not by a new one', async (t) => {
  const fake = await FakeServer.start();
  t.after(() => fake.close());
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(fake, 'dbname=x') },
    settings: { server_check_query: 'select /* check */ 1', server_check_delay: 0, default_pool_size: 5 },
  });
  const admin = await Admin.login(t, daemon);
  const client = await login(t, daemon, 'app');
  for (let i = 0; i < 5; i++) {
    await client.rows(`select ${i}`);
    await admin.untilPool('app', { sv_used: 1, sv_idle: 0 });
  }
  assert.equal(fake.connections.length, 1, 'connections to the server');
  const check = 'select /* check */ 1';
  const queries = fake.connections[0]?.queries ?? [];
  assert.deepEqual(queries, [
    'select 0',
    check,
    'select 1',
    check,
    'select 2',
    check,
    'select 3',
    check,
    'select 4',
  ]);
});

test('server_check_query that fails: the client gets another server and sees nothing of it', async (t) => {
  const fake = await FakeServer.start({
    onMessage: (connection, message) => {
      const first = connection.queries.length > 0 && connection.id === 1;
      if (message.type === 'Q' && first && connection.queries.at(-1) === 'check') {
        connection.send(errorResponse('XX000', 'broken'), readyForQuery());
      } else if (message.type === 'Q') {
        connection.send(oneColumn('id', [String(connection.id)]));
      } else connection.answer(message);
    },
  });
  t.after(() => fake.close());
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(fake, 'dbname=x') },
    settings: { server_check_query: 'check', server_check_delay: 0 },
  });
  const client = await login(t, daemon, 'app');
  assert.deepEqual(await client.rows('select 1'), [['1']]);
  assert.deepEqual(await client.rows('select 1'), [['2']]);
  await daemon.log.waitFor(/ closing because: test query failed/);
});

test('a server that died while idle is not noticed by the next client', async (t) => {
  const daemon = await scenarioDaemon(t, { databases: { app: target(server) } });
  const admin = await Admin.login(t, daemon);
  const client = await login(t, daemon, 'app');
  const pid = await pidOf(client);
  await server.sql(`SELECT pg_terminate_backend(${pid})`);
  await admin.untilPool('app', { sv_idle: 0 });
  assert.notEqual(await pidOf(client), pid);
});

test('connect_query runs once on each new server before its first client; its error is only logged', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: {
      app: target(
        server,
        "dbname=postgres connect_query='SET statement_timeout = 4711; SET lock_timeout = 42'",
      ),
      bad: target(server, "dbname=postgres connect_query='SELECT nothing FROM nowhere'"),
    },
  });
  const sql = postgres(daemon.url('app'), { max: 3 });
  t.after(() => sql.end({ timeout: 1 }));
  assert.deepEqual([...(await sql`SHOW statement_timeout`)], [{ statement_timeout: '4711ms' }]);
  assert.deepEqual([...(await sql`SHOW lock_timeout`)], [{ lock_timeout: '42ms' }]);
  const bad = await login(t, daemon, 'bad');
  assert.deepEqual(await bad.rows('SELECT 1'), [['1']]);
  await daemon.log.waitFor(/ ERROR .*exec_on_connect query failed: .*relation "nowhere" does not exist/);
});

test('forced user: one pool for all clients, the server sees that user and dbname', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server, 'dbname=realapp user=svc pool_size=2') },
  });
  const admin = await Admin.login(t, daemon);
  const one = await login(t, daemon, 'app');
  const two = await login(t, daemon, 'app', { user: 'postgres' });
  for (const client of [one, two]) {
    assert.deepEqual(await client.rows('SELECT current_user, current_database()'), [['svc', 'realapp']]);
  }
  const pools = (await admin.show('POOLS')).filter((row) => row.text('database') === 'app');
  assert.deepEqual(
    pools.map((row) => row.text('user')),
    ['svc'],
  );
  const clients = await admin.of('CLIENTS', 'app');
  assert.deepEqual(clients.map((row) => row.text('user')).sort(), ['app', 'postgres']);
  const row = (await admin.show('DATABASES')).find((one) => one.text('name') === 'app');
  assert.deepEqual(
    [row?.text('force_user'), row?.text('database'), row?.int('pool_size')],
    ['svc', 'realapp', 2],
  );
});

test('S-25: session mode: DISCARD ALL once between two clients, the server tested until it is answered', async (t) => {
  let held = true;
  const fake = await FakeServer.start({
    onMessage: (connection, message) => {
      if (message.type === 'Q' && connection.queries.at(-1) === 'DISCARD ALL' && held) return;
      connection.answer(message);
    },
  });
  t.after(() => fake.close());
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(fake, 'dbname=x') },
    settings: { pool_mode: 'session', default_pool_size: 1 },
  });
  const admin = await Admin.login(t, daemon);
  const one = await login(t, daemon, 'app');
  await one.rows('select 1');
  await one.end();
  await admin.untilPool('app', { sv_tested: 1, sv_idle: 0, sv_active: 0 });
  const two = await login(t, daemon, 'app');
  ask(two, 'select 2');
  await admin.untilPool('app', { cl_waiting: 1, sv_tested: 1 });
  held = false;
  fake.connections[0]?.send(commandComplete('DISCARD ALL'), readyForQuery());
  await answer(two);
  await two.end();
  await admin.untilPool('app', { sv_tested: 0, sv_idle: 1 });
  assert.deepEqual(fake.connections[0]?.queries, ['select 1', 'DISCARD ALL', 'select 2', 'DISCARD ALL']);
  assert.equal(fake.connections.length, 1);
});

for (const [what, settings] of [
  ['blank, session mode', { pool_mode: 'session', server_reset_query: '' }],
  ['transaction mode', { pool_mode: 'transaction' }],
] as const) {
  test(`S-25: server_reset_query: ${what}: nothing is sent`, async (t) => {
    const fake = await FakeServer.start();
    t.after(() => fake.close());
    const daemon = await scenarioDaemon(t, {
      databases: { app: target(fake, 'dbname=x') },
      settings: { default_pool_size: 1, ...settings },
    });
    for (let i = 0; i < 3; i++) {
      const client = await login(t, daemon, 'app');
      await client.rows(`select ${i}`);
      await client.end();
    }
    await until(() => fake.connections[0]?.queries.length === 3);
    assert.deepEqual(fake.connections[0]?.queries, ['select 0', 'select 1', 'select 2']);
  });
}

test('server_reset_query_always: after every transaction', async (t) => {
  const fake = await FakeServer.start();
  t.after(() => fake.close());
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(fake, 'dbname=x') },
    settings: { default_pool_size: 1, server_reset_query: 'reset all', server_reset_query_always: 1 },
  });
  const client = await login(t, daemon, 'app');
  await client.rows('select 1');
  await client.rows('select 2');
  await until(() => fake.connections[0]?.queries.length === 4);
  assert.deepEqual(fake.connections[0]?.queries, ['select 1', 'reset all', 'select 2', 'reset all']);
});
