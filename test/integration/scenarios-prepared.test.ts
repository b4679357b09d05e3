/** Protocol-level prepared statements over shared servers (requirements.md S-20, S-21). */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import pg from 'pg';
import postgres from 'postgres';
import { type TestPostgres, withPostgres } from '../support/postgres.ts';
import type { RawClient } from '../support/raw-client.ts';
import {
  bind,
  close,
  execute,
  parse,
  query,
  rowsOf,
  sync,
  tagsOf,
  typesOf,
} from '../support/raw-messages.ts';
import { Admin, login, logins, scenarioDaemon, target } from '../support/scenario.ts';
import { until } from '../support/until.ts';

let server: TestPostgres;

before(async () => {
  server = await withPostgres({
    setup: ['CREATE ROLE app LOGIN'],
    // every Parse, Bind and Execute becomes a line of PostgreSQL's own log
    settings: { log_min_duration_statement: 0, log_line_prefix: '%p ' },
  });
});

/** Runs a prepared statement with one parameter; its first field. */
async function run(
  client: RawClient,
  name: string,
  values: readonly string[],
): Promise<string | null | undefined> {
  client.send(bind('', name, values), execute(''), sync());
  return rowsOf(await client.until('Z'))[0]?.[0];
}

/** Backends that have logged a Parse of `sql` since `from`, one entry for each Parse. */
async function parsesOf(sql: string, from: number): Promise<string[]> {
  const end = `end of log ${from}`;
  await server.sql(`SELECT '${end}'`);
  await server.instance.log.waitFor(new RegExp(`'${end}'`), { from });
  return server.instance.log
    .lines(from)
    .filter((line) => / parse [^:]*: /.test(line) && line.endsWith(`: ${sql}`))
    .map((line) => line.split(' ')[0] ?? '');
}

test('S-20: a statement prepared on one server is known on the next, parsed once on each', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { default_pool_size: 2 },
  });
  const admin = await Admin.login(t, daemon);
  const sql = 'SELECT $1::int+1';
  const from = server.instance.log.mark();
  const [a, b] = await logins(t, daemon, 2, 'app');
  assert.ok(a && b);
  a.send(parse('s1', sql), sync());
  assert.equal(typesOf(await a.until('Z')), '1Z');
  const first = (await admin.of('SERVERS', 'app'))[0]?.text('remote_pid');
  // last in, first out: B gets the server that A used, and keeps it
  await b.rows('BEGIN');
  assert.deepEqual(await b.rows('SELECT pg_backend_pid()'), [[first]]);
  assert.equal(await run(a, 's1', ['41']), '42');
  assert.equal((await parsesOf(sql, from)).length, 2);
  await b.rows('COMMIT');
  // both servers are in use from now on
  for (let i = 0; i < 1000; i++) {
    if (i % 100 === 0) await (i % 200 === 0 ? b.rows('BEGIN') : b.rows('COMMIT'));
    assert.equal(await run(a, 's1', [String(i)]), String(i + 1));
  }
  const pids = await parsesOf(sql, from);
  assert.equal(pids.length, 2, 'Parse messages that reached PostgreSQL');
  assert.equal(new Set(pids).size, 2, 'each on a server of its own');
  const stats = (await admin.show('STATS')).find((row) => row.text('database') === 'app');
  assert.deepEqual(
    stats?.ints('total_client_parse_count', 'total_server_parse_count', 'total_bind_count'),
    [1, 2, 1001],
  );
});

test('S-21: the same name means to each client what it prepared', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { default_pool_size: 1 },
  });
  const [a, b] = await logins(t, daemon, 2, 'app');
  assert.ok(a && b);
  a.send(parse('s1', 'SELECT 1'), sync());
  await a.until('Z');
  b.send(parse('s1', 'SELECT 2'), sync());
  await b.until('Z');
  for (let i = 0; i < 100; i++) {
    assert.equal(await run(a, 's1', []), '1');
    assert.equal(await run(b, 's1', []), '2');
  }
  a.send(close('S', 's1'), sync());
  assert.equal(typesOf(await a.until('Z')), '3Z');
  for (let i = 0; i < 10; i++) assert.equal(await run(b, 's1', []), '2');
  // free for another text
  a.send(parse('s1', 'SELECT 3'), sync());
  await a.until('Z');
  assert.equal(await run(a, 's1', []), '3');
  assert.equal(await run(b, 's1', []), '2');
});

