/**
 * Where statements go, told by the servers themselves (S-31, S-32, S-34 to S-36, S-38, S-40, S-41): the cookbook's
 * loops, every form of a write, exact weights, blocks, aliases, zones.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { Daemon } from '../support/daemon.ts';
import { withCluster } from '../support/postgres.ts';
import type { RawClient } from '../support/raw-client.ts';
import * as raw from '../support/raw-messages.ts';
import { nodeAt, type RoutedOptions, routedDaemon, whereAmI } from '../support/routed.ts';
import {
  brief,
  loggedBy,
  nodeOf,
  nodeRow,
  outcome,
  PROTOCOLS,
  routedLogin,
  rows,
  send,
  spread,
  statement,
  untilNodes,
} from '../support/routed-client.ts';
import { Admin, ask, logins } from '../support/scenario.ts';
import { until } from '../support/until.ts';

/** The servers log what they are sent: what reached a node is asked there. */
const settings = { log_statement: 'all' };

let cluster: PostgresCluster;
let all: string;

before(async () => {
  cluster = await withCluster(2, { settings });
  await cluster.sql(cluster.primary, 'CREATE TABLE foo (bar integer)');
  await cluster.sql(cluster.primary, 'CREATE TABLE items (n integer PRIMARY KEY, node integer)');
  await cluster.waitCaughtUp();
  all = 'pg1 primary, pg2 replica, pg3 replica';
});

async function routed(
  t: Parameters<typeof routedDaemon>[0] & {},
  options: RoutedOptions = {},
): Promise<{ daemon: Daemon; admin: Admin }> {
  const daemon = await routedDaemon(t, cluster, options);
  const admin = await Admin.login(t, daemon);
  await untilNodes(admin, all);
  return { daemon, admin };
}

function errorText(messages: readonly raw.RawMessage[]): string {
  const error = messages.find(({ type }) => type === 'E');
  return error === undefined ? raw.typesOf(messages) : raw.errorFields(error).message;
}

/** Lines of the replicas' logs since `from` that match. */
async function onReplicas(from: readonly number[], pattern: RegExp): Promise<string[]> {
  const lines: string[] = [];
  for (const [i, node] of cluster.replicas.entries()) {
    const logged = await loggedBy(cluster, node, from[i] ?? 0);
    lines.push(...logged.filter((line) => pattern.test(line)));
  }
  return lines;
}

const marks = (): number[] => cluster.replicas.map((node) => node.log.mark());

async function countFoo(): Promise<string> {
  return (await cluster.sql(cluster.primary, 'SELECT count(*) FROM foo')).rows[0]?.[0] ?? '';
}

describe('S-31: INSERT and DELETE loops of the cookbook', () => {
  for (const protocol of PROTOCOLS) {
    test(`${protocol} protocol`, async (t) => {
      const { daemon } = await routed(t);
      const from = marks();
      const insert = 'INSERT INTO foo SELECT generate_series(1, 100)';
      for (let i = 0; i < 11; i++) {
        const client = await routedLogin(t, daemon);
        assert.equal(await outcome(client, protocol, insert), 'INSERT 0 100 I');
        client.destroy();
      }
      assert.equal(await countFoo(), '1100');
      for (let x = 1; x <= 100; x++) {
        const client = await routedLogin(t, daemon);
        if (protocol === 'simple') client.send(raw.query(`DELETE FROM foo WHERE bar=${x}`));
        else client.send(statement('DELETE FROM foo WHERE bar=$1', [String(x)]), raw.sync());
        assert.equal(brief(client, await client.until('Z')), 'DELETE 11 I');
        client.destroy();
      }
      assert.equal(await countFoo(), '0');
      assert.deepEqual(await onReplicas(from, /INSERT INTO foo|DELETE FROM foo/), []);
    });
  }
});

