/** The console while the pooler works: views that agree with each other (S-30), and the commands that change things. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import pg from 'pg';
import { FaultProxy } from '../support/fault-proxy.ts';
import { type TestPostgres, withPostgres } from '../support/postgres.ts';
import { RawClient, RawError } from '../support/raw-client.ts';
import { errorFields } from '../support/raw-messages.ts';
import type { ViewRow } from '../support/scenario.ts';
import { Admin, answer, ask, login, logins, refused, scenarioDaemon, target } from '../support/scenario.ts';
import { until } from '../support/until.ts';

let server: TestPostgres;

before(async () => {
  server = await withPostgres({ setup: ['CREATE ROLE app LOGIN'] });
});

const LOAD_MS = 3_000;

/** Random short work until `stop`; the number of transactions. */
async function work(client: RawClient, seed: number, stop: () => boolean): Promise<number> {
  let random = seed;
  let done = 0;
  while (!stop()) {
    random = (random * 1_103_515_245 + 12_345) % 2 ** 31;
    if (random % 3 === 0) await client.rows('SELECT 1');
    else if (random % 3 === 1) await client.rows('BEGIN; SELECT pg_sleep(0.002); COMMIT');
    else {
      await client.rows('BEGIN');
      await client.rows('SELECT pg_sleep(0.001)');
      await client.rows('COMMIT');
    }
    done += 1;
  }
  return done;
}

/** What S-30 says of every row of SHOW POOLS. */
function checkPool(row: ViewRow, limit: number): void {
  const [clients = 0, active = 0, idle = 0, used = 0, tested = 0, logging = 0] = row.ints(
    'cl_active',
    'sv_active',
    'sv_idle',
    'sv_used',
    'sv_tested',
    'sv_login',
  );
  assert.equal(clients, active, `cl_active and sv_active differ: ${row}`);
  assert.ok(active + idle + used + tested + logging <= limit, `more than ${limit} servers: ${row}`);
  if (row.int('cl_waiting') === 0) assert.deepEqual(row.ints('maxwait', 'maxwait_us'), [0, 0], String(row));
}

test('S-30: the views agree with each other under load', { timeout: 120_000 }, async (t) => {
  const limits = new Map([
    ['a', 4],
    ['b', 6],
    ['c', 3],
  ]);
  const daemon = await scenarioDaemon(t, {
    databases: {
      a: target(server, 'dbname=postgres pool_size=4'),
      b: target(server, 'dbname=postgres pool_size=4 reserve_pool_size=2'),
      c: target(server, 'dbname=postgres pool_size=3'),
    },
    settings: { max_client_conn: 300, reserve_pool_timeout: 0.05, log_connections: 0, stats_period: 1 },
  });
  const admin = await Admin.login(t, daemon);
  const names = [...limits.keys()];
  const clients: RawClient[] = [];
  for (const [i, name] of names.entries())
    clients.push(...(await logins(t, daemon, i === 0 ? 40 : 30, name)));
  let stopped = false;
  const working = clients.map((client, i) => work(client, i + 1, () => stopped));
  const end = performance.now() + LOAD_MS;
  let before = new Map<string, ViewRow>();
  let looks = 0;
  let waitersSeen = 0;
  while (performance.now() < end) {
    looks += 1;
    for (const row of await admin.show('POOLS')) {
      const limit = limits.get(row.text('database') ?? '');
      if (limit === undefined) continue;
      checkPool(row, limit);
      waitersSeen += row.int('cl_waiting');
    }
    // each link is seen from both ends, though the two views are two looks
    const servers = await admin.show('SERVERS');
    for (const row of servers)
      assert.equal(row.text('link') !== '', row.text('state') === 'active', String(row));
    for (const row of await admin.show('CLIENTS')) {
      if (row.text('state') !== 'active') assert.equal(row.text('link'), '', String(row));
    }
    const stats = new Map((await admin.show('STATS')).map((row) => [row.text('database') ?? '', row]));
    for (const name of names) {
      for (const column of ['total_xact_count', 'total_query_count', 'total_received', 'total_sent']) {
        const [was, is] = [before.get(name)?.int(column) ?? 0, stats.get(name)?.int(column) ?? 0];
        assert.ok(is >= was, `${name}.${column} went from ${was} to ${is}`);
      }
    }
    before = stats;
  }
  stopped = true;
  const done = await Promise.all(working);
  assert.ok(looks > 3 && waitersSeen > 0, `${looks} looks, ${waitersSeen} waiters seen`);
  for (const name of names)
    await admin.untilPool(name, { cl_waiting: 0, cl_active: 0, sv_active: 0, maxwait: 0 });
  const stats = await admin.show('STATS');
  const total = names
    .map((name) => stats.find((row) => row.text('database') === name)?.int('total_xact_count') ?? 0)
    .reduce((sum, n) => sum + n, 0);
  assert.equal(
    total,
    done.reduce((sum, n) => sum + n, 0),
    'transactions counted by us and by SHOW STATS',
  );
  const lists = new Map((await admin.show('LISTS')).map((row) => [row.text('list'), row.int('items')]));
  assert.equal(lists.get('used_clients'), clients.length + 1);
  assert.equal(
    (lists.get('free_servers') ?? 0) + (lists.get('used_servers') ?? 0),
    (await admin.show('SERVERS')).length,
  );
});

