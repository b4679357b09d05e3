/**
 * Where the application or the administrator says where statements go (ROUTING.md "Hints"): comments, SET
 * pgconcierge.route, startup options, users, [routes], and the pool modes in which there is no unit to route by.
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { before, describe, test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import { Daemon } from '../support/daemon.ts';
import { withCluster } from '../support/postgres.ts';
import type { RawClient } from '../support/raw-client.ts';
import * as raw from '../support/raw-messages.ts';
import { type RoutedOptions, routedConfig, routedDaemon, whereAmI } from '../support/routed.ts';
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
import { Admin, refused } from '../support/scenario.ts';
import { until } from '../support/until.ts';

let cluster: PostgresCluster;

before(async () => {
  cluster = await withCluster(2);
  await cluster.sql(cluster.primary, 'CREATE TABLE foo (bar integer)');
  await cluster.sql(cluster.primary, 'CREATE ROLE app LOGIN SUPERUSER');
  await cluster.waitCaughtUp();
});

async function start(t: TestContext, options: RoutedOptions = {}): Promise<{ daemon: Daemon; admin: Admin }> {
  const daemon = await routedDaemon(t, cluster, options);
  const admin = await Admin.login(t, daemon);
  await untilNodes(admin, 'pg1 primary, pg2 replica, pg3 replica');
  return { daemon, admin };
}

/** Where `times` statements with this text in front run. */
async function spreadOf(
  client: RawClient,
  before: string,
  protocol: Protocol,
  times = 6,
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < times; i++) {
    const node = await nodeOf(cluster, client, `${before}${whereAmI}`, protocol);
    counts[node] = (counts[node] ?? 0) + 1;
  }
  return counts;
}

const REPLICAS = { pg2: 3, pg3: 3 };

function messageOf(messages: readonly raw.RawMessage[]): string {
  const error = messages.find(({ type }) => type === 'E');
  return error === undefined ? '' : raw.errorFields(error).message;
}