describe('S-32: whatever writes reaches the primary', () => {
  /** With the marker in place of `#`. */
  const forms = (): string[] => [
    '   \n\t INSERT INTO foo VALUES (1) #',
    '/* leading */ -- twice\nINSERT INTO foo VALUES (1) #',
    '/* a /* nested */ SELECT 1 */ DELETE FROM foo WHERE bar = 1 #',
    'WITH d AS (DELETE FROM foo WHERE bar < 0 RETURNING *) SELECT * FROM d #',
    '(WITH d AS (DELETE FROM foo WHERE bar < 0 RETURNING *) SELECT * FROM d) #',
    '((SELECT * FROM foo FOR UPDATE)) #',
    'SELECT * FROM foo FOR UPDATE #',
    'SELECT * FROM foo FOR SHARE #',
    'EXPLAIN ANALYZE INSERT INTO foo VALUES (1) #',
    'EXPLAIN (ANALYZE, COSTS off) DELETE FROM foo WHERE bar = 1 #',
    'DO $$ BEGIN INSERT INTO foo VALUES (1); END $$ #',
    'REFRESH MATERIALIZED VIEW foos #',
    'CHECKPOINT #',
    `COPY (SELECT 1) TO '${join(cluster.primary.dir, 'copied')}' #`,
    'DROP TABLE IF EXISTS made_into, made_as #',
    'SELECT * INTO made_into FROM foo #',
    'CREATE TABLE made_as AS SELECT * FROM foo #',
    'DROP TABLE made_into, made_as #',
    'TRUNCATE foo #',
    "SELECT nextval('numbers') #",
    'VACUUM foo #',
  ];

  before(async () => {
    await cluster.sql(cluster.primary, 'CREATE MATERIALIZED VIEW foos AS SELECT bar FROM foo');
    await cluster.sql(cluster.primary, 'CREATE SEQUENCE numbers');
    await cluster.waitCaughtUp();
  });

  for (const protocol of PROTOCOLS) {
    test(`single statements, ${protocol}`, async (t) => {
      const { daemon } = await routed(t);
      const client = await routedLogin(t, daemon);
      const from = marks();
      for (const [i, form] of forms().entries()) {
        const said = await outcome(client, protocol, form.replace('#', `/* marked ${i} */`));
        assert.match(said, /^[A-Z].* I$/, form);
      }
      assert.deepEqual(await onReplicas(from, /\/\* marked/), []);
      // and one that reads leaves its trace there: the test sees what it looks for
      await until(async () => {
        await outcome(client, protocol, 'SELECT count(*) FROM foo /* marked */');
        return (await onReplicas(from, /\/\* marked/)).length > 0;
      });
    });
  }

  test('several statements in one query', async (t) => {
    const { daemon } = await routed(t);
    const client = await routedLogin(t, daemon);
    const from = marks();
    const said = await outcome(client, 'simple', 'SELECT 1 /* marked */; INSERT INTO foo VALUES (1)');
    assert.equal(said, 'SELECT 1 INSERT 0 1 I');
    const block = await outcome(client, 'simple', 'BEGIN /* marked */; DELETE FROM foo; COMMIT');
    assert.match(block, /^BEGIN DELETE \d+ COMMIT I$/);
    assert.deepEqual(await onReplicas(from, /\/\* marked/), []);
  });

  test('several statements in one batch', async (t) => {
    const { daemon } = await routed(t);
    const client = await routedLogin(t, daemon);
    const from = marks();
    client.send(
      statement('SELECT 1 /* marked */'),
      statement('INSERT INTO foo VALUES ($1) /* marked */', ['7']),
      raw.sync(),
    );
    assert.equal(brief(client, await client.until('Z')), 'SELECT 1 INSERT 0 1 I');
    assert.deepEqual(await onReplicas(from, /\/\* marked/), []);
  });

  test('COPY FROM STDIN and LOCK TABLE', async (t) => {
    const { daemon } = await routed(t);
    const client = await routedLogin(t, daemon);
    const from = marks();
    client.send(raw.query('COPY foo FROM STDIN /* marked */'));
    assert.equal(raw.typesOf(await client.until('G')), 'G');
    client.send(raw.copyData(Buffer.from('1\n2\n3\n')), raw.copyDone());
    assert.equal(brief(client, await client.until('Z')), 'COPY 3 I');
    client.send(statement('COPY foo FROM STDIN /* marked */'), raw.sync());
    await client.until('G');
    client.send(raw.copyData(Buffer.from('4\n')), raw.copyDone(), raw.sync());
    assert.equal(brief(client, await client.until('Z')), 'COPY 1 I');
    for (const protocol of PROTOCOLS) {
      assert.equal(await outcome(client, protocol, 'BEGIN'), 'BEGIN T');
      const lock = await outcome(client, protocol, 'LOCK TABLE foo IN EXCLUSIVE MODE /* marked */');
      assert.equal(lock, 'LOCK TABLE T');
      assert.equal(await outcome(client, protocol, 'COMMIT'), 'COMMIT I');
    }
    assert.deepEqual(await onReplicas(from, /\/\* marked/), []);
  });

  test('every form inside of a block, after a read', async (t) => {
    const { daemon } = await routed(t);
    const client = await routedLogin(t, daemon);
    const from = marks();
    for (const protocol of PROTOCOLS) {
      for (const form of forms().filter((one) => !/VACUUM|CHECKPOINT/.test(one))) {
        assert.equal(await outcome(client, protocol, 'BEGIN'), 'BEGIN T');
        assert.equal(await nodeOf(cluster, client, `${whereAmI} /* marked */`, protocol), 'pg1');
        const said = await outcome(client, protocol, form.replace('#', '/* marked */'));
        assert.match(said, /^[A-Z].* T$/, form);
        assert.equal(await outcome(client, protocol, 'COMMIT'), 'COMMIT I');
      }
    }
    assert.deepEqual(await onReplicas(from, /\/\* marked/), []);
  });
});

