/** Timeouts of clients and queries, and the notice to those that wait. Each is proved not to come early either. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import pg from 'pg';
import { FakeServer } from '../support/fake-server.ts';
import { type TestPostgres, withPostgres } from '../support/postgres.ts';
import { RawClient } from '../support/raw-client.ts';
import { errorFields, typesOf } from '../support/raw-messages.ts';
import { Admin, answer, ask, login, refusal, scenarioDaemon, target } from '../support/scenario.ts';
import { until } from '../support/until.ts';

let server: TestPostgres;

before(async () => {
  server = await withPostgres({ setup: ['CREATE ROLE app LOGIN', 'CREATE ROLE calm LOGIN'] });
});

const userlist = { app: '', calm: '', postgres: '' };

/** What the client is told, and that it took at least `ms` since `begun`. */
async function ended(client: RawClient, begun: number, ms: number): Promise<string> {
  const error = await refusal(client);
  const elapsed = performance.now() - begun;
  assert.ok(elapsed >= ms, `${error.message} after ${elapsed} ms`);
  await client.closed();
  return error.message;
}

test('query_timeout: a running query is ended with its server, another user has its own value', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    users: { calm: 'query_timeout=60' },
    userlist,
    settings: { query_timeout: 1 },
  });
  const admin = await Admin.login(t, daemon);
  const calm = await login(t, daemon, 'app', { user: 'calm' });
  ask(calm, 'SELECT pg_sleep(1.6)::text');
  const hasty = await login(t, daemon, 'app');
  const begun = performance.now();
  ask(hasty, 'SELECT pg_sleep(60)');
  assert.equal(await ended(hasty, begun, 1000), 'FATAL 08P01: query timeout');
  await admin.untilPool('app', { sv_active: 0, sv_idle: 0 });
  assert.deepEqual(await answer(calm), [['']]);

  const driver = new pg.Client({ connectionString: daemon.url('app') });
  driver.on('error', () => {});
  await driver.connect();
  await assert.rejects(driver.query('SELECT pg_sleep($1)', [60]), /query timeout/);
});

test('query_timeout: it does not run while a transaction is idle', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { query_timeout: 1 },
  });
  const client = await login(t, daemon, 'app');
  await client.rows('BEGIN');
  await server.sql('SELECT pg_sleep(1.5)');
  assert.deepEqual(await client.rows('SELECT 1'), [['1']]);
});

test('query_timeout ends whoever waits in the queue too', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { query_timeout: 1, default_pool_size: 1 },
  });
  const holder = await login(t, daemon, 'app');
  await holder.rows('BEGIN');
  const waiter = await login(t, daemon, 'app');
  const begun = performance.now();
  ask(waiter, 'SELECT 1');
  assert.equal(await ended(waiter, begun, 1000), 'FATAL 08P01: query_timeout');
  await holder.rows('COMMIT');
});

test('idle_transaction_timeout: an idle transaction is rolled back with its server; a busy one is not', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { idle_transaction_timeout: 1 },
  });
  await server.sql('CREATE TABLE IF NOT EXISTS kept (n int); GRANT ALL ON kept TO app; TRUNCATE kept');
  const idle = await login(t, daemon, 'app');
  const begun = performance.now();
  await idle.rows('BEGIN; INSERT INTO kept VALUES (1)');
  const busy = await login(t, daemon, 'app');
  await busy.rows('BEGIN; INSERT INTO kept VALUES (2)');
  ask(busy, 'SELECT pg_sleep(1.6)::text');
  assert.equal(await ended(idle, begun, 1000), 'FATAL 25P03: idle transaction timeout');
  assert.deepEqual(await answer(busy), [['']]);
  await busy.rows('COMMIT');
  await until(async () => {
    const { rows } = await server.sql("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'");
    return rows[0]?.[0] === '0';
  });
  assert.deepEqual((await server.sql('SELECT n FROM kept')).rows, [['2']]);
});

test('transaction_timeout: also when every query of the transaction is short', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    users: { app: 'transaction_timeout=1' },
  });
  const client = await login(t, daemon, 'app');
  const begun = performance.now();
  await client.rows('BEGIN');
  let told = '';
  await until(
    async () => {
      ask(client, 'SELECT 1');
      const error = (await client.until('ZE')).find(({ type }) => type === 'E');
      if (error !== undefined) told = errorFields(error).message;
      return told !== '';
    },
    { timeoutMs: 15_000, everyMs: 50 },
  );
  assert.equal(told, 'transaction timeout');
  assert.ok(performance.now() - begun >= 1000);
});

