/**
 * node-postgres through the proxy with two servers: what applications do all day, in transaction and in session mode.
 * Every test ends with nothing left on the servers (assertQuiet). Console, COPY and lost servers are at the end.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { before, describe, test } from 'node:test';
import pg from 'pg';
import { POOL_MODES, type Proxied, type ProxiedDatabase, withProxied } from '../support/proxied.ts';
import { until } from '../support/until.ts';
import { CopyIn, CopyOut } from './pg-copy.ts';

let proxied: Proxied;

before(async () => {
  proxied = await withProxied();
});

/** Clients that are ended whatever happens. */
async function withClients(
  database: ProxiedDatabase | 'pgbouncer',
  count: number,
  work: (...clients: pg.Client[]) => Promise<void>,
  config: pg.ClientConfig = {},
): Promise<void> {
  const clients = Array.from(
    { length: count },
    () => new pg.Client({ ...proxied.address(database), ...config }),
  );
  for (const client of clients) client.on('error', () => {}); // a lost connection is for the query to report
  try {
    for (const client of clients) await client.connect();
    await work(...clients);
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
  if (database !== 'pgbouncer') await proxied.assertQuiet(database);
}

async function value(client: pg.Client, query: string | pg.QueryConfig): Promise<unknown> {
  const result = await client.query<unknown[]>({
    ...(typeof query === 'string' ? { text: query } : query),
    rowMode: 'array',
  });
  return result.rows[0]?.[0];
}

/** pg_stat_activity shows a backend of `app` that runs `text`. */
async function runningPid(text: string): Promise<number> {
  return until(async () => {
    const rows = await proxied.rows(
      `SELECT pid FROM pg_stat_activity WHERE usename = 'app' AND state = 'active' AND query LIKE '%${text}%'`,
    );
    return rows[0]?.[0] === undefined ? null : Number(rows[0][0]);
  });
}

/** Sends a CancelRequest for what `client` runs. The driver's own way is not in its types. */
function cancelQueryOf(client: pg.Client): void {
  const victim = client as unknown as { readonly _activeQuery: unknown };
  const asker = new pg.Client(proxied.address('tx')) as unknown as {
    cancel(victim: unknown, query: unknown): void;
  };
  asker.cancel({ ...victim, activeQuery: victim._activeQuery }, victim._activeQuery);
}

for (const [database, mode] of POOL_MODES) {
  describe(`node-postgres in ${mode} mode`, () => {
    test('simple, parametrised and multi-statement queries of two interleaved clients', async () => {
      await withClients(database, 2, async (a, b) => {
        for (let i = 0; i < 20; i++) {
          const [one, two, list] = await Promise.all([
            value(a, `SELECT ${i}`),
            value(b, { text: 'SELECT $1::int + $2::int', values: [i, 1000] }),
            a.query('SELECT 1 AS x; SELECT 2 AS x') as unknown as Promise<pg.QueryResult[]>,
          ]);
          assert.deepEqual([one, two], [i, i + 1000]);
          assert.deepEqual(
            list.map(({ rows }) => rows),
            [[{ x: 1 }], [{ x: 2 }]],
          );
        }
        assert.equal((await a.query('')).rows.length, 0);
      });
    });

    test('types travel as they are, in parameters and results', async () => {
      await withClients(database, 1, async (client) => {
        const date = new Date('2024-02-29T12:34:56.789Z');
        const bytes = Buffer.from([0, 1, 2, 0xff, 0x5c, 0x27]);
        const json = { a: [1, null, 'ü€😀'] };
        const values = [
          42,
          '9007199254740993',
          1.5,
          true,
          null,
          'ü€😀\'"\\',
          date,
          bytes,
          json,
          ['x', 'y,"'],
        ];
        const { rows } = await client.query<{ v: unknown[] }>({
          text: `SELECT $1::int4, $2::int8, $3::float8, $4::bool, $5::text, $6::text, $7::timestamptz, $8::bytea,
                   $9::jsonb, $10::text[]`,
          values,
          rowMode: 'array',
        } as unknown as pg.QueryConfig);
        assert.deepEqual(rows[0], values);
      });
    });

    test('named statements: the same names with different texts, on whatever server there is', async () => {
      const count = database === 'tx' ? 6 : 2;
      await withClients(database, count, async (...clients) => {
        await Promise.all(
          clients.map(async (client, n) => {
            for (let i = 0; i < 25; i++) {
              for (const k of [1, 2, 3]) {
                const named = { name: `s${k}`, text: `SELECT $1::int * ${k} + ${n * 1000}`, values: [i] };
                assert.equal(await value(client, named), i * k + n * 1000);
              }
            }
          }),
        );
        // one that PostgreSQL refuses, then the same name again: the driver does not remember it
        const [first] = clients;
        assert.ok(first !== undefined);
        await assert.rejects(first.query({ name: 'bad', text: 'SELECT nope' }), { code: '42703' });
        assert.equal(await value(first, { name: 'bad', text: 'SELECT 5' }), 5);
        await assert.rejects(first.query({ name: 'div', text: 'SELECT 1 / $1::int', values: [0] }), {
          code: '22012',
        });
        assert.equal(await value(first, { name: 'div', text: 'SELECT 1 / $1::int', values: [1] }), 1);
      });
    });

    test('an error in a transaction: 25P02 until ROLLBACK, and nothing of it is seen by the other client', async () => {
      await withClients(database, 2, async (a, b) => {
        await a.query('CREATE TABLE IF NOT EXISTS t_error (id int PRIMARY KEY)');
        await a.query('TRUNCATE t_error');
        await a.query('BEGIN');
        await a.query('INSERT INTO t_error VALUES ($1)', [1]);
        assert.equal(await value(b, 'SELECT count(*)::int FROM t_error'), 0);
        await assert.rejects(a.query('INSERT INTO t_error VALUES ($1)', [1]), { code: '23505' });
        await assert.rejects(a.query('SELECT 1'), { code: '25P02' });
        assert.equal(await value(b, 'SELECT 1'), 1);
        await a.query('ROLLBACK');
        assert.equal(await value(a, 'SELECT count(*)::int FROM t_error'), 0);
        await a.query('BEGIN; SAVEPOINT s; INSERT INTO t_error VALUES (7)');
        await assert.rejects(a.query({ name: 'oops', text: 'SELECT 1 / $1::int', values: [0] }), {
          code: '22012',
        });
        await a.query('ROLLBACK TO s');
        await a.query('INSERT INTO t_error VALUES (8)');
        await a.query('COMMIT');
        assert.deepEqual((await b.query('SELECT id FROM t_error')).rows, [{ id: 8 }]);
      });
    });

    test('a cursor keeps its server for the whole transaction', async () => {
      await withClients(database, 2, async (a, b) => {
        await a.query('BEGIN');
        await a.query('DECLARE c CURSOR FOR SELECT generate_series(1, 10) AS n');
        const seen: number[] = [];
        for (;;) {
          const [{ rows }] = await Promise.all([
            a.query<{ n: number }>('FETCH 3 FROM c'),
            value(b, 'SELECT 1'),
          ]);
          seen.push(...rows.map(({ n }) => n));
          if (rows.length === 0) break;
        }
        assert.deepEqual(seen, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        await a.query('COMMIT');
        await assert.rejects(a.query('FETCH 1 FROM c'), { code: '34000' });
      });
    });

    test('SET application_name and TimeZone belong to their client', async () => {
      const count = database === 'tx' ? 5 : 2;
      await withClients(
        database,
        count,
        async (...clients) => {
          await Promise.all(
            clients.map(async (client, n) => {
              assert.equal(await value(client, 'SHOW application_name'), 'at login');
              await client.query(`SET application_name = 'client ${n}'`);
              await client.query(`SET TimeZone = 'Etc/GMT+${n + 1}'`);
              for (let i = 0; i < 10; i++) {
                assert.equal(await value(client, 'SHOW application_name'), `client ${n}`);
                assert.equal(await value(client, 'SHOW TimeZone'), `Etc/GMT+${n + 1}`);
              }
            }),
          );
          const shown = (await proxied.console('SHOW CLIENTS'))
            .filter((row) => row['database'] === database)
            .map((row) => row['application_name']);
          assert.deepEqual(
            shown.sort(),
            clients.map((_, n) => `client ${n}`),
          );
        },
        { application_name: 'at login' },
      );
    });

    test('large results and parameters arrive whole', async () => {
      await withClients(database, 2, async (a, b) => {
        const big = Buffer.alloc(3_000_000, 'pgconcierge \x00\xff', 'latin1');
        const [many, sum, echoed] = await Promise.all([
          a.query<{ t: string }>("SELECT n || repeat('x', 1000) AS t FROM generate_series(1, 20000) n"),
          value(b, { text: 'SELECT md5($1::bytea)', values: [big] }),
          value(b, { text: 'SELECT $1::bytea', values: [big] }),
        ]);
        assert.equal(many.rows.length, 20_000);
        assert.ok(many.rows.every(({ t }, i) => t.length === 1000 + String(i + 1).length));
        assert.equal(sum, createHash('md5').update(big).digest('hex'));
        assert.ok(Buffer.isBuffer(echoed) && echoed.equals(big));
      });
    });

    test('pipeline mode: many queries on the wire, an error in the middle hits only its own', async () => {
      await withClients(
        database,
        2,
        async (a, b) => {
          const all = [a, b].flatMap((client, n) =>
            Array.from({ length: 30 }, (_, i) =>
              i === 15
                ? client.query('SELECT 1 / $1::int', [0]).then(
                    () => 'no error',
                    (error: { code?: string }) => error.code,
                  )
                : value(client, { name: `p${i % 4}`, text: `SELECT $1::int + ${i % 4}`, values: [n * 100] }),
            ),
          );
          assert.deepEqual(
            await Promise.all(all),
            [0, 1].flatMap((n) =>
              Array.from({ length: 30 }, (_, i) => (i === 15 ? '22012' : n * 100 + (i % 4))),
            ),
          );
        },
        { pipeline: true },
      );
    });

    test('a cancel ends its own query and no other', async () => {
      await withClients(database, 2, async (victim, bystander) => {
        const slow = victim.query("SELECT pg_sleep(60), 'victim'");
        const refused = assert.rejects(slow, { code: '57014' });
        await runningPid('victim');
        const other = value(bystander, "SELECT 'bystander' FROM pg_sleep(1)");
        await runningPid('bystander');
        cancelQueryOf(victim);
        await refused;
        assert.equal(await other, 'bystander');
        assert.equal(await value(victim, 'SELECT 1'), 1);
      });
    });

    test('50 clients on 2 servers', async () => {
      const pool = new pg.Pool({ ...proxied.address(database), max: 50 });
      try {
        const pids = new Set<unknown>();
        await Promise.all(
          Array.from({ length: 50 }, async (_, n) => {
            const client = await pool.connect();
            try {
              for (let i = 0; i < 5; i++) {
                const { rows } = await client.query({
                  name: 'who',
                  text: 'SELECT pg_backend_pid() AS pid, $1::int AS n',
                  values: [n],
                });
                assert.equal(rows[0]?.n, n);
                pids.add(rows[0]?.pid);
              }
            } finally {
              client.release(true); // in session mode the next client waits for this one's end
            }
          }),
        );
        assert.ok(pids.size <= proxied.poolSize, `${pids.size} servers`);
      } finally {
        await pool.end();
      }
      await proxied.assertQuiet(database);
    });

    test('COPY in and out, and a COPY that fails', async () => {
      await withClients(database, 2, async (a, b) => {
        await a.query('CREATE TABLE IF NOT EXISTS t_copy (id int PRIMARY KEY, t text)');
        await a.query('TRUNCATE t_copy');
        const lines = Array.from({ length: 5000 }, (_, i) => `${i}\tline ${i}\n`);
        const copied = a.query(new CopyIn('COPY t_copy FROM STDIN', lines)).done;
        assert.equal(await value(b, 'SELECT 1'), 1);
        assert.equal(await copied, 'COPY 5000');
        const out = await b.query(new CopyOut('COPY (SELECT * FROM t_copy ORDER BY id) TO STDOUT')).done;
        assert.equal(out, lines.join(''));
        await assert.rejects(a.query(new CopyIn('COPY t_copy FROM STDIN', ['1\tagain\n'])).done, {
          code: '23505',
        });
        await assert.rejects(a.query(new CopyIn('COPY t_copy FROM STDIN', null)).done, { code: '57014' });
        assert.equal(await value(a, 'SELECT count(*)::int FROM t_copy'), 5000);
      });
    });

    test('a terminated server: the query that ran on it fails, the next client has a new one', async () => {
      await withClients(database, 1, async (client) => {
        const lost = client.query("SELECT pg_sleep(60), 'doomed'");
        const refused = assert.rejects(lost, { code: '57P01' });
        await proxied.rows(`SELECT pg_terminate_backend(${await runningPid('doomed')})`);
        await refused;
      });
      await withClients(database, 1, async (client) => assert.equal(await value(client, 'SELECT 1'), 1));
    });
  });
}

test('LISTEN and NOTIFY in session mode', async () => {
  await withClients('sess', 2, async (a, b) => {
    await a.query('LISTEN news');
    const told = once(a, 'notification');
    await b.query("SELECT pg_notify('news', 'hello')");
    const [message] = (await told) as [pg.Notification];
    assert.deepEqual([message.channel, message.payload], ['news', 'hello']);
  });
  // the next client of that server does not listen any more: DISCARD ALL was sent
  await withClients('sess', 2, async (a, b) => {
    for (const client of [a, b])
      assert.equal(await value(client, 'SELECT count(*)::int FROM pg_listening_channels()'), 0);
  });
});

test('idle clients of transaction mode live through a restart of PostgreSQL', async () => {
  await withClients('tx', 3, async (...clients) => {
    const named = { name: 'q', text: 'SELECT $1::int', values: [7] };
    for (const client of clients) assert.equal(await value(client, named), 7);
    await proxied.postgres.instance.restart();
    for (const client of clients) assert.equal(await value(client, named), 7);
  });
});

test('the console: simple, extended, parameters, errors', async () => {
  await withClients('pgbouncer', 1, async (client) => {
    const pools = await client.query('SHOW POOLS');
    assert.ok(pools.rows.some((row) => row.database === 'tx' && row.pool_mode === 'transaction'));
    assert.equal(typeof pools.rows[0]?.cl_active, 'number');
    const prepared = await client.query({ name: 'lists', text: 'SHOW LISTS' });
    assert.ok(prepared.rows.some((row) => row.list === 'databases'));
    await client.query('PAUSE $1', ['tx']);
    const paused = async () =>
      (await client.query('SHOW DATABASES')).rows.find((row) => row.name === 'tx')?.paused;
    assert.equal(await paused(), 1);
    await client.query('RESUME tx');
    assert.equal(await paused(), 0);
    await assert.rejects(client.query('PAUSE nowhere'), {
      code: '08P01',
      message: 'no such database: nowhere',
    });
    await client.query('BEGIN');
    assert.match(String((await client.query('SHOW VERSION')).rows[0]?.version), /^PgBouncer /);
    await client.query('COMMIT');
  });
});