describe('S-34: weights', () => {
  const weighted = { clusters: 'read_from_primary=weighted' };

  test('one client, 1:1 with the primary and 1:3: exact, and counted', async (t) => {
    const { daemon, admin } = await routed(t, { ...weighted, nodes: { pg3: 'weight=0' } });
    const client = await routedLogin(t, daemon);
    assert.deepEqual(await spread(cluster, client, 1000), { pg1: 500, pg2: 500 });
    for (const [name, reads] of Object.entries({ pg1: 500, pg2: 500, pg3: 0 })) {
      const row = await nodeRow(admin, name);
      assert.equal(row.int('select_cnt'), reads, name);
      assert.equal(row.text('lb_weight'), name === 'pg3' ? '0.000000' : '0.500000', name);
    }
    assert.equal(await admin.run('SET WEIGHT pg2 3'), 'SET WEIGHT');
    assert.deepEqual(await spread(cluster, client, 1000, 'extended'), { pg1: 250, pg2: 750 });
    const [pg1, pg2] = await admin.show('POOL_NODES');
    assert.deepEqual([pg1?.int('select_cnt'), pg2?.int('select_cnt')], [750, 1250]);
    assert.deepEqual([pg1?.text('lb_weight'), pg2?.text('lb_weight')], ['0.250000', '0.750000']);
    // on the very next statement
    await admin.run('SET WEIGHT pg2 0');
    assert.deepEqual(await spread(cluster, client, 10), { pg1: 10 });
    await admin.run('SET WEIGHT pg3 0.5');
    await admin.run('SET WEIGHT pg1 0');
    assert.deepEqual(await spread(cluster, client, 10), { pg3: 10 });
  });

  test('replicas alone, 1:3: the primary takes none', async (t) => {
    const { daemon } = await routed(t, { nodes: { pg3: 'weight=3' } });
    const client = await routedLogin(t, daemon);
    assert.deepEqual(await spread(cluster, client, 1000), { pg2: 250, pg3: 750 });
  });

  test('weight 0 everywhere: the primary serves', async (t) => {
    const { daemon } = await routed(t, { nodes: { pg2: 'weight=0', pg3: 'weight=0' } });
    const client = await routedLogin(t, daemon);
    assert.deepEqual(await spread(cluster, client, 10), { pg1: 10 });
  });

  for (const [weight, expected] of [
    ['1', { pg1: 500, pg2: 500 }],
    ['3', { pg1: 250, pg2: 750 }],
  ] as const) {
    test(`1000 connections, 1:${weight}`, async (t) => {
      const { daemon, admin } = await routed(t, {
        ...weighted,
        nodes: { pg2: `weight=${weight}`, pg3: 'weight=0' },
        settings: { max_client_conn: 1100, default_pool_size: 10 },
      });
      const clients = await logins(t, daemon, 1000, 'app', { user: 'postgres' });
      for (const client of clients) ask(client, whereAmI);
      const counts: Record<string, number> = {};
      for (const client of clients) {
        const [row] = raw.rowsOf(await client.until('Z', 30_000));
        const node = nodeAt(cluster, row?.[0]);
        counts[node] = (counts[node] ?? 0) + 1;
      }
      assert.deepEqual(counts, expected);
      assert.equal((await nodeRow(admin, 'pg2')).int('select_cnt'), expected.pg2);
    });
  }
});

test('S-35: one connection uses both replicas', async (t) => {
  const { daemon } = await routed(t);
  const client = await routedLogin(t, daemon);
  assert.deepEqual(await spread(cluster, client, 100), { pg2: 50, pg3: 50 });
});

