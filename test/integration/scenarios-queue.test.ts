/** Pools and their queue (requirements.md S-11 to S-16, S-18, S-19) against a real PostgreSQL. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import pg from 'pg';
import { FaultProxy } from '../support/fault-proxy.ts';
import { type TestPostgres, withPostgres } from '../support/postgres.ts';
import { RawClient } from '../support/raw-client.ts';
import {
  Admin,
  answer,
  ask,
  login,
  logins,
  refusal,
  refused,
  scenarioDaemon,
  target,
} from '../support/scenario.ts';
import { until } from '../support/until.ts';

let server: TestPostgres;

before(async () => {
  server = await withPostgres({
    setup: [
      ...['app', 'u1', 'u2'].map((name) => `CREATE ROLE ${name} LOGIN`),
      'CREATE TABLE turns (id serial, client int)',
      'GRANT ALL ON turns, turns_id_seq TO app',
    ],
  });
});

const connections = async (user: string): Promise<number> =>
  Number((await server.sql(`SELECT count(*) FROM pg_stat_activity WHERE usename = '${user}'`)).rows[0]?.[0]);

/** PostgreSQL has exactly so many connections, a moment after the last socket was closed. */
async function untilConnections(user: string, count: number): Promise<void> {
  await until(async () => (await connections(user)) === count, {
    what: `${count} connections`,
    timeoutMs: 10_000,
  });
}

test('S-11: a thousand clients share one server connection', async (t) => {
  const link = await FaultProxy.start(server);
  t.after(() => link.close());
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(link) },
    settings: { default_pool_size: 1, reserve_pool_size: 0, max_client_conn: 1100, log_connections: 0 },
  });
  const clients = await logins(t, daemon, 1000, 'app');
  const admin = await Admin.login(t, daemon);
  assert.equal((await admin.of('CLIENTS', 'app')).length, 1000);
  for (const client of clients) ask(client, 'SELECT pg_backend_pid()');
  const pids = await Promise.all(clients.map((client) => answer(client, 60_000)));
  assert.equal(new Set(pids.map((rows) => rows[0]?.[0])).size, 1);
  assert.equal(
    pids.every((rows) => rows.length === 1 && rows[0]?.length === 1),
    true,
  );
  assert.equal(link.accepted, 1, 'connections that reached the server, over all time');
  const stats = (await admin.show('STATS')).find((row) => row.text('database') === 'app');
  assert.deepEqual(
    stats?.ints('total_xact_count', 'total_query_count', 'total_client_login_count'),
    [1000, 1000, 1000],
  );
});

test('S-12: first come, first served', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { default_pool_size: 1 },
  });
  const admin = await Admin.login(t, daemon);
  const holder = await login(t, daemon, 'app');
  await holder.rows('BEGIN');
  const clients = await logins(t, daemon, 10, 'app');
  for (const [i, client] of clients.entries()) {
    // the order in which PostgreSQL runs them is the order in which the server was handed out
    ask(client, `INSERT INTO turns (client) VALUES (${i}) RETURNING id`);
    await admin.untilPool('app', { cl_waiting: i + 1 });
  }
  await holder.rows('COMMIT');
  await Promise.all(clients.map((client) => answer(client)));
  const order = (await server.sql('SELECT client FROM turns ORDER BY id')).rows.map((row) => Number(row[0]));
  assert.deepEqual(order, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test('S-12: a client that leaves the queue does not stop it', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { default_pool_size: 1 },
  });
  const admin = await Admin.login(t, daemon);
  const holder = await login(t, daemon, 'app');
  await holder.rows('BEGIN');
  const [first, second, third] = await logins(t, daemon, 3, 'app');
  assert.ok(first && second && third);
  for (const [i, client] of [first, second, third].entries()) {
    ask(client, 'SELECT 1');
    await admin.untilPool('app', { cl_waiting: i + 1 });
  }
  first.reset();
  await admin.untilPool('app', { cl_waiting: 2 });
  await second.cancel();
  assert.equal((await refusal(second)).code, '57014');
  await admin.untilPool('app', { cl_waiting: 1 });
  await holder.rows('COMMIT');
  assert.deepEqual(await answer(third), [['1']]);
  await second.until('Z');
  assert.deepEqual(await second.rows('SELECT 2'), [['2']]);
});

test('S-13: pools are per user and per database', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { a: target(server) },
    userlist: { u1: '', u2: '', postgres: '' },
    settings: { default_pool_size: 25, reserve_pool_size: 0 },
  });
  const admin = await Admin.login(t, daemon);
  for (const user of ['u1', 'u2']) {
    for (const client of await logins(t, daemon, 40, 'a', { user })) ask(client, 'BEGIN; SELECT 1');
  }
  for (const user of ['u1', 'u2']) {
    await admin.untilPool('a', { cl_active: 25, cl_waiting: 15, sv_active: 25 }, user);
    await untilConnections(user, 25);
  }
  const rows = (await admin.show('POOLS')).filter((row) => row.text('database') === 'a');
  assert.deepEqual(
    rows.map((row) => row.text('user')),
    ['u1', 'u2'],
  );
  const database = (await admin.show('DATABASES')).find((row) => row.text('name') === 'a');
  assert.deepEqual(
    database?.ints('pool_size', 'current_connections', 'current_client_connections'),
    [25, 50, 80],
  );
});

