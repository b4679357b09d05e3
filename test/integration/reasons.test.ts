/** What a DBA is told at 3 a.m.: PgBouncer's texts stay as they are, DETAIL, HINT and the log say why. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { freePort } from '../support/ports.ts';
import { type TestPostgres, withPostgres } from '../support/postgres.ts';
import { RawClient } from '../support/raw-client.ts';
import { Admin, answer, ask, login, refusal, refused, scenarioDaemon, target } from '../support/scenario.ts';
import { until } from '../support/until.ts';

let server: TestPostgres;

before(async () => {
  server = await withPostgres({ setup: ['CREATE ROLE u1 LOGIN'] });
});

const userlist = { u1: '', postgres: '' };

test('query_wait_timeout: a server that is down is told from a full pool', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server), down: `host=127.0.0.1 port=${await freePort()} dbname=postgres` },
    userlist,
    settings: { default_pool_size: 1, query_wait_timeout: 1 },
  });
  const down = await refused(RawClient.login(daemon, { user: 'u1', database: 'down' }));
  assert.deepEqual(
    [down.fields.get('M'), down.fields.get('D')],
    [
      'query_wait_timeout',
      'The last attempt to connect to a server failed: connect failed: Connection refused.',
    ],
  );
  const holder = await login(t, daemon, 'app', { user: 'u1' });
  const waiter = await login(t, daemon, 'app', { user: 'u1' });
  await holder.rows('BEGIN');
  ask(waiter, 'SELECT 1');
  const full = await refusal(waiter);
  assert.deepEqual(
    [full.code, full.fields.get('M'), full.fields.get('D')],
    ['08P01', 'query_wait_timeout', 'All 1 server connections of pool app/u1 are in use (pool_size 1).'],
  );
});

test('query_wait_timeout: the database is paused', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    userlist,
    settings: { query_wait_timeout: 1 },
  });
  const admin = await Admin.login(t, daemon);
  const client = await login(t, daemon, 'app', { user: 'u1' });
  await admin.run('PAUSE app');
  ask(client, 'SELECT 1');
  assert.equal((await refusal(client)).fields.get('D'), 'Database "app" is paused.');
});

test('SHOW POOLS: maxwait grows for clients that wait in login too', async (t) => {
  const port = await freePort();
  const daemon = await scenarioDaemon(t, {
    databases: { down: `host=127.0.0.1 port=${port} dbname=postgres` },
    userlist,
  });
  const admin = await Admin.login(t, daemon);
  const waiting = RawClient.login(daemon, { user: 'u1', database: 'down' });
  waiting.catch(() => {}); // it ends with the daemon
  await until(
    async () => {
      const rows = await admin.show('POOLS');
      const row = rows.find((one) => one.text('database') === 'down');
      return row !== undefined && row.int('cl_waiting') === 1 && row.int('maxwait') >= 1;
    },
    { what: 'maxwait of a client in login', timeoutMs: 10_000 },
  );
});

test('refusals that leave the reader alone carry a HINT', async (t) => {
  const daemon = await scenarioDaemon(t, { databases: { app: target(server) }, userlist });
  const console_ = await refused(RawClient.login(daemon, { user: 'u1', database: 'pgbouncer' }));
  assert.deepEqual(
    [console_.fields.get('M'), console_.fields.get('H')],
    ['not allowed', 'The console is for users of admin_users and stats_users.'],
  );
  const parameters = { extra_float_digits: '2' };
  const odd = await refused(RawClient.login(daemon, { user: 'u1', database: 'app', parameters }));
  assert.equal(odd.fields.get('M'), 'unsupported startup parameter: extra_float_digits');
  assert.match(odd.fields.get('H') ?? '', /ignore_startup_parameters/);
});

test('SET and RELOAD say what they did not do', async (t) => {
  const daemon = await scenarioDaemon(t, { databases: { app: target(server) }, userlist });
  const admin = await Admin.login(t, daemon);
  const wrong = await refused(admin.run('SET pool_mode = sometimes'));
  assert.equal(wrong.fields.get('M'), 'SET failed');
  assert.match(wrong.fields.get('D') ?? '', /pool_mode is one of session, transaction, statement/);
  const fixed = await admin.messages('SET listen_port = 1');
  assert.ok(
    fixed.some(({ type }) => type === 'N'),
    'a NOTICE: only a restart changes it',
  );
  const from = daemon.log.mark();
  await daemon.reload({ settings: { auth_type: 'trust', pool_mode: 'transaction', listen_backlog: 77 } });
  await daemon.log.waitFor(/WARNING parameter listen_backlog has changed: the new value needs a restart/, {
    from,
  });
});

test('log_connections decides about logins and new servers', async (t) => {
  const said = async (logConnections: 0 | 1): Promise<boolean[]> => {
    const daemon = await scenarioDaemon(t, {
      databases: { app: target(server) },
      userlist,
      settings: { log_connections: logConnections },
    });
    const from = daemon.log.mark();
    const client = await login(t, daemon, 'app', { user: 'u1' });
    ask(client, 'SELECT 1');
    assert.deepEqual(await answer(client), [['1']]);
    await client.end();
    await daemon.log.waitFor(/C-0x.* closing because: client close request/, { from });
    const text = daemon.log.tail();
    return [
      / C-0x.* login attempt: db=app user=u1 /,
      / S-0x.* new connection to server \(from 127\.0\.0\.1:\d+\)/,
    ].map((pattern) => pattern.test(text));
  };
  assert.deepEqual(await said(1), [true, true]);
  assert.deepEqual(await said(0), [false, false]);
});