test('S-4B: received and sent bytes are those of the client sockets', async (t) => {
  const daemon = await scenarioDaemon(t, { databases: { app: target(server) } });
  const admin = await Admin.login(t, daemon);
  const client = await login(t, daemon, 'app');
  const before = { in: client.bytesReceived, out: client.socket.bytesWritten };
  for (let i = 0; i < 10; i++) {
    for (const sql of ['BEGIN', 'SELECT 1', 'SELECT 2', "SELECT repeat('x', 100000)", 'COMMIT'])
      await client.rows(sql);
  }
  for (let i = 0; i < 5; i++) await client.rows('SELECT 1');
  const row = (await admin.show('STATS')).find((one) => one.text('database') === 'app');
  assert.deepEqual(
    row?.ints('total_xact_count', 'total_query_count', 'total_server_assignment_count'),
    [15, 55, 15],
  );
  assert.deepEqual(row?.ints('total_received', 'total_sent'), [
    client.socket.bytesWritten - before.out,
    client.bytesReceived - before.in,
  ]);
});

test('DISABLE refuses new clients, keeps those that are there; ENABLE lets them in again', async (t) => {
  const daemon = await scenarioDaemon(t, { databases: { app: target(server), other: target(server) } });
  const admin = await Admin.login(t, daemon);
  const client = await login(t, daemon, 'app');
  assert.equal(await admin.run('DISABLE app'), 'DISABLE');
  const error = await refused(RawClient.login(daemon, { user: 'app', database: 'app' }));
  assert.equal(error.message, 'FATAL 57P03: database "app" is disabled');
  assert.deepEqual(await client.rows('SELECT 1'), [['1']]);
  await login(t, daemon, 'other');
  await Admin.login(t, daemon);
  const rows = await admin.show('DATABASES');
  assert.deepEqual(
    rows.filter((row) => row.int('disabled') === 1).map((row) => row.text('name')),
    ['app'],
  );
  assert.equal(await admin.run('ENABLE app'), 'ENABLE');
  await login(t, daemon, 'app');
  for (const command of ['DISABLE', 'ENABLE']) {
    assert.match((await refused(admin.run(command))).message, /a database is required$/);
    assert.match((await refused(admin.run(`${command} nope`))).message, /no such database: nope$/);
  }
});

test('KILL drops the clients and servers of a database and leaves it paused', async (t) => {
  const daemon = await scenarioDaemon(t, { databases: { app: target(server), other: target(server) } });
  const admin = await Admin.login(t, daemon);
  const [idle, inside, running] = await logins(t, daemon, 3, 'app');
  assert.ok(idle && inside && running);
  const other = await login(t, daemon, 'other');
  await other.rows('BEGIN');
  await inside.rows('BEGIN');
  ask(running, 'SELECT pg_sleep(60)');
  await admin.untilPool('app', { cl_active: 2 });
  assert.equal(await admin.run('KILL app'), 'KILL');
  for (const client of [idle, inside, running]) {
    const error = (await client.until('E')).at(-1);
    assert.equal(error === undefined ? '' : errorFields(error).message, 'database removed');
    await client.closed();
  }
  assert.deepEqual(await admin.of('SERVERS', 'app'), []);
  assert.deepEqual(await other.rows('SELECT 1'), [['1']]);
  const paused = (await admin.show('DATABASES')).filter((row) => row.int('paused') === 1);
  assert.deepEqual(
    paused.map((row) => row.text('name')),
    ['app'],
  );
  const next = await login(t, daemon, 'app');
  ask(next, 'SELECT 1');
  await admin.untilPool('app', { cl_waiting: 1 });
  await admin.run('RESUME app');
  assert.deepEqual(await answer(next), [['1']]);
});