for (const protocol of PROTOCOLS) {
  describe(`comments, ${protocol}`, () => {
    test('before the first keyword they choose the node', async (t) => {
      const { daemon } = await start(t);
      const client = await routedLogin(t, daemon);
      for (const [hint, expected] of [
        ['/* pgconcierge: primary */ ', { pg1: 6 }],
        ['/*pgconcierge:primary*/', { pg1: 6 }],
        ['/* PGCONCIERGE: Primary */ ', { pg1: 6 }],
        [' \n -- a line\n /* another */ /* pgconcierge: primary */ ', { pg1: 6 }],
        ['/*NO LOAD BALANCE*/ ', { pg1: 6 }],
        ['/* pgconcierge: node=pg1 */ ', { pg1: 6 }],
        ['/* pgconcierge: node=pg2 */ ', { pg2: 6 }],
        ['/* pgconcierge: node=pg3 */ ', { pg3: 6 }],
        ['/* pgconcierge: replica */ ', REPLICAS],
        // no hints
        ['/* primary */ ', REPLICAS],
        ['/* pgconcierge: nonsense */ ', REPLICAS],
        ['', REPLICAS],
      ] as const)
        assert.deepEqual(await spreadOf(client, hint, protocol), expected, hint);
      const behind = `${whereAmI} /* pgconcierge: primary */`;
      assert.match(await nodeOf(cluster, client, behind, protocol), /^pg[23]$/);
    });

    test('they count for a BEGIN and its whole block', async (t) => {
      const { daemon } = await start(t);
      for (const [hint, expected] of [
        ['/* pgconcierge: replica */', /^pg[23]$/],
        ['/* pgconcierge: node=pg3 */', /^pg3$/],
        ['/* pgconcierge: primary */', /^pg1$/],
      ] as const) {
        const client = await routedLogin(t, daemon);
        for (const begin of ['BEGIN', 'BEGIN READ ONLY']) {
          assert.equal(await outcome(client, protocol, `${hint} ${begin}`), 'BEGIN T');
          const node = await nodeOf(cluster, client, whereAmI, protocol);
          assert.match(node, expected);
          assert.equal(await nodeOf(cluster, client, `/* pgconcierge: primary */ ${whereAmI}`), node);
          assert.equal(await outcome(client, protocol, 'COMMIT'), 'COMMIT I');
        }
      }
    });

    test('what a replica refuses there is the client’s business, and nothing is learned', async (t) => {
      const { daemon, admin } = await start(t);
      const client = await routedLogin(t, daemon);
      for (const hint of ['/* pgconcierge: replica */', '/* pgconcierge: node=pg2 */'])
        assert.equal(await outcome(client, protocol, `${hint} INSERT INTO foo VALUES (1)`), '25006 I');
      assert.deepEqual(await admin.show('LEARNED'), []);
      assert.equal(
        await outcome(client, protocol, '/* pgconcierge: node=pg1 */ INSERT INTO foo VALUES (1)'),
        'INSERT 0 1 I',
      );
    });

    test('a node that is unknown, or out of service, is an error at once; the client stays', async (t) => {
      // longer than the test may take: it must not be waited for
      const { daemon, admin } = await start(t, { settings: { primary_wait_timeout: 600 } });
      const client = await routedLogin(t, daemon);
      const unknown = 'there is no node "pg9" in cluster "main"';
      let reply = await send(client, protocol, `/* pgconcierge: node=pg9 */ ${whereAmI}`);
      assert.deepEqual([brief(client, reply), messageOf(reply)], ['57P03 I', unknown]);
      await admin.run('DETACH pg3');
      reply = await send(client, protocol, `/* pgconcierge: node=pg3 */ ${whereAmI}`);
      assert.deepEqual([brief(client, reply), messageOf(reply)], ['57P03 I', 'node "pg3" is detached']);
      assert.equal(await nodeOf(cluster, client, whereAmI, protocol), 'pg2');
      // in a block it fails the block
      for (const [node, text] of [
        ['pg9', unknown],
        ['pg3', 'node "pg3" is detached'],
      ]) {
        assert.equal(await outcome(client, protocol, `/* pgconcierge: node=${node} */ BEGIN`), 'BEGIN T');
        reply = await send(client, protocol, whereAmI);
        assert.deepEqual([brief(client, reply), messageOf(reply)], ['57P03 E', text]);
        assert.equal(await outcome(client, protocol, 'SELECT 1'), '25P02 E');
        assert.equal(await outcome(client, protocol, 'COMMIT'), 'ROLLBACK I');
      }
      client.send(
        statement('/* pgconcierge: node=pg9 */ BEGIN'),
        statement(whereAmI),
        raw.sync(),
        raw.query(whereAmI),
      );
      assert.equal(brief(client, await client.until('Z')), '57P03 I');
      assert.equal(brief(client, await client.until('Z')), 'SELECT 1 I');
      await admin.run('ATTACH pg3');
      await untilNodes(admin, 'pg1 primary, pg2 replica, pg3 replica');
      assert.equal(await nodeOf(cluster, client, `/* pgconcierge: node=pg3 */ ${whereAmI}`, protocol), 'pg3');
    });
  });

  describe(`settings of the proxy, ${protocol}`, () => {
    test('SET, SHOW and RESET of pgconcierge.route', async (t) => {
      const { daemon } = await start(t);
      const client = await routedLogin(t, daemon);
      const show = 'SHOW pgconcierge.route';
      assert.deepEqual(await rows(client, protocol, show), [['auto']]);
      for (const [set, tag, route, expected] of [
        ["SET pgconcierge.route = 'primary'", 'SET', 'primary', { pg1: 6 }],
        ["SET pgconcierge.route TO 'replica'", 'SET', 'replica', REPLICAS],
        ['SET pgconcierge.route TO DEFAULT', 'SET', 'auto', REPLICAS],
        ["set session PgConcierge.Route = 'PRIMARY';", 'SET', 'primary', { pg1: 6 }],
        ['RESET pgconcierge.route', 'RESET', 'auto', REPLICAS],
        ["/* a comment */ SET pgconcierge.route = 'primary'", 'SET', 'primary', { pg1: 6 }],
        ["SET pgconcierge.route = 'auto'", 'SET', 'auto', REPLICAS],
        ["SET pgconcierge.route = 'primary'", 'SET', 'primary', { pg1: 6 }],
        ['DISCARD ALL', 'DISCARD ALL', 'auto', null],
        ["SET pgconcierge.route = 'primary'", 'SET', 'primary', { pg1: 6 }],
        ['RESET ALL;', 'RESET', 'auto', null],
        ["SET pgconcierge.route = 'primary'", 'SET', 'primary', { pg1: 6 }],
        // of other things: it stays
        ['DISCARD PLANS', 'DISCARD PLANS', 'primary', { pg1: 6 }],
        ['RESET work_mem', 'RESET', 'primary', { pg1: 6 }],
      ] as const) {
        assert.equal(await outcome(client, protocol, set), `${tag} I`, set);
        assert.deepEqual(await rows(client, protocol, show), [[route]], set);
        if (expected !== null) assert.deepEqual(await spread(cluster, client, 6, protocol), expected, set);
      }
      // of this session only
      assert.deepEqual(await rows(await routedLogin(t, daemon), protocol, show), [['auto']]);
    });

    test('a session on replicas: its writes get 25006, and a hint says otherwise', async (t) => {
      const { daemon } = await start(t);
      const client = await routedLogin(t, daemon);
      await outcome(client, protocol, "SET pgconcierge.route = 'replica'");
      const insert = 'INSERT INTO foo VALUES (1)';
      assert.equal(await outcome(client, protocol, insert), '25006 I');
      await outcome(client, protocol, 'BEGIN');
      assert.equal(await outcome(client, protocol, insert), '25006 E');
      assert.equal(await outcome(client, protocol, 'ROLLBACK'), 'ROLLBACK I');
      assert.equal(await outcome(client, protocol, `/* pgconcierge: primary */ ${insert}`), 'INSERT 0 1 I');
    });

    test('SET inside of a block that runs', async (t) => {
      const { daemon } = await start(t);
      const client = await routedLogin(t, daemon);
      await outcome(client, protocol, 'BEGIN READ ONLY');
      await outcome(client, protocol, 'SELECT 1');
      await outcome(client, protocol, "SET pgconcierge.route = 'primary'");
      await outcome(client, protocol, 'COMMIT');
      assert.deepEqual(await spread(cluster, client, 6, protocol), { pg1: 6 });
    });

    test('mistakes', async (t) => {
      const { daemon } = await start(t);
      const client = await routedLogin(t, daemon);
      for (const [sql, code] of [
        ["SET pgconcierge.route = 'nowhere'", '22023'],
        ["SET pgconcierge.nosuch = 'x'", '42704'],
        ['SHOW pgconcierge.nosuch', '42704'],
        ['RESET pgconcierge.nosuch', '42704'],
        ["SET LOCAL pgconcierge.route = 'primary'", '0A000'],
        ["SET pgconcierge.lsn = '0/1'", '55P02'],
        ["SET pgconcierge.wait_lsn = 'x'", '22P02'],
      ] as const) {
        assert.equal(await outcome(client, protocol, sql), `${code} I`, sql);
        assert.deepEqual(await rows(client, protocol, 'SHOW pgconcierge.route'), [['auto']]);
      }
      assert.equal(await outcome(client, protocol, "SET pgconcierge.wait_lsn = '0/10'"), 'SET I');
      assert.deepEqual(await rows(client, protocol, 'SHOW pgconcierge.wait_lsn'), [['0/10']]);
      assert.equal(await outcome(client, protocol, 'RESET pgconcierge.wait_lsn'), 'RESET I');
      const [[lsn] = []] = await rows(client, protocol, 'SHOW pgconcierge.lsn');
      assert.match(lsn ?? '', /^[0-9A-F]+\/[0-9A-F]+$/);
      // servers have seen nothing of all this
      const [[found] = []] = await rows(
        client,
        protocol,
        "/* pgconcierge: primary */ SELECT current_setting('pgconcierge.route', true)",
      );
      assert.ok(found === null || found === '', String(found));
    });
  });
}

