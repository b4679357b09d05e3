/** PAUSE and RESUME (requirements.md S-50 to S-53, 004:417-425) against a real PostgreSQL and real drivers. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import pg from 'pg';
import postgres from 'postgres';
import type { Daemon } from '../support/daemon.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { type TestPostgres, withPostgres } from '../support/postgres.ts';
import { RawClient } from '../support/raw-client.ts';
import { Admin, answer, ask, login, logins, refused, scenarioDaemon, target } from '../support/scenario.ts';
import { until } from '../support/until.ts';

let server: TestPostgres;

before(async () => {
  server = await withPostgres({
    setup: ['CREATE ROLE app LOGIN', 'CREATE ROLE other LOGIN', 'CREATE DATABASE app OWNER app'],
  });
});

const userlist = { app: '', other: '', postgres: '' };

const connections = async (): Promise<number> =>
  Number(
    (await server.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND usename = 'app'"))
      .rows[0]?.[0],
  );

/** PostgreSQL has exactly so many connections, a moment after the last socket was closed. */
async function untilConnections(count: number): Promise<void> {
  await until(async () => (await connections()) === count, {
    what: `${count} connections`,
    timeoutMs: 10_000,
  });
}

/** Opens `count` servers of the pool at once. */
async function useServers(clients: readonly RawClient[], count: number): Promise<void> {
  await Promise.all(clients.slice(0, count).map((client) => client.rows('BEGIN')));
  await Promise.all(clients.slice(0, count).map((client) => client.rows('COMMIT')));
}

/** The rows of SHOW DATABASES that are paused. */
async function pausedOnes(admin: Admin): Promise<(string | null)[]> {
  return (await admin.show('DATABASES'))
    .filter((row) => row.int('paused') === 1)
    .map((row) => row.text('name'));
}

async function start(t: Parameters<typeof scenarioDaemon>[0], port: number, more = ''): Promise<Daemon> {
  return scenarioDaemon(t, {
    databases: {
      app: `host=127.0.0.1 port=${port} dbname=app ${more}`,
      other: target(server),
    },
    userlist,
  });
}

test('S-50, S-51: PAUSE db returns while clients stay; queries wait; RESUME serves all of them', async (t) => {
  const link = await FaultProxy.start(server);
  t.after(() => link.close());
  const daemon = await start(t, link.port, 'min_pool_size=2 reserve_pool=2');
  const admin = await Admin.login(t, daemon);
  const clients = await logins(t, daemon, 10, 'app');
  await useServers(clients, 4);
  const others = await logins(t, daemon, 2, 'other', { user: 'other' });
  await untilConnections(4);

  assert.equal(await admin.run('PAUSE app'), 'PAUSE');
  assert.deepEqual(await admin.of('SERVERS', 'app'), []);
  await untilConnections(0);
  assert.deepEqual(await pausedOnes(admin), ['app']);
  const accepted = link.accepted;

  const [one, two] = clients;
  assert.ok(one && two);
  ask(one, 'SELECT 1');
  ask(two, 'SELECT 2');
  await admin.untilPool('app', { cl_waiting: 2 });
  // also somebody new, and two drivers
  const late = await login(t, daemon, 'app');
  ask(late, 'SELECT 3');
  const driver = new pg.Client({ connectionString: daemon.url('app') });
  const sql = postgres(daemon.url('app'), { max: 1 });
  await driver.connect();
  const fromDriver = driver.query('SELECT $1::int AS n', [4]);
  const fromSql = sql<{ n: number }[]>`SELECT ${5}::int AS n`;
  const started = fromSql.execute();
  await admin.untilPool('app', { cl_waiting: 5, sv_active: 0, sv_idle: 0, sv_login: 0 });
  for (const other of others) assert.deepEqual(await other.rows('SELECT 1'), [['1']]);
  // longer than every sweep: min_pool_size, the reserve and the waiting clients open nothing
  await server.sql('SELECT pg_sleep(1)');
  assert.equal(link.accepted, accepted, 'a connection was opened during the pause');
  await untilConnections(0);
  assert.equal(clients.filter((client) => client.ended).length, 0);
  assert.equal(one.pending.length + two.pending.length, 0, 'something was said to a waiting client');

  assert.equal(await admin.run('RESUME app'), 'RESUME');
  assert.deepEqual(await answer(one), [['1']]);
  assert.deepEqual(await answer(two), [['2']]);
  assert.deepEqual(await answer(late), [['3']]);
  assert.deepEqual((await fromDriver).rows, [{ n: 4 }]);
  assert.deepEqual([...(await started)], [{ n: 5 }]);
  await driver.end();
  await sql.end();
  for (const client of clients) assert.deepEqual(await client.rows('SELECT 1'), [['1']]);
  assert.deepEqual(await pausedOnes(admin), []);
});

