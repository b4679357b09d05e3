/** Limits over several pools: of databases, of users, of their clients; eviction; max_connecting. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { commandComplete, FakeServer, readyForQuery } from '../support/fake-server.ts';
import { type TestPostgres, withPostgres } from '../support/postgres.ts';
import { RawClient } from '../support/raw-client.ts';
import { Admin, answer, ask, login, logins, refused, scenarioDaemon, target } from '../support/scenario.ts';
import { until } from '../support/until.ts';

let server: TestPostgres;
const userlist = { u1: '', u2: '', u3: '', svc: '', postgres: '' };

before(async () => {
  server = await withPostgres({
    setup: ['u1', 'u2', 'u3', 'svc'].map((name) => `CREATE ROLE ${name} LOGIN`),
  });
});

const connections = async (): Promise<number> =>
  Number(
    (await server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename IN ('u1', 'u2', 'u3', 'svc')"))
      .rows[0]?.[0],
  );

/** PostgreSQL has exactly so many connections, a moment after the last socket was closed. */
async function untilConnections(count: number): Promise<void> {
  await until(async () => (await connections()) === count, {
    what: `${count} connections`,
    timeoutMs: 10_000,
  });
}

test('max_db_connections: an idle server of another user is evicted, a busy one is waited for', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server, 'dbname=postgres max_db_connections=2') },
    userlist,
  });
  const admin = await Admin.login(t, daemon);
  const one = await login(t, daemon, 'app', { user: 'u1' });
  const two = await login(t, daemon, 'app', { user: 'u2' });
  await one.rows('SELECT 1');
  await two.rows('SELECT 1');
  await untilConnections(2);
  const from = daemon.log.mark();
  // the oldest idle one goes: u1's
  const three = await login(t, daemon, 'app', { user: 'u3' });
  assert.deepEqual(await three.rows('SELECT current_user'), [['u3']]);
  await daemon.log.waitFor(/ S-0x.*app\/u1@.* closing because: evicted for max_db_connections/, { from });
  await untilConnections(2);

  await two.rows('BEGIN');
  await three.rows('BEGIN');
  ask(one, 'SELECT current_user');
  await admin.untilPool('app', { cl_waiting: 1, sv_active: 0, sv_login: 0 }, 'u1');
  await untilConnections(2);
  await two.rows('COMMIT');
  assert.deepEqual(await answer(one), [['u1']]);
  await three.rows('COMMIT');
  const database = (await admin.show('DATABASES')).find((row) => row.text('name') === 'app');
  assert.deepEqual(database?.ints('max_connections', 'current_connections'), [2, 2]);
});

test('max_db_connections: the first server of a new pool counts too', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    userlist,
    settings: { max_db_connections: 1 },
  });
  const admin = await Admin.login(t, daemon);
  const one = await login(t, daemon, 'app', { user: 'u1' });
  await one.rows('BEGIN');
  const coming = await RawClient.connect(daemon);
  t.after(() => coming.destroy());
  const loggedIn = coming.login({ user: 'u2', database: 'app' });
  await admin.untilPool('app', { cl_waiting: 1 }, 'u2');
  await untilConnections(1);
  await one.rows('COMMIT');
  await loggedIn;
  assert.deepEqual(await coming.rows('SELECT current_user'), [['u2']]);
  await untilConnections(1);
});

test('max_db_connections: a server that awaits its check is evicted as well', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    userlist,
    settings: { max_db_connections: 1, server_check_delay: 0, server_check_query: 'select 1' },
  });
  const admin = await Admin.login(t, daemon);
  const one = await login(t, daemon, 'app', { user: 'u1' });
  await one.rows('SELECT 1');
  await admin.untilPool('app', { sv_used: 1 }, 'u1');
  const two = await login(t, daemon, 'app', { user: 'u2' });
  assert.deepEqual(await two.rows('SELECT current_user'), [['u2']]);
  assert.equal((await admin.of('SERVERS', 'app')).length, 1);
});

test('min_pool_size evicts nobody: pools below their minimum leave each other alone', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server, 'dbname=postgres max_db_connections=2 min_pool_size=2') },
    userlist,
  });
  const admin = await Admin.login(t, daemon);
  await login(t, daemon, 'app', { user: 'u1' });
  await admin.untilPool('app', { sv_idle: 2 }, 'u1');
  // a client that needs one may evict
  await login(t, daemon, 'app', { user: 'u2' });
  await admin.untilPool('app', { sv_idle: 1 }, 'u2');
  const ids = async (): Promise<number[]> =>
    (await admin.of('SERVERS', 'app')).map((row) => row.int('id')).sort();
  const before = await ids();
  // ten sweeps, in each of which both pools look for another server
  await server.sql('SELECT pg_sleep(1)');
  assert.deepEqual(await ids(), before);
  assert.equal(before.length, 2);
});

