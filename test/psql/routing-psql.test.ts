/** Real psql against route=auto: the cookbook's loops as it has them (S-31, S-32), S-40, and what psql adds of its own. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { before, describe, test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { Daemon } from '../support/daemon.ts';
import { withCluster } from '../support/postgres.ts';
import { type ProgramOptions, psql, runProgram, skipWithout } from '../support/psql.ts';
import { nodeAt, routedDaemon, whereAmI } from '../support/routed.ts';
import { loggedBy, untilNodes } from '../support/routed-client.ts';
import { Admin } from '../support/scenario.ts';

const skip = skipWithout('psql');
/** Processes of psql at a time. */
const AT_ONCE = 4;

let cluster: PostgresCluster;

before(async () => {
  if (skip !== false) return;
  // one replica of the same weight, as in the cookbook
  cluster = await withCluster(1, { settings: { log_statement: 'all' } });
  await cluster.sql(cluster.primary, 'CREATE TABLE foo(bar INTEGER)');
  await cluster.waitCaughtUp();
});

async function start(t: TestContext): Promise<Daemon> {
  const daemon = await routedDaemon(t, cluster);
  await untilNodes(await Admin.login(t, daemon), 'pg1 primary, pg2 replica');
  return daemon;
}

function at(daemon: Daemon, database = 'app', input = ''): ProgramOptions {
  return { port: daemon.port, user: 'postgres', database, input };
}

/** `psql args` for each of them, a few at a time; nothing may go to stderr. What each printed. */
async function each(
  daemon: Daemon,
  commands: readonly (readonly string[])[],
  options: Partial<ProgramOptions> = {},
): Promise<string[]> {
  const printed: string[] = [];
  for (let i = 0; i < commands.length; i += AT_ONCE) {
    const some = commands.slice(i, i + AT_ONCE).map(async (args) => {
      const result = await runProgram('psql', ['-X', ...args], { ...at(daemon), ...options });
      assert.deepEqual([result.code, result.stderr], [0, ''], args.join(' '));
      return result.stdout.trim();
    });
    printed.push(...(await Promise.all(some)));
  }
  return printed;
}

async function count(): Promise<string> {
  return (await cluster.sql(cluster.primary, 'SELECT count(*) FROM foo')).rows[0]?.[0] ?? '';
}

/** What pg2 has logged since `from` that is neither a check nor a login's own. */
async function onReplica(from: number, pattern: RegExp): Promise<string[]> {
  return (await loggedBy(cluster, cluster.node('pg2'), from)).filter((line) => pattern.test(line));
}