describe('startup', () => {
  for (const parameters of [
    { options: '-c pgconcierge.route=primary' },
    { options: '-cpgconcierge.route=primary -c work_mem=1MB' },
    { options: '--pgconcierge.route=primary' },
    { 'pgconcierge.route': 'primary' },
    { 'PgConcierge.Route': 'PRIMARY' },
  ]) {
    test(JSON.stringify(parameters), async (t) => {
      const { daemon } = await start(t, { settings: { track_extra_parameters: 'work_mem' } });
      const client = await routedLogin(t, daemon, 'app', { parameters });
      assert.deepEqual(await rows(client, 'simple', 'SHOW pgconcierge.route'), [['primary']]);
      assert.deepEqual(await spread(cluster, client, 6), { pg1: 6 });
      await outcome(client, 'simple', "SET pgconcierge.route = 'auto'");
      assert.deepEqual(await spread(cluster, client, 6), REPLICAS);
    });
  }

  test('replica, over the route of its database', async (t) => {
    const { daemon } = await start(t);
    const parameters = { options: '-c pgconcierge.route=replica' };
    const client = await routedLogin(t, daemon, 'app_rw', { parameters });
    assert.deepEqual(await spread(cluster, client, 6), REPLICAS);
    assert.equal(await outcome(client, 'simple', 'DELETE FROM foo'), '25006 I');
  });

  test('nonsense, and a database that is not routed: refused', async (t) => {
    const { daemon } = await start(t, {
      databases: { plain: `host=127.0.0.1 port=${cluster.primary.port} dbname=postgres` },
    });
    const parameters = { options: '-c pgconcierge.route=nowhere' };
    const wrong = await refused(routedLogin(t, daemon, 'app', { parameters }));
    assert.match(wrong.message, /invalid value for parameter "pgconcierge\.route": "nowhere"/);
    const plain = { options: '-c pgconcierge.route=primary' };
    const unrouted = await refused(routedLogin(t, daemon, 'plain', { parameters: plain }));
    assert.match(unrouted.message, /pgconcierge\.route/);
  });
});

