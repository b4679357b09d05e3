/** psql through the proxy with two servers, in transaction and in session mode: scripts, COPY, catalogs, Ctrl-C. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { makeScratchDir } from '../../src/demo/run-as.ts';
import { POOL_MODES, type Proxied, type ProxiedDatabase, withProxied } from '../support/proxied.ts';
import {
  type ProgramOptions,
  type ProgramResult,
  runProgram,
  skipWithout,
  startProgram,
} from '../support/psql.ts';
import { until } from '../support/until.ts';

const skip = skipWithout('psql');
let proxied: Proxied;

before(async () => {
  if (skip === false) proxied = await withProxied();
});

function options(database: ProxiedDatabase, input = ''): ProgramOptions {
  return { ...proxied.address(database), input };
}

/** A script on stdin, stopping at the first error; what it printed, unaligned and without headings. */
async function script(database: ProxiedDatabase, text: string): Promise<string[]> {
  const args = ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1'];
  return linesOf(await runProgram('psql', args, options(database, text)));
}

function linesOf(result: ProgramResult): string[] {
  assert.equal(result.code, 0, result.stderr);
  return result.stdout.split('\n').filter((line) => line !== '');
}

/** The backend of `app` that runs a query with `text`. */
function running(text: string): Promise<string> {
  return until(async () => {
    const rows = await proxied.rows(
      `SELECT pid FROM pg_stat_activity WHERE usename = 'app' AND state = 'active' AND query LIKE '%${text}%'`,
    );
    return rows[0]?.[0];
  });
}

