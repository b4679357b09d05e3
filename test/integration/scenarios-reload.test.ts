/** RELOAD over the console and by SIGHUP: bad files change nothing, good ones change what runs; SHUTDOWN in its forms. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { before, type TestContext, test } from 'node:test';
import type { Daemon } from '../support/daemon.ts';
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
    setup: ['app', 'svc', 'dave'].map((name) => `CREATE ROLE ${name} LOGIN`).concat('CREATE DATABASE two'),
  });
});

/** What SHOW CONFIG says of a setting. */
async function settingOf(admin: Admin, key: string): Promise<string | null | undefined> {
  return (await admin.show('CONFIG')).find((row) => row.text('key') === key)?.text('value');
}

/** RELOAD of a changed ini; throws a RawError when it is refused. */
async function reload(admin: Admin, daemon: Daemon, change: (text: string) => string): Promise<void> {
  daemon.writeFile('pgconcierge.ini', change(readFileSync(daemon.iniPath, 'utf8')));
  assert.equal(await admin.run('RELOAD'), 'RELOAD');
}

test('a bad file keeps the running configuration and says where the error is', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { default_pool_size: 7 },
  });
  const admin = await Admin.login(t, daemon);
  const client = await login(t, daemon, 'app');
  await client.rows('BEGIN');
  const good = readFileSync(daemon.iniPath, 'utf8');
  const line = (text: string, found: string): number =>
    text.split('\n').findIndex((one) => one.includes(found)) + 1;
  for (const [bad, message] of [
    ['defualt_pool_size = 9', /unknown parameter: pgbouncer\/defualt_pool_size.*default_pool_size/],
    ['pool_mode = sometimes', /invalid value "sometimes" for parameter pool_mode/],
    ['this is no line', /syntax error in configuration/],
    ['[nonsense]', /invalid section "nonsense"/],
  ] as const) {
    const text = `${good.replace('default_pool_size = 7', 'default_pool_size = 99')}\n${bad}\n`;
    const from = daemon.log.mark();
    const error = await refused(reload(admin, daemon, () => text));
    assert.equal(error.code, 'F0000');
    assert.match(error.message, /RELOAD failed, see logs for additional details$/);
    const detail = error.fields.get('D') ?? '';
    assert.match(detail, message);
    assert.ok(detail.includes(`${daemon.iniPath}:${line(text, bad)}`), detail);
    await daemon.log.waitFor(/ WARNING config file loading failed/, { from });
    const logged = daemon.log.lines(from).join('\n');
    assert.ok(logged.includes(`${daemon.iniPath}:${line(text, bad)}`), logged);
    assert.equal(await settingOf(admin, 'default_pool_size'), '7');
  }
  assert.deepEqual(await client.rows('SELECT 1'), [['1']]);
  await login(t, daemon, 'app');
  await reload(admin, daemon, () => good);
  assert.equal(await settingOf(admin, 'default_pool_size'), '7');
});

test('pool_size grows at once, shrinks when servers come back', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server, 'dbname=postgres pool_size=2') },
  });
  const admin = await Admin.login(t, daemon);
  const clients = await logins(t, daemon, 5, 'app');
  for (const client of clients) ask(client, 'BEGIN');
  await admin.untilPool('app', { cl_active: 2, cl_waiting: 3 });
  await reload(admin, daemon, (text) => text.replace('pool_size=2', 'pool_size=4'));
  await admin.untilPool('app', { cl_active: 4, cl_waiting: 1 });
  const from = daemon.log.mark();
  await reload(admin, daemon, (text) => text.replace('pool_size=4', 'pool_size=1'));
  // nothing is torn out of a transaction
  assert.equal((await admin.pool('app')).int('cl_active'), 4);
  const busy = await Promise.all(
    clients.map(async (client) => {
      await client.until('Z', 15_000);
      await client.rows('COMMIT');
      return client;
    }),
  );
  await daemon.log.waitFor(/ closing because: too many servers in the pool/, { from });
  await admin.untilPool('app', { cl_active: 0, cl_waiting: 0, sv_idle: 1 });
  for (const client of busy) assert.deepEqual(await client.rows('SELECT 1'), [['1']]);
});

