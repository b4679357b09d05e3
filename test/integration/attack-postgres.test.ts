/**
 * Attacks with a real PostgreSQL as the judge: open work of a client that has gone, statements that vanish behind the
 * proxy's back, session state that only PostgreSQL knows of.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withPostgres } from '../support/postgres.ts';
import * as wire from '../support/raw-messages.ts';
import { Admin, login, scenarioDaemon, target } from '../support/scenario.ts';

const setup = ['create role app login', 'create table public.t (a int)', 'grant all on public.t to app'];

for (const pool_mode of ['transaction', 'session']) {
  test(`${pool_mode} mode: what a client did before its Flush and never ended with a Sync is rolled back`, async (t) => {
    const postgres = await withPostgres({ setup });
    await postgres.sql('truncate t');
    const daemon = await scenarioDaemon(t, {
      databases: { d: target(postgres) },
      settings: { pool_mode, default_pool_size: 1 },
    });
    const first = await login(t, daemon, 'd');
    first.send(wire.parse('', 'insert into t values (1)'), wire.bind('', ''), wire.execute(''), wire.flush());
    assert.equal(wire.typesOf(await first.until('C')), '12C');
    await first.end();
    const second = await login(t, daemon, 'd');
    assert.deepEqual(await second.rows('select count(*) from t'), [['0']]);
    assert.deepEqual((await postgres.sql('select count(*) from t')).rows, [['0']]);
  });
}

for (const forget of ['DISCARD ALL', 'deallocate all;', ' DEALLOCATE  PREPARE ALL ']) {
  test(`${forget} and the next batch in one packet: the batch has its statements, and the client keeps them`, async (t) => {
    const postgres = await withPostgres({ setup });
    const daemon = await scenarioDaemon(t, {
      databases: { d: target(postgres) },
      settings: { default_pool_size: 1 },
    });
    const client = await login(t, daemon, 'd');
    client.send(wire.parse('before', 'select 41'), wire.sync());
    assert.equal(wire.typesOf(await client.until('Z')), '1Z');
    client.send(
      wire.query(forget),
      wire.parse('known', 'select 41'),
      wire.parse('new', 'select 42'),
      wire.describe('S', 'known'),
      wire.bind('', 'new'),
      wire.execute(''),
      wire.sync(),
    );
    assert.equal(wire.typesOf(await client.until('Z')), 'CZ');
    assert.equal(wire.typesOf(await client.until('Z')), '11tT2DCZ');
    client.send(
      wire.bind('', 'known'),
      wire.execute(''),
      wire.bind('', 'new'),
      wire.execute(''),
      wire.sync(),
    );
    assert.deepEqual(wire.rowsOf(await client.until('Z')), [['41'], ['42']]);
    client.send(wire.bind('', 'before'), wire.sync());
    const [error] = await client.until('Z');
    assert.equal(wire.errorFields(error as wire.RawMessage).code, '26000');
    const other = await login(t, daemon, 'd');
    other.send(wire.parse('mine', 'select 42'), wire.bind('', 'mine'), wire.execute(''), wire.sync());
    assert.equal(wire.typesOf(await other.until('Z')), '12DCZ');
  });
}

test('DISCARD ALL that is refused in a transaction forgets nothing', async (t) => {
  const postgres = await withPostgres({ setup });
  const daemon = await scenarioDaemon(t, {
    databases: { d: target(postgres) },
    settings: { default_pool_size: 1 },
  });
  const client = await login(t, daemon, 'd');
  client.send(wire.parse('s', 'select 1'), wire.sync());
  await client.until('Z');
  await client.query('begin');
  client.send(
    wire.query('discard all'),
    wire.query('rollback'),
    wire.bind('', 's'),
    wire.execute(''),
    wire.sync(),
  );
  assert.equal(wire.typesOf(await client.until('Z')), 'EZ');
  assert.equal(wire.typesOf(await client.until('Z')), 'CZ');
  assert.equal(wire.typesOf(await client.until('Z')), '2DCZ');
});

test('a function that deallocates: one client meets the gap, the server is not given to a second one', async (t) => {
  const postgres = await withPostgres({ setup });
  const daemon = await scenarioDaemon(t, {
    databases: { d: target(postgres) },
    settings: { default_pool_size: 1 },
  });
  const culprit = await login(t, daemon, 'd');
  culprit.send(wire.parse('s', 'select 7'), wire.sync());
  await culprit.until('Z');
  await culprit.query("do $$ begin execute 'deallocate all'; end $$");
  const run = [wire.bind('', 's'), wire.execute(''), wire.sync()] as const;
  culprit.send(...run);
  const [error] = await culprit.until('Z');
  assert.equal(wire.errorFields(error as wire.RawMessage).code, '26000');
  const other = await login(t, daemon, 'd');
  other.send(wire.parse('s', 'select 7'), ...run);
  assert.equal(wire.typesOf(await other.until('Z')), '12DCZ');
  culprit.send(...run);
  assert.equal(wire.typesOf(await culprit.until('Z')), '2DCZ');
});

// PostgreSQL lists settings such as myapp.tenant nowhere: the texts that go by are looked at
test('PAUSE in session mode: a setting of the application’s own holds the session', async (t) => {
  const postgres = await withPostgres({ setup });
  const daemon = await scenarioDaemon(t, {
    databases: { d: target(postgres) },
    settings: { pool_mode: 'session' },
  });
  const client = await login(t, daemon, 'd');
  await client.rows("set myapp.tenant = 'seven'");
  const admin = await Admin.login(t, daemon);
  const paused = admin.client.query('PAUSE d TIMEOUT 1');
  const [error] = await paused;
  assert.equal(error?.type, 'E', 'PAUSE waits for it');
  assert.deepEqual(await client.rows("select current_setting('myapp.tenant', true)"), [['seven']]);
});