describe('S-36: a block stays on one node', () => {
  const backend = 'SELECT inet_server_port(), pg_backend_pid()';

  for (const protocol of PROTOCOLS) {
    test(`a block that may write, ${protocol}`, async (t) => {
      const { daemon } = await routed(t);
      const client = await routedLogin(t, daemon);
      assert.equal(await outcome(client, protocol, 'BEGIN'), 'BEGIN T');
      const before = await rows(client, protocol, backend);
      const insert = 'INSERT INTO items VALUES (1, inet_server_port()) RETURNING node, pg_backend_pid()';
      assert.deepEqual(await rows(client, protocol, insert), before);
      assert.deepEqual(await rows(client, protocol, backend), before);
      assert.equal(nodeAt(cluster, before[0]?.[0]), 'pg1');
      assert.equal(await outcome(client, protocol, 'ROLLBACK'), 'ROLLBACK I');
    });

    for (const begin of [
      ['BEGIN READ ONLY'],
      ['START TRANSACTION READ ONLY'],
      ['BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY'],
      ['BEGIN', 'SET TRANSACTION READ ONLY'],
      ['START TRANSACTION ISOLATION LEVEL REPEATABLE READ', 'SET TRANSACTION READ ONLY'],
    ]) {
      test(`${begin.join('; ')}, ${protocol}: one replica for all of it`, async (t) => {
        const { daemon } = await routed(t);
        const client = await routedLogin(t, daemon);
        const nodes = new Set<string>();
        for (let i = 0; i < 2; i++) {
          for (const sql of begin) assert.match(await outcome(client, protocol, sql), /^\w.* T$/);
          const [first] = await rows(client, protocol, backend);
          for (let k = 0; k < 3; k++) assert.deepEqual(await rows(client, protocol, backend), [first]);
          assert.deepEqual(await rows(client, protocol, 'SHOW transaction_read_only'), [['on']]);
          assert.equal(await outcome(client, protocol, 'COMMIT'), 'COMMIT I');
          nodes.add(nodeAt(cluster, first?.[0]));
        }
        // the next block goes to the other one
        assert.deepEqual([...nodes].sort(), ['pg2', 'pg3']);
      });
    }

    for (const begin of [
      'BEGIN ISOLATION LEVEL SERIALIZABLE',
      'BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY',
      'START TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE, DEFERRABLE',
    ]) {
      test(`${begin}, ${protocol}: the primary`, async (t) => {
        const { daemon } = await routed(t);
        const client = await routedLogin(t, daemon);
        assert.match(await outcome(client, protocol, begin), /^\w.* T$/);
        assert.equal(await nodeOf(cluster, client, whereAmI, protocol), 'pg1');
        assert.deepEqual(await rows(client, protocol, 'SHOW transaction_isolation'), [['serializable']]);
        assert.equal(await outcome(client, protocol, 'COMMIT'), 'COMMIT I');
      });
    }
  }

  test('an error inside of BEGIN READ ONLY is the client’s: 25006', async (t) => {
    const { daemon, admin } = await routed(t);
    const client = await routedLogin(t, daemon);
    await outcome(client, 'simple', 'BEGIN READ ONLY');
    assert.equal(await outcome(client, 'simple', 'INSERT INTO foo VALUES (1)'), '25006 E');
    assert.equal(await outcome(client, 'simple', 'SELECT 1'), '25P02 E');
    assert.equal(await outcome(client, 'simple', 'COMMIT'), 'ROLLBACK I');
    assert.deepEqual(await admin.show('LEARNED'), []);
  });
});