describe('the loops of the cookbook', { skip }, () => {
  for (const [how, more] of [
    ['as they are', []],
    ['inside of psql -1', ['-1']],
  ] as const) {
    test(how, async (t) => {
      const daemon = await start(t);
      const from = cluster.node('pg2').log.mark();
      const insert = 'INSERT INTO foo SELECT generate_series(1,100)';
      const inserts = Array.from({ length: 10 }, () => [...more, '-c', insert]);
      assert.deepEqual(await each(daemon, [[...more, '-c', insert]]), ['INSERT 0 100']);
      assert.deepEqual(new Set(await each(daemon, inserts)), new Set(['INSERT 0 100']));
      assert.equal(await count(), '1100');
      const deletes = Array.from({ length: 100 }, (_, i) => [
        ...more,
        '-c',
        `DELETE FROM foo WHERE bar=${i + 1}`,
      ]);
      assert.deepEqual(new Set(await each(daemon, deletes)), new Set(['DELETE 11']));
      assert.equal(await count(), '0');
      assert.deepEqual(await onReplica(from, /INSERT INTO foo|DELETE FROM foo/), []);
    });
  }

  test('forms of writes from one script, with COPY, and reads that go to the replica', async (t) => {
    const daemon = await start(t);
    const from = cluster.node('pg2').log.mark();
    const script = `
\\set ON_ERROR_STOP 1
  /* leading */ INSERT INTO foo VALUES (1); -- marked
WITH d AS (DELETE FROM foo /* marked */ RETURNING *) SELECT * FROM d;
COPY foo FROM STDIN /* marked */;
1
2
\\.
SELECT * FROM foo FOR UPDATE /* marked */;
EXPLAIN ANALYZE /* marked */ INSERT INTO foo VALUES (1);
DO $$ BEGIN INSERT INTO foo VALUES (3); END /* marked */ $$;
SELECT 1 /* marked */ \\; INSERT INTO foo VALUES (4);
BEGIN; LOCK TABLE foo /* marked */; SELECT 1 /* marked */; COMMIT;
SELECT * /* marked */ INTO made FROM foo;
CREATE TABLE made_as AS /* marked */ SELECT * FROM foo;
CREATE MATERIALIZED VIEW made_mv AS /* marked */ SELECT * FROM foo;
REFRESH MATERIALIZED VIEW /* marked */ made_mv;
CHECKPOINT /* marked */;
DROP MATERIALIZED VIEW made_mv /* marked */;
DROP TABLE made, made_as /* marked */;
TRUNCATE foo /* marked */;
`;
    const written = await runProgram('psql', ['-X', '-q'], at(daemon, 'app', script));
    assert.deepEqual([written.code, written.stderr], [0, '']);
    assert.deepEqual(await onReplica(from, /\/\* marked/), []);
    // psql -1 around a read: a block that may write
    assert.deepEqual(
      await each(daemon, [['-A', '-t', '-1', '-c', whereAmI]]).then((ports) =>
        ports.map((port) => nodeAt(cluster, port)),
      ),
      ['pg1'],
    );
    const reads = await each(
      daemon,
      Array.from({ length: 8 }, () => ['-A', '-t', '-c', `${whereAmI} /* marked */`]),
    );
    assert.deepEqual(new Set(reads.map((port) => nodeAt(cluster, port))), new Set(['pg2']));
    assert.equal((await onReplica(from, /\/\* marked/)).length, 8);
  });
});

test('S-40: psql through three proxies to app_rw: the primary', { skip }, async (t) => {
  const daemons = await Promise.all([start(t), start(t), start(t)]);
  for (const daemon of daemons) {
    const where = 'SELECT inet_server_addr(), inet_server_port()';
    assert.deepEqual(await psql(where, at(daemon, 'app_rw')), [`127.0.0.1|${cluster.primary.port}`]);
  }
});

test('PGOPTIONS says where a session goes; \\d and \\gdesc work everywhere', { skip }, async (t) => {
  const daemon = await start(t);
  const read = ['-A', '-t', '-c', whereAmI];
  for (const [route, node] of [
    ['primary', 'pg1'],
    ['replica', 'pg2'],
  ]) {
    const env = { PGOPTIONS: `-c pgconcierge.route=${route}` };
    const ports = await each(daemon, [read], { env });
    assert.deepEqual(
      ports.map((port) => nodeAt(cluster, port)),
      [node],
    );
  }
  for (const database of ['app', 'app_rw', 'app_ro']) {
    const script = `\\d foo\n${whereAmI} \\gdesc\nSHOW pgconcierge.route;\n\\conninfo\n`;
    const { code, stderr, stdout } = await runProgram('psql', ['-X'], at(daemon, database, script));
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(stdout, /bar\s+\| integer/);
    assert.match(stdout, /inet_server_port \| integer/);
    assert.match(stdout, new RegExp({ app: 'auto', app_rw: 'primary', app_ro: 'replica' }[database] ?? '-'));
  }
});

test('a write on app_ro: 25006 as the server says it, and psql goes on', { skip }, async (t) => {
  const daemon = await start(t);
  const script = `INSERT INTO foo VALUES (1);\n${whereAmI};\n`;
  const { code, stderr, stdout } = await runProgram('psql', ['-X', '-A', '-t'], at(daemon, 'app_ro', script));
  assert.equal(code, 0);
  assert.match(stderr, /^ERROR: {2}cannot execute INSERT in a read-only transaction\n$/);
  assert.equal(nodeAt(cluster, stdout.trim()), 'pg2');
});