test('S-21: named queries of node-postgres and postgres.js on one server', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { default_pool_size: 1 },
  });
  const one = new pg.Client({ connectionString: daemon.url('app') });
  const two = new pg.Client({ connectionString: daemon.url('app') });
  const sql = postgres(daemon.url('app'), { max: 2 });
  await Promise.all([one.connect(), two.connect()]);
  const loop = async (client: pg.Client, text: string, expected: number): Promise<void> => {
    for (let i = 0; i < 100; i++) {
      const { rows } = await client.query<{ n: number }>({ name: 'same', text, values: [i] });
      assert.equal(rows[0]?.n, expected + i);
    }
  };
  const template = async (): Promise<void> => {
    for (let i = 0; i < 100; i++) {
      const [row] = await sql<{ n: number }[]>`SELECT ${i}::int + 3000 AS n`;
      assert.equal(row?.n, 3000 + i);
    }
  };
  await Promise.all([
    loop(one, 'SELECT $1::int + 1000 AS n', 1000),
    loop(two, 'SELECT $1::int + 2000 AS n', 2000),
    template(),
    template(),
  ]);
  await Promise.all([one.end(), two.end(), sql.end()]);
});

test('max_prepared_statements: the least recently used one is closed on the server and comes back when asked for', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { default_pool_size: 1, max_prepared_statements: 3 },
  });
  const client = await login(t, daemon, 'app');
  const names = ['a', 'b', 'c', 'd', 'e', 'f'];
  for (const [i, name] of names.entries()) {
    client.send(parse(name, `SELECT ${i} + 700`), sync());
    await client.until('Z');
  }
  for (let round = 0; round < 3; round++) {
    for (const [i, name] of names.entries()) assert.equal(await run(client, name, []), String(i + 700));
    assert.deepEqual(await client.rows('SELECT count(*) FROM pg_prepared_statements'), [['3']]);
  }
});

test('an error in a pipeline does not lose what was prepared after it', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { default_pool_size: 1 },
  });
  const [client, other] = await logins(t, daemon, 2, 'app');
  assert.ok(client && other);
  client.send(parse('bad', 'SELECT nothing FROM nowhere'), parse('late', 'SELECT 9'), sync());
  assert.equal(typesOf(await client.until('Z')), 'EZ');
  // PostgreSQL skipped the second Parse: nobody may believe that the server has it
  other.send(parse('mine', 'SELECT 9'), sync());
  assert.equal(typesOf(await other.until('Z')), '1Z');
  assert.equal(await run(other, 'mine', []), '9');
  client.send(parse('again', 'SELECT 10'), bind('', 'again'), execute(''), sync());
  assert.deepEqual(tagsOf(await client.until('Z')), ['SELECT 1']);
});

for (const statement of ['DEALLOCATE ALL', 'DISCARD ALL']) {
  test(`${statement} forgets the names of its client, and nothing of the others`, async (t) => {
    const daemon = await scenarioDaemon(t, {
      databases: { app: target(server) },
      settings: { default_pool_size: 1 },
    });
    const [a, b] = await logins(t, daemon, 2, 'app');
    assert.ok(a && b);
    for (const client of [a, b]) {
      client.send(parse('s', 'SELECT 5'), sync());
      await client.until('Z');
    }
    await a.rows(statement);
    assert.equal(await run(b, 's', []), '5');
    a.send(parse('s', 'SELECT 6'), sync());
    assert.equal(typesOf(await a.until('Z')), '1Z');
    assert.equal(await run(a, 's', []), '6');
    assert.equal(await run(b, 's', []), '5');
  });
}