test('databases and users come, change and go by SIGHUP', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server), old: target(server) },
    settings: { auth_type: 'scram-sha-256' },
    userlist: { app: 'app', postgres: 'postgres' },
  });
  const admin = await Admin.login(t, daemon);
  const enter = (database: string, user = 'app', password = user): Promise<RawClient> =>
    login(t, daemon, database, { user, password });
  const stays = await enter('app');
  const leaves = await enter('old');
  const waits = await enter('old');
  await leaves.rows('BEGIN');
  assert.match((await refused(enter('new'))).message, /no such database: new$/);
  assert.match(
    (await refused(enter('app', 'dave'))).message,
    /password authentication failed for user "dave"$/,
  );

  await daemon.reload({
    databases: { app: target(server, 'dbname=two'), new: target(server) },
    userlist: { app: 'changed', postgres: 'postgres', dave: 'dave' },
  });
  for (const client of [leaves, waits]) assert.match((await refusal(client)).message, /database removed$/);
  await until(async () => (await admin.show('DATABASES')).every((row) => row.text('name') !== 'old'));
  assert.match((await refused(enter('old', 'dave'))).message, /no such database: old$/);
  // the entry has changed: new servers, the client stays
  assert.deepEqual(await stays.rows('SELECT current_database()'), [['two']]);
  assert.deepEqual(await (await enter('new', 'dave')).rows('SELECT current_user'), [['dave']]);
  assert.match((await refused(enter('app', 'app', 'app'))).message, /password authentication failed/);
  assert.deepEqual(await (await enter('app', 'app', 'changed')).rows('SELECT 1'), [['1']]);

  // a user that leaves the file cannot log in any more; who is there stays
  const dave = await enter('new', 'dave');
  await daemon.reload({ userlist: { app: 'changed', postgres: 'postgres' } });
  assert.match(
    (await refused(enter('new', 'dave'))).message,
    /password authentication failed for user "dave"$/,
  );
  assert.deepEqual(await dave.rows('SELECT 1'), [['1']]);
});

test('a changed entry: transactions end on the old server, the next begin on the new', async (t) => {
  const daemon = await scenarioDaemon(t, { databases: { app: target(server) } });
  const admin = await Admin.login(t, daemon);
  const [inside, free] = await logins(t, daemon, 2, 'app');
  assert.ok(inside && free);
  await inside.rows('BEGIN');
  await free.rows('SELECT 1');
  const from = daemon.log.mark();
  await reload(admin, daemon, (text) => text.replace('dbname=postgres', 'dbname=two'));
  assert.deepEqual(await inside.rows('SELECT current_database()'), [['postgres']]);
  assert.deepEqual(await free.rows('SELECT current_database()'), [['two']]);
  await inside.rows('COMMIT');
  assert.deepEqual(await inside.rows('SELECT current_database()'), [['two']]);
  await daemon.log.waitFor(/ S-0x.* closing because: database configuration changed/, { from });
});

test('S-57: PAUSE, change the entry, RELOAD, RESUME', async (t) => {
  const daemon = await scenarioDaemon(t, { databases: { app: target(server) } });
  const admin = await Admin.login(t, daemon);
  const clients = await logins(t, daemon, 3, 'app');
  for (const client of clients) await client.rows('SELECT 1');
  await admin.run('PAUSE app');
  for (const client of clients) ask(client, 'SELECT current_database()');
  await admin.untilPool('app', { cl_waiting: 3 });
  await reload(admin, daemon, (text) => text.replace('dbname=postgres', 'dbname=two'));
  assert.deepEqual(await admin.of('SERVERS', 'app'), [], 'RELOAD opened servers of a paused database');
  await admin.run('RESUME app');
  for (const client of clients) assert.deepEqual(await answer(client), [['two']]);
});

test('settings that need a restart keep their value; those left out go back to their default', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { query_timeout: 5, pkt_buf: 8192, query_wait_timeout: 30 },
  });
  const admin = await Admin.login(t, daemon);
  await reload(admin, daemon, (text) =>
    text.replace('query_timeout = 5\n', '').replace('pkt_buf = 8192', 'pkt_buf = 2048'),
  );
  assert.deepEqual(
    [
      await settingOf(admin, 'query_timeout'),
      await settingOf(admin, 'pkt_buf'),
      await settingOf(admin, 'query_wait_timeout'),
    ],
    ['0', '8192', '30'],
  );
});