test('S-50: a paused database that nobody has used yet opens nothing for a new client', async (t) => {
  const link = await FaultProxy.start(server);
  t.after(() => link.close());
  const daemon = await start(t, link.port);
  const admin = await Admin.login(t, daemon);
  await admin.run('PAUSE app');
  const coming = await RawClient.connect(daemon);
  t.after(() => coming.destroy());
  const loggedIn = coming.login({ user: 'app', database: 'app' });
  await admin.untilPool('app', { cl_waiting: 1 });
  await server.sql('SELECT pg_sleep(0.5)');
  assert.equal(link.accepted, 0);
  await admin.run('RESUME app');
  await loggedIn;
  assert.deepEqual(await coming.rows('SELECT 1'), [['1']]);
});

for (const which of ['app', '']) {
  const pause = `PAUSE ${which}`.trim();
  const resume = `RESUME ${which}`.trim();

  test(`S-52: ${pause} waits for running transactions only`, async (t) => {
    const daemon = await start(t, server.port);
    const admin = await Admin.login(t, daemon);
    const watcher = await Admin.login(t, daemon);
    const [inside, running, idle] = await logins(t, daemon, 3, 'app');
    assert.ok(inside && running && idle);
    await inside.rows('BEGIN');
    ask(running, 'SELECT pg_sleep(2)::text');
    await watcher.untilPool('app', { sv_active: 2 });
    let returned = false;
    const paused = admin.run(pause, 20_000).then((tag) => {
      returned = true;
      return tag;
    });
    await until(async () => (await pausedOnes(watcher)).includes('app'));
    ask(idle, 'SELECT 1');
    await watcher.untilPool('app', { cl_waiting: 1 });
    // the transaction that was open may go on to its end
    assert.deepEqual(await inside.rows('SELECT 41 + 1'), [['42']]);
    assert.equal(returned, false, 'PAUSE returned with a transaction open');
    assert.deepEqual(await answer(running), [['']]);
    await watcher.untilPool('app', { sv_active: 1 });
    assert.equal(returned, false, 'PAUSE returned with a transaction open');
    await inside.rows('COMMIT');
    assert.equal(await paused, 'PAUSE');
    await untilConnections(0);
    ask(inside, 'SELECT 2');
    await watcher.untilPool('app', { cl_waiting: 2 });
    assert.equal(await admin.run(resume), 'RESUME');
    assert.deepEqual(await answer(idle), [['1']]);
    assert.deepEqual(await answer(inside), [['2']]);
  });
}

test('S-52: PAUSE app TIMEOUT 1 names who blocks, and un-pauses', async (t) => {
  const daemon = await start(t, server.port);
  const admin = await Admin.login(t, daemon);
  const [inside, running, free] = await logins(t, daemon, 3, 'app');
  assert.ok(inside && running && free);
  await inside.rows('BEGIN');
  ask(running, 'SELECT pg_sleep(3)::text');
  await admin.untilPool('app', { sv_active: 2 });
  const ids = new Map((await admin.of('CLIENTS', 'app')).map((row) => [row.int('port'), row.text('id')]));
  const idOf = (client: RawClient): string => ids.get(client.socket.localPort ?? 0) ?? 'no id';
  const begun = performance.now();
  const error = await refused(admin.run('PAUSE app TIMEOUT 1'));
  assert.ok(performance.now() - begun >= 1000);
  assert.equal(error.severity, 'ERROR');
  assert.match(
    error.message,
    new RegExp(`client ${idOf(inside)} \\(app@127\\.0\\.0\\.1:\\d+, idle in transaction\\)`),
  );
  assert.match(
    error.message,
    new RegExp(`client ${idOf(running)} \\(app@127\\.0\\.0\\.1:\\d+, query running\\)`),
  );
  assert.doesNotMatch(error.message, new RegExp(`client ${idOf(free)} `));
  assert.deepEqual(await pausedOnes(admin), []);
  assert.deepEqual(await free.rows('SELECT 1'), [['1']]);
  await inside.rows('COMMIT');
  assert.deepEqual(await answer(running), [['']]);
  // in time it is an ordinary PAUSE
  assert.equal(await admin.run('PAUSE app TIMEOUT 10'), 'PAUSE');
  assert.deepEqual(await pausedOnes(admin), ['app']);
  assert.equal(await admin.run('RESUME app'), 'RESUME');
});

test('PAUSE and RESUME refuse as PgBouncer does', async (t) => {
  const daemon = await start(t, server.port);
  const admin = await Admin.login(t, daemon);
  const message = async (command: string): Promise<string> => (await refused(admin.run(command))).message;
  assert.equal(await message('RESUME'), 'ERROR 08P01: pooler is not paused/suspended');
  assert.equal(await message('RESUME app'), 'ERROR 08P01: database app is not paused');
  assert.equal(await message('PAUSE nope'), 'ERROR 08P01: no such database: nope');
  assert.equal(await message('PAUSE pgbouncer'), 'ERROR 08P01: cannot pause admin db: pgbouncer');
  await admin.run('PAUSE app');
  await admin.run('PAUSE app');
  await admin.run('PAUSE');
  assert.equal(await message('PAUSE'), 'ERROR 08P01: already suspended/paused');
  assert.deepEqual(
    (await admin.show('STATE')).map((row) => [row.text('key'), row.text('value')]),
    [
      ['active', 'no'],
      ['paused', 'yes'],
      ['suspended', 'no'],
    ],
  );
  // the pause of the database by name outlives the global one
  await admin.run('RESUME');
  assert.deepEqual(await pausedOnes(admin), ['app']);
  await admin.run('RESUME app');
  assert.deepEqual(await pausedOnes(admin), []);
});