describe('S-38: aliases and zones', () => {
  test('app_rw: all on the primary; app_ro: all on replicas, a write gets 25006', async (t) => {
    const { daemon } = await routed(t);
    const rw = await routedLogin(t, daemon, 'app_rw');
    const ro = await routedLogin(t, daemon, 'app_ro');
    for (const protocol of PROTOCOLS) {
      assert.deepEqual(await spread(cluster, rw, 10, protocol), { pg1: 10 });
      assert.deepEqual(await spread(cluster, ro, 10, protocol), { pg2: 5, pg3: 5 });
      assert.equal(await outcome(rw, protocol, 'INSERT INTO foo VALUES (1)'), 'INSERT 0 1 I');
      assert.equal(await outcome(ro, protocol, 'INSERT INTO foo VALUES (1)'), '25006 I');
      assert.equal(await outcome(ro, protocol, 'BEGIN'), 'BEGIN T');
      assert.match(await nodeOf(cluster, ro, whereAmI, protocol), /pg[23]/);
      assert.equal(await outcome(ro, protocol, 'DELETE FROM foo'), '25006 E');
      assert.equal(await outcome(ro, protocol, 'COMMIT'), 'ROLLBACK I');
    }
  });

  test('app_ro with no replica: the primary; with read_from_primary = never 57P03, and the client stays', async (t) => {
    const { daemon, admin } = await routed(t, {
      databases: { never: 'cluster=main dbname=postgres route=replica read_from_primary=never' },
      settings: { primary_wait_timeout: 0.5 },
    });
    const ro = await routedLogin(t, daemon, 'app_ro');
    const never = await routedLogin(t, daemon, 'never');
    await admin.run('DETACH pg2');
    await admin.run('DETACH pg3');
    assert.equal(await nodeOf(cluster, ro), 'pg1');
    const messages = await send(never, 'simple', whereAmI);
    assert.equal(brief(never, messages), '57P03 I');
    assert.equal(errorText(messages), 'no replica available in cluster "main"');
    await admin.run('ATTACH pg3');
    await untilNodes(admin, 'pg1 primary, pg2 detached, pg3 replica');
    assert.equal(await nodeOf(cluster, never), 'pg3');
    // there is one, and nobody can know that it has this
    await rows(never, 'simple', "SET pgconcierge.wait_lsn = 'FFFF/0'");
    assert.equal(
      errorText(await send(never, 'simple', whereAmI)),
      'no replica of cluster "main" is known to have replayed what this read must see',
    );
    await rows(never, 'simple', 'RESET pgconcierge.wait_lsn');
    assert.equal(await nodeOf(cluster, never), 'pg3');
    assert.equal(await nodeOf(cluster, ro), 'pg3');
  });

  test('zone: the node of the own one while it is up', async (t) => {
    const { daemon, admin } = await routed(t, {
      settings: { zone: 'a' },
      nodes: { pg1: 'zone=a', pg2: 'zone=a', pg3: 'zone=b' },
    });
    const ro = await routedLogin(t, daemon, 'app_ro');
    const auto = await routedLogin(t, daemon);
    assert.deepEqual(await spread(cluster, ro, 10), { pg2: 10 });
    assert.deepEqual(await spread(cluster, auto, 10), { pg2: 10 });
    await admin.run('DETACH pg2');
    assert.deepEqual(await spread(cluster, ro, 10), { pg3: 10 });
    assert.deepEqual(await spread(cluster, auto, 10), { pg3: 10 });
    await admin.run('ATTACH pg2');
    await untilNodes(admin, all);
    assert.deepEqual(await spread(cluster, ro, 10), { pg2: 10 });
  });
});

test('S-40: three proxies, one answer', async (t) => {
  const proxies = await Promise.all([routed(t), routed(t), routed(t)]);
  for (const { daemon } of proxies) {
    const client = await routedLogin(t, daemon, 'app_rw');
    assert.equal(await nodeOf(cluster, client), 'pg1');
    assert.deepEqual(await rows(client, 'simple', 'SELECT host(inet_server_addr())'), [['127.0.0.1']]);
    const insert = `INSERT INTO items VALUES (${daemon.port}, inet_server_port()) RETURNING node`;
    assert.equal(await nodeOf(cluster, await routedLogin(t, daemon), insert), 'pg1');
  }
});

test('S-41: CREATE INDEX CONCURRENTLY, and an INSERT of another client ends before it', async (t) => {
  const { daemon } = await routed(t);
  const client = await routedLogin(t, daemon);
  const other = await routedLogin(t, daemon);
  const holder: RawClient = await routedLogin(t, daemon);
  // a transaction that has written the table: the index waits for its end
  await outcome(holder, 'simple', 'BEGIN');
  assert.equal(await outcome(holder, 'simple', 'INSERT INTO foo VALUES (42)'), 'INSERT 0 1 T');
  for (const protocol of PROTOCOLS) {
    const create = `CREATE INDEX CONCURRENTLY foo_${protocol} ON foo (bar)`;
    if (protocol === 'simple') client.send(raw.query(create));
    else client.send(statement(create), raw.sync());
    await until(async () => {
      const text = `SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%${protocol}%' AND wait_event_type = 'Lock'`;
      return (await cluster.sql(cluster.primary, text)).rows.length > 0;
    });
    assert.equal(await outcome(other, protocol, 'INSERT INTO foo VALUES (43)'), 'INSERT 0 1 I');
    assert.equal(client.pending.length, 0);
    assert.equal(await outcome(holder, 'simple', 'COMMIT'), 'COMMIT I');
    assert.equal(brief(client, await client.until('Z', 15_000)), 'CREATE INDEX I');
    await outcome(holder, 'simple', 'BEGIN');
    await outcome(holder, 'simple', 'INSERT INTO foo VALUES (42)');
  }
  const valid = "SELECT count(*) FROM pg_index WHERE indrelid = 'foo'::regclass AND indisvalid";
  assert.deepEqual((await cluster.sql(cluster.primary, valid)).rows, [['2']]);
});
