/**
 * node-postgres and postgres.js on a database with route=auto: nobody tells them of a cluster, reads reach replicas,
 * what was written is read, and there is no 25006.
 */
import assert from 'node:assert/strict';
import { before, describe, type TestContext, test } from 'node:test';
import pg from 'pg';
import postgres from 'postgres';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { Daemon } from '../support/daemon.ts';
import { withCluster } from '../support/postgres.ts';
import { nodeAt, routedDaemon, whereAmI } from '../support/routed.ts';
import { untilNodes } from '../support/routed-client.ts';
import { Admin } from '../support/scenario.ts';
import { until } from '../support/until.ts';

let cluster: PostgresCluster;
let daemon: Daemon;

before(async () => {
  cluster = await withCluster(2);
  for (const sql of [
    'CREATE TABLE items (who text, n integer)',
    'CREATE TABLE notes (n serial)',
    `CREATE FUNCTION note() RETURNS integer VOLATILE LANGUAGE sql AS 'INSERT INTO notes DEFAULT VALUES RETURNING n'`,
    `CREATE FUNCTION noted(integer) RETURNS integer STABLE LANGUAGE sql AS 'SELECT note()'`,
  ])
    await cluster.sql(cluster.primary, sql);
  await cluster.waitCaughtUp();
  daemon = await routedDaemon(null, cluster, { settings: { lsn_interval: 0.02 } });
});

async function ready(t: TestContext): Promise<void> {
  await untilNodes(await Admin.login(t, daemon), 'pg1 primary, pg2 replica, pg3 replica');
}

/** The nodes that ran it, in `times` runs, once replicas may: `pg2,pg3`. */
async function nodesOf(times: number, run: () => Promise<unknown>): Promise<string> {
  await until(async () => nodeAt(cluster, String(await run())) !== 'pg1', { everyMs: 20 });
  const seen = new Set<string>();
  for (let i = 0; i < times; i++) seen.add(nodeAt(cluster, String(await run())));
  return [...seen].sort().join();
}

describe('node-postgres', () => {
  async function connected(t: TestContext, config: pg.ClientConfig = {}): Promise<pg.Client> {
    const client = new pg.Client({
      host: '127.0.0.1',
      port: daemon.port,
      user: 'postgres',
      database: 'app',
      ...config,
    });
    client.on('error', () => {});
    t.after(() => client.end());
    await client.connect();
    return client;
  }
  const first = async (client: pg.Client, query: pg.QueryConfig | string): Promise<unknown> =>
    Object.values((await client.query<Record<string, unknown>>(query)).rows[0] ?? {})[0];

  test('reads in its three forms are spread over the replicas', async (t) => {
    await ready(t);
    const client = await connected(t);
    const forms: readonly (pg.QueryConfig | string)[] = [
      whereAmI,
      { text: `${whereAmI} WHERE $1::int = 1`, values: [1] },
      { name: 'where', text: `${whereAmI} WHERE $1::int = 2`, values: [2] },
    ];
    for (const form of forms) assert.equal(await nodesOf(20, () => first(client, form)), 'pg2,pg3');
  });

  test('writes, transactions and reads of a pool: everybody reads what he has written', async (t) => {
    await ready(t);
    const pool = new pg.Pool({
      host: '127.0.0.1',
      port: daemon.port,
      user: 'postgres',
      database: 'app',
      max: 5,
    });
    t.after(() => pool.end());
    await Promise.all(
      Array.from({ length: 5 }, async (_, c) => {
        const who = `pg ${c}`;
        const client = await pool.connect();
        try {
          for (let i = 0; i < 40; i++) {
            if (i % 2 === 0) await client.query('INSERT INTO items VALUES ($1, $2)', [who, i]);
            else {
              await client.query('BEGIN');
              await client.query({
                name: 'put',
                text: 'INSERT INTO items VALUES ($1, $2)',
                values: [who, i],
              });
              await client.query(i % 4 === 1 ? 'COMMIT' : 'ROLLBACK');
            }
            const read = { name: 'max', text: 'SELECT max(n) AS n FROM items WHERE who = $1', values: [who] };
            const { rows } = await client.query<{ n: number }>(read);
            assert.equal(rows[0]?.n, i % 4 === 3 ? i - 1 : i);
          }
        } finally {
          client.release();
        }
      }),
    );
  });

  test('a function that lies is run once, prepared or not', async (t) => {
    await ready(t);
    const client = await connected(t);
    await nodesOf(1, () => first(client, whereAmI));
    const count = async (): Promise<number> =>
      Number((await cluster.sql(cluster.primary, 'SELECT count(*) FROM notes')).rows[0]?.[0]);
    const start = await count();
    for (const name of ['', 'noted']) {
      for (let i = 0; i < 3; i++) {
        const n = await first(client, {
          name,
          text: `SELECT noted($1) AS ${name === '' ? 'x' : 'y'}`,
          values: [i],
        });
        assert.equal(typeof n, 'number');
      }
    }
    assert.equal(await count(), start + 6);
  });

  test('the position of a write is shown to one connection and waited for by another', async (t) => {
    await ready(t);
    const writer = await connected(t);
    const reader = await connected(t);
    for (let i = 0; i < 5; i++) {
      await writer.query('INSERT INTO items VALUES ($1, $2)', ['handed over', i]);
      const lsn = String(await first(writer, { name: 'lsn', text: 'SHOW pgconcierge.lsn' }));
      assert.match(lsn, /^[0-9A-F]+\/[0-9A-F]+$/);
      await reader.query({ text: `SET pgconcierge.wait_lsn = '${lsn}'`, values: [] });
      const read = {
        name: 'read',
        text: 'SELECT max(n) AS n FROM items WHERE who = $1',
        values: ['handed over'],
      };
      assert.equal(await first(reader, read), i);
    }
  });
});

