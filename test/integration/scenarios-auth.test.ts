/** Files and logins as the cookbook has them (requirements.md S-01, S-02, S-05, S-08). */
import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, rmSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { before, test } from 'node:test';
import pg from 'pg';
import { unguardDir } from '../../src/demo/guard.ts';
import { makeScratchDir, unprivilegedUser } from '../../src/demo/run-as.ts';
import { Daemon } from '../support/daemon.ts';
import { FakeServer } from '../support/fake-server.ts';
import { type TestPostgres, withPostgres } from '../support/postgres.ts';
import { psql, skipWithout } from '../support/psql.ts';
import { RawClient, type RawLogin } from '../support/raw-client.ts';
import { Admin, login, refused, scenarioDaemon, target } from '../support/scenario.ts';
import { until } from '../support/until.ts';

let server: TestPostgres;

before(async () => {
  server = await withPostgres({
    // the server believes nobody here without the password
    hba: [
      'host all alice all md5',
      'host all bob all scram-sha-256',
      'host all "we ird" all scram-sha-256',
      'host all carol all trust',
    ],
    setup: [
      "SET password_encryption = 'md5'; CREATE ROLE alice LOGIN PASSWORD 'alice secret'",
      "SET password_encryption = 'scram-sha-256'; CREATE ROLE bob LOGIN PASSWORD 'bob secret'",
      'CREATE ROLE carol LOGIN',
      `CREATE ROLE "we ird" LOGIN PASSWORD 'plain secret'`,
    ],
  });
});

/** A userlist.txt as the cookbook's COPY writes it, in a directory that ends with the test. */
async function exported(t: { after(step: () => void): void }): Promise<string> {
  const dir = makeScratchDir('pgconcierge-userlist', server.instance.binaries.runAs);
  t.after(() => {
    rmSync(dir, { recursive: true, force: true });
    unguardDir(dir);
  });
  const file = join(dir, 'userlist.txt');
  await server.sql(
    `COPY (SELECT '"' || rolname || '" "' || coalesce(rolpassword, '') || '"' FROM pg_authid) TO '${file}'`,
  );
  return file;
}

const who = (client: RawClient): Promise<(string | null)[][]> => client.rows('SELECT current_user');

test("S-01: userlist.txt written by the cookbook's COPY, a broken line in it", async (t) => {
  const file = await exported(t);
  const written = readFileSync(file, 'utf8');
  assert.match(written, /^"alice" "md5[0-9a-f]{32}"$/m);
  assert.match(written, /^"bob" "SCRAM-SHA-256\$\d+:[^"]+"$/m);
  assert.match(written, /^"carol" ""$/m);
  assert.match(written, /^"pg_monitor" ""$/m);
  appendFileSync(file, '"mallory "no end\n"we ird" "plain secret"\n"postgres" "postgres"\n');
  const brokenLine = written.split('\n').length;
  const daemon = await scenarioDaemon(t, {
    databases: { postgres: target(server) },
    settings: { auth_type: 'md5', auth_file: file },
  });
  const broken = daemon.log.lines().filter((line) => line.includes('broken auth file'));
  assert.equal(broken.length, 1, broken.join('\n'));
  assert.match(broken[0] ?? '', / WARNING /);
  assert.ok(broken[0]?.includes(`${file}:${brokenLine}`), broken[0]);

  for (const [user, password] of [
    ['alice', 'alice secret'],
    ['bob', 'bob secret'],
    ['we ird', 'plain secret'],
  ] as const) {
    assert.deepEqual(await who(await login(t, daemon, 'postgres', { user, password })), [[user]]);
    const driver = new pg.Client({ connectionString: daemon.url('postgres', user, password) });
    await driver.connect();
    assert.deepEqual((await driver.query('SELECT current_user AS u')).rows, [{ u: user }]);
    await driver.end();
  }
  for (const [user, password] of [
    ['alice', 'wrong'],
    ['bob', 'wrong'],
    ['we ird', 'wrong'],
    ['carol', ''],
    ['carol', 'carol'],
    ['pg_monitor', ''],
    ['nobody', 'x'],
  ] as const) {
    const error = await refused(RawClient.login(daemon, { user, database: 'postgres', password }));
    assert.equal(error.message, `FATAL 28P01: password authentication failed for user "${user}"`);
  }
});

test('S-02: auth_type md5 with a SCRAM secret: SCRAM is offered and spoken, to the client and to the server', async (t) => {
  const file = await exported(t);
  appendFileSync(file, '"postgres" "postgres"\n');
  const daemon = await scenarioDaemon(t, {
    databases: {
      postgres: target(server),
      forced: target(server, "dbname=postgres user=bob password='bob secret'"),
    },
    settings: { auth_type: 'md5', auth_file: file },
  });
  const requests = async (more: RawLogin): Promise<(number | undefined)[]> => {
    const client = await RawClient.connect(daemon);
    t.after(() => client.destroy());
    const messages = await client.login(more);
    const asked = messages.filter(({ type }) => type === 'R');
    if (more.user === 'bob') assert.ok(asked[0]?.body.includes('SCRAM-SHA-256\0'));
    // the server demands SCRAM of bob: his keys have come from this login
    assert.deepEqual(await client.rows('SELECT current_user'), [
      [more.database === 'forced' ? 'bob' : more.user],
    ]);
    return asked.map(({ body }) => body.readInt32BE(0));
  };
  assert.deepEqual(
    await requests({ user: 'bob', database: 'postgres', password: 'bob secret' }),
    [10, 11, 12, 0],
  );
  assert.deepEqual(await requests({ user: 'alice', database: 'postgres', password: 'alice secret' }), [5, 0]);
  // and with the password of the entry
  assert.deepEqual(await requests({ user: 'alice', database: 'forced', password: 'alice secret' }), [5, 0]);
});