test('RELOAD adds and takes the * entry', async (t) => {
  const star = `* = host=127.0.0.1 port=${server.port}`;
  const daemon = await scenarioDaemon(t, { databases: { app: target(server) } });
  const admin = await Admin.login(t, daemon);
  assert.match(
    (await refused(RawClient.login(daemon, { user: 'app', database: 'two' }))).message,
    /no such database: two$/,
  );
  await reload(admin, daemon, (text) => text.replace('[databases]', `[databases]\n${star}`));
  const client = await login(t, daemon, 'two');
  assert.deepEqual(await client.rows('SELECT current_database()'), [['two']]);
  // an unchanged * keeps its databases and their servers
  const [before] = await admin.of('SERVERS', 'two');
  await reload(admin, daemon, (text) => text);
  assert.equal((await admin.of('SERVERS', 'two'))[0]?.int('remote_pid'), before?.int('remote_pid'));
  await reload(admin, daemon, (text) => text.replace(star, ''));
  assert.match((await refusal(client)).message, /database removed$/);
});

// --- SHUTDOWN

async function shutdownDaemon(
  t: TestContext,
): Promise<{ daemon: Daemon; admin: Admin; inside: RawClient; idle: RawClient }> {
  const daemon = await scenarioDaemon(t, { databases: { app: target(server) } });
  const admin = await Admin.login(t, daemon);
  const [inside, idle] = await logins(t, daemon, 2, 'app');
  assert.ok(inside && idle);
  await inside.rows('BEGIN');
  await idle.rows('SELECT 1');
  return { daemon, admin, inside, idle };
}

const END = { code: 0, signal: null };

/** Nobody new is let in: the listener is closed. */
async function assertNoEntry(daemon: Daemon): Promise<void> {
  await until(
    async () => {
      try {
        (await RawClient.connect(daemon)).destroy();
        return false;
      } catch {
        return true;
      }
    },
    { what: 'the listener is closed' },
  );
}

test('SHUTDOWN ends at once', async (t) => {
  const { daemon, admin, inside } = await shutdownDaemon(t);
  await assert.rejects(admin.run('SHUTDOWN'), /closed/);
  assert.deepEqual(await daemon.waitExit(), END);
  await inside.closed();
});

for (const [how, begin] of [
  ['SHUTDOWN WAIT_FOR_CLIENTS', null],
  ['SIGTERM', 'SIGTERM'],
] as const) {
  test(`${how}: clients go on as long as they like, nobody new comes in`, async (t) => {
    const { daemon, admin, inside, idle } = await shutdownDaemon(t);
    if (begin === null) assert.equal(await admin.run(how), 'SHUTDOWN');
    else daemon.kill(begin);
    await assertNoEntry(daemon);
    assert.deepEqual(await idle.rows('SELECT 1'), [['1']]);
    await inside.rows('COMMIT');
    await inside.end();
    assert.match((await refused(admin.run('RESUME'))).message, /pooler is shutting down$/);
    assert.match((await refused(admin.run('PAUSE'))).message, /pooler is shutting down$/);
    assert.equal(daemon.running, true);
    assert.deepEqual(await idle.rows('SELECT 1'), [['1']]);
    await idle.end();
    assert.deepEqual(await daemon.waitExit(), END);
    await daemon.log.waitFor(/client connections dropped, exiting/);
  });
}

for (const [how, begin] of [
  ['SHUTDOWN WAIT_FOR_SERVERS', null],
  ['SIGINT', 'SIGINT'],
] as const) {
  test(`${how}: transactions end, who waits is told, then the end`, async (t) => {
    const { daemon, admin, inside, idle } = await shutdownDaemon(t);
    const more = await logins(t, daemon, 1, 'app');
    if (begin === null) assert.equal(await admin.run(how), 'SHUTDOWN');
    else daemon.kill(begin);
    await assertNoEntry(daemon);
    assert.deepEqual(await inside.rows('SELECT 41 + 1'), [['42']]);
    ask(idle, 'SELECT 1');
    const error = await refusal(idle);
    assert.equal(error.message, 'FATAL 57P01: server shutting down');
    assert.equal(daemon.running, true);
    await inside.rows('COMMIT');
    assert.deepEqual(await daemon.waitExit(), END);
    await daemon.log.waitFor(/server connections dropped, exiting/);
    await more[0]?.closed();
  });
}

test('a second SIGTERM, and SIGINT twice, end at once', async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const { daemon } = await shutdownDaemon(t);
    daemon.kill(signal);
    await assertNoEntry(daemon);
    daemon.kill(signal);
    assert.deepEqual(await daemon.waitExit(), END);
    assert.ok(
      daemon.log.lines().some((line) => line.includes(`got ${signal} while shutting down, fast exit`)),
    );
  }
});
