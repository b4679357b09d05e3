/**
 * SELECTs whose functions write (S-33): known from the catalog of the primary, from PostgreSQL's own functions, from the
 * administrator's lists, and else learned from a replica's refusal, which the client does not see. What reached a node
 * is read in that node's log.
 */
import assert from 'node:assert/strict';
import { before, describe, type TestContext, test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { Daemon } from '../support/daemon.ts';
import { withCluster } from '../support/postgres.ts';
import * as raw from '../support/raw-messages.ts';
import { type RoutedOptions, routedDaemon } from '../support/routed.ts';
import {
  brief,
  loggedBy,
  outcome,
  PROTOCOLS,
  routedLogin,
  rows,
  send,
  untilNodes,
} from '../support/routed-client.ts';
import { Admin } from '../support/scenario.ts';
import { until } from '../support/until.ts';

const TIMES = 20;

const SETUP: readonly string[] = [
  'CREATE TABLE foo (bar integer)',
  'CREATE SEQUENCE s',
  'CREATE FUNCTION test_insert() RETURNS VOID AS $$INSERT INTO foo SELECT generate_series(1,100);$$ LANGUAGE SQL',
  'CREATE SCHEMA shard',
  'CREATE SEQUENCE shard.table_id_seq',
  // the cookbook's: 41 bits of time, 11 of the shard, 11 of a sequence
  `CREATE FUNCTION shard.next_unique_id(shard_id integer) RETURNS bigint LANGUAGE plpgsql AS $$
     DECLARE
       epoch timestamptz := '2020-01-01';
     BEGIN
       RETURN ((extract(epoch FROM clock_timestamp() - epoch) * 1000)::bigint << 22)
         | (shard_id::bigint << 11) | (nextval('shard.table_id_seq') % 2048);
     END $$`,
  // STABLE, and lying about it
  "CREATE FUNCTION hidden() RETURNS void STABLE LANGUAGE sql AS 'SELECT test_insert()'",
  'CREATE FUNCTION app_w_x() RETURNS integer STABLE LANGUAGE sql AS $$SELECT 1$$',
  'CREATE FUNCTION shard.app_w_y() RETURNS integer STABLE LANGUAGE sql AS $$SELECT 1$$',
  'CREATE FUNCTION "App_W_Z"() RETURNS integer STABLE LANGUAGE sql AS $$SELECT 1$$',
  'CREATE FUNCTION xapp_w_x() RETURNS integer STABLE LANGUAGE sql AS $$SELECT 1$$',
  'CREATE FUNCTION peek() RETURNS integer VOLATILE LANGUAGE sql AS $$SELECT 1$$',
  'CREATE FUNCTION app_w_peek() RETURNS integer VOLATILE LANGUAGE sql AS $$SELECT 1$$',
  `CREATE FUNCTION late(n integer) RETURNS integer STABLE LANGUAGE plpgsql AS $$
     BEGIN
       IF n > 50 THEN PERFORM nextval('s'); END IF;
       RETURN n;
     END $$`,
];

let cluster: PostgresCluster;

before(async () => {
  cluster = await withCluster(2, { settings: { log_statement: 'all', log_line_prefix: '%a ' } });
  for (const text of SETUP) await cluster.sql(cluster.primary, text);
  await cluster.waitCaughtUp();
});

/** A proxy that knows the catalog. */
async function routed(
  t: TestContext,
  options: RoutedOptions = {},
): Promise<{ daemon: Daemon; admin: Admin }> {
  const daemon = await routedDaemon(t, cluster, options);
  const admin = await Admin.login(t, daemon);
  await untilNodes(admin, 'pg1 primary, pg2 replica, pg3 replica');
  await until(async () => (await explained(admin, 'SELECT test_insert()')).includes('volatile, by catalog'));
  return { daemon, admin };
}

async function explained(admin: Admin, sql: string): Promise<string> {
  const lines = await admin.client.rows(`EXPLAIN ROUTE ${sql}`);
  return lines.map((line) => line.join(': ')).join('\n');
}

/** How often each node has logged an execution that matches, during `work`. */
async function executions(pattern: RegExp, work: () => Promise<void>): Promise<Record<string, number>> {
  const marks = cluster.nodes.map((node) => node.log.mark());
  await work();
  const counts: Record<string, number> = {};
  for (const [i, node] of cluster.nodes.entries()) {
    const lines = await loggedBy(cluster, node, marks[i] ?? 0);
    counts[node.name] = lines.filter(
      (line) => /LOG: {2}(statement|execute)/.test(line) && pattern.test(line),
    ).length;
  }
  return counts;
}

async function count(): Promise<number> {
  const { rows: found } = await cluster.sql(cluster.primary, 'SELECT count(*) FROM foo');
  return Number(found[0]?.[0]);
}

async function learned(admin: Admin): Promise<string[]> {
  return (await admin.show('LEARNED')).map((row) => row.toString());
}

for (const protocol of PROTOCOLS) {
  describe(`as a ${protocol} query`, () => {
    test('S-33a: a function that writes runs 20 times on the primary, with no configuration at all', async (t) => {
      const { daemon, admin } = await routed(t);
      const client = await routedLogin(t, daemon);
      const rowsBefore = await count();
      const ran = await executions(/test_insert\(\)/, async () => {
        for (let i = 0; i < TIMES; i++)
          assert.equal(await outcome(client, protocol, 'SELECT test_insert()'), 'SELECT 1 I');
      });
      assert.deepEqual(ran, { pg1: TIMES, pg2: 0, pg3: 0 });
      assert.equal((await count()) - rowsBefore, 2000);
      assert.deepEqual(await learned(admin), []);
    });

    test('S-33a: one that the catalog does not give away is refused once, and nobody notices', async (t) => {
      const { daemon, admin } = await routed(t);
      const client = await routedLogin(t, daemon);
      const rowsBefore = await count();
      const ran = await executions(/hidden\(\)/, async () => {
        for (let i = 0; i < TIMES; i++)
          assert.equal(await outcome(client, protocol, `SELECT hidden() /* ${i} */`), 'SELECT 1 I');
      });
      assert.equal(ran['pg1'], TIMES);
      assert.equal((ran['pg2'] ?? 0) + (ran['pg3'] ?? 0), 1);
      assert.equal((await count()) - rowsBefore, 2000);
      const [entry = '', ...others] = await learned(admin);
      assert.match(entry, /25006.*hidden\(\)/);
      assert.deepEqual(others, []);
      assert.match(await explained(admin, 'SELECT hidden()'), /class: write/);
      // forgotten by RELOAD: the next one is refused again, and learned again
      await admin.run('RELOAD');
      await until(async () => (await learned(admin)).length === 0);
      await until(async () =>
        (await explained(admin, 'SELECT hidden()')).includes('not volatile, by catalog'),
      );
      // somebody who has written nothing, whose reads may go to replicas
      const other = await routedLogin(t, daemon);
      const again = await executions(/hidden\(\)/, async () => {
        assert.equal(await outcome(other, protocol, 'SELECT hidden()'), 'SELECT 1 I');
      });
      assert.equal((again['pg2'] ?? 0) + (again['pg3'] ?? 0), 1);
      assert.equal(again['pg1'], 1);
    });

    test('S-33b: nextval hidden in plpgsql', async (t) => {
      const { daemon } = await routed(t);
      const client = await routedLogin(t, daemon);
      const ids = new Set<string>();
      const ran = await executions(/next_unique_id/, async () => {
        for (let i = 0; i < TIMES; i++) {
          const [row] = await rows(client, protocol, 'SELECT shard.next_unique_id(15)');
          const id = row?.[0] ?? '';
          ids.add(id);
          assert.equal((BigInt(id) >> 11n) & 2047n, 15n);
        }
      });
      assert.equal(ids.size, TIMES);
      assert.deepEqual(ran, { pg1: TIMES, pg2: 0, pg3: 0 });
    });

    test("S-33c: PostgreSQL's own functions that write go to the primary by the built-in list", async (t) => {
      const { daemon } = await routed(t);
      const client = await routedLogin(t, daemon);
      const statements = [
        "SELECT nextval('s')",
        "SELECT setval('s', 7)",
        "SELECT pg_create_physical_replication_slot('a_slot')",
        "SELECT pg_drop_replication_slot('a_slot')",
        'SELECT pg_switch_wal()',
        'SELECT pg_stat_reset()',
        "SELECT pg_backup_start('resync', true)",
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim'",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim'",
      ];
      // refused for reasons of their own: currval and lastval are of a session, the others need what is not here
      const refused: Readonly<Record<string, RegExp>> = {
        "SELECT currval('s')": /^(SELECT 1|55000) I$/,
        'SELECT lastval()': /^(SELECT 1|55000) I$/,
        'SELECT pg_stat_statements_reset()': /^42883 I$/,
        "SELECT pg_start_backup('resync', TRUE)": /^42883 I$/,
        'SELECT pg_stop_backup()': /^42883 I$/,
        'SELECT pg_switch_xlog()': /^42883 I$/,
      };
      const victim = await routedLogin(t, cluster.primary, 'postgres', {
        parameters: { application_name: 'victim' },
      });
      const ran = await executions(
        /nextval|setval|replication_slot|pg_switch|stat_reset|backup|backend/,
        async () => {
          for (const sql of statements)
            assert.match(await outcome(client, protocol, sql), /^SELECT \d I$/, sql);
          for (const [sql, wanted] of Object.entries(refused))
            assert.match(await outcome(client, protocol, sql), wanted, sql);
        },
      );
      await victim.closed();
      assert.deepEqual({ ...ran, pg1: 0 }, { pg1: 0, pg2: 0, pg3: 0 });
      assert.ok((ran['pg1'] ?? 0) >= statements.length, String(ran['pg1']));
      // the same WHERE on a replica would have found nobody
      assert.deepEqual(victim.ended, true);
    });

    test('S-33d: write_functions and read_functions', async (t) => {
      const lists = {
        write_functions: 'currval,lastval,nextval,setval,^app_w_.*',
        read_functions: 'peek,app_w_peek',
      };
      const { daemon } = await routed(t, { settings: lists });
      const client = await routedLogin(t, daemon);
      const nodesOf = async (call: string): Promise<string> => {
        const ran = await executions(new RegExp(call.replace(/[()"]/g, '\\$&')), async () => {
          for (let i = 0; i < 4; i++)
            assert.equal(await outcome(client, protocol, `SELECT ${call}`), 'SELECT 1 I');
        });
        return ran['pg1'] === 4 ? 'primary' : ran['pg1'] === 0 ? 'replicas' : JSON.stringify(ran);
      };
      assert.equal(await nodesOf('app_w_x()'), 'primary');
      assert.equal(await nodesOf('shard.app_w_y()'), 'primary');
      assert.equal(await nodesOf('APP_W_X()'), 'primary');
      assert.equal(await nodesOf('"App_W_Z"()'), 'primary');
      // no write of a VOLATILE function before these: reads after it would go to the primary for its sake
      const other = await routedLogin(t, daemon);
      const readsOf = (call: string) =>
        executions(new RegExp(call.replace(/[()]/g, '\\$&')), async () => {
          for (let i = 0; i < 4; i++)
            assert.equal(await outcome(other, protocol, `SELECT ${call}`), 'SELECT 1 I');
        });
      assert.equal((await readsOf(' xapp_w_x()'))['pg1'], 0, 'the pattern says where the name begins');
      assert.equal((await readsOf('peek()'))['pg1'], 0);
      assert.equal((await readsOf('app_w_peek()'))['pg1'], 0, 'read_functions wins');
    });

    test('S-33e: in BEGIN READ ONLY the refusal is the client’s own', async (t) => {
      const { daemon, admin } = await routed(t);
      const client = await routedLogin(t, daemon);
      const rowsBefore = await count();
      const ran = await executions(/test_insert|hidden/, async () => {
        for (const call of ['test_insert()', 'hidden()']) {
          assert.equal(await outcome(client, protocol, 'BEGIN READ ONLY'), 'BEGIN T');
          const messages = await send(client, protocol, `SELECT ${call}`);
          assert.equal(brief(client, messages), '25006 E');
          const error = messages.find(({ type }) => type === 'E');
          assert.ok(error);
          assert.match(raw.errorFields(error).message, /^cannot execute INSERT in a read-only transaction$/);
          assert.equal(await outcome(client, protocol, 'SELECT 1'), '25P02 E');
          assert.equal(await outcome(client, protocol, 'ROLLBACK'), 'ROLLBACK I');
        }
      });
      assert.equal(ran['pg1'], 0, 'it was not tried on the primary');
      assert.equal((ran['pg2'] ?? 0) + (ran['pg3'] ?? 0), 2);
      assert.equal(await count(), rowsBefore);
      assert.deepEqual(await learned(admin), []);
    });

    test('S-33f: after rows have gone to the client nothing is sent again; the next one like it goes to the primary', async (t) => {
      const { daemon, admin } = await routed(t);
      const client = await routedLogin(t, daemon);
      const ran = await executions(/late\(/, async () => {
        const messages = await send(client, protocol, 'SELECT late(n) FROM generate_series(1, 100) n');
        assert.deepEqual(
          raw.rowsOf(messages).flat().map(Number),
          Array.from({ length: 50 }, (_, i) => i + 1),
        );
        assert.equal(brief(client, messages), '25006 I');
      });
      assert.equal(ran['pg1'], 0);
      assert.equal((ran['pg2'] ?? 0) + (ran['pg3'] ?? 0), 1);
      assert.deepEqual((await learned(admin)).length, 1);
      // the connection is as good as before
      assert.equal(await outcome(client, protocol, 'SELECT late(1)'), 'SELECT 1 I');
      const again = await executions(/late\(n\)/, async () => {
        const more = 'SELECT late(n) FROM generate_series(1, 90) n';
        assert.equal(await outcome(client, protocol, more), 'SELECT 90 I');
      });
      assert.equal(again['pg1'], 1);
    });
  });
}
