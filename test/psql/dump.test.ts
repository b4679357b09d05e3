/**
 * pg_dump and pg_isready through the proxy. pg_dump sets search_path, statement_timeout and others for its session
 * before it begins its transaction. In session mode that is all right, also with parallel workers. In transaction mode
 * it works as with PgBouncer: as long as nobody else takes its server between those SETs and its BEGIN the dump is
 * right; and because it leaves in the middle of its transaction, its server is closed and what it has set goes with
 * it. Session mode is the one for dumps.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { makeScratchDir } from '../../src/demo/run-as.ts';
import { testBinaries } from '../support/postgres.ts';
import { type Proxied, type ProxiedDatabase, withProxied } from '../support/proxied.ts';
import { psql, runProgram, skipWithout } from '../support/psql.ts';

const skip = skipWithout('pg_dump', 'psql') || (await tooOld());
let proxied: Proxied;

const SCHEMA = [
  'CREATE TABLE d_parent (id int PRIMARY KEY, t text, at timestamptz, f float8)',
  'CREATE TABLE d_child (id int REFERENCES d_parent, b bytea)',
  'CREATE VIEW d_view AS SELECT id, t FROM d_parent',
  'CREATE FUNCTION d_double(i int) RETURNS int LANGUAGE sql AS $$ SELECT i * 2 $$',
  `INSERT INTO d_parent SELECT n, 'row ' || n, '2024-01-01'::timestamptz + n * interval '1 s', n / 3.0
     FROM generate_series(1, 20000) n`,
  "INSERT INTO d_child SELECT n, decode(md5(n::text), 'hex') FROM generate_series(1, 20000) n",
];

/** pg_dump refuses a server that is newer than itself. */
async function tooOld(): Promise<false | string> {
  const { stdout } = await runProgram('pg_dump', ['--version'], { port: 1, user: '', database: '' });
  const { major } = await testBinaries();
  if (Number(/ (\d+)\./.exec(stdout)?.[1]) >= major) return false;
  const why = `${stdout.trim()} is older than the server (${major})`;
  process.stderr.write(`\n*** SKIPPED TESTS: ${why} ***\n\n`);
  return why;
}

function dump(target: { readonly port: number; readonly database: string }, ...args: readonly string[]) {
  return runProgram('pg_dump', args, { ...proxied.address('sess'), ...target });
}

/** Without the random word that newer versions of pg_dump put around a dump. */
function comparable(text: string): string {
  return text.replace(/^\\(un)?restrict .*$/gm, '\\$1restrict');
}

async function dumpsAlike(database: ProxiedDatabase): Promise<void> {
  const direct = await dump({ port: proxied.postgres.port, database: 'app' });
  const through = await dump({ port: proxied.daemon.port, database });
  assert.deepEqual([direct.code, through.code], [0, 0], through.stderr);
  assert.ok(direct.stdout.includes('COPY public.d_child'), 'the direct dump has no data');
  assert.ok(
    comparable(through.stdout) === comparable(direct.stdout),
    'the dump through the proxy is different',
  );
}

describe('pg_dump', { skip }, () => {
  before(async () => {
    proxied = await withProxied({ poolSize: 5 });
    for (const text of SCHEMA) await psql(text, proxied.address('sess'));
  });

  test('in session mode: the same bytes as without the proxy', async () => {
    await dumpsAlike('sess');
    await proxied.assertQuiet('sess');
    // its settings are gone from the servers
    assert.deepEqual(await psql('SHOW search_path', proxied.address('sess')), ['"$user", public']);
  });

  test('with parallel workers in session mode', async () => {
    const dir = join(makeScratchDir('pgconcierge-dump', null), 'd');
    const target = { port: proxied.daemon.port, database: 'sess' };
    const { code, stderr } = await dump(target, '-Fd', '-j', '3', '-f', dir);
    assert.equal(code, 0, stderr);
    await proxied.assertQuiet('sess');
  });

  test('a dump is restored through the proxy by psql', async () => {
    const { stdout } = await dump({ port: proxied.daemon.port, database: 'sess' }, '--clean');
    for (const database of ['sess', 'tx'] as const) {
      const args = ['-X', '-q', '-v', 'ON_ERROR_STOP=1', '--single-transaction'];
      const restored = await runProgram('psql', args, { ...proxied.address(database), input: stdout });
      assert.equal(restored.code, 0, restored.stderr);
      assert.deepEqual(await proxied.rows('SELECT count(*) FROM public.d_child'), [['20000']]);
      await proxied.assertQuiet(database);
    }
  });

  test('in transaction mode: the same bytes while it is alone', async () => {
    await proxied.console('RECONNECT tx');
    await dumpsAlike('tx');
    await proxied.assertQuiet('tx');
    for (let i = 0; i < 3; i++) {
      assert.deepEqual(await psql('SHOW search_path', proxied.address('tx')), ['"$user", public']);
    }
  });
});

describe('pg_isready', { skip: skipWithout('pg_isready') }, () => {
  test('says yes while the daemon listens, and no afterwards', async () => {
    const own = await withProxied();
    const ask = () => runProgram('pg_isready', ['-t', '10'], own.address('tx'));
    const up = await ask();
    assert.equal(up.code, 0, up.stdout);
    assert.match(up.stdout, /accepting connections/);
    // it does not log in: a database that does not exist makes no difference, as with PostgreSQL
    assert.equal((await runProgram('pg_isready', [], { ...own.address('tx'), database: 'nope' })).code, 0);
    await own.daemon.stop();
    const down = await ask();
    assert.equal(down.code, 2, down.stdout);
  });
});