test('max_user_connections: counted over all databases of the user, with eviction', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { a: target(server), b: target(server), c: target(server, 'dbname=postgres user=svc') },
    users: { svc: 'max_user_connections=1' },
    userlist,
    settings: { max_user_connections: 2 },
  });
  const admin = await Admin.login(t, daemon);
  const a = await logins(t, daemon, 3, 'a', { user: 'u1' });
  for (const client of a) ask(client, 'BEGIN');
  await admin.untilPool('a', { cl_active: 2, cl_waiting: 1, sv_active: 2 }, 'u1');
  const others = await login(t, daemon, 'a', { user: 'u2' });
  assert.deepEqual(await others.rows('SELECT current_user'), [['u2']]);
  const user = (await admin.show('USERS')).find((row) => row.text('name') === 'u1');
  assert.deepEqual(user?.ints('max_user_connections', 'current_connections'), [2, 2]);
  for (const client of a) {
    await client.until('Z');
    await client.rows('COMMIT');
  }
  const from = daemon.log.mark();
  const b = await login(t, daemon, 'b', { user: 'u1' });
  assert.deepEqual(await b.rows('SELECT current_user'), [['u1']]);
  await daemon.log.waitFor(/ S-0x.*a\/u1@.* closing because: evicted for max_user_connections/, { from });

  // with a forced user it is the forced user's limit that counts
  const forced = await logins(t, daemon, 2, 'c', { user: 'u1' });
  for (const client of forced) ask(client, 'BEGIN; SELECT current_user');
  await admin.untilPool('c', { cl_active: 1, cl_waiting: 1, sv_active: 1 }, 'svc');
});

test('max_db_client_connections and max_user_client_connections refuse with 53300; others are let in', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { a: target(server, 'dbname=postgres max_db_client_connections=2'), b: target(server) },
    users: { u3: 'max_user_client_connections=1', postgres: 'max_user_client_connections=1' },
    userlist,
  });
  const [first] = await logins(t, daemon, 2, 'a', { user: 'u1' });
  const full = await refused(RawClient.login(daemon, { user: 'u2', database: 'a' }));
  assert.deepEqual([full.severity, full.code], ['FATAL', '53300']);
  assert.match(full.message, /client connections exceeded \(max_db_client_connections\)$/);
  await login(t, daemon, 'b', { user: 'u3' });
  const again = await refused(RawClient.login(daemon, { user: 'u3', database: 'b' }));
  assert.deepEqual([again.severity, again.code], ['FATAL', '53300']);
  assert.match(again.message, /client connections exceeded \(max_user_client_connections\)$/);
  await login(t, daemon, 'b', { user: 'u2' });
  // administrators are exempt on the console
  const admin = await Admin.login(t, daemon);
  await Admin.login(t, daemon);
  const row = (await admin.show('DATABASES')).find((one) => one.text('name') === 'a');
  assert.deepEqual(row?.ints('max_client_connections', 'current_client_connections'), [2, 2]);
  const user = (await admin.show('USERS')).find((one) => one.text('name') === 'u3');
  assert.deepEqual(user?.ints('max_user_client_connections', 'current_client_connections'), [1, 1]);
  await first?.end();
  const next = await until(() => RawClient.login(daemon, { user: 'u2', database: 'a' }));
  next.destroy();
});

/** A server whose logins are answered when the test says so, and whose transactions never end. */
async function slowLogins(): Promise<FakeServer> {
  return FakeServer.start({
    onStartup: () => {},
    onMessage: (connection, message) => {
      if (message.type === 'Q') connection.send(commandComplete('BEGIN'), readyForQuery('T'));
      else connection.answer(message);
    },
  });
}

for (const [name, settings, expected] of [
  ['default', {}, 3],
  ['1', { max_connecting: 1 }, 1],
  ['5', { max_connecting: 5 }, 5],
] as const) {
  test(`max_connecting (${name}): no more logins at once for a pool`, async (t) => {
    const fake = await slowLogins();
    t.after(() => fake.close());
    const daemon = await scenarioDaemon(t, {
      databases: { app: target(fake, 'dbname=x') },
      settings: { default_pool_size: 20, ...settings },
    });
    const admin = await Admin.login(t, daemon);
    // the first login gives the pool its welcome
    const opening = logins(t, daemon, 12, 'app');
    (await fake.waitConnections(1)).acceptLogin();
    const clients = await opening;
    for (const client of clients) ask(client, 'BEGIN');
    let answered = 1;
    while (answered < 12) {
      const logging = Math.min(expected, 12 - answered);
      await until(() => fake.live.length === answered + logging, { what: `${logging} logins at once` });
      // a look from outside after which one login too many would have been seen
      await admin.untilPool('app', { sv_login: logging });
      assert.equal(fake.live.length, answered + logging);
      for (const connection of fake.live.slice(answered)) connection.acceptLogin();
      answered += logging;
    }
    await Promise.all(clients.map((client) => answer(client)));
    assert.equal(fake.live.length, 12);
  });
}