const BOOK = `
[databases]
postgres = host=localhost

[pgbouncer]
listen_addr = *
auth_type = md5
auth_file = AUTH_FILE
admin_users = postgres
max_client_conn = 1000
default_pool_size = 25
reserve_pool_size = 5
`;

test("S-05: the book's configuration, listen_port apart, as it is", { timeout: 60_000 }, async (t) => {
  const unprivileged = unprivilegedUser();
  const daemon = await Daemon.start(
    { databases: {}, userlist: { postgres: 'postgres' } },
    {
      ini: ({ dir, port }) =>
        `${BOOK.replace('AUTH_FILE', join(dir, 'userlist.txt'))}listen_port = ${port}\n`,
      // as root the program must be told whom to become; the file stays as it is
      args: unprivileged === null ? [] : ['-u', unprivileged.name],
    },
  );
  t.after(() => daemon.destroy());
  const admin = await Admin.login(t, daemon);
  const config = new Map((await admin.show('CONFIG')).map((row) => [row.text('key'), row]));
  const value = (key: string): string | null | undefined => config.get(key)?.text('value');
  for (const [key, expected] of [
    ['listen_addr', '*'],
    ['auth_type', 'md5'],
    ['auth_file', daemon.userlistPath],
    ['admin_users', 'postgres'],
    ['max_client_conn', '1000'],
    ['default_pool_size', '25'],
    ['reserve_pool_size', '5'],
    ['pool_mode', 'session'],
  ] as const) {
    assert.equal(value(key), expected, key);
  }
  assert.equal(config.get('listen_port')?.text('default'), '6432');
  const entry = (await admin.show('DATABASES')).find((row) => row.text('name') === 'postgres');
  assert.deepEqual(
    [entry?.text('host'), entry?.int('port'), entry?.text('database'), entry?.int('pool_size')],
    ['localhost', 5432, 'postgres', 25],
  );
  // every address of the machine, those that come later too
  const local = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const hosts = ['127.0.0.1', ...(local.some(({ address }) => address === '::1') ? ['::1'] : [])];
  for (const host of hosts) {
    const client = await RawClient.login(
      { host, port: daemon.port },
      { user: 'postgres', database: 'pgbouncer', password: 'postgres' },
    );
    client.destroy();
  }

  // this machine's PostgreSQL listens on another port than the book's
  const text = daemon.iniText().replace('host=localhost', `host=localhost port=${server.port}`);
  daemon.writeFile('pgconcierge.ini', text);
  assert.equal(await admin.run('RELOAD'), 'RELOAD');
  const driver = new pg.Client({ connectionString: daemon.url('postgres', 'postgres') });
  await driver.connect();
  assert.deepEqual((await driver.query('select 1 as one')).rows, [{ one: 1 }]);
  await driver.end();
  if (skipWithout('psql') === false) {
    const { port } = daemon;
    const options = { port, user: 'postgres', password: 'postgres', database: 'postgres' };
    assert.deepEqual(await psql('select 1', options), ['1']);
  }
});

test('S-08: alias with a forced user, and the * entry', async (t) => {
  const fake = await FakeServer.start();
  t.after(() => fake.close());
  const daemon = await scenarioDaemon(t, {
    databases: {
      app: `host=127.0.0.1 port=${fake.port} dbname=realapp user=svc pool_size=5`,
      '*': `host=127.0.0.1 port=${fake.port}`,
    },
    settings: { autodb_idle_timeout: 1, server_idle_timeout: 1 },
  });
  const admin = await Admin.login(t, daemon);
  const first = await login(t, daemon, 'app');
  await first.rows('select 1');
  const other = await login(t, daemon, 'other');
  await other.rows('select 1');
  assert.deepEqual(
    fake.connections.map(({ startup }) => [startup.get('database'), startup.get('user')]),
    [
      ['realapp', 'svc'],
      ['other', 'app'],
    ],
  );
  assert.ok(daemon.log.lines().some((line) => line.includes('registered new auto-database: other')));
  const rows = new Map((await admin.show('DATABASES')).map((row) => [row.text('name'), row]));
  assert.deepEqual(
    [
      rows.get('app')?.text('database'),
      rows.get('app')?.text('force_user'),
      rows.get('app')?.int('pool_size'),
    ],
    ['realapp', 'svc', 5],
  );
  assert.deepEqual(
    [rows.get('other')?.text('database'), rows.get('other')?.text('force_user')],
    ['other', null],
  );
  await assert.rejects(
    RawClient.login(daemon, { user: 'app', database: 'x'.repeat(64) }),
    /no such database/,
  );

  // forgotten when nobody has used it for autodb_idle_timeout
  await other.end();
  await until(async () => (await admin.show('DATABASES')).every((row) => row.text('name') !== 'other'), {
    timeoutMs: 15_000,
  });
  const back = await login(t, daemon, 'other');
  await back.rows('select 1');
});
