/**
 * Reads that are not older than what they must show (S-37, ROUTING.md "Fresh reads"): with the replay of replicas paused,
 * so that what a replica has is known for certain, and who was asked is known from what is seen.
 */
import assert from 'node:assert/strict';
import { afterEach, before, beforeEach, describe, type TestContext, test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { PostgresInstance } from '../../src/demo/postgres-instance.ts';
import type { Daemon } from '../support/daemon.ts';
import { withCluster } from '../support/postgres.ts';
import type { RawClient } from '../support/raw-client.ts';
import * as raw from '../support/raw-messages.ts';
import { nodeAt, type RoutedOptions, routedDaemon } from '../support/routed.ts';
import {
  outcome,
  PROTOCOLS,
  type Protocol,
  routedLogin,
  rows,
  statement,
  untilNodes,
} from '../support/routed-client.ts';
import { Admin, answer, ask } from '../support/scenario.ts';
import { until } from '../support/until.ts';

let cluster: PostgresCluster;

before(async () => {
  cluster = await withCluster(2);
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

async function pauseReplay(...nodes: readonly PostgresInstance[]): Promise<void> {
  for (const node of nodes) {
    await cluster.sql(node, 'SELECT pg_wal_replay_pause()');
    await until(
      async () =>
        (await cluster.sql(node, 'SELECT pg_get_wal_replay_pause_state()')).rows[0]?.[0] === 'paused',
    );
  }
}

async function resumeReplay(...nodes: readonly PostgresInstance[]): Promise<void> {
  for (const node of nodes) await cluster.sql(node, 'SELECT pg_wal_replay_resume()');
}

/** A replica that is paused while its primary works lags more and more; that is not the subject here. */
async function routed(
  t: TestContext,
  options: RoutedOptions = {},
): Promise<{ daemon: Daemon; admin: Admin }> {
  const daemon = await routedDaemon(t, cluster, {
    ...options,
    settings: { max_lag: 0, lsn_interval: 0.02, ...options.settings },
  });
  const admin = await Admin.login(t, daemon);
  await untilNodes(admin, 'pg1 primary, pg2 replica, pg3 replica');
  return { daemon, admin };
}

interface Seen {
  readonly value: number;
  readonly node: string;
}

async function look(client: RawClient, protocol: Protocol = 'simple'): Promise<Seen> {
  const [row] = await rows(client, protocol, 'SELECT v, inet_server_port() FROM one');
  return { value: Number(row?.[0]), node: nodeAt(cluster, row?.[1]) };
}

/** So many reads, each answered by whom: `{ pg2: 10 }`; all must have seen `value`. */
async function lookAgain(client: RawClient, value: number, times = 10): Promise<Record<string, number>> {
  const nodes: Record<string, number> = {};
  for (let i = 0; i < times; i++) {
    const seen = await look(client, i % 2 === 0 ? 'simple' : 'extended');
    assert.equal(seen.value, value, `${seen.node} said ${seen.value}`);
    nodes[seen.node] = (nodes[seen.node] ?? 0) + 1;
  }
  return nodes;
}

async function write(client: RawClient, value: number, protocol: Protocol = 'simple'): Promise<void> {
  assert.equal(await outcome(client, protocol, `UPDATE one SET v = ${value}`), 'UPDATE 1 I');
}

/** Reads of this client come from replicas (again), and see `value` all the while. */
async function untilReplica(client: RawClient, value: number): Promise<void> {
  await until(async () => {
    const seen = await look(client);
    assert.equal(seen.value, value);
    return seen.node !== 'pg1';
  });
}

describe('read_consistency = session', () => {
  test('S-37: whose write a paused replica has not seen reads elsewhere; who has written nothing reads there', async (t) => {
    const { daemon } = await routed(t);
    const [pg2, pg3] = cluster.replicas;
    assert.ok(pg2 && pg3);
    await pauseReplay(pg2);
    const writer = await routedLogin(t, daemon);
    const reader = await routedLogin(t, daemon);
    await write(writer, 1);
    const nodes = await lookAgain(writer, 1, 20);
    assert.equal(nodes['pg2'], undefined);
    // pg3 goes on: soon it may serve the writer
    await untilReplica(writer, 1);
    assert.deepEqual(await lookAgain(writer, 1), { pg3: 10 });
    const values = new Map<string, number>();
    for (let i = 0; i < 10; i++) {
      const { node, value } = await look(reader);
      values.set(node, value);
    }
    assert.deepEqual([...values].sort(), [
      ['pg2', 0],
      ['pg3', 1],
    ]);
    await resumeReplay(pg2);
    await until(async () => (await look(writer)).node === 'pg2');
    assert.deepEqual(await lookAgain(writer, 1), { pg2: 5, pg3: 5 });
  });

  for (const protocol of PROTOCOLS) {
    test(`every replica paused: reads after a ${protocol} write come from the primary, and return`, async (t) => {
      const { daemon } = await routed(t);
      await pauseReplay(...cluster.replicas);
      const writer = await routedLogin(t, daemon);
      const reader = await routedLogin(t, daemon);
      assert.deepEqual(await lookAgain(writer, 0), { pg2: 5, pg3: 5 });
      await write(writer, 1, protocol);
      assert.deepEqual(await lookAgain(writer, 1), { pg1: 10 });
      // in a block, too
      assert.equal(await outcome(writer, protocol, 'BEGIN READ ONLY'), 'BEGIN T');
      assert.deepEqual(await look(writer, protocol), { value: 1, node: 'pg1' });
      assert.equal(await outcome(writer, protocol, 'COMMIT'), 'COMMIT I');
      assert.deepEqual(await lookAgain(reader, 0), { pg2: 5, pg3: 5 });
      await resumeReplay(...cluster.replicas);
      await untilReplica(writer, 1);
    });
  }

  test('a block that writes counts at its COMMIT', async (t) => {
    const { daemon } = await routed(t);
    await pauseReplay(...cluster.replicas);
    const writer = await routedLogin(t, daemon);
    for (const sql of ['BEGIN', 'UPDATE one SET v = 1', 'COMMIT']) await writer.rows(sql);
    assert.deepEqual(await lookAgain(writer, 1), { pg1: 10 });
  });

  test('what was rolled back, failed or only read leaves no mark', async (t) => {
    const { daemon } = await routed(t);
    await pauseReplay(...cluster.replicas);
    const client = await routedLogin(t, daemon);
    for (const sql of ['BEGIN', 'UPDATE one SET v = 1', 'ROLLBACK']) await client.rows(sql);
    assert.deepEqual(await lookAgain(client, 0), { pg2: 5, pg3: 5 });
    assert.equal(await outcome(client, 'simple', 'UPDATE one SET v = 1 / (v * 0)'), '22012 I');
    assert.equal(await outcome(client, 'extended', 'UPDATE one SET v = 1 / (v * 0)'), '22012 I');
    assert.deepEqual(await look(client), { value: 0, node: 'pg2' });
    for (const sql of ['BEGIN', 'UPDATE one SET v = 1']) await client.rows(sql);
    assert.equal(await outcome(client, 'simple', 'SELECT 1 / 0'), '22012 E');
    // COMMIT of a failed block is a ROLLBACK
    assert.equal(await outcome(client, 'simple', 'COMMIT'), 'ROLLBACK I');
    assert.deepEqual(await lookAgain(client, 0), { pg2: 5, pg3: 5 });
    await client.rows('/* pgconcierge: primary */ SELECT v FROM one');
    assert.deepEqual(await lookAgain(client, 0), { pg2: 5, pg3: 5 });
  });

  describe('what was committed counts, whatever came after it', () => {
    const { query, sync } = raw;
    const each = (...texts: string[]): Buffer[] => texts.map((text) => query(text));
    const batch = (...texts: string[]): Buffer[] => [...texts.map((text) => statement(text)), sync()];
    const update = 'UPDATE one SET v = 1';
    /** What is sent, in one packet, and how often it is answered with ReadyForQuery. */
    const units: Readonly<Record<string, readonly Buffer[]>> = {
      'COMMIT, then an error, in one query': each(`BEGIN; ${update}; COMMIT; SELECT 1 / 0`),
      'COMMIT, then an error, in one batch': batch('BEGIN', update, 'COMMIT', 'SELECT 1 / 0'),
      'COMMIT, then another block that is rolled back': each(`BEGIN; ${update}; COMMIT; BEGIN; ROLLBACK`),
      'COMMIT AND CHAIN, then ROLLBACK': each('BEGIN', update, 'COMMIT AND CHAIN', 'ROLLBACK'),
      'COMMIT AND CHAIN, then an error': each(
        'BEGIN',
        update,
        'COMMIT AND CHAIN',
        'SELECT 1 / 0',
        'ROLLBACK',
      ),
      'ROLLBACK TO, then COMMIT, in one query': each(`BEGIN; SAVEPOINT a; ROLLBACK TO a; ${update}; COMMIT`),
      'ROLLBACK TO, then COMMIT, in one batch': batch(
        'BEGIN',
        'SAVEPOINT a',
        'ROLLBACK TO a',
        update,
        'COMMIT',
      ),
      'an error, ROLLBACK TO, then COMMIT': each(
        'BEGIN',
        'SAVEPOINT a',
        'SELECT 1 / 0',
        'ROLLBACK TO a',
        update,
        'COMMIT',
      ),
      'ROLLBACK of nothing, then a write, in one query': each(`ROLLBACK; ${update}`),
      'ROLLBACK of nothing, then a write, in one batch': batch('ROLLBACK', update),
      'ROLLBACK of a block, then a write, in one query': each('BEGIN', 'SELECT 1', `ROLLBACK; ${update}`),
      'ROLLBACK of a block, then a write, in one packet': each('BEGIN', 'SELECT 1', 'ROLLBACK', update),
      'a failed block, then a write, in one packet': each('BEGIN', 'SELECT 1 / 0', 'COMMIT', update),
      'a write, then one that fails, in one packet': each(update, 'UPDATE one SET v = 1 / 0'),
      'a procedure that commits and fails': each('CALL commits_and_fails()'),
      'a procedure that commits and fails, as a batch': batch('CALL commits_and_fails()'),
      'a procedure that commits, then an error in its batch': batch('CALL commits()', 'SELECT 1 / 0'),
      'a DO that commits and fails': each(`DO $$ BEGIN ${update}; COMMIT; RAISE 'no'; END $$`),
      'a write that fails, then a procedure that commits and fails, in one packet': each(
        'UPDATE one SET v = 1 / 0',
        'CALL commits_and_fails()',
      ),
      'a read and a write and a read, in one packet': each('SELECT 1', update, 'SELECT 1'),
      'reads on the primary and a write, in one packet': each(
        '/* pgconcierge: primary */ SELECT 1',
        update,
        'SELECT 1',
      ),
      'a read, then a write, in one packet': each('SELECT 1', update),
      'a read only block, then a write, in one packet': each('BEGIN READ ONLY', 'SELECT 1', 'COMMIT', update),
      'the end of a read only block on the primary and a write in one query': each(
        '/* pgconcierge: primary */ BEGIN READ ONLY',
        'SELECT 1',
        `COMMIT; ${update}`,
      ),
      'batches of reads and of writes, in one packet': [
        ...batch('SELECT 1'),
        ...batch(update),
        ...batch('SELECT 1'),
        ...batch('SELECT 1 / 0'),
      ],
    };
    let daemon: Daemon;
    before(async () => {
      daemon = await routedDaemon(null, cluster, { settings: { max_lag: 0, lsn_interval: 0.02 } });
      await cluster.sql(
        cluster.primary,
        `CREATE PROCEDURE commits_and_fails() LANGUAGE plpgsql AS $$ BEGIN ${update}; COMMIT; RAISE 'no'; END $$`,
      );
      await cluster.sql(
        cluster.primary,
        `CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$ BEGIN ${update}; COMMIT; END $$`,
      );
    });
    for (const [name, bytes] of Object.entries(units)) {
      test(name, async (t) => {
        await pauseReplay(...cluster.replicas);
        const client = await routedLogin(t, daemon);
        client.send(...bytes);
        const ends = bytes.filter((one) => 'QS'.includes(one.toString('latin1', 0, 1))).length;
        const codes: string[] = [];
        for (let i = 0; i < ends; i++) {
          const messages = await client.until('Z');
          for (const message of messages) if (message.type === 'E') codes.push(raw.errorFields(message).code);
        }
        assert.ok(!codes.includes('25006'), 'a write was sent to a replica');
        assert.equal(client.transactionStatus, 'I');
        const there = await cluster.sql(cluster.primary, 'SELECT v FROM one');
        assert.equal(there.rows[0]?.[0], '1', `PostgreSQL has committed it (errors: ${codes.join(', ')})`);
        assert.deepEqual(await lookAgain(client, 1), { pg1: 10 });
      });
    }
  });
});

test('read_consistency = database: what anybody has written is seen by everybody', async (t) => {
  const { daemon, admin } = await routed(t, {
    databases: {
      strict: 'cluster=main dbname=postgres read_consistency=database',
    },
  });
  await pauseReplay(...cluster.replicas);
  const writer = await routedLogin(t, daemon, 'strict');
  const reader = await routedLogin(t, daemon, 'strict');
  const session = await routedLogin(t, daemon, 'app');
  assert.deepEqual(await lookAgain(reader, 0), { pg2: 5, pg3: 5 });
  await write(writer, 1);
  assert.deepEqual(await lookAgain(reader, 1), { pg1: 10 });
  // also for who comes later, and after a RELOAD on both sides
  assert.deepEqual(await lookAgain(await routedLogin(t, daemon, 'strict'), 1), { pg1: 10 });
  await admin.run('RELOAD');
  assert.deepEqual(await lookAgain(await routedLogin(t, daemon, 'strict'), 1), { pg1: 10 });
  await write(writer, 2);
  assert.deepEqual(await lookAgain(reader, 2), { pg1: 10 });
  assert.deepEqual(await lookAgain(await routedLogin(t, daemon, 'strict'), 2), { pg1: 10 });
  // another entry of the same database with session consistency is not concerned
  assert.deepEqual(await lookAgain(session, 0), { pg2: 5, pg3: 5 });
  await resumeReplay(...cluster.replicas);
  await untilReplica(reader, 2);
});

test('read_consistency = eventual: a replica that has not seen the write is good enough', async (t) => {
  const { daemon } = await routed(t, { settings: { read_consistency: 'eventual' } });
  await pauseReplay(...cluster.replicas);
  const writer = await routedLogin(t, daemon);
  await write(writer, 1);
  assert.deepEqual(await lookAgain(writer, 0), { pg2: 5, pg3: 5 });
});

describe('stale_read = wait', () => {
  for (const protocol of PROTOCOLS) {
    test(`a ${protocol} read waits for a replica`, async (t) => {
      const { daemon, admin } = await routed(t, { settings: { stale_read: 'wait', stale_read_wait: 60 } });
      await pauseReplay(...cluster.replicas);
      const writer = await routedLogin(t, daemon);
      await write(writer, 1, protocol);
      const seen = look(writer, protocol);
      const waiting = async (): Promise<number> =>
        (await admin.of('CLIENTS', 'app')).filter((row) => row.text('state') === 'waiting').length;
      await until(async () => (await waiting()) === 1);
      await resumeReplay(...cluster.replicas);
      const { value, node } = await seen;
      assert.equal(value, 1);
      assert.notEqual(node, 'pg1');
      assert.equal(await waiting(), 0);
    });
  }

  test('and goes to the primary when the time is over; an unbound one never waits', async (t) => {
    const { daemon, admin } = await routed(t, { settings: { stale_read: 'wait', stale_read_wait: 2 } });
    await pauseReplay(...cluster.replicas);
    const writer = await routedLogin(t, daemon);
    const reader = await routedLogin(t, daemon);
    await write(writer, 1);
    ask(writer, 'SELECT v, inet_server_port() FROM one');
    await until(async () =>
      (await admin.of('CLIENTS', 'app')).some((row) => row.text('state') === 'waiting'),
    );
    assert.deepEqual(await lookAgain(reader, 0, 4), { pg2: 2, pg3: 2 });
    assert.deepEqual(await answer(writer), [['1', String(cluster.primary.port)]]);
  });
});

describe('the position goes from hand to hand', () => {
  const LSN = /^[0-9A-F]+\/[0-9A-F]+$/;

  /** What SHOW pgconcierge.… says. */
  async function show(client: RawClient, protocol: Protocol, name: string): Promise<string> {
    const [row] = await rows(client, protocol, `SHOW pgconcierge.${name}`);
    return row?.[0] ?? '';
  }

  /** Has this replica replayed up to there, as PostgreSQL sees it? */
  async function has(node: PostgresInstance, lsn: string): Promise<boolean> {
    const { rows: found } = await cluster.sql(node, `SELECT pg_last_wal_replay_lsn() >= '${lsn}'::pg_lsn`);
    return found[0]?.[0] === 't';
  }

  for (const protocol of PROTOCOLS) {
    test(`between connections, and between two proxies (${protocol})`, async (t) => {
      const { daemon: here } = await routed(t);
      const { daemon: there } = await routed(t);
      const writer = await routedLogin(t, here);
      assert.equal(await show(writer, protocol, 'lsn'), '0/0');
      await pauseReplay(...cluster.replicas);
      await write(writer, 1, protocol);
      const lsn = await show(writer, protocol, 'lsn');
      assert.match(lsn, LSN);
      const { rows: written } = await cluster.sql(
        cluster.primary,
        `SELECT '${lsn}'::pg_lsn <= pg_current_wal_insert_lsn()`,
      );
      assert.equal(written[0]?.[0], 't', 'the primary has been there');
      for (const node of cluster.replicas) assert.equal(await has(node, lsn), false, 'the replicas have not');

      for (const daemon of [here, there]) {
        const other = await routedLogin(t, daemon);
        assert.deepEqual(await lookAgain(other, 0), { pg2: 5, pg3: 5 });
        assert.equal(await outcome(other, protocol, `SET pgconcierge.wait_lsn = '${lsn}'`), 'SET I');
        assert.equal(await show(other, protocol, 'wait_lsn'), lsn);
        assert.equal(await show(other, protocol, 'lsn'), lsn);
        assert.deepEqual(await lookAgain(other, 1), { pg1: 10 });
        assert.equal(await outcome(other, protocol, 'RESET pgconcierge.wait_lsn'), 'RESET I');
        assert.deepEqual(await lookAgain(other, 0), { pg2: 5, pg3: 5 });
        await other.rows(`SET pgconcierge.wait_lsn TO '${lsn}'`);
        assert.deepEqual(await lookAgain(other, 1, 4), { pg1: 4 });
      }
      // a position that is set counts beside what the client has written itself, and does not replace it
      await writer.rows("SET pgconcierge.wait_lsn = '0/1'");
      assert.deepEqual(await lookAgain(writer, 1), { pg1: 10 });

      const late = await routedLogin(t, there);
      await late.rows(`SET pgconcierge.wait_lsn = '${lsn}'`);
      await resumeReplay(...cluster.replicas);
      await untilReplica(late, 1);
      await untilReplica(writer, 1);
      const served = await Promise.all(cluster.replicas.map((node) => has(node, lsn)));
      assert.ok(served.includes(true));
    });
  }

  test('eventual reads keep to a position that was set by hand', async (t) => {
    const { daemon } = await routed(t, { settings: { read_consistency: 'eventual' } });
    const { daemon: strict } = await routed(t);
    await pauseReplay(...cluster.replicas);
    const writer = await routedLogin(t, strict);
    await write(writer, 1);
    const lsn = await show(writer, 'simple', 'lsn');
    const other = await routedLogin(t, daemon);
    assert.deepEqual(await lookAgain(other, 0), { pg2: 5, pg3: 5 });
    await other.rows(`SET pgconcierge.wait_lsn = '${lsn}'`);
    assert.deepEqual(await lookAgain(other, 1), { pg1: 10 });
  });
});
