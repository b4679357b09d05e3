/** The console with the drivers that people have, over a socket: what they send on connecting must not break them. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import pg from 'pg';
import postgres from 'postgres';
import type { ConsoleServer } from './console-server.ts';
import { startConsoleServer } from './console-server.ts';
import type { FakePending } from './fake-console.ts';
import { fakePort, tick, VERSION } from './fake-console.ts';

const calls: string[] = [];
const pendings: FakePending[] = [];
let server: ConsoleServer;

before(async () => {
  server = await startConsoleServer(fakePort(calls, pendings));
});

after(async () => {
  await server.stop();
});

test('node-postgres: simple, with parameters, named, several commands, errors', async () => {
  const client = new pg.Client({
    host: '127.0.0.1',
    port: server.port,
    user: 'admin',
    database: 'pgbouncer',
  });
  await client.connect();
  try {
    assert.deepEqual((await client.query('SHOW VERSION')).rows, [{ version: VERSION }]);
    const named = { name: 'state', text: 'SHOW STATE' };
    assert.deepEqual((await client.query(named)).rows[0], { key: 'active', value: 'yes' });
    assert.deepEqual((await client.query(named)).rows.length, 3);
    const lists = await client.query<{ list: string; items: number }>({
      text: 'SHOW LISTS',
      queryMode: 'extended',
    } as pg.QueryConfig);
    assert.deepEqual(lists.rows[0], { list: 'databases', items: 1 });
    await client.query('KILL_CLIENT $1', [12]);
    await client.query('BEGIN');
    await client.query('RESUME app; RESUME other');
    await client.query('COMMIT');
    assert.deepEqual(calls.splice(0), ['killClient 12', 'resume app', 'resume other']);
    await assert.rejects(client.query('FOO'), {
      code: '08P01',
      message: "invalid command 'FOO', use SHOW HELP;",
    });
    await assert.rejects(client.query('KILL_CLIENT $1', ['x']), {
      message: 'invalid client pointer supplied',
    });
    const paused = client.query('PAUSE $1', ['app']);
    const shown = client.query('SHOW VERSION');
    while (pendings.length === 0) await tick();
    pendings.pop()?.resolve();
    assert.equal((await paused).command, 'PAUSE');
    assert.equal((await shown).rows.length, 1);
    assert.deepEqual(calls.splice(0), ['pause app 0']);
  } finally {
    await client.end();
  }
});

test('node-postgres: clusters, in both protocols', async () => {
  const client = new pg.Client({
    host: '127.0.0.1',
    port: server.port,
    user: 'admin',
    database: 'pgbouncer',
  });
  await client.connect();
  try {
    const nodes = await client.query<Record<string, unknown>>('SHOW NODES');
    const [first] = nodes.rows;
    assert.deepEqual(
      [first?.['node_id'], first?.['lb_weight'], first?.['role'], first?.['name'], first?.['banned']],
      [0, '0.500000', 'primary', 'pg1', 0],
    );
    const explained = await client.query("EXPLAIN ROUTE SELECT 'a;b' -- it's");
    assert.deepEqual(explained.rows, [{ item: 'class', value: 'read' }]);
    await client.query('EXPLAIN ROUTE FOR $1 $2', ['app', 'SELECT 1; SELECT 2']);
    await client.query('SET WEIGHT $1 $2', ['pg2', 0.5]);
    const drained = client.query('DRAIN $1', ['pg2']);
    while (pendings.length === 0) await tick();
    pendings.pop()?.resolve();
    assert.equal((await drained).command, 'DRAIN');
    assert.deepEqual(calls.splice(0), [
      "explainRoute null SELECT 'a;b' -- it's",
      'explainRoute app SELECT 1; SELECT 2',
      'setWeight pg2 0.5',
      'drain pg2',
    ]);
  } finally {
    await client.end();
  }
});

test('postgres.js: fetches types, prepares, transactions', async () => {
  const sql = postgres({
    host: '127.0.0.1',
    port: server.port,
    username: 'admin',
    database: 'pgbouncer',
    max: 1,
    onnotice: () => {},
  });
  try {
    assert.deepEqual([...(await sql`SHOW VERSION`)], [{ version: VERSION }]);
    assert.equal((await sql`SHOW LISTS`)[0]?.['items'], 1);
    await sql`KILL_CLIENT ${'13'}`;
    await sql.begin((tx) => tx`RESUME app`);
    assert.deepEqual(calls.splice(0), ['killClient 13', 'resume app']);
    await assert.rejects(sql`FOO`, /invalid command 'FOO', use SHOW HELP;/);
    assert.equal((await sql.unsafe('SHOW STATE')).length, 3);
  } finally {
    await sql.end({ timeout: 1 });
  }
});
