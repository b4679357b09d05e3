/**
 * The routed path on a real cluster, byte for byte: big batches and queries, COPY, pipelines that mix reads and writes,
 * parts of batches, cancels and timeouts and disconnects at every point, slow readers, parameters.
 */
import assert from 'node:assert/strict';
import { before, describe, type TestContext, test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { Daemon } from '../support/daemon.ts';
import { withCluster } from '../support/postgres.ts';
import { type RawClient, RawError } from '../support/raw-client.ts';
import * as raw from '../support/raw-messages.ts';
import { nodeAt, routedDaemon, whereAmI } from '../support/routed.ts';
import { brief, nodeOf, outcome, routedLogin, statement, untilNodes } from '../support/routed-client.ts';
import { Admin } from '../support/scenario.ts';
import { until } from '../support/until.ts';

const LONG_MS = 30_000;
const ALL_UP = 'pg1 primary, pg2 replica, pg3 replica';

let cluster: PostgresCluster;
/** For all tests that need no other settings. */
let daemon: Daemon;

before(async () => {
  cluster = await withCluster(2);
  const { primary } = cluster;
  for (const sql of [
    'CREATE TABLE items (id integer, body text)',
    'CREATE TABLE notes (n serial)',
    `CREATE FUNCTION note() RETURNS integer VOLATILE LANGUAGE sql AS 'INSERT INTO notes DEFAULT VALUES RETURNING n'`,
    // they say that they only read
    `CREATE FUNCTION noted() RETURNS integer STABLE LANGUAGE sql AS 'SELECT note()'`,
    `CREATE FUNCTION noted_slowly(secs float) RETURNS integer STABLE LANGUAGE plpgsql AS $$
       BEGIN PERFORM note(); PERFORM pg_sleep(secs); RETURN 1; END $$`,
  ])
    await cluster.sql(primary, sql);
  await cluster.waitCaughtUp();
  daemon = await routedDaemon(null, cluster, { settings: { lsn_interval: 0.02 } });
});

async function admin(t: TestContext, of: Daemon = daemon): Promise<Admin> {
  const console = await Admin.login(t, of);
  await untilNodes(console, ALL_UP);
  return console;
}

/** A replica may take the client's next read. */
async function fresh(client: RawClient): Promise<void> {
  await until(async () => (await nodeOf(cluster, client)) !== 'pg1', { everyMs: 20 });
}

/** Nothing runs, nothing waits, and everything that is counted is counted down again. */
async function atRest(console: Admin): Promise<void> {
  await until(
    async () => {
      const nodes = await console.show('NODES');
      const pools = (await console.show('POOLS')).filter((row) => row.text('database')?.startsWith('app'));
      return (
        nodes.every((row) => row.int('in_flight') === 0) &&
        pools.every((row) => row.ints('cl_waiting', 'sv_active').every((n) => n === 0))
      );
    },
    { timeoutMs: LONG_MS, what: 'no unit in flight' },
  );
}

const only = (messages: readonly raw.RawMessage[]): string | null | undefined => raw.rowsOf(messages)[0]?.[0];

async function notes(): Promise<number> {
  return Number((await cluster.sql(cluster.primary, 'SELECT count(*) FROM notes')).rows[0]?.[0]);
}

/** Of a client that has gone the backend only learns at its next write: what it runs is over first. */
async function untilNothingNotes(): Promise<void> {
  const active = `SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT noted%'`;
  await until(async () => (await cluster.sql(cluster.primary, active)).rows[0]?.[0] === '0');
}

describe('large things', () => {
  for (const size of [60_000, 300_000, 3_000_000]) {
    test(`a query and a batch of ${size} bytes come back whole`, async (t) => {
      await admin(t);
      const client = await routedLogin(t, daemon);
      const text = 'ß'.repeat(size / 2);
      assert.equal((await client.rows(`SELECT '${text}'`, LONG_MS))[0]?.[0], text);
      client.send(statement('SELECT $1::text', [text]), raw.sync());
      assert.equal(only(await client.until('Z', LONG_MS)), text);
      // the same as a named statement, and in pieces
      const bytes = Buffer.concat([
        raw.parse(`big ${size}`, `SELECT $1::text -- ${text}`),
        raw.bind('', `big ${size}`, [text]),
        raw.execute(''),
        raw.sync(),
      ]);
      for (let at = 0; at < bytes.length; at += 50_000) {
        client.socket.write(bytes.subarray(at, at + 50_000));
        await new Promise(setImmediate);
      }
      assert.equal(only(await client.until('Z', LONG_MS)), text);
    });
  }

  test('a batch of ten thousand messages in one write', async (t) => {
    await admin(t);
    const client = await routedLogin(t, daemon);
    const parts = Array.from({ length: 2500 }, (_, i) => statement('SELECT $1::int', [String(i)]));
    client.send(...parts, raw.sync());
    const rows = raw.rowsOf(await client.until('Z', LONG_MS));
    assert.deepEqual(
      rows.map(([value]) => Number(value)),
      parts.map((_, i) => i),
    );
  });

  test('a large result of a replica, read slowly, is whole; others are served meanwhile', async (t) => {
    const console = await admin(t);
    const client = await routedLogin(t, daemon);
    await fresh(client);
    const other = await routedLogin(t, daemon);
    client.pause();
    client.send(
      raw.query(`SELECT i, repeat('x', 1000), inet_server_port() FROM generate_series(1, 60000) i`),
    );
    await until(async () =>
      (await console.show('NODES')).some((row) => row.int('in_flight') > 0 && row.text('name') !== 'pg1'),
    );
    for (let i = 0; i < 20; i++) assert.equal((await other.rows(`SELECT ${i}`))[0]?.[0], String(i));
    client.resume();
    const rows = raw.rowsOf(await client.until('Z', LONG_MS));
    assert.equal(rows.length, 60_000);
    assert.ok(rows.every((row, i) => row[0] === String(i + 1) && row[1]?.length === 1000));
    assert.notEqual(nodeAt(cluster, rows[0]?.[2]), 'pg1');
    await atRest(console);
  });
});

describe('COPY', () => {
  test('from the client: to the primary; to the client: from a replica', async (t) => {
    await admin(t);
    const client = await routedLogin(t, daemon);
    const line = (i: number): string => `${i}\t${'y'.repeat(2000)}\n`;
    client.send(
      raw.query('COPY items FROM STDIN'),
      ...Array.from({ length: 2000 }, (_, i) => raw.copyData(Buffer.from(line(i)))),
      raw.copyDone(),
    );
    assert.equal(brief(client, await client.until('Z', LONG_MS)), 'COPY 2000 I');
    await fresh(client);
    const out = await client.query('COPY (SELECT * FROM items ORDER BY id) TO STDOUT', LONG_MS);
    const data = Buffer.concat(out.filter(({ type }) => type === 'd').map(({ body }) => body));
    assert.equal(data.toString(), Array.from({ length: 2000 }, (_, i) => line(i)).join(''));
    client.send(statement('COPY (SELECT inet_server_port()) TO STDOUT'), raw.sync());
    const at = (await client.until('Z'))
      .find(({ type }) => type === 'd')
      ?.body.toString()
      .trim();
    assert.notEqual(nodeAt(cluster, at), 'pg1');
  });

  for (const early of [true, false])
    test(`by the extended protocol, with ${early ? 'a Sync before the data' : 'the Sync behind the data'}`, async (t) => {
      await admin(t);
      const client = await routedLogin(t, daemon);
      client.send(
        raw.parse('', 'COPY items FROM STDIN'),
        raw.bind('', ''),
        raw.execute(''),
        ...(early ? [raw.sync()] : []),
        raw.copyData(Buffer.from('1\tz\n')),
        raw.copyDone(),
        raw.sync(),
        raw.query('SELECT 1'),
      );
      assert.equal(brief(client, await client.until('Z')), 'COPY 1 I');
      assert.equal(brief(client, await client.until('Z')), 'SELECT 1 I');
    });

  test('of a function that lies: refused by the replica after it has announced the data, done by the primary', async (t) => {
    const console = await admin(t);
    const client = await routedLogin(t, daemon);
    await fresh(client);
    const before = await notes();
    const got = await client.query('COPY (SELECT noted()) TO STDOUT');
    assert.equal(raw.typesOf(got), 'HdcCZ');
    assert.equal(await notes(), before + 1);
    assert.match((await console.show('LEARNED')).join(), /copy \(select noted\(\)\) to stdout/i);
  });
});

describe('pipelines', () => {
  test('reads and writes that do not wait for each other: in order, and each read sees the write before it', async (t) => {
    const console = await admin(t);
    await cluster.sql(cluster.primary, 'CREATE TABLE IF NOT EXISTS steps (who integer, n integer)');
    await cluster.waitCaughtUp();
    const clients = await Promise.all(Array.from({ length: 4 }, () => routedLogin(t, daemon)));
    await Promise.all(
      clients.map(async (client, who) => {
        const read = `SELECT coalesce(max(n), -1), inet_server_port() FROM steps WHERE who = ${who}`;
        const wanted: number[] = [];
        const bytes: Buffer[] = [];
        for (let i = 0; i < 200; i++) {
          const write = `INSERT INTO steps VALUES (${who}, ${i})`;
          bytes.push(i % 3 === 0 ? raw.query(write) : Buffer.concat([statement(write), raw.sync()]));
          for (let k = 0; k <= i % 4; k++) {
            bytes.push(k % 2 === 0 ? Buffer.concat([statement(read), raw.sync()]) : raw.query(read));
            wanted.push(i);
          }
        }
        client.send(...bytes);
        const seen: number[] = [];
        for (let i = 0; i < bytes.length; i++) {
          const messages = await client.until('Z', LONG_MS);
          for (const [n] of raw.rowsOf(messages)) seen.push(Number(n));
        }
        assert.deepEqual(seen, wanted);
        assert.equal(client.pending.length, 0);
      }),
    );
    await atRest(console);
  });

  test('reads alone run on replicas, although the client does not wait', async (t) => {
    await admin(t);
    const client = await routedLogin(t, daemon);
    await fresh(client);
    client.send(...Array.from({ length: 100 }, () => raw.query(whereAmI)));
    const nodes = new Set<string>();
    for (let i = 0; i < 100; i++) nodes.add(nodeAt(cluster, only(await client.until('Z'))));
    assert.deepEqual([...nodes].sort(), ['pg2', 'pg3']);
  });

  test('the unnamed statement of one batch, used by the next one', async (t) => {
    await admin(t);
    const client = await routedLogin(t, daemon);
    await fresh(client);
    for (let i = 0; i < 20; i++) {
      client.send(raw.parse('', `SELECT ${i}, inet_server_port()`), raw.describe('S', ''), raw.sync());
      assert.equal(raw.typesOf(await client.until('Z')), '1tTZ');
      client.send(raw.bind('', ''), raw.execute(''), raw.sync());
      const [row] = raw.rowsOf(await client.until('Z'));
      assert.equal(row?.[0], String(i));
      assert.notEqual(nodeAt(cluster, row?.[1]), 'pg1');
    }
  });

  test('batches of Describe or Close alone, of Sync alone, of Flush', async (t) => {
    await admin(t);
    const client = await routedLogin(t, daemon);
    await fresh(client);
    client.send(
      raw.parse('r', whereAmI),
      raw.sync(),
      raw.parse('w', 'INSERT INTO items VALUES (1)'),
      raw.sync(),
    );
    assert.equal(raw.typesOf(await client.until('Z')), '1Z');
    assert.equal(raw.typesOf(await client.until('Z')), '1Z');
    for (let i = 0; i < 4; i++) {
      client.send(raw.describe('S', 'r'), raw.sync());
      assert.equal(raw.typesOf(await client.until('Z')), 'tTZ');
      client.send(raw.describe('S', 'w'), raw.sync());
      assert.equal(raw.typesOf(await client.until('Z')), 'tnZ');
    }
    client.send(raw.sync(), raw.flush(), raw.sync());
    assert.equal(raw.typesOf(await client.until('Z')), 'Z');
    assert.equal(raw.typesOf(await client.until('Z')), 'Z');
    client.send(raw.bind('', 'r'), raw.execute(''), raw.flush());
    assert.equal(raw.typesOf(await client.until('C')), '2DC');
    client.send(raw.sync());
    await client.until('Z');
    client.send(raw.close('S', 'r'), raw.close('P', 'none'), raw.sync());
    assert.equal(raw.typesOf(await client.until('Z')), '33Z');
    client.send(raw.bind('', 'r'), raw.execute(''), raw.sync());
    assert.equal(brief(client, await client.until('Z')), '26000 I');
  });

  test('an error in the middle of a batch of reads ends it there, and the next batch is answered', async (t) => {
    await admin(t);
    const client = await routedLogin(t, daemon);
    client.send(
      ...[statement('SELECT 1'), statement('SELECT 1/0'), statement('SELECT 2'), raw.sync()],
      ...[statement('SELECT 3'), raw.sync()],
    );
    assert.equal(brief(client, await client.until('Z')), 'SELECT 1 22012 I');
    assert.equal(only(await client.until('Z')), '3');
  });
});

for (const settings of [
  { max_prepared_statements: 0 },
  { server_reset_query_always: 1 },
  { max_prepared_statements: 2 },
]) {
  test(`with ${JSON.stringify(settings)}: mixed work, in both protocols`, async (t) => {
    const own = await routedDaemon(t, cluster, { settings: { lsn_interval: 0.02, ...settings } });
    const console = await admin(t, own);
    const clients = await Promise.all(Array.from({ length: 3 }, () => routedLogin(t, own)));
    await Promise.all(
      clients.map(async (client, c) => {
        for (let i = 0; i < 40; i++) {
          const value = String(c * 1000 + i);
          assert.equal((await client.rows(`SELECT '${value}'`))[0]?.[0], value);
          client.send(statement('SELECT $1::text', [value]), raw.sync());
          assert.equal(only(await client.until('Z')), value);
          assert.equal(await outcome(client, 'simple', 'BEGIN'), 'BEGIN T');
          assert.equal(
            await outcome(client, 'extended', `INSERT INTO items VALUES (${value})`),
            'INSERT 0 1 T',
          );
          assert.equal(await outcome(client, 'simple', 'ROLLBACK'), 'ROLLBACK I');
          const name = settings.max_prepared_statements === 0 ? '' : `s${i % 5}`;
          if (name !== '') {
            client.send(raw.close('S', name), raw.sync());
            await client.until('Z');
          }
          client.send(raw.parse(name, `SELECT ${value}`), raw.bind('', name), raw.execute(''), raw.sync());
          assert.equal(only(await client.until('Z')), value);
        }
      }),
    );
    await atRest(console);
  });
}

test('an error of the deferred BEGIN itself is the client’s, who stays', async (t) => {
  await admin(t);
  const client = await routedLogin(t, daemon, 'app_ro');
  for (const begin of ['BEGIN ISOLATION LEVEL SERIALIZABLE', 'BEGIN READ WRITE']) {
    for (const protocol of ['simple', 'extended'] as const) {
      const said = [
        await outcome(client, protocol, begin),
        await outcome(client, protocol, 'SELECT 1'),
        await outcome(client, protocol, 'ROLLBACK'),
      ];
      // a replica can begin no such block: as without a proxy, or one step later
      assert.ok(
        ['0A000 I,SELECT 1 I,ROLLBACK I', 'BEGIN T,0A000 E,ROLLBACK I'].includes(said.join()),
        `${begin}: ${said.join()}`,
      );
    }
  }
  assert.equal(await outcome(client, 'simple', 'SELECT 1'), 'SELECT 1 I');
});

test('a client is never told that its node is in recovery, and sees its own settings on every node', async (t) => {
  await admin(t);
  const client = await routedLogin(t, daemon, 'app', {
    parameters: { application_name: 'first', TimeZone: 'Asia/Tokyo', DateStyle: 'German' },
  });
  const said = new Set<string | undefined>();
  for (let i = 0; i < 10; i++) {
    await client.rows(`SET application_name = 'name ${i}'`);
    await fresh(client);
    for (let k = 0; k < 4; k++) {
      const [row] = await client.rows(
        `SELECT current_setting('application_name'), current_setting('TimeZone'), now()::text LIKE '%.%.%', inet_server_port()`,
      );
      assert.deepEqual(row?.slice(0, 3), [`name ${i}`, 'Asia/Tokyo', 't']);
      said.add(client.parameters.get('in_hot_standby'));
    }
    assert.equal(client.parameters.get('application_name'), `name ${i}`);
  }
  assert.deepEqual([...said], ['off']);
});

describe('a client that goes away', () => {
  const partly = (sql: string): Buffer => raw.query(sql).subarray(0, 9);
  const waysOut: readonly (readonly [string, (client: RawClient) => void])[] = [
    ['in a deferred block', (client) => client.send(raw.query('BEGIN'))],
    ['in the middle of a query', (client) => client.send(partly('SELECT 1234567'))],
    [
      'in the middle of the query behind a read',
      (client) => client.send(raw.query('SELECT 1'), partly('SELECT 2')),
    ],
    ['in a batch without a Sync', (client) => client.send(statement('SELECT 1'))],
    ['in a batch without a Sync that was sent', (client) => client.send(statement('SELECT 1'), raw.flush())],
    [
      'in a batch that writes, without a Sync',
      (client) => client.send(statement('INSERT INTO items VALUES (-1)'), raw.flush()),
    ],
    ['while a replica runs its read', (client) => client.send(raw.query('SELECT pg_sleep(0.3)'))],
    [
      'with more behind a read that runs',
      (client) => client.send(raw.query('SELECT pg_sleep(0.3)'), raw.query('SELECT 2')),
    ],
    ['while its read is sent again', (client) => client.send(raw.query('SELECT noted_slowly(0.3)'))],
    ['in a READ ONLY block', (client) => client.send(raw.query('BEGIN READ ONLY'), raw.query('SELECT 1'))],
    [
      'in a COPY',
      (client) => client.send(raw.query('COPY items FROM STDIN'), raw.copyData(Buffer.from('-1'))),
    ],
  ];
  for (const [where, act] of waysOut) {
    test(`${where} leaves nothing behind`, async (t) => {
      const console = await admin(t);
      const stays = await routedLogin(t, daemon);
      await fresh(stays);
      for (const delay of [false, true]) {
        const client = await routedLogin(t, daemon);
        act(client);
        if (delay) assert.equal((await stays.rows('SELECT 7'))[0]?.[0], '7');
        client.destroy();
      }
      await until(async () => (await console.of('CLIENTS', 'app')).length === 1);
      await atRest(console);
      for (let i = 0; i < 6; i++) assert.equal((await stays.rows(`SELECT ${i}`))[0]?.[0], String(i));
      for (const node of cluster.nodes) {
        const open = `SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND backend_type = 'client backend'`;
        await until(async () => (await cluster.sql(node, open)).rows[0]?.[0] === '0');
      }
      assert.equal(
        (await cluster.sql(cluster.primary, 'SELECT count(*) FROM items WHERE id = -1')).rows[0]?.[0],
        '0',
      );
    });
  }
});

describe('cancel', () => {
  const code = async (work: Promise<unknown>): Promise<string> => {
    try {
      await work;
      return 'no error';
    } catch (error) {
      if (error instanceof RawError) return error.code;
      throw error;
    }
  };

  test('of a read that a replica runs', async (t) => {
    const console = await admin(t);
    const client = await routedLogin(t, daemon);
    await fresh(client);
    const running = code(client.rows('SELECT pg_sleep(60)', LONG_MS));
    await until(async () => (await console.show('NODES')).some((row) => row.int('in_flight') > 0));
    await client.cancel();
    assert.equal(await running, '57014');
    assert.equal((await client.rows('SELECT 1'))[0]?.[0], '1');
    await atRest(console);
  });

  test('of a read that has been sent again to the primary', async (t) => {
    const console = await admin(t);
    const client = await routedLogin(t, daemon);
    await fresh(client);
    await untilNothingNotes();
    const before = await notes();
    const running = code(client.rows('SELECT noted_slowly(60)', LONG_MS));
    const active = `SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT noted_slowly(60)'`;
    await until(async () => (await cluster.sql(cluster.primary, active)).rows[0]?.[0] === '1');
    await client.cancel();
    assert.equal(await running, '57014');
    assert.equal(await notes(), before);
    assert.equal((await client.rows('SELECT 1'))[0]?.[0], '1');
    await atRest(console);
  });

  test('of a read that waits for a server of its replica', async (t) => {
    const own = await routedDaemon(t, cluster, {
      settings: { default_pool_size: 1 },
      nodes: { pg3: 'weight=0' },
    });
    const console = await admin(t, own);
    const busy = await routedLogin(t, own);
    busy.send(raw.query('SELECT pg_sleep(60)'));
    await until(async () => (await console.show('NODES')).some((row) => row.int('in_flight') > 0));
    for (const bytes of [raw.query('SELECT 1'), Buffer.concat([statement('SELECT 1'), raw.sync()])]) {
      const client = await routedLogin(t, own);
      client.send(bytes, raw.query(`INSERT INTO items VALUES (-2)`));
      await until(async () => (await console.show('POOLS')).some((row) => row.int('cl_waiting') === 1));
      await client.cancel();
      assert.equal(brief(client, await client.until('Z')), '57014 I');
      // what came behind it is another unit
      assert.equal(brief(client, await client.until('Z')), 'INSERT 0 1 I');
    }
    await busy.cancel();
    assert.equal(brief(busy, await busy.until('Z')), '57014 I');
    await atRest(console);
  });
});

describe('while there is no primary', () => {
  test('a write that waits is canceled, or gone with its client; the others go on in order', async (t) => {
    const own = await routedDaemon(t, cluster, { settings: { primary_wait_timeout: 60 } });
    const console = await admin(t, own);
    await console.run('DETACH pg1');
    const held = (n: number) =>
      until(
        async () =>
          (await console.show('CLIENTS')).filter((row) => row.text('state') === 'waiting').length === n,
      );
    const write = 'INSERT INTO items VALUES (-3)';
    const simple = await routedLogin(t, own);
    const batch = await routedLogin(t, own);
    const block = await routedLogin(t, own);
    const gone = await routedLogin(t, own);
    const stays = await routedLogin(t, own);
    simple.send(raw.query(write), raw.query('SELECT 1'));
    batch.send(statement(write), statement(write), raw.sync(), statement('SELECT 2'), raw.sync());
    block.send(raw.query('BEGIN'), raw.query(write), raw.query('SELECT 3'), raw.query('ROLLBACK'));
    gone.send(raw.query(write));
    stays.send(raw.query(`${write} RETURNING 'a'`), statement(`${write} RETURNING 'b'`), raw.sync());
    assert.equal(brief(block, await block.until('Z')), 'BEGIN T');
    await held(5);
    for (const client of [simple, batch, block]) await client.cancel();
    assert.equal(brief(simple, await simple.until('Z')), '57014 I');
    assert.equal(brief(simple, await simple.until('Z')), 'SELECT 1 I');
    assert.equal(brief(batch, await batch.until('Z')), '57014 I');
    assert.equal(brief(batch, await batch.until('Z')), 'SELECT 1 I');
    assert.equal(brief(block, await block.until('Z')), '57014 E');
    assert.equal(brief(block, await block.until('Z')), '25P02 E');
    assert.equal(brief(block, await block.until('Z')), 'ROLLBACK I');
    gone.destroy();
    await held(1);
    await console.run('ATTACH pg1');
    assert.equal(only(await stays.until('Z', LONG_MS)), 'a');
    assert.equal(only(await stays.until('Z', LONG_MS)), 'b');
    const count = 'SELECT count(*) FROM items WHERE id = -3';
    assert.equal((await cluster.sql(cluster.primary, count)).rows[0]?.[0], '2');
    await atRest(console);
  });
});

describe('timeouts', () => {
  test('query_wait_timeout ends a client whose replica has no server for it, in no other way than in a plain pool', async (t) => {
    const own = await routedDaemon(t, cluster, {
      settings: { default_pool_size: 1, query_wait_timeout: 2 },
      nodes: { pg3: 'weight=0' },
    });
    const console = await admin(t, own);
    const busy = await routedLogin(t, own);
    busy.send(raw.query('SELECT pg_sleep(60)'));
    await until(async () => (await console.show('NODES')).some((row) => row.int('in_flight') > 0));
    const client = await routedLogin(t, own);
    client.send(raw.query('SELECT 1'));
    const [error] = (await client.until('E', LONG_MS)).slice(-1);
    assert.ok(error);
    assert.match(raw.errorFields(error).message, /query_wait_timeout/);
    await client.closed();
    await busy.cancel();
    await busy.until('Z', LONG_MS);
    await atRest(console);
  });

  test('query_timeout counts from the first try of a read that is sent again', async (t) => {
    const own = await routedDaemon(t, cluster, { settings: { query_timeout: 1 } });
    const console = await admin(t, own);
    const client = await routedLogin(t, own);
    const before = await notes();
    client.send(raw.query('SELECT noted_slowly(60)'));
    const [error] = (await client.until('E', LONG_MS)).slice(-1);
    assert.ok(error);
    assert.match(raw.errorFields(error).message, /query.timeout/);
    await client.closed();
    await atRest(console);
    assert.equal(await notes(), before);
  });

  test('idle_transaction_timeout: a deferred block is idle in no transaction, one with a server is', async (t) => {
    const own = await routedDaemon(t, cluster, { settings: { idle_transaction_timeout: 0.5 } });
    const console = await admin(t, own);
    const deferred = await routedLogin(t, own);
    assert.equal(await outcome(deferred, 'simple', 'BEGIN'), 'BEGIN T');
    for (const begin of ['BEGIN', 'BEGIN READ ONLY']) {
      const client = await routedLogin(t, own);
      await client.query(begin);
      assert.equal(await outcome(client, 'simple', 'SELECT 1'), 'SELECT 1 T');
      const [error] = (await client.until('E', LONG_MS)).slice(-1);
      assert.ok(error);
      assert.match(raw.errorFields(error).message, /idle transaction timeout/);
      await client.closed();
    }
    // it began before them all
    assert.equal(await outcome(deferred, 'simple', 'SELECT 1'), 'SELECT 1 T');
    assert.equal(await outcome(deferred, 'simple', 'COMMIT'), 'COMMIT I');
    await atRest(console);
  });
});