test('client_idle_timeout: only clients that hold nothing', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server), s: target(server, 'dbname=postgres pool_mode=session') },
    settings: { client_idle_timeout: 1 },
  });
  const inside = await login(t, daemon, 'app');
  await inside.rows('BEGIN');
  const session = await login(t, daemon, 's');
  await session.rows('SELECT 1');
  const idle = await login(t, daemon, 'app');
  const begun = performance.now();
  await idle.rows('SELECT 1');
  assert.equal(await ended(idle, begun, 1000), 'FATAL 57P05: client_idle_timeout');
  assert.deepEqual(await inside.rows('SELECT 1'), [['1']]);
  assert.deepEqual(await session.rows('SELECT 1'), [['1']]);
});

test('client_login_timeout: nothing sent, half a packet sent, password not sent, server not there', async (t) => {
  const silent = await FakeServer.start({ onStartup: () => {} });
  t.after(() => silent.close());
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server), silent: target(silent, 'dbname=x') },
    settings: {
      client_login_timeout: 1,
      tcp_defer_accept: 0,
      auth_type: 'scram-sha-256',
      server_connect_timeout: 60,
    },
  });
  const begun = performance.now();
  const connect = async (): Promise<RawClient> => {
    const client = await RawClient.connect(daemon);
    t.after(() => client.destroy());
    return client;
  };
  const mute = await connect();
  const half = await connect();
  half.send(Buffer.from([0, 0, 0, 40, 0, 3, 0, 0, 0x75]));
  const slow = await connect();
  slow.startup({ user: 'app', database: 'app' });
  const good = await login(t, daemon, 'app', { password: 'app' });
  const patient = await connect();
  const refusedLogin = assert.rejects(
    patient.login({ user: 'app', database: 'silent', password: 'app' }),
    /client_login_timeout \(server down\)/,
  );
  for (const client of [mute, half, slow]) {
    assert.equal(await ended(client, begun, 1000), 'FATAL 08P01: client_login_timeout');
  }
  await refusedLogin;
  assert.deepEqual(await good.rows('SELECT 1'), [['1']]);
});

test('query_wait_notify: one notice for each wait, and none for who need not wait', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { query_wait_notify: 1, default_pool_size: 1 },
  });
  const admin = await Admin.login(t, daemon);
  const holder = await login(t, daemon, 'app');
  const waiter = await login(t, daemon, 'app');
  for (let round = 0; round < 2; round++) {
    await holder.rows('BEGIN');
    const begun = performance.now();
    ask(waiter, 'SELECT 5');
    const notice = await waiter.next(10_000);
    assert.ok(performance.now() - begun >= 1000, 'the notice came early');
    assert.equal(notice.type, 'N');
    assert.deepEqual(
      [errorFields(notice).severity, errorFields(notice).message],
      ['NOTICE', 'No server connection available in postgres backend, client being queued'],
    );
    await server.sql('SELECT pg_sleep(0.5)');
    await admin.untilPool('app', { cl_waiting: 1 });
    assert.equal(waiter.pending.length, 0, 'a second notice');
    await holder.rows('COMMIT');
    assert.equal(typesOf(await waiter.until('Z')), 'TDCZ');
  }
  assert.equal(typesOf(await waiter.query('SELECT 6')), 'TDCZ');
});

test('query_wait_timeout of the database beats the global one; 0 waits on', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: {
      a: target(server, 'dbname=postgres query_wait_timeout=1 pool_size=1'),
      b: target(server, 'dbname=postgres query_wait_timeout=0 pool_size=1'),
    },
    settings: { query_wait_timeout: 1 },
  });
  const holders = [await login(t, daemon, 'a'), await login(t, daemon, 'b')];
  for (const holder of holders) await holder.rows('BEGIN');
  const a = await login(t, daemon, 'a');
  const b = await login(t, daemon, 'b');
  const begun = performance.now();
  ask(b, 'SELECT 1');
  ask(a, 'SELECT 1');
  assert.equal(await ended(a, begun, 1000), 'FATAL 08P01: query_wait_timeout');
  await holders[1]?.rows('COMMIT');
  assert.deepEqual(await answer(b), [['1']]);
});