describe('pool modes', () => {
  test('session: route=auto is the primary for all, and a warning says so at the start', async (t) => {
    const { daemon } = await start(t, {
      databases: {
        sessions: 'cluster=main dbname=postgres pool_mode=session',
        sessions_ro: 'cluster=main dbname=postgres pool_mode=session route=replica',
      },
    });
    const warned = daemon.log.lines().filter((line) => /WARNING.*sessions/.test(line));
    assert.equal(warned.length, 1, warned.join('\n'));
    assert.match(warned[0] ?? '', /session/);
    assert.match(warned[0] ?? '', /primary/);
    assert.match(warned[0] ?? '', /route\s*=\s*replica/);
    for (const protocol of PROTOCOLS) {
      const client = await routedLogin(t, daemon, 'sessions');
      assert.deepEqual(await spread(cluster, client, 6, protocol), { pg1: 6 });
      await outcome(client, protocol, 'BEGIN READ ONLY');
      assert.equal(await nodeOf(cluster, client, whereAmI, protocol), 'pg1');
      await outcome(client, protocol, 'COMMIT');
      assert.equal(await outcome(client, protocol, 'INSERT INTO foo VALUES (1)'), 'INSERT 0 1 I');
      // one server for all of it
      const backend = 'SELECT inet_server_port(), pg_backend_pid()';
      const ro = await routedLogin(t, daemon, 'sessions_ro');
      const [first] = await rows(ro, protocol, backend);
      for (let i = 0; i < 5; i++) assert.deepEqual(await rows(ro, protocol, backend), [first]);
      assert.match(await nodeOf(cluster, ro, whereAmI, protocol), /^pg[23]$/);
      assert.equal(await outcome(ro, protocol, 'INSERT INTO foo VALUES (1)'), '25006 I');
      const parameters = { options: '-c pgconcierge.route=replica' };
      const asked = await routedLogin(t, daemon, 'sessions', { parameters });
      assert.match(await nodeOf(cluster, asked, whereAmI, protocol), /^pg[23]$/);
    }
  });

  test('statement: reads are spread, a block is refused', async (t) => {
    const { daemon } = await start(t, {
      databases: { statements: 'cluster=main dbname=postgres pool_mode=statement' },
    });
    for (const protocol of PROTOCOLS) {
      const client = await routedLogin(t, daemon, 'statements');
      assert.deepEqual(await spread(cluster, client, 6, protocol), REPLICAS);
      assert.equal(await outcome(client, protocol, 'INSERT INTO foo VALUES (1)'), 'INSERT 0 1 I');
      client.send(
        protocol === 'simple' ? raw.query('BEGIN') : Buffer.concat([statement('BEGIN'), raw.sync()]),
      );
      await client.closed();
      const error = client.pending.find(({ type }) => type === 'E');
      assert.ok(error !== undefined);
      assert.match(
        raw.errorFields(error).message,
        /transaction blocks not allowed in statement pooling mode/,
      );
    }
  });

  test('clusters without pool_mode are pooled by transaction', async (t) => {
    const { settings = {}, ...config } = routedConfig(cluster);
    const { pool_mode: _, ...others } = settings;
    const daemon = await Daemon.start({ ...config, settings: others });
    t.after(() => daemon.destroy());
    const admin = await Admin.login(t, daemon);
    await untilNodes(admin, 'pg1 primary, pg2 replica, pg3 replica');
    const client = await routedLogin(t, daemon);
    assert.deepEqual(await spread(cluster, client, 6), REPLICAS);
  });
});

