/** auth_query: users who are not in auth_file (pgbouncer.md §7, S-04 without its cache, which PgBouncer has not). */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import pg from 'pg';
import { Daemon } from '../support/daemon.ts';
import { type TestPostgres, withPostgres } from '../support/postgres.ts';

let postgres: TestPostgres;

before(async () => {
  postgres = await withPostgres({
    hba: ['host all erin,frank 127.0.0.1/32 scram-sha-256'],
    setup: [
      "set password_encryption = 'scram-sha-256'",
      "create role lookup login superuser password 'lookup'",
      "create role erin login password 'secret of erin'",
      "create role frank login password 'old' valid until '2001-01-01'",
    ],
  });
});

function start(settings: Record<string, string | number>, entry = ''): Promise<Daemon> {
  return Daemon.start({
    databases: { app: `host=127.0.0.1 port=${postgres.port} dbname=postgres ${entry}` },
    settings: { auth_type: 'scram-sha-256', pool_mode: 'transaction', auth_user: 'lookup', ...settings },
    userlist: { lookup: 'lookup' },
  });
}

async function login(daemon: Daemon, user: string, password: string): Promise<string> {
  const client = new pg.Client({ host: '127.0.0.1', port: daemon.port, user, password, database: 'app' });
  client.on('error', () => {});
  await client.connect();
  const { rows } = await client.query('select current_user as u');
  await client.end();
  return rows[0].u;
}

test('a user of pg_authid logs in, and to the server with the keys of its own login', async () => {
  const daemon = await start({});
  assert.equal(await login(daemon, 'erin', 'secret of erin'), 'erin');
  await assert.rejects(login(daemon, 'erin', 'wrong'), /password authentication failed/);
  await assert.rejects(login(daemon, 'nobody_of_that_name', 'x'), /no such user/);
  // VALID UNTIL is over: a secret that never matches
  await assert.rejects(login(daemon, 'frank', 'old'), /password authentication failed/);
  await daemon.stop();
});

test('a changed password counts at the next login', async () => {
  const daemon = await start({});
  assert.equal(await login(daemon, 'erin', 'secret of erin'), 'erin');
  await postgres.sql("alter role erin password 'new secret'");
  await assert.rejects(login(daemon, 'erin', 'secret of erin'), /password authentication failed/);
  assert.equal(await login(daemon, 'erin', 'new secret'), 'erin');
  await postgres.sql("alter role erin password 'secret of erin'");
  await daemon.stop();
});

test('auth_query and auth_user of the database; a query that fails says so in the log only', async () => {
  const daemon = await start(
    { auth_user: '' },
    "auth_user=lookup auth_query='select rolname, rolpassword from pg_authid where rolname = $1 and 1/0 = 1'",
  );
  await assert.rejects(login(daemon, 'erin', 'secret of erin'), /bouncer config error/);
  await daemon.log.waitFor(/error in auth_query: division by zero/);
  await daemon.stop();
  const three = await start(
    {},
    "auth_query='select rolname, rolpassword, 1 from pg_authid where rolname = $1'",
  );
  await assert.rejects(login(three, 'erin', 'secret of erin'), /bouncer config error/);
  await three.log.waitFor(/expected 2 columns from auth_query, not 3/);
  await three.stop();
});

test('the look-up is not influenced by what a client has set on the same server', async () => {
  const daemon = await start({ default_pool_size: 1 });
  const other = new pg.Client({
    host: '127.0.0.1',
    port: daemon.port,
    user: 'lookup',
    password: 'lookup',
    database: 'app',
  });
  await other.connect();
  // a bystander who shares the server changes what is carried
  await other.query("set timezone = 'Asia/Tokyo'");
  assert.equal(await login(daemon, 'erin', 'secret of erin'), 'erin');
  const { rows } = await other.query('show timezone');
  assert.equal(rows[0].TimeZone, 'Asia/Tokyo');
  await other.end();
  await daemon.stop();
});

test('auth_dbname: the look-up runs in that database; one that does not exist is a configuration error', async () => {
  const daemon = await start({ auth_dbname: 'nowhere' });
  await assert.rejects(login(daemon, 'erin', 'secret of erin'), /bouncer config error/);
  await daemon.log.waitFor(/authentication database "nowhere" is not configured/);
  await daemon.stop();
});