/** Forms that are recognised by their answer only, when what comes behind them in the packet has been sent. */
for (const [how, forget] of [
  ['an extended DISCARD ALL', [parse('', 'DISCARD ALL'), bind('', ''), execute(''), sync()]],
  ['DEALLOCATE ALL as one of several', [query('SELECT 1; DEALLOCATE ALL')]],
] as const) {
  test(`${how}, and a prepared statement run behind it in the same packet: nobody else is told 42P05`, async (t) => {
    const daemon = await scenarioDaemon(t, {
      databases: { app: target(server) },
      settings: { default_pool_size: 1 },
    });
    const [a, b, c] = await logins(t, daemon, 3, 'app');
    assert.ok(a && b && c);
    for (const client of [a, b]) {
      client.send(parse('s', 'SELECT 7'), sync());
      await client.until('Z');
    }
    // the server has lost it, so that its Parse is sent once more, behind what a sends next
    await c.rows('DISCARD ALL');
    a.send(...forget, bind('', 's'), execute(''), sync());
    for (let i = 0; i < 2; i++) await a.until('Z');
    b.send(bind('', 's'), execute(''), sync());
    assert.deepEqual(tagsOf(await b.until('Z')), ['SELECT 1']);
  });
}

test("a name that is Parsed anew behind an extended DISCARD ALL in the same packet is nobody else's business", async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { default_pool_size: 1 },
  });
  const [a, b] = await logins(t, daemon, 2, 'app');
  assert.ok(a && b);
  for (const client of [a, b]) {
    client.send(parse('s', 'SELECT 7'), sync());
    await client.until('Z');
  }
  a.send(parse('', 'DISCARD ALL'), bind('', ''), execute(''), sync(), parse('s', 'SELECT 8'), sync());
  for (let i = 0; i < 2; i++) await a.until('Z');
  assert.equal(await run(b, 's', []), '7');
});

test('a server that has a statement of ours which is not noted is not used again', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { default_pool_size: 1 },
  });
  const [a, b] = await logins(t, daemon, 2, 'app');
  assert.ok(a && b);
  b.send(parse('s', 'SELECT 9'), sync());
  await b.until('Z');
  await a.rows('DISCARD ALL');
  await a.rows('PREPARE "PGCONCIERGE_1" AS SELECT 1');
  b.send(bind('', 's'), execute(''), sync());
  assert.equal(typesOf(await b.until('Z')), 'EZ');
  assert.equal(await run(b, 's', []), '9');
});

test('DISCARD ALL that is read in two pieces forgets the names before what comes behind it', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { default_pool_size: 1 },
  });
  const [client, other] = await logins(t, daemon, 2, 'app');
  assert.ok(client && other);
  const discard = query('DISCARD ALL');
  const behind = Buffer.concat([
    discard.subarray(9),
    parse('s', 'SELECT 4'),
    bind('', 's'),
    execute(''),
    sync(),
  ]);
  for (const before of [[], [query('SELECT 1')]]) {
    for (const one of [client, other]) {
      one.send(parse('s', 'SELECT 3'), sync());
      await one.until('Z');
    }
    client.send(...before, discard.subarray(0, 9));
    // it has been read when somebody else is answered
    for (const _ of before) await client.until('Z');
    await Admin.login(t, daemon);
    client.send(behind);
    assert.equal(typesOf(await client.until('Z')), 'CZ');
    const answer = await client.until('Z');
    assert.equal(typesOf(answer), '12DCZ');
    assert.deepEqual(rowsOf(answer), [['4']]);
    // what it meant before is for others what it was
    assert.equal(await run(other, 's', []), '3');
    for (const one of [client, other]) await one.rows('DISCARD ALL');
  }
});

test('clients that come and go leave no statements behind on the server', async (t) => {
  const daemon = await scenarioDaemon(t, {
    databases: { app: target(server) },
    settings: { default_pool_size: 1, max_prepared_statements: 10 },
  });
  const admin = await Admin.login(t, daemon);
  for (let i = 0; i < 30; i++) {
    const client = await login(t, daemon, 'app');
    client.send(parse('s', `SELECT ${i}`), bind('', 's'), execute(''), sync());
    assert.equal(rowsOf(await client.until('Z'))[0]?.[0], String(i));
    await client.end();
  }
  await until(async () => (await admin.of('CLIENTS', 'app')).length === 0);
  const [row] = await admin.of('SERVERS', 'app');
  assert.ok(row !== undefined && row.int('prepared_statements') <= 10, String(row));
});