test('S-14: the reserve pool opens after its timeout, and never more than it', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { default_pool_size: 25, reserve_pool_size: 5, reserve_pool_timeout: 1 },
  });
  const admin = await Admin.login(t, daemon);
  const clients = await logins(t, daemon, 40, 'app');
  const from = daemon.log.mark();
  const begun = performance.now();
  for (const client of clients) ask(client, 'BEGIN; SELECT 1');
  await until(
    async () => {
      const [active = 0, idle = 0, logging = 0, waiting = 0] = (await admin.pool('app')).ints(
        'sv_active',
        'sv_idle',
        'sv_login',
        'cl_waiting',
      );
      const all = active + idle + logging;
      assert.ok(all <= 30, `${all} servers`);
      if (all > 25) assert.ok(performance.now() - begun >= 1000, 'the reserve was taken too early');
      return active === 30 && waiting === 10;
    },
    { timeoutMs: 15_000, everyMs: 20, what: '30 servers, 10 waiting' },
  );
  await daemon.log.waitFor(/ WARNING .*taking connection from reserve_pool/, { from });
  await untilConnections('app', 30);
});

test('S-15: pool_size of the database entry beats the default', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { postgres: target(server, 'pool_size=5') },
    settings: { default_pool_size: 50 },
  });
  const admin = await Admin.login(t, daemon);
  const clients = Array.from({ length: 20 }, () => {
    const client = new pg.Client({ connectionString: daemon.url('postgres') });
    client.on('error', () => {});
    return client;
  });
  await Promise.all(clients.map((client) => client.connect()));
  const running = clients.map(async (client) => {
    await client.query('BEGIN');
    await client.query('SELECT pg_sleep(0.05)');
    await client.query('COMMIT');
  });
  const done = Promise.all(running).then(() => true);
  let ended = false;
  let most = 0;
  done.then(
    () => {
      ended = true;
    },
    () => {
      ended = true;
    },
  );
  await until(
    async () => {
      most = Math.max(most, (await admin.pool('postgres')).int('sv_active'));
      return ended;
    },
    { timeoutMs: 20_000, everyMs: 5 },
  );
  assert.equal(await done, true);
  assert.ok(most >= 1 && most <= 5, `up to ${most} servers were active`);
  await until(async () => (await connections('app')) <= 5);
  await Promise.all(clients.map((client) => client.end()));
});

test('S-16: the 21st client waits, then gets query_wait_timeout; or the server of the first to commit', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { default_pool_size: 20, query_wait_timeout: 2 },
  });
  const admin = await Admin.login(t, daemon);
  const holders = await logins(t, daemon, 20, 'app');
  await Promise.all(holders.map((client) => client.rows('BEGIN; SELECT 1')));
  const late = await login(t, daemon, 'app');
  const begun = performance.now();
  ask(late, 'SELECT 1');
  await admin.untilPool('app', { cl_active: 20, cl_waiting: 1 });
  const error = await refusal(late);
  assert.deepEqual(
    [error.severity, error.code, error.message],
    ['FATAL', '08P01', 'FATAL 08P01: query_wait_timeout'],
  );
  assert.ok(performance.now() - begun >= 2000, 'it waited less than query_wait_timeout');
  await late.closed();
  await daemon.log.waitFor(/ WARNING .*pooler error: query_wait_timeout/);

  const lucky = await login(t, daemon, 'app');
  ask(lucky, 'SELECT 7');
  await admin.untilPool('app', { cl_waiting: 1 });
  await holders[3]?.rows('COMMIT');
  assert.deepEqual(await answer(lucky), [['7']]);
  // the others were not touched
  await Promise.all(holders.map((client) => client.rows('SELECT 1')));
});

test('S-18: max_client_conn refuses the 11th; the first ten and the administrator are served', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { max_client_conn: 10 },
  });
  const clients = await logins(t, daemon, 10, 'app');
  for (let i = 0; i < 3; i++) {
    const error = await refused(RawClient.login(daemon, { user: 'app', database: 'app' }));
    assert.deepEqual([error.severity, error.code], ['FATAL', '53300']);
    assert.match(error.message, /no more connections allowed \(max_client_conn\)$/);
  }
  const driver = new pg.Client({ connectionString: daemon.url('app') });
  await assert.rejects(driver.connect(), /no more connections allowed \(max_client_conn\)/);
  const admin = await Admin.login(t, daemon);
  assert.equal((await admin.of('CLIENTS', 'app')).length, 10);
  await Promise.all(clients.map(async (client) => assert.deepEqual(await client.rows('SELECT 1'), [['1']])));
  await clients[0]?.end();
  await admin.client.end();
  const next = await until(() => RawClient.login(daemon, { user: 'app', database: 'app' }));
  assert.deepEqual(await next.rows('SELECT 1'), [['1']]);
  next.destroy();
});

test('S-19: session mode: who sits on the only server can be seen, and whoever waits is served when it leaves', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { pool_mode: 'session', default_pool_size: 1 },
  });
  const admin = await Admin.login(t, daemon);
  const greedy = await login(t, daemon, 'app', { parameters: { application_name: 'greedy' } });
  await greedy.rows('SELECT 1');
  const waiter = await login(t, daemon, 'app', { parameters: { application_name: 'waiter' } });
  ask(waiter, 'SELECT 2');
  await admin.untilPool('app', { cl_active: 1, cl_waiting: 1, sv_active: 1, sv_idle: 0 });
  const clients = new Map(
    (await admin.of('CLIENTS', 'app')).map((row) => [row.text('application_name'), row]),
  );
  const [held] = await admin.of('SERVERS', 'app');
  assert.equal(clients.get('greedy')?.text('state'), 'active');
  assert.equal(clients.get('waiter')?.text('state'), 'waiting');
  assert.equal(held?.text('link'), clients.get('greedy')?.text('ptr'));
  assert.equal(clients.get('greedy')?.text('link'), held?.text('ptr'));
  assert.equal(clients.get('waiter')?.text('link'), '');
  assert.equal(waiter.pending.length, 0);
  await greedy.end();
  assert.deepEqual(await answer(waiter), [['2']]);
});