test('KILL_CLIENT ends one client, by id or pointer, and frees its server', async (t) => {
  const daemon = await scenarioDaemon(t, { databases: { app: target(server) } });
  const admin = await Admin.login(t, daemon);
  for (const column of ['id', 'ptr']) {
    const [victim, bystander] = await logins(t, daemon, 2, 'app');
    assert.ok(victim && bystander);
    await victim.rows('BEGIN');
    const row = (await admin.of('CLIENTS', 'app')).find((one) => one.int('port') === victim.socket.localPort);
    assert.equal(await admin.run(`KILL_CLIENT ${row?.text(column)}`), 'KILL_CLIENT');
    const error = (await victim.until('E')).at(-1);
    assert.deepEqual(error === undefined ? null : [errorFields(error).code, errorFields(error).message], [
      '57P01',
      'admin forced disconnect',
    ]);
    await victim.closed();
    await admin.untilPool('app', { sv_active: 0 });
    assert.deepEqual(await bystander.rows('SELECT 1'), [['1']]);
    await bystander.end();
  }
  assert.match((await refused(admin.run('KILL_CLIENT 999999'))).message, /client not found$/);
  assert.match((await refused(admin.run('KILL_CLIENT x'))).message, /invalid client pointer supplied$/);
});

test('S-48: KILL_CLIENT of a client that does not read frees its server', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { default_pool_size: 1 },
  });
  const admin = await Admin.login(t, daemon);
  const deaf = await login(t, daemon, 'app');
  deaf.pause();
  ask(deaf, "SELECT repeat('x', 10000) FROM generate_series(1, 20000)");
  await admin.untilPool('app', { cl_active: 1 });
  const next = await login(t, daemon, 'app');
  ask(next, 'SELECT 1');
  await admin.untilPool('app', { cl_waiting: 1 });
  const row = (await admin.of('CLIENTS', 'app')).find((one) => one.int('port') === deaf.socket.localPort);
  await admin.run(`KILL_CLIENT ${row?.text('id')}`);
  assert.deepEqual(await answer(next), [['1']]);
});

test('RECONNECT renews servers when they are free; WAIT_CLOSE waits for the last old one', async (t) => {
  const link = await FaultProxy.start(server);
  t.after(() => link.close());
  const daemon = await scenarioDaemon(t, { databases: { app: target(link) } });
  const admin = await Admin.login(t, daemon);
  const watcher = await Admin.login(t, daemon);
  const [inside, other] = await logins(t, daemon, 2, 'app');
  assert.ok(inside && other);
  await inside.rows('BEGIN');
  const pid = await inside.rows('SELECT pg_backend_pid()');
  await other.rows('SELECT 1');
  const old = (await admin.of('SERVERS', 'app')).map((row) => row.int('remote_pid'));
  assert.equal(old.length, 2);
  assert.equal(await admin.run('RECONNECT app'), 'RECONNECT');
  // the busy one is marked, the free one gone
  const [held, ...more] = await admin.of('SERVERS', 'app');
  assert.deepEqual([held?.int('close_needed'), held?.text('state'), more.length], [1, 'active', 0]);
  assert.deepEqual(await inside.rows('SELECT pg_backend_pid()'), pid);
  let returned = false;
  const waited = admin.run('WAIT_CLOSE app').then((tag) => {
    returned = true;
    return tag;
  });
  // new ones are opened meanwhile, and are not waited for
  const fresh = await other.rows('SELECT pg_backend_pid()');
  assert.equal(old.includes(Number(fresh[0]?.[0])), false);
  await watcher.untilPool('app', { sv_active: 1, sv_idle: 1 });
  assert.equal(returned, false);
  await inside.rows('COMMIT');
  assert.equal(await waited, 'WAIT_CLOSE');
  const now = (await admin.of('SERVERS', 'app')).map((row) => row.int('remote_pid'));
  assert.deepEqual(now, [Number(fresh[0]?.[0])]);
  assert.equal(await admin.run('WAIT_CLOSE'), 'WAIT_CLOSE');
});

