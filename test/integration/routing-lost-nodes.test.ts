/** S-39 and S-42: nodes that are not there (any more), and what clients of route=auto see of it. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { before, describe, test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { Daemon } from '../support/daemon.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { withCluster } from '../support/postgres.ts';
import type { RawClient } from '../support/raw-client.ts';
import * as raw from '../support/raw-messages.ts';
import { nodeAt, type RoutedOptions, routedDaemon, whereAmI } from '../support/routed.ts';
import {
  brief,
  nodeOf,
  outcome,
  PROTOCOLS,
  type Protocol,
  routedLogin,
  rows,
  send,
  spread,
  statement,
  untilNodes,
} from '../support/routed-client.ts';
import { Admin } from '../support/scenario.ts';
import { until } from '../support/until.ts';

const ALL = 'pg1 primary, pg2 replica, pg3 replica';

async function start(
  t: TestContext,
  cluster: PostgresCluster,
  options: RoutedOptions,
): Promise<{ daemon: Daemon; admin: Admin }> {
  const daemon = await routedDaemon(t, cluster, options);
  const admin = await Admin.login(t, daemon);
  await untilNodes(admin, ALL);
  return { daemon, admin };
}

function errorOf(messages: readonly raw.RawMessage[]): raw.RawErrorFields {
  const error = messages.find(({ type }) => type === 'E');
  assert.ok(error, raw.typesOf(messages));
  return raw.errorFields(error);
}

describe('S-39', () => {
  test('no replica: reads go on, on the primary, and nobody is told', async (t) => {
    const cluster = await withCluster(2);
    const { daemon, admin } = await start(t, cluster, { settings: { ban_time: 0.2 } });
    const clients = await Promise.all(PROTOCOLS.map(() => routedLogin(t, daemon)));
    const ro = await routedLogin(t, daemon, 'app_ro');
    const seen = new Set<string>();
    let stop = false;
    // errors end it: `nodeOf` throws
    const reading = [...clients, ro].map(async (client, i) => {
      while (!stop) seen.add(await nodeOf(cluster, client, whereAmI, PROTOCOLS[i % 2]));
    });
    await until(() => seen.size === 2);
    assert.deepEqual([...seen].sort(), ['pg2', 'pg3']);
    await cluster.node('pg2').kill();
    await untilNodes(admin, 'pg1 primary, pg2 down, pg3 replica');
    await cluster.node('pg3').kill();
    await untilNodes(admin, 'pg1 primary, pg2 down, pg3 down');
    for (const client of [await routedLogin(t, daemon), await routedLogin(t, daemon, 'app_ro')])
      for (const protocol of PROTOCOLS)
        assert.deepEqual(await spread(cluster, client, 10, protocol), { pg1: 10 });
    const block = await routedLogin(t, daemon);
    await outcome(block, 'simple', 'BEGIN READ ONLY');
    assert.equal(await nodeOf(cluster, block), 'pg1');
    assert.equal(await outcome(block, 'simple', 'COMMIT'), 'COMMIT I');
    await cluster.node('pg2').start();
    await untilNodes(admin, 'pg1 primary, pg2 replica, pg3 down');
    seen.clear();
    await until(() => seen.has('pg2'));
    stop = true;
    await Promise.all(reading);
  });

  describe('no primary', () => {
    let cluster: PostgresCluster;
    before(async () => {
      cluster = await withCluster(2);
      await cluster.sql(cluster.primary, 'CREATE TABLE foo (bar text)');
      await cluster.waitCaughtUp();
    });

    const message = /^no primary available in cluster "main" since \d\d:\d\d:\d\d$/;

    test('reads go on; writes wait, then 57P03, and their clients stay', async (t) => {
      const { daemon, admin } = await start(t, cluster, { settings: { primary_wait_timeout: 0.5 } });
      const clients: [RawClient, Protocol][] = [];
      for (const protocol of PROTOCOLS) clients.push([await routedLogin(t, daemon), protocol]);
      const rw = await routedLogin(t, daemon, 'app_rw');
      const reader = await routedLogin(t, daemon);
      const ro = await routedLogin(t, daemon, 'app_ro');
      const primary = cluster.primary;
      await primary.stop();
      await untilNodes(admin, 'pg1 down, pg2 replica, pg3 replica');
      assert.deepEqual(await spread(cluster, reader, 10), { pg2: 5, pg3: 5 });
      assert.deepEqual(await spread(cluster, ro, 10), { pg2: 5, pg3: 5 });
      await outcome(reader, 'simple', 'BEGIN READ ONLY');
      assert.match(await nodeOf(cluster, reader), /pg[23]/);
      await outcome(reader, 'simple', 'COMMIT');

      // replicas are there, and none is known to have what this client must see
      const behind = await routedLogin(t, daemon);
      await rows(behind, 'simple', "SET pgconcierge.wait_lsn = 'FFFF/0'");
      assert.match(
        errorOf(await send(behind, 'simple', whereAmI)).message,
        /^no replica of cluster "main" is known to have replayed .*, and there is no primary since \d\d:\d\d:\d\d$/,
      );

      for (const [client, protocol] of clients) {
        const messages = await send(client, protocol, "INSERT INTO foo VALUES ('lost')");
        assert.equal(brief(client, messages), '57P03 I', protocol);
        assert.equal(errorOf(messages).severity, 'ERROR');
        assert.match(errorOf(messages).message, message);
        assert.match(await nodeOf(cluster, client, whereAmI, protocol), /pg[23]/);

        // a block whose first statement gets no server fails as a block
        assert.equal(await outcome(client, protocol, 'BEGIN'), 'BEGIN T');
        const first = await send(client, protocol, whereAmI);
        assert.equal(brief(client, first), '57P03 E', protocol);
        assert.match(errorOf(first).message, message);
        for (const other of PROTOCOLS) {
          assert.equal(await outcome(client, other, 'SELECT 1'), '25P02 E');
          assert.equal(await outcome(client, other, 'BEGIN'), '25P02 E');
          assert.equal(await outcome(client, other, "INSERT INTO foo VALUES ('lost')"), '25P02 E');
          assert.equal(await outcome(client, other, 'SHOW pgconcierge.route'), '25P02 E');
        }
        assert.equal(await outcome(client, protocol, 'ROLLBACK'), 'ROLLBACK I');
        assert.match(await nodeOf(cluster, client, whereAmI, protocol), /pg[23]/);

        // COMMIT of such a block is a ROLLBACK too
        await outcome(client, protocol, 'BEGIN');
        assert.equal(await outcome(client, protocol, 'SELECT 1'), '57P03 E');
        assert.equal(await outcome(client, protocol, 'COMMIT'), 'ROLLBACK I');

        // one that reads only needs no primary
        await outcome(client, protocol, 'BEGIN READ ONLY');
        assert.match(await nodeOf(cluster, client, whereAmI, protocol), /pg[23]/);
        assert.equal(await outcome(client, protocol, 'COMMIT'), 'COMMIT I');
        // and a block without any statement needs no server at all
        await outcome(client, protocol, 'BEGIN');
        assert.equal(await outcome(client, protocol, 'COMMIT'), 'COMMIT I');
        await outcome(client, protocol, 'BEGIN');
        assert.equal(await outcome(client, protocol, 'SELECT 1'), '57P03 E');
        assert.equal(await outcome(client, protocol, 'ROLLBACK'), 'ROLLBACK I');
      }
      assert.equal(await outcome(rw, 'simple', whereAmI), '57P03 I');

      // JDBC's way: BEGIN and the first statement in one batch
      const [[jdbc] = []] = clients;
      assert.ok(jdbc);
      jdbc.send(statement('BEGIN'), statement("INSERT INTO foo VALUES ('lost')"), raw.sync());
      const batch = brief(jdbc, await jdbc.until('Z'));
      assert.match(batch, /^57P03 [IE]$/);
      if (jdbc.transactionStatus === 'E') await outcome(jdbc, 'simple', 'ROLLBACK');

      // the primary is back: what comes now is a transaction of its own, and is committed
      await primary.start();
      await untilNodes(admin, ALL);
      for (const [client, protocol] of clients) {
        assert.equal(await outcome(client, protocol, "INSERT INTO foo VALUES ('kept')"), 'INSERT 0 1 I');
        assert.equal(client.transactionStatus, 'I');
      }
      assert.equal(await nodeOf(cluster, rw), 'pg1');
      const { rows: kept } = await cluster.sql(primary, 'SELECT bar FROM foo');
      assert.deepEqual(kept, [['kept'], ['kept']]);
      await cluster.sql(primary, 'TRUNCATE foo');
    });

    test('a write that waits is served by the primary that comes back, in the order of waiting', async (t) => {
      const { daemon, admin } = await start(t, cluster, {
        settings: { primary_wait_timeout: 60, default_pool_size: 1 },
      });
      const clients: RawClient[] = [];
      for (let i = 0; i < 4; i++) clients.push(await routedLogin(t, daemon));
      const primary = cluster.primary;
      await primary.stop();
      await untilNodes(admin, 'pg1 down, pg2 replica, pg3 replica');
      for (const [i, client] of clients.entries()) {
        const insert = `INSERT INTO foo VALUES ('${i}')`;
        if (i === 2) {
          assert.equal(await outcome(client, 'simple', 'BEGIN'), 'BEGIN T');
          client.send(raw.query(`${insert}; COMMIT`));
        } else if (i % 2 === 0) client.send(raw.query(insert));
        else client.send(statement(insert), raw.sync());
        await until(async () => (await admin.show('CLUSTERS'))[0]?.int('held') === i + 1);
      }
      assert.deepEqual(
        clients.map((client) => client.pending.length),
        [0, 0, 0, 0],
      );
      await primary.start();
      const said: string[] = [];
      for (const client of clients) said.push(brief(client, await client.until('Z', 20_000)));
      assert.deepEqual(said, ['INSERT 0 1 I', 'INSERT 0 1 I', 'INSERT 0 1 COMMIT I', 'INSERT 0 1 I']);
      const { rows: order } = await cluster.sql(primary, 'SELECT bar FROM foo');
      assert.deepEqual(order, [['0'], ['1'], ['2'], ['3']]);
      await untilNodes(admin, ALL);
    });

    test('who waits for a primary is told so once, however often its place is looked for again', async (t) => {
      const { daemon, admin } = await start(t, cluster, {
        settings: { primary_wait_timeout: 60, query_wait_notify: 1 },
      });
      const [first, second] = [await routedLogin(t, daemon), await routedLogin(t, daemon)];
      const primary = cluster.primary;
      await primary.stop();
      await untilNodes(admin, 'pg1 down, pg2 replica, pg3 replica');
      const held = async (count: number): Promise<boolean> =>
        until(async () => (await admin.show('CLUSTERS'))[0]?.int('held') === count);
      first.send(raw.query("INSERT INTO foo VALUES ('a')"));
      assert.equal((await first.next(20_000)).type, 'N');
      // all who wait look again
      await admin.run('DETACH pg3');
      await admin.run('ATTACH pg3');
      await untilNodes(admin, 'pg1 down, pg2 replica, pg3 replica');
      await held(1);
      // whoever is told of this wait has been looked at together with the first
      second.send(raw.query("INSERT INTO foo VALUES ('b')"));
      assert.equal((await second.next(20_000)).type, 'N');
      assert.deepEqual([first.pending.length, second.pending.length], [0, 0]);
      await primary.start();
      for (const client of [first, second]) assert.equal(raw.typesOf(await client.until('Z', 20_000)), 'CZ');
      await untilNodes(admin, ALL);
    });
  });
});

describe('S-42: a replica dies in the middle of a read', () => {
  let cluster: PostgresCluster;
  let proxy: FaultProxy;

  before(async () => {
    cluster = await withCluster(2);
    const { primary } = cluster;
    await cluster.sql(primary, 'CREATE TABLE foo (bar integer)');
    await cluster.sql(primary, 'INSERT INTO foo VALUES (1)');
    // its NOTICE makes the server send all that it has; then it stops
    await cluster.sql(
      primary,
      `CREATE FUNCTION stuck(i integer) RETURNS integer STABLE LANGUAGE plpgsql AS $$
       BEGIN
         IF i = 5 THEN RAISE NOTICE 'so far'; PERFORM pg_sleep(1000); END IF;
         RETURN i;
       END $$`,
    );
    await cluster.waitCaughtUp();
  });

  /** A daemon that reads from pg2, behind `proxy`, as long as it can, then from pg3. */
  async function beforeReplica(t: TestContext, nodes: Record<string, string> = {}) {
    proxy = await FaultProxy.start(cluster.node('pg2'));
    t.after(() => proxy.close());
    return start(t, cluster, {
      nodes: { pg2: `weight=1000000 port=${proxy.port}`, pg3: 'weight=1', ...nodes },
      settings: { ban_time: 600 },
    });
  }

  /** pg2 is gone, for all that the daemon knows. */
  function cut(how: 'rst' | 'fin' = 'rst'): void {
    proxy.refuse();
    proxy.cut(how);
  }

  /** Until pg2 runs `text` there and waits for something. */
  async function untilStuck(text: string, count = 1): Promise<void> {
    const sql = `SELECT pid FROM pg_stat_activity WHERE query LIKE '%${text}%' AND pid <> pg_backend_pid()
      AND state = 'active' AND wait_event_type IN ('Lock', 'Timeout')`;
    await until(async () => (await cluster.sql(cluster.node('pg2'), sql)).rows.length === count, {
      timeoutMs: 15_000,
      what: `${count} of ${text} on pg2`,
    });
  }

  /** Everybody who reads foo waits, on all nodes, until it is let go. */
  async function lockFoo(t: TestContext, daemon: Daemon): Promise<() => Promise<void>> {
    const holder = await routedLogin(t, daemon, 'app_rw');
    await outcome(holder, 'simple', 'BEGIN');
    await outcome(holder, 'simple', 'LOCK TABLE foo IN ACCESS EXCLUSIVE MODE');
    // replicas hold it too, once its WAL record is there: a commit writes it out
    await cluster.sql(cluster.primary, "SELECT pg_logical_emit_message(true, 'test', '')");
    const held =
      "SELECT 1 FROM pg_locks WHERE relation = 'foo'::regclass AND mode = 'AccessExclusiveLock' AND granted";
    for (const replica of cluster.replicas)
      await until(async () => (await cluster.sql(replica, held)).rows.length > 0);
    return async () => {
      await outcome(holder, 'simple', 'COMMIT');
    };
  }

  for (const protocol of PROTOCOLS) {
    for (const how of ['rst', 'fin'] as const) {
      test(`before any row: sent again elsewhere (${protocol}, ${how})`, async (t) => {
        const { daemon, admin } = await beforeReplica(t);
        const client = await routedLogin(t, daemon);
        assert.equal(await nodeOf(cluster, client, whereAmI, protocol), 'pg2');
        const unlock = await lockFoo(t, daemon);
        const read = `SELECT inet_server_port(), bar FROM foo /* ${protocol} ${how} */`;
        const answered = rows(client, protocol, read);
        await untilStuck(`${protocol} ${how}`);
        cut(how);
        await until(async () => {
          const text = `SELECT 1 FROM pg_stat_activity WHERE query LIKE '%${protocol} ${how}%' AND wait_event_type = 'Lock'`;
          return (await cluster.sql(cluster.node('pg3'), text)).rows.length > 0;
        });
        await unlock();
        const [row] = await answered;
        assert.deepEqual([nodeAt(cluster, row?.[0]), row?.[1]], ['pg3', '1']);
        const [last] = (await admin.show('ROUTES')).filter((one) => one.text('text')?.includes('bar'));
        assert.deepEqual([last?.text('node'), last?.text('reason')], ['pg3', 'node lost']);
        assert.equal(await nodeOf(cluster, client, whereAmI, protocol), 'pg3');
      });
    }

    test(`no other replica: the primary (${protocol})`, async (t) => {
      const { daemon } = await beforeReplica(t, { pg3: 'weight=0' });
      const client = await routedLogin(t, daemon);
      const unlock = await lockFoo(t, daemon);
      const answered = rows(client, protocol, 'SELECT inet_server_port(), bar FROM foo /* alone */');
      await untilStuck('/* alone */');
      cut();
      await unlock();
      const [row] = await answered;
      assert.equal(nodeAt(cluster, row?.[0]), 'pg1');
    });

    test(`after rows: an error for that client alone, who goes on (${protocol})`, async (t) => {
      const { daemon } = await beforeReplica(t);
      const victim = await routedLogin(t, daemon);
      const idle = await routedLogin(t, daemon);
      assert.equal(await nodeOf(cluster, idle), 'pg2');
      const waiting = await routedLogin(t, daemon);
      const unlock = await lockFoo(t, daemon);
      const read = 'SELECT stuck(i) FROM generate_series(1, 10) i';
      if (protocol === 'simple') victim.send(raw.query(read));
      else victim.send(statement(read), raw.sync());
      const begun = await victim.until('N');
      assert.deepEqual(raw.rowsOf(begun).flat(), ['1', '2', '3', '4']);
      // another client of the same replica has seen nothing yet
      const answered = rows(waiting, protocol, 'SELECT inet_server_port() FROM foo /* waits */');
      await untilStuck('/* waits */');
      cut();
      const messages = await victim.until('Z');
      assert.equal(brief(victim, messages), '08006 I');
      assert.equal(errorOf(messages).severity, 'ERROR');
      await unlock();
      assert.equal(nodeAt(cluster, (await answered)[0]?.[0]), 'pg3');
      for (const client of [victim, idle, waiting])
        assert.equal(await nodeOf(cluster, client, whereAmI, protocol), 'pg3');
      assert.equal(await outcome(victim, protocol, 'INSERT INTO foo VALUES (2)'), 'INSERT 0 1 I');
      await cluster.sql(cluster.primary, 'DELETE FROM foo WHERE bar = 2');
    });

    test(`in a READ ONLY block: 08006, 25P02 until its end, and the client goes on (${protocol})`, async (t) => {
      const { daemon } = await beforeReplica(t);
      const client = await routedLogin(t, daemon);
      await outcome(client, protocol, 'BEGIN READ ONLY');
      assert.equal(await nodeOf(cluster, client, whereAmI, protocol), 'pg2');
      const unlock = await lockFoo(t, daemon);
      const broken = send(client, protocol, 'SELECT bar FROM foo /* in a block */');
      await untilStuck('in a block');
      cut();
      assert.equal(brief(client, await broken), '08006 E');
      assert.equal(await outcome(client, protocol, 'SELECT 1'), '25P02 E');
      assert.equal(await outcome(client, protocol, 'COMMIT'), 'ROLLBACK I');
      await unlock();
      assert.equal(await nodeOf(cluster, client, whereAmI, protocol), 'pg3');
      assert.equal(await outcome(client, protocol, 'INSERT INTO foo VALUES (2)'), 'INSERT 0 1 I');
      await cluster.sql(cluster.primary, 'DELETE FROM foo WHERE bar = 2');
    });

    test(`between the statements of a READ ONLY block (${protocol})`, async (t) => {
      const { daemon } = await beforeReplica(t);
      const client = await routedLogin(t, daemon);
      await outcome(client, protocol, 'BEGIN READ ONLY');
      assert.equal(await nodeOf(cluster, client, whereAmI, protocol), 'pg2');
      const from = daemon.log.mark();
      cut();
      await daemon.log.waitFor(/the client stays/, { from });
      assert.equal(client.pending.length, 0);
      assert.equal(await outcome(client, protocol, 'SELECT 1'), '08006 E');
      assert.equal(await outcome(client, protocol, 'SELECT 1'), '25P02 E');
      assert.equal(await outcome(client, protocol, 'ROLLBACK'), 'ROLLBACK I');
      assert.equal(await nodeOf(cluster, client, whereAmI, protocol), 'pg3');
    });

    test(`its backend is ended by hand: the client is told 57P01 and goes on (${protocol})`, async (t) => {
      const { daemon } = await beforeReplica(t);
      const client = await routedLogin(t, daemon);
      const unlock = await lockFoo(t, daemon);
      const broken = send(client, protocol, 'SELECT bar FROM foo /* by hand */');
      await untilStuck('by hand');
      const kill =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%by hand%' AND pid <> pg_backend_pid()";
      await cluster.sql(cluster.node('pg2'), kill);
      const messages = await broken;
      assert.equal(brief(client, messages), '57P01 I');
      assert.equal(errorOf(messages).severity, 'ERROR');
      await unlock();
      assert.match(await nodeOf(cluster, client, whereAmI, protocol), /pg[23]/);
    });

    test(`its node is stopped: the read goes elsewhere (${protocol})`, async (t) => {
      const { daemon } = await start(t, cluster, { nodes: { pg3: 'weight=0' } });
      const client = await routedLogin(t, daemon);
      const slow = send(client, protocol, 'SELECT inet_server_port(), pg_sleep(1.5) /* stopped */');
      await untilStuck('stopped');
      await cluster.node('pg2').stop('fast');
      assert.equal(nodeAt(cluster, raw.rowsOf(await slow)[0]?.[0]), 'pg1');
      await cluster.node('pg2').start();
    });
  }

  test('a row is cut in its middle: the client cannot be told and is disconnected, with whole rows before', async (t) => {
    const { daemon } = await beforeReplica(t);
    const client = await routedLogin(t, daemon);
    const other = await routedLogin(t, daemon);
    proxy.cutAfter(300_000, 'down');
    client.send(raw.query("SELECT repeat('x', 100000) FROM generate_series(1, 100)"));
    await client.closed();
    const got = client.pending;
    assert.match(raw.typesOf(got).replace(/^[RSKZ]*/, ''), /^TD+$/);
    assert.match(await nodeOf(cluster, other), /pg[23]/);
  });

  for (const how of ['kill -9', 'a fast shutdown', 'an immediate shutdown', 'a restart'] as const)
    test(`${how} of the replica under many readers: none of them is told`, async (t) => {
      const { daemon, admin } = await start(t, cluster, { settings: { ban_time: 0.2 } });
      const seen = new Set<string>();
      let stop = false;
      const clients = await Promise.all(Array.from({ length: 10 }, () => routedLogin(t, daemon)));
      const reading = clients.map(async (client, i) => {
        const sql = 'SELECT inet_server_port(), pg_sleep(0.005), bar FROM foo';
        while (!stop) seen.add(await nodeOf(cluster, client, sql, PROTOCOLS[i % 2]));
      });
      await until(() => seen.size === 2);
      const node = cluster.node('pg2');
      if (how === 'kill -9') await node.kill();
      else await node.stop(how === 'an immediate shutdown' ? 'immediate' : 'fast');
      if (how !== 'a restart') await untilNodes(admin, 'pg1 primary, pg2 down, pg3 replica');
      await node.start();
      await untilNodes(admin, ALL);
      seen.clear();
      await until(() => seen.has('pg2'));
      stop = true;
      await Promise.all(reading);
    });
});
