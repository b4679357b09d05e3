/**
 * Corners of routing that a review has found: what counts as written before a client's unit is over, who shares it,
 * and holds whose reason changes while they last.
 */
import assert from 'node:assert/strict';
import { afterEach, before, beforeEach, describe, type TestContext, test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import { withCluster } from '../support/postgres.ts';
import type { RawClient } from '../support/raw-client.ts';
import * as raw from '../support/raw-messages.ts';
import { type RoutedOptions, routedDaemon } from '../support/routed.ts';
import {
  nodeOf,
  outcome,
  PROTOCOLS,
  routedLogin,
  rows,
  statement,
  untilNodes,
} from '../support/routed-client.ts';
import { Admin, answer, ask } from '../support/scenario.ts';
import { until } from '../support/until.ts';

const LOOK = 'SELECT v FROM one';
const UPDATE = 'UPDATE one SET v = v + 1';

let cluster: PostgresCluster;

before(async () => {
  cluster = await withCluster(1);
  await cluster.sql(cluster.primary, 'CREATE TABLE one (v integer)');
  await cluster.sql(cluster.primary, 'INSERT INTO one VALUES (0)');
});

beforeEach(async () => {
  await cluster.sql(cluster.primary, 'UPDATE one SET v = 0');
  await cluster.waitCaughtUp();
});

afterEach(async () => {
  for (const node of cluster.replicas) await cluster.sql(node, 'SELECT pg_wal_replay_resume()');
  await cluster.waitCaughtUp();
});

/** `app` and `app_rw` with read_consistency = database, and a replica that has stopped to replay. */
async function routed(t: TestContext, options: RoutedOptions = {}) {
  const daemon = await routedDaemon(t, cluster, {
    ...options,
    settings: { max_lag: 0, lsn_interval: 0.02, read_consistency: 'database', ...options.settings },
  });
  const admin = await Admin.login(t, daemon);
  await untilNodes(admin, 'pg1 primary, pg2 replica');
  return { daemon, admin };
}

async function pauseReplay(): Promise<void> {
  for (const node of cluster.replicas) {
    await cluster.sql(node, 'SELECT pg_wal_replay_pause()');
    await until(
      async () =>
        (await cluster.sql(node, 'SELECT pg_get_wal_replay_pause_state()')).rows[0]?.[0] === 'paused',
    );
  }
}

async function value(client: RawClient): Promise<string | null | undefined> {
  return (await client.rows(LOOK))[0]?.[0];
}

describe('read_consistency = database: what has been committed is seen by everybody from then on', () => {
  test('written through another entry of the same database', async (t) => {
    const { daemon, admin } = await routed(t);
    const reader = await routedLogin(t, daemon);
    await until(async () => (await nodeOf(cluster, reader)) === 'pg2');
    await pauseReplay();
    const writer = await routedLogin(t, daemon, 'app_rw');
    await writer.rows(UPDATE);
    assert.equal(await value(reader), '1');
    // and it outlives a RELOAD
    await admin.run('RELOAD');
    assert.equal(await value(reader), '1');
    const late = await routedLogin(t, daemon);
    assert.equal(await value(late), '1');
  });

  test('by a session that goes on (pool_mode = session)', async (t) => {
    const { daemon } = await routed(t, {
      databases: { app_session: 'cluster=main dbname=postgres pool_mode=session' },
    });
    const reader = await routedLogin(t, daemon);
    await until(async () => (await nodeOf(cluster, reader)) === 'pg2');
    const writer = await routedLogin(t, daemon, 'app_session');
    await writer.rows('SELECT 1');
    await pauseReplay();
    for (const expected of ['1', '2']) {
      await writer.rows(UPDATE);
      assert.equal(await value(reader), expected);
    }
    for (const sql of ['BEGIN', UPDATE, 'COMMIT']) await writer.rows(sql);
    assert.equal(await value(reader), '3');
  });

  test('by COMMIT AND CHAIN', async (t) => {
    const { daemon } = await routed(t);
    const reader = await routedLogin(t, daemon);
    await until(async () => (await nodeOf(cluster, reader)) === 'pg2');
    await pauseReplay();
    const writer = await routedLogin(t, daemon);
    for (const sql of ['BEGIN', UPDATE, 'COMMIT AND CHAIN']) await writer.rows(sql);
    assert.equal(await value(reader), '1');
    await writer.rows('ROLLBACK');
  });

  test('by a query that begins the next block itself', async (t) => {
    const { daemon } = await routed(t);
    const reader = await routedLogin(t, daemon);
    await until(async () => (await nodeOf(cluster, reader)) === 'pg2');
    await pauseReplay();
    const writer = await routedLogin(t, daemon);
    assert.equal(await outcome(writer, 'simple', `${UPDATE}; BEGIN; SELECT 1`), 'UPDATE 1 BEGIN SELECT 1 T');
    // all of it is one block by now: nothing is committed yet
    assert.equal(await value(reader), '0');
    assert.equal(await outcome(writer, 'simple', 'COMMIT; BEGIN; SELECT 1'), 'COMMIT BEGIN SELECT 1 T');
    assert.equal(await value(reader), '1');
  });

  for (const protocol of ['simple', 'extended'] as const) {
    test(`by the first of several units that were sent at once (${protocol})`, async (t) => {
      const { daemon } = await routed(t);
      const reader = await routedLogin(t, daemon);
      await until(async () => (await nodeOf(cluster, reader)) === 'pg2');
      await pauseReplay();
      const holder = await routedLogin(t, daemon, 'app_rw');
      for (const sql of ['BEGIN', 'SELECT pg_advisory_xact_lock(7)']) await holder.rows(sql);
      const writer = await routedLogin(t, daemon);
      const units = [UPDATE, 'SELECT pg_advisory_xact_lock(7)'];
      writer.send(
        ...units.map((sql) =>
          protocol === 'simple' ? raw.query(sql) : Buffer.concat([statement(sql), raw.sync()]),
        ),
      );
      await writer.until('Z');
      assert.equal(await value(reader), '1', 'the writer has been told that it is committed');
      await holder.rows('COMMIT');
      await writer.until('Z');
    });
  }
});

describe('a view that calls a function that writes', () => {
  before(async () => {
    const { primary } = cluster;
    await cluster.sql(
      primary,
      `CREATE FUNCTION bump() RETURNS integer LANGUAGE sql VOLATILE AS '${UPDATE} RETURNING v'`,
    );
    await cluster.sql(primary, 'CREATE VIEW bumping AS SELECT bump() AS v');
    await cluster.sql(primary, 'CREATE VIEW over_it AS SELECT v FROM bumping');
    await cluster.sql(primary, "CREATE FUNCTION known() RETURNS integer LANGUAGE sql STABLE AS 'SELECT 1'");
    await cluster.waitCaughtUp();
  });

  for (const protocol of PROTOCOLS) {
    for (const view of ['bumping', 'over_it']) {
      test(`${view}: who has read it sees what it wrote (${protocol})`, async (t) => {
        const { daemon } = await routed(t, { settings: { read_consistency: 'session' } });
        const client = await routedLogin(t, daemon);
        // a function that is not known is one that writes: the catalog is there
        await until(
          async () => (await nodeOf(cluster, client, 'SELECT inet_server_port(), known()')) === 'pg2',
        );
        const other = await routedLogin(t, daemon);
        await pauseReplay();
        assert.deepEqual(await rows(other, protocol, `SELECT v FROM ${view}`), [['1']]);
        assert.equal(await value(other), '1');
        assert.equal(await value(client), '0', 'the replica has really stopped');
      });
    }
  }
});

describe('holds', () => {
  test('a read that waits for a fresh replica and loses its primary waits as long as for a primary', async (t) => {
    const { daemon, admin } = await routed(t, {
      settings: { stale_read: 'wait', stale_read_wait: 3, primary_wait_timeout: 60 },
    });
    await pauseReplay();
    const client = await routedLogin(t, daemon);
    await client.rows(UPDATE);
    ask(client, LOOK);
    const waiting = async (): Promise<boolean> =>
      (await admin.of('CLIENTS', 'app')).some((row) => row.text('state') === 'waiting');
    await until(waiting);
    const { primary } = cluster;
    await primary.stop();
    await untilNodes(admin, 'pg1 down, pg2 replica');
    // longer than stale_read_wait: the daemon's clock is what counts here
    await new Promise((resolve) => setTimeout(resolve, 3500));
    assert.equal(client.pending.length, 0, 'nothing has been answered');
    await primary.start();
    assert.deepEqual(await answer(client), [['1']]);
  });

  for (const how of ['WAIT_FOR_SERVERS', 'WAIT_FOR_CLIENTS'] as const) {
    test(`SHUTDOWN ${how} while a write waits for a primary`, async (t) => {
      const { daemon, admin } = await routed(t, { settings: { primary_wait_timeout: 60 } });
      const held = await routedLogin(t, daemon);
      const { primary } = cluster;
      await primary.stop();
      await untilNodes(admin, 'pg1 down, pg2 replica');
      ask(held, UPDATE);
      await until(async () =>
        (await admin.of('CLIENTS', 'app')).some((row) => row.text('state') === 'waiting'),
      );
      await admin.run(`SHUTDOWN ${how}`);
      if (how === 'WAIT_FOR_CLIENTS') {
        await primary.start();
        await answer(held);
        assert.equal((await cluster.sql(primary, LOOK)).rows[0]?.[0], '1');
        held.send(raw.terminate());
      }
      const ended = await daemon.waitExit(30_000);
      if (!primary.running) await primary.start();
      assert.deepEqual(ended, { code: 0, signal: null });
    });
  }
});

test('a database of `*` that nobody uses any more leaves nothing of its routing behind', async (t) => {
  const { daemon, admin } = await routed(t, {
    databases: { '*': 'cluster=main' },
    settings: { autodb_idle_timeout: 1, server_idle_timeout: 1 },
  });
  const known = async (): Promise<(string | null)[]> =>
    (await admin.show('SHADOW')).map((row) => row.text('database'));
  const client = await routedLogin(t, daemon, 'template1');
  await client.rows('SELECT 1');
  assert.ok((await known()).includes('template1'));
  await client.end();
  await until(async () => !(await known()).includes('template1'), { timeoutMs: 20_000 });
  const again = await routedLogin(t, daemon, 'template1');
  assert.deepEqual(await again.rows('SELECT 1'), [['1']]);
});

test('DDL in a block is noticed at its COMMIT: the catalog is read again, not on its timer', async (t) => {
  const { daemon, admin } = await routed(t);
  const client = await routedLogin(t, daemon);
  const classOf = async (): Promise<string> => {
    const lines = await admin.client.rows('EXPLAIN ROUTE FOR app SELECT price()');
    return lines.find(([item]) => item === 'class')?.[1] ?? '';
  };
  const create = "CREATE OR REPLACE FUNCTION price() RETURNS integer LANGUAGE sql AS 'SELECT 1'";
  await client.rows('BEGIN');
  await client.rows(`${create} STABLE`);
  await client.rows('COMMIT');
  await until(async () => (await classOf()) === 'read');
  await client.rows('BEGIN');
  await client.rows('SELECT 1');
  await client.rows(`${create} VOLATILE`);
  await client.rows('COMMIT');
  await until(async () => (await classOf()) === 'write');
});