test('SET changes the running pooler until RELOAD; refusals; stats users may look only', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    userlist: { app: '', postgres: '', watcher: '' },
    settings: { default_pool_size: 1, stats_users: 'watcher' },
  });
  const admin = await Admin.login(t, daemon);
  const value = async (key: string): Promise<string | null | undefined> =>
    (await admin.show('CONFIG')).find((row) => row.text('key') === key)?.text('value');
  const clients = await logins(t, daemon, 2, 'app');
  for (const client of clients) ask(client, 'BEGIN');
  await admin.untilPool('app', { cl_active: 1, cl_waiting: 1 });
  assert.equal(await admin.run('SET default_pool_size = 2'), 'SET default_pool_size=2');
  await admin.untilPool('app', { cl_active: 2, cl_waiting: 0 });
  assert.equal(await value('default_pool_size'), '2');
  await admin.run("SET query_timeout TO '1'");
  assert.equal(await value('query_timeout'), '1');
  for (const wrong of ['SET nonsense = 1', 'SET default_pool_size = many', 'SET pool_mode = 7']) {
    assert.match((await refused(admin.run(wrong))).message, /SET failed$/, wrong);
  }
  await admin.run('SET listen_port = 1');
  assert.equal(await value('listen_port'), String(daemon.port));
  assert.equal(await admin.run('RELOAD'), 'RELOAD');
  assert.deepEqual([await value('default_pool_size'), await value('query_timeout')], ['1', '0']);

  const watcher = await Admin.login(t, daemon, 'watcher');
  assert.equal((await watcher.show('VERSION')).length, 1);
  for (const command of ['PAUSE', 'SET verbose = 1', 'KILL app', 'SHUTDOWN']) {
    const error = await refused(watcher.run(command));
    assert.deepEqual([error.code, error.message], ['42501', 'ERROR 42501: admin access needed'], command);
  }
  const outsider = await refused(RawClient.login(daemon, { user: 'app', database: 'pgbouncer' }));
  assert.equal(outsider.message, 'FATAL 42501: not allowed');
});

test('the console over node-postgres: the same rows as over the simple protocol', async (t) => {
  const daemon = await scenarioDaemon(t, { databases: { app: target(server) } });
  const admin = await Admin.login(t, daemon);
  await login(t, daemon, 'app');
  const driver = new pg.Client({ connectionString: daemon.url('pgbouncer', 'postgres') });
  await driver.connect();
  for (const view of ['DATABASES', 'POOLS', 'USERS', 'CONFIG', 'VERSION', 'STATE', 'PEERS', 'DNS_HOSTS']) {
    const { rows, fields } = await driver.query<Record<string, unknown>>({
      name: view,
      text: `SHOW ${view}`,
    });
    const seen = await admin.show(view);
    assert.deepEqual(
      fields.map((field) => field.name),
      seen[0] === undefined ? fields.map((field) => field.name) : [...seen[0].values.keys()],
    );
    assert.equal(rows.length, seen.length, view);
    if (view === 'POOLS') continue; // the console's own row counts its clients
    for (const [i, row] of rows.entries()) {
      const texts = Object.values(row).map((one) => (one === null ? null : String(one)));
      if (view !== 'DATABASES' && view !== 'USERS')
        assert.deepEqual(texts, [...(seen[i]?.values.values() ?? [])], view);
    }
  }
  await assert.rejects(driver.query('SHOW nonsense'), (error: unknown) => {
    assert.ok(error instanceof Error && !(error instanceof RawError));
    return /invalid command 'SHOW nonsense', use SHOW HELP;/.test(error.message);
  });
  await driver.end();
  await until(async () => (await admin.show('CLIENTS')).length === 2);
});
