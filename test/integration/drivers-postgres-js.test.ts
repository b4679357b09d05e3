/**
 * postgres.js through the proxy with two servers: it pipelines by itself, prepares every statement under a name of its
 * own, asks for types at its first connection, and cancels. In transaction and in session mode.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { before, describe, test } from 'node:test';
import postgres from 'postgres';
import { POOL_MODES, type Proxied, type ProxiedDatabase, withProxied } from '../support/proxied.ts';
import { until } from '../support/until.ts';

let proxied: Proxied;

before(async () => {
  proxied = await withProxied();
});

type Sql = ReturnType<typeof connect>;

function connect(database: ProxiedDatabase | 'pgbouncer', options: { max: number; prepare?: boolean }) {
  const { user, ...rest } = proxied.address(database);
  return postgres({ ...rest, username: user, onnotice: () => {}, ...options });
}

/** One instance with `max` connections of its own. */
async function withSql(
  database: ProxiedDatabase | 'pgbouncer',
  options: { max: number; prepare?: boolean },
  work: (sql: Sql) => Promise<void>,
): Promise<void> {
  const sql = connect(database, options);
  try {
    await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
  if (database !== 'pgbouncer') await proxied.assertQuiet(database);
}

/** A backend of `app` runs a query with `text`. */
async function running(text: string): Promise<void> {
  await until(async () => {
    const rows = await proxied.rows(
      `SELECT 1 FROM pg_stat_activity WHERE usename = 'app' AND state = 'active' AND query LIKE '%${text}%'`,
    );
    return rows.length > 0;
  });
}

for (const [database, mode] of POOL_MODES) {
  // session mode has as many clients as servers
  const many = database === 'tx' ? 50 : 2;

  describe(`postgres.js in ${mode} mode`, () => {
    test('types, arrays and binary parameters', async () => {
      await withSql(database, { max: 1 }, async (sql) => {
        await sql`SELECT 1`; // it knows array types only after its first query, without a proxy too
        const date = new Date('2024-02-29T12:34:56.789Z');
        const bytes = Buffer.alloc(1_000_000, 'ab\x00\xff', 'latin1');
        const [row] =
          await sql`SELECT ${42}::int4 AS i, ${'9007199254740993'}::int8 AS big, ${date}::timestamptz AS at,
          ${sql.json({ a: ['ü€😀', null] })}::jsonb AS j, ${sql.array(['x', 'y,"'])}::text[] AS list,
          ${bytes}::bytea AS bytes, ${null}::text AS nothing`;
        assert.ok(row !== undefined);
        assert.deepEqual(
          [row['i'], row['big'], row['at'], row['j'], row['list'], row['nothing']],
          [42, '9007199254740993', date, { a: ['ü€😀', null] }, ['x', 'y,"'], null],
        );
        assert.ok(bytes.equals(row['bytes']));
      });
    });

    test('a pipeline of named statements on one connection, with errors in the middle', async () => {
      await withSql(database, { max: 1 }, async (sql) => {
        for (let round = 0; round < 3; round++) {
          const results = await Promise.allSettled(
            Array.from({ length: 60 }, (_, i) => {
              if (i % 20 === 7) return sql`SELECT 1 / ${0}::int AS v`; // prepared well, fails when run
              if (i % 20 === 13)
                return sql.unsafe(`SELECT missing_${round}_${i} FROM t`, [], { prepare: true });
              return i % 2 === 0 ? sql`SELECT ${i}::int AS v` : sql`SELECT ${i}::int AS v, ${'x'}::text AS x`;
            }),
          );
          const seen = results.map((result) =>
            result.status === 'fulfilled' ? result.value[0]?.['v'] : result.reason.code,
          );
          assert.deepEqual(
            seen,
            seen.map((_, i) => (i % 20 === 7 ? '22012' : i % 20 === 13 ? '42P01' : i)),
          );
        }
      });
    });

    for (const prepare of [true, false]) {
      test(`${many} connections on 2 servers, ${prepare ? 'named' : 'unnamed'} statements`, async () => {
        await withSql(database, { max: many, prepare }, async (sql) => {
          const rows = await Promise.all(
            Array.from({ length: many * 10 }, async (_, n) => {
              const found = await sql`SELECT ${n}::int AS n, pg_backend_pid() AS pid`;
              return found[0];
            }),
          );
          rows.forEach((row, n) => {
            assert.equal(row?.['n'], n);
          });
          const pids = new Set(rows.map((row) => row?.['pid']));
          assert.ok(pids.size <= proxied.poolSize, `${pids.size} servers`);
        });
      });
    }

    test('transactions, savepoints, a failed transaction', async () => {
      await withSql(database, { max: 2 }, async (sql) => {
        await sql`DROP TABLE IF EXISTS t_js`;
        await sql`CREATE TABLE t_js (id int PRIMARY KEY)`;
        const inserted = await sql.begin(async (tx) => {
          const rows = await tx`INSERT INTO t_js ${tx([{ id: 1 }, { id: 2 }])} RETURNING id`;
          const other = await sql`SELECT count(*)::int AS n FROM t_js`; // the other connection sees nothing yet
          assert.equal(other[0]?.['n'], 0);
          await assert.rejects(
            tx.savepoint((sp) => sp`INSERT INTO t_js VALUES (${1})`),
            { code: '23505' },
          );
          return rows.map((row) => row['id']);
        });
        assert.deepEqual(inserted, [1, 2]);
        await assert.rejects(
          sql.begin(async (tx) => {
            await tx`INSERT INTO t_js VALUES (${3})`;
            await tx`SELECT 1 / ${0}::int`;
          }),
          { code: '22012' },
        );
        const left = await sql`SELECT id FROM t_js ORDER BY id`;
        assert.deepEqual([...left.map((row) => row['id'])], [1, 2]);
      });
    });

    test('a cursor: portals with a row limit, run to the end and left early', async () => {
      await withSql(database, { max: 2 }, async (sql) => {
        const seen: number[] = [];
        await sql`SELECT generate_series(1, ${25}::int) AS n`.cursor(10, async (rows) => {
          seen.push(...rows.map((row) => row['n']));
          await sql`SELECT 1`; // the other connection has a server too
        });
        assert.deepEqual(
          seen,
          Array.from({ length: 25 }, (_, i) => i + 1),
        );
        let first = 0;
        for await (const rows of sql`SELECT generate_series(1, ${1000}::int) AS n`.cursor(10)) {
          first = rows.length;
          break;
        }
        assert.equal(first, 10);
        const after = await sql`SELECT ${1}::int AS one`;
        assert.equal(after[0]?.['one'], 1);
      });
    });

    test('COPY as streams', async () => {
      await withSql(database, { max: 2 }, async (sql) => {
        await sql`DROP TABLE IF EXISTS t_js_copy`;
        await sql`CREATE TABLE t_js_copy (id int, t text)`;
        const text = Array.from({ length: 20_000 }, (_, i) => `${i}\t${'x'.repeat(50)}\n`).join('');
        const input = await sql`COPY t_js_copy FROM STDIN`.writable();
        const finished = new Promise<void>((resolve, reject) => {
          input.once('finish', resolve);
          input.once('error', reject);
        });
        input.end(text);
        await finished;
        const hash = createHash('md5');
        for await (const chunk of await sql`COPY (SELECT * FROM t_js_copy ORDER BY id) TO STDOUT`.readable()) {
          hash.update(chunk);
        }
        assert.equal(hash.digest('hex'), createHash('md5').update(text).digest('hex'));
      });
    });

    test('.cancel() ends its own query and no other', async () => {
      await withSql(database, { max: 2 }, async (sql) => {
        await Promise.all([sql`SELECT 1`, sql`SELECT 1`]);
        const victim = sql`SELECT pg_sleep(60), 'victim'`;
        const refused = assert.rejects(victim, { code: '57014' });
        await running('victim');
        const bystander = sql`SELECT 'bystander' AS who FROM pg_sleep(1)`.execute();
        await running('bystander');
        victim.cancel();
        await refused;
        assert.equal((await bystander)[0]?.['who'], 'bystander');
        assert.equal((await sql`SELECT 5 AS five`)[0]?.['five'], 5);
      });
    });

    test('application_name of each connection', async () => {
      const { user, ...rest } = proxied.address(database);
      const all = ['first', 'second'].map((name) =>
        postgres({ ...rest, username: user, max: 1, connection: { application_name: name } }),
      );
      try {
        for (let i = 0; i < 10; i++) {
          const shown = await Promise.all(all.map((sql) => sql`SHOW application_name`));
          assert.deepEqual(
            shown.map((rows) => rows[0]?.['application_name']),
            ['first', 'second'],
          );
        }
      } finally {
        await Promise.all(all.map((sql) => sql.end()));
      }
      await proxied.assertQuiet(database);
    });

    test('it connects again by itself after its server was lost', async () => {
      await withSql(database, { max: 1 }, async (sql) => {
        const lost = sql`SELECT pg_sleep(60), 'doomed'`.execute();
        // what it makes of FATAL and the end of the connection, without a proxy too
        const refused = assert.rejects(lost, { code: 'CONNECTION_CLOSED' });
        await running('doomed');
        await proxied.rows(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app' AND query LIKE '%doomed%'",
        );
        await refused;
        const again = await until(() => sql`SELECT ${7}::int AS seven`);
        assert.equal(again[0]?.['seven'], 7);
      });
    });
  });
}

test('LISTEN in session mode, by its own listener', async () => {
  await withSql('sess', { max: 1 }, async (sql) => {
    let heard = '';
    const { unlisten } = await sql.listen('news', (payload) => {
      heard = payload;
    });
    await sql.notify('news', 'hello');
    await until(() => heard === 'hello');
    await unlisten();
  });
});

test('the console: simple, prepared, with parameters, errors', async () => {
  await withSql('pgbouncer', { max: 1 }, async (sql) => {
    const pools = await sql`SHOW POOLS`;
    assert.ok(pools.some((row) => row['database'] === 'tx' && row['pool_mode'] === 'transaction'));
    assert.equal(typeof pools[0]?.['cl_active'], 'number');
    assert.ok((await sql.unsafe('SHOW LISTS')).some((row) => row['list'] === 'databases'));
    await sql`PAUSE ${'tx'}`;
    assert.equal((await sql`SHOW DATABASES`).find((row) => row['name'] === 'tx')?.['paused'], 1);
    await sql`RESUME ${'tx'}`;
    await assert.rejects(sql`PAUSE nowhere`, { code: '08P01', message: 'no such database: nowhere' });
    const [version] = await sql.begin((tx) => tx`SHOW VERSION`);
    assert.match(version?.['version'], /^PgBouncer /);
  });
});