test('S-53: session mode: sessions without state are detached, RESUME serves them again', async (t) => {
  const daemon = await start(t, server.port, 'pool_mode=session');
  const admin = await Admin.login(t, daemon);
  const clients = await logins(t, daemon, 3, 'app');
  const driver = new pg.Client({ connectionString: daemon.url('app') });
  await driver.connect();
  await driver.query('SELECT $1::int', [1]);
  for (const [i, client] of clients.entries()) await client.rows(`SET application_name = 'c${i}'`);
  await admin.untilPool('app', { cl_active: 4, sv_active: 4 });
  assert.equal(await admin.run('PAUSE app'), 'PAUSE');
  await untilConnections(0);
  assert.equal(clients.filter((client) => client.ended).length, 0);
  for (const client of clients) ask(client, 'SHOW application_name');
  await admin.untilPool('app', { cl_waiting: 3 });
  await admin.run('RESUME app');
  for (const [i, client] of clients.entries()) assert.deepEqual(await answer(client), [[`c${i}`]]);
  assert.deepEqual((await driver.query('SELECT $1::int AS n', [2])).rows, [{ n: 2 }]);
  await driver.end();
  // attached again for good, as before
  await admin.untilPool('app', { cl_active: 3, sv_active: 3 });
});

for (const [held, statement, undo] of [
  ['temporary table', 'CREATE TEMP TABLE mine (n int)', 'DROP TABLE mine'],
  ['prepared statement', 'PREPARE p AS SELECT 1', 'DEALLOCATE p'],
  ['LISTEN', 'LISTEN news', 'UNLISTEN *'],
  ['cursor', 'DECLARE c CURSOR WITH HOLD FOR SELECT 1', 'CLOSE c'],
  ['advisory lock', 'SELECT pg_advisory_lock(42)', 'SELECT pg_advisory_unlock(42)'],
  ['SET work_mem', 'SET work_mem = 123', 'RESET work_mem'],
] as const) {
  test(`S-53: session mode: a session with state (${held}) makes PAUSE wait until it is gone`, async (t) => {
    const daemon = await start(t, server.port, 'pool_mode=session');
    const admin = await Admin.login(t, daemon);
    const watcher = await Admin.login(t, daemon);
    const [holder, clean] = await logins(t, daemon, 2, 'app');
    assert.ok(holder && clean);
    await holder.rows(statement);
    await clean.rows('SELECT 1');
    const error = await refused(admin.run('PAUSE app TIMEOUT 0.3'));
    assert.match(
      error.message,
      new RegExp(`still held by: client \\d+ \\(app@127\\.0\\.0\\.1:\\d+, ${held}\\)$`),
    );
    let returned = false;
    const paused = admin.run('PAUSE app').then((tag) => {
      returned = true;
      return tag;
    });
    await watcher.untilPool('app', { sv_active: 1, cl_active: 1 });
    assert.deepEqual(await holder.rows('SELECT 1'), [['1']]);
    assert.equal(returned, false);
    await holder.rows(undo);
    assert.equal(await paused, 'PAUSE');
    assert.equal(holder.ended, false);
    await admin.run('RESUME app');
    assert.deepEqual(await holder.rows('SELECT 1'), [['1']]);
    assert.deepEqual(await clean.rows('SELECT 1'), [['1']]);
  });
}

test('S-53: a stateful session that ends ends the wait too', async (t) => {
  const daemon = await start(t, server.port, 'pool_mode=session');
  const admin = await Admin.login(t, daemon);
  const holder = await login(t, daemon, 'app');
  await holder.rows('CREATE TEMP TABLE mine (n int)');
  const paused = admin.run('PAUSE app');
  const watcher = await Admin.login(t, daemon);
  await until(async () => (await pausedOnes(watcher)).includes('app'));
  await holder.end();
  assert.equal(await paused, 'PAUSE');
});

test('the administrator goes away during PAUSE: the pause stays', async (t) => {
  const daemon = await start(t, server.port);
  const admin = await Admin.login(t, daemon);
  const watcher = await Admin.login(t, daemon);
  const inside = await login(t, daemon, 'app');
  await inside.rows('BEGIN');
  const gone = assert.rejects(admin.run('PAUSE app'));
  await until(async () => (await pausedOnes(watcher)).includes('app'));
  admin.client.reset();
  await gone;
  await inside.rows('COMMIT');
  assert.deepEqual(await pausedOnes(watcher), ['app']);
  ask(inside, 'SELECT 1');
  await watcher.untilPool('app', { cl_waiting: 1 });
  await watcher.run('RESUME app');
  assert.deepEqual(await answer(inside), [['1']]);
});