describe('[users] and [routes]', () => {
  test('the route of a user is that of all its clients, whatever the database says', async (t) => {
    const { daemon } = await start(t, {
      users: { app: 'route=replica' },
      extra: "[routes]\nall = application_name='.' route=primary",
    });
    for (const database of ['app', 'app_rw', 'app_ro']) {
      const client = await routedLogin(t, daemon, database, {
        user: 'app',
        parameters: { application_name: 'x' },
      });
      assert.deepEqual(await spread(cluster, client, 6), REPLICAS, database);
      assert.equal(await outcome(client, 'simple', 'DELETE FROM foo'), '25006 I');
    }
    // a session's own word counts more
    const client = await routedLogin(t, daemon, 'app', { user: 'app' });
    await outcome(client, 'simple', "SET pgconcierge.route = 'primary'");
    assert.deepEqual(await spread(cluster, client, 6), { pg1: 6 });
  });

  test('rules by application_name: the first that fits, for databases with route=auto', async (t) => {
    const rules = [
      '[routes]',
      "reports = application_name='^report' route=replica",
      "exact = application_name='^migrate$' route=primary",
      "late = application_name='report' route=primary",
    ].join('\n');
    const { daemon, admin } = await start(t, { extra: rules });
    const as = (name: string, database = 'app'): Promise<RawClient> =>
      routedLogin(t, daemon, database, { parameters: { application_name: name } });
    const report = await as('reports of today');
    assert.deepEqual(await spread(cluster, report, 6), REPLICAS);
    assert.equal(await outcome(report, 'simple', 'DELETE FROM foo'), '25006 I');
    const [last] = await admin.show('ROUTES');
    assert.deepEqual([last?.text('reason'), last?.text('database')], ['route rule', 'app']);
    assert.deepEqual(await spread(cluster, await as('migrate'), 6), { pg1: 6 });
    assert.deepEqual(await spread(cluster, await as('migrate 2'), 6), REPLICAS);
    assert.deepEqual(await spread(cluster, await as('my report'), 6), { pg1: 6 });
    // case counts
    assert.equal(await outcome(await as('Report'), 'simple', 'DELETE FROM foo WHERE bar < 0'), 'DELETE 0 I');
    // somebody wrote those aliases for just that
    assert.deepEqual(await spread(cluster, await as('report', 'app_rw'), 6), { pg1: 6 });
    assert.deepEqual(await spread(cluster, await as('migrate', 'app_ro'), 6), REPLICAS);
  });

  for (const protocol of PROTOCOLS) {
    test(`SET application_name changes the rule, and RELOAD the rules (${protocol})`, async (t) => {
      const { daemon, admin } = await start(t, {
        extra: "[routes]\nmine = application_name='^migrate' route=primary",
      });
      const client = await routedLogin(t, daemon);
      assert.deepEqual(await spread(cluster, client, 6, protocol), REPLICAS);
      assert.equal(await outcome(client, protocol, "SET application_name = 'migrate 1'"), 'SET I');
      assert.deepEqual(await spread(cluster, client, 6, protocol), { pg1: 6 });
      assert.deepEqual(await rows(client, protocol, 'SHOW application_name'), [['migrate 1']]);
      const config = routedConfig(cluster, {
        extra: "[routes]\nmine = application_name='^other' route=primary",
      });
      await daemon.reload(config);
      await until(async () => (await nodeOf(cluster, client, whereAmI, protocol)) !== 'pg1');
      assert.deepEqual(await spread(cluster, client, 6, protocol), REPLICAS);
      assert.ok((await admin.show('CLIENTS')).length > 0);
    });
  }
});

test('DISCARD ALL gives back the route, and what was written is not forgotten', async (t) => {
  const { daemon } = await start(t);
  const client = await routedLogin(t, daemon);
  for (const replica of cluster.replicas) await cluster.sql(replica, 'SELECT pg_wal_replay_pause()');
  t.after(async () => {
    for (const replica of cluster.replicas) await cluster.sql(replica, 'SELECT pg_wal_replay_resume()');
  });
  await outcome(client, 'simple', 'INSERT INTO foo VALUES (4711)');
  await outcome(client, 'simple', "SET pgconcierge.route = 'primary'");
  assert.equal(await outcome(client, 'simple', 'DISCARD ALL'), 'DISCARD ALL I');
  assert.deepEqual(await rows(client, 'simple', 'SHOW pgconcierge.route'), [['auto']]);
  assert.deepEqual(await rows(client, 'simple', 'SELECT bar FROM foo WHERE bar = 4711'), [['4711']]);
  assert.deepEqual(await spread(cluster, client, 6), { pg1: 6 });
  // somebody else has no reason to go there
  assert.deepEqual(await spread(cluster, await routedLogin(t, daemon), 6), REPLICAS);
});