for (const [database, mode] of POOL_MODES) {
  describe(`psql in ${mode} mode`, { skip }, () => {
    test('-c, several times: each its own transaction, several statements in one', async () => {
      const args = [
        '-X',
        '-A',
        '-t',
        '-c',
        'SELECT 1',
        '-c',
        'SELECT 2; SELECT 3',
        '-c',
        'SHOW server_version',
      ];
      const [one, two, three, version] = linesOf(await runProgram('psql', args, options(database)));
      assert.deepEqual([one, two, three], ['1', '2', '3']);
      const [[direct] = []] = await proxied.rows('SHOW server_version');
      assert.equal(version, direct);
      await proxied.assertQuiet(database);
    });

    test('an error: its text and position, and exit code 1', async () => {
      const { code, stderr } = await runProgram('psql', ['-X', '-c', 'SELECT 1 +'], options(database));
      assert.equal(code, 1);
      assert.match(stderr, /^ERROR: {2}syntax error at end of input\nLINE 1: SELECT 1 \+/);
      await proxied.assertQuiet(database);
    });

    test('a script with transactions, DDL, COPY in and out, \\gx, \\gset, \\gexec', async () => {
      const printed = await script(
        database,
        `BEGIN;
DROP TABLE IF EXISTS t_script;
CREATE TABLE t_script (id int PRIMARY KEY, t text);
COPY t_script FROM STDIN;
1\tone
2\ttwo
3\t\\N
\\.
COMMIT;
COPY (SELECT * FROM t_script ORDER BY id) TO STDOUT;
SELECT count(*) AS n FROM t_script \\gset
\\echo rows :n
SELECT id, t FROM t_script WHERE id = 2 \\gx
SELECT format('SELECT %s * 10', id) FROM t_script ORDER BY id \\gexec
BEGIN;
SAVEPOINT s;
DELETE FROM t_script;
ROLLBACK TO s;
END;
SELECT count(*) FROM t_script;
`,
      );
      assert.deepEqual(printed, [
        '1\tone',
        '2\ttwo',
        '3\t\\N',
        'rows 3',
        'id|2',
        't|two',
        '10',
        '20',
        '30',
        '3',
      ]);
      await proxied.assertQuiet(database);
    });

    test('without ON_ERROR_STOP a script goes on after errors, and after a failed COPY', async () => {
      const text = `CREATE TABLE IF NOT EXISTS t_errors (id int PRIMARY KEY);
TRUNCATE t_errors;
SELECT nope;
COPY t_errors FROM STDIN;
1
1
\\.
BEGIN;
INSERT INTO t_errors VALUES (1);
SELECT 1/0;
SELECT 1;
ROLLBACK;
SELECT count(*) FROM t_errors;
`;
      const result = await runProgram('psql', ['-X', '-q', '-A', '-t'], options(database, text));
      assert.deepEqual(linesOf(result), ['0']);
      const errors = result.stderr.match(/ERROR: {2}.*/g) ?? [];
      assert.deepEqual(
        errors.map((line) => line.replace(/^ERROR: {2}/, '').replace(/".*"/, '…')),
        [
          'column … does not exist',
          'duplicate key value violates unique constraint …',
          'division by zero',
          'current transaction is aborted, commands ignored until end of transaction block',
        ],
      );
      await proxied.assertQuiet(database);
    });

    test('\\copy of a large file, there and back', async () => {
      const dir = makeScratchDir('pgconcierge-psql', null);
      const [from, to] = [join(dir, 'in.csv'), join(dir, 'out.csv')];
      const text = Array.from({ length: 100_000 }, (_, i) => `${i},"row ${i}, with a comma"\n`).join('');
      writeFileSync(from, text);
      await script(
        database,
        `DROP TABLE IF EXISTS t_file; CREATE TABLE t_file (id int, t text);
\\copy t_file FROM '${from}' CSV
\\copy (SELECT * FROM t_file ORDER BY id) TO '${to}' CSV
`,
      );
      assert.ok(readFileSync(to, 'utf8') === text, 'the file came back different');
      await proxied.assertQuiet(database);
    });

    test('\\d, \\dt, \\l, \\du, \\df, \\dx, \\d+: the catalog queries say the same as without the proxy', async () => {
      await script(
        database,
        `DROP TABLE IF EXISTS t_described;
CREATE TABLE t_described (id int PRIMARY KEY, t text NOT NULL DEFAULT 'x');
`,
      );
      const text = `\\d t_described
\\d+ t_described
\\dt t_described
\\l
\\du
\\df pg_catalog.int4pl
\\dx
`;
      const through = options(database, text);
      const direct = { ...through, port: proxied.postgres.port, database: 'app' };
      const expected = await runProgram('psql', ['-X'], direct);
      assert.match(expected.stdout, /"t_described_pkey" PRIMARY KEY, btree \(id\)/);
      const result = await runProgram('psql', ['-X'], through);
      assert.deepEqual(result, expected);
      const conninfo = await runProgram('psql', ['-X', '-c', '\\conninfo'], through);
      assert.match(conninfo.stdout, new RegExp(`${database}.*app.*${proxied.daemon.port}`, 's'));
      await proxied.assertQuiet(database);
    });

    test('Ctrl-C cancels the running query of its own psql and nothing else', async () => {
      const slow = (who: string) => [
        '-X',
        '-A',
        '-t',
        '-c',
        `SELECT '${who}' FROM pg_sleep(${who === 'victim' ? 60 : 2})`,
        '-c',
        `SELECT '${who} goes on'`,
      ];
      const victim = startProgram('psql', slow('victim'), options(database));
      await running('victim');
      const bystander = startProgram('psql', slow('bystander'), options(database));
      await running('bystander');
      victim.child.kill('SIGINT');
      const ended = await victim.done;
      assert.match(ended.stderr, /canceling statement due to user request/);
      assert.equal(ended.code, 1);
      assert.deepEqual(linesOf(await bystander.done), ['bystander', 'bystander goes on']);
      await proxied.assertQuiet(database);
    });

    test('Ctrl-C in a script leaves nothing behind', async () => {
      const text = "SELECT 'interrupted' FROM pg_sleep(60);\nSELECT 'next';\n";
      const { child, done } = startProgram('psql', ['-X', '-q', '-A', '-t'], options(database, text));
      await running('interrupted');
      child.kill('SIGINT');
      const result = await done;
      assert.match(result.stderr, /canceling statement due to user request/);
      await proxied.assertQuiet(database);
    });

    test('Ctrl-C while waiting for a server ends the wait', async () => {
      const holders = ['holder 1', 'holder 2'].map((who) => {
        const args = ['-X', '-A', '-t', '-c', `SELECT '${who}' FROM pg_sleep(60)`];
        return startProgram('psql', args, options(database));
      });
      await Promise.all([running('holder 1'), running('holder 2')]);
      const queued = startProgram('psql', ['-X', '-c', "SELECT 'queued'"], options(database));
      await until(async () =>
        (await proxied.console('SHOW POOLS')).some(
          (row) => row['database'] === database && row['cl_waiting'] === '1',
        ),
      );
      queued.child.kill('SIGINT');
      const ended = await queued.done;
      assert.match(ended.stderr, /canceling statement due to user request/);
      for (const { child } of holders) child.kill('SIGINT');
      for (const { done } of holders) assert.match((await done).stderr, /canceling statement/);
      await proxied.assertQuiet(database);
    });

    test('psql killed in a transaction: the server is not handed on with it', async () => {
      const text = "BEGIN;\nCREATE TABLE t_killed (id int);\nSELECT 'killed' FROM pg_sleep(60);\n";
      const { child, done } = startProgram('psql', ['-X'], options(database, text));
      await running('killed');
      child.kill('SIGKILL');
      await done;
      assert.deepEqual(await script(database, "SELECT to_regclass('t_killed') IS NULL"), ['t']);
      await proxied.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%killed%' AND pid <> pg_backend_pid()",
      );
      await until(
        async () =>
          (await proxied.rows("SELECT 1 FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'"))
            .length === 0,
      );
      await proxied.assertQuiet(database);
    });
  });
}