describe('postgres.js', () => {
  function sqlOf(t: TestContext, options: { max: number; prepare?: boolean }) {
    const sql = postgres({
      host: '127.0.0.1',
      port: daemon.port,
      username: 'postgres',
      database: 'app',
      onnotice: () => {},
      ...options,
    });
    t.after(() => sql.end({ timeout: 5 }));
    return sql;
  }

  for (const prepare of [true, false])
    test(`reads with prepare = ${prepare}, one after the other and pipelined`, async (t) => {
      await ready(t);
      const sql = sqlOf(t, { max: 1, prepare });
      const where = async (): Promise<unknown> => (await sql`SELECT inet_server_port() AS p`)[0]?.['p'];
      // its own way of preparing shows a batch only in parts: without statements that stay it has only the primary
      if (prepare) assert.equal(await nodesOf(20, where), 'pg2,pg3');
      const values = await Promise.all(
        Array.from({ length: 100 }, async (_, i) => (await sql`SELECT ${i}::int AS n`)[0]?.['n']),
      );
      assert.deepEqual(
        values,
        values.map((_, i) => i),
      );
    });

  test('begin, savepoints, READ ONLY, and reads of what was written', async (t) => {
    await ready(t);
    const sql = sqlOf(t, { max: 3 });
    await Promise.all(
      Array.from({ length: 3 }, async (_, c) => {
        const own = await sql.reserve();
        const who = `js ${c}`;
        for (let i = 0; i < 30; i++) {
          await own`INSERT INTO items VALUES (${who}, ${i})`;
          assert.equal((await own`SELECT max(n) AS n FROM items WHERE who = ${who}`)[0]?.['n'], i);
        }
        own.release();
      }),
    );
    const seen = await sql.begin(async (tx) => {
      await tx`INSERT INTO items VALUES ('js', 1)`;
      await tx
        .savepoint(async (inner) => {
          await inner`INSERT INTO items VALUES ('js', 2)`;
          throw new Error('back');
        })
        .catch(() => {});
      return (await tx`SELECT max(n) AS n FROM items WHERE who = 'js'`)[0]?.['n'];
    });
    assert.equal(seen, 1);
    const one = sqlOf(t, { max: 1 });
    const readOnly = (): Promise<unknown> =>
      one.begin('READ ONLY', async (tx) => (await tx`SELECT inet_server_port() AS p`)[0]?.['p']);
    assert.equal(await nodesOf(10, readOnly), 'pg2,pg3');
  });

  test('settings of the proxy, prepared with a Flush before they run', async (t) => {
    await ready(t);
    const sql = sqlOf(t, { max: 1 });
    await sql`SELECT 1`;
    for (let i = 0; i < 3; i++) {
      await sql`INSERT INTO items VALUES ('shown', ${i})`;
      assert.match(
        String((await sql`SHOW pgconcierge.lsn`)[0]?.['pgconcierge.lsn']),
        /^[0-9A-F]+\/[0-9A-F]+$/,
      );
      await sql`SET pgconcierge.route = 'primary'`;
      assert.equal((await sql`SHOW pgconcierge.route`)[0]?.['pgconcierge.route'], 'primary');
      assert.equal(nodeAt(cluster, String((await sql`SELECT inet_server_port() AS p`)[0]?.['p'])), 'pg1');
      await sql`RESET pgconcierge.route`;
    }
    await assert.rejects(sql`SHOW pgconcierge.nothing`, { code: '42704' });
    assert.equal((await sql`SHOW pgconcierge.route`)[0]?.['pgconcierge.route'], 'auto');
  });
});
