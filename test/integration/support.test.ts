/**
 * The helpers themselves, against each PostgreSQL of this machine: if these fail, look here first and not at the proxy.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { findEmbedded } from '../../src/demo/embedded-postgres.ts';
import { findPostgres, listPostgres, type PostgresBinaries } from '../../src/demo/postgres-binaries.ts';
import { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import { startPostgres } from '../../src/demo/postgres-instance.ts';
import { childrenOf, isAlive } from '../../src/demo/processes.ts';
import { makeScratchDir, unprivilegedUser } from '../../src/demo/run-as.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { freePort } from '../support/ports.ts';
import { type TestPostgres, testBinaries, withCluster, withPostgres } from '../support/postgres.ts';
import { psql, skipWithout } from '../support/psql.ts';
import { RawClient, RawError } from '../support/raw-client.ts';
import {
  bind,
  columnNames,
  copyData,
  copyDone,
  copyFail,
  describe as describeMessage,
  execute,
  GSSENC_REQUEST,
  parse,
  query,
  rowsOf,
  startupMessage,
  sync,
  tagsOf,
  typesOf,
} from '../support/raw-messages.ts';
import { until } from '../support/until.ts';

const run = promisify(execFile);

/** A program that starts a server, prints its pid and directory, and dies without cleaning up. */
const demoModule = (name: string) =>
  JSON.stringify(new URL(`../../src/demo/${name}.js`, import.meta.url).href);
const ORPHAN = `
  import { findPostgres } from ${demoModule('postgres-binaries')};
  import { startPostgres } from ${demoModule('postgres-instance')};
  import { makeScratchDir } from ${demoModule('run-as')};
  import { freePort } from ${demoModule('free-port')};
  const binaries = await findPostgres();
  const dir = makeScratchDir('pgconcierge-orphan', binaries.runAs);
  const instance = await startPostgres({ binaries, dir: dir + '/data', port: await freePort() });
  process.stdout.write(instance.pid + '\\n' + dir + '\\n', () => process.kill(process.pid, 'SIGKILL'));
`;
const all = await listPostgres();

test('at least one PostgreSQL is here, and each can be asked for by name', async () => {
  assert.ok(all.length > 0, 'no PostgreSQL found');
  for (const one of all) assert.match(one.version, /^\d+/);
  if (findEmbedded() !== null) assert.equal((await findPostgres('embedded')).origin, 'embedded');
  if (existsSync('/usr/lib/postgresql/15/bin/initdb'))
    assert.equal((await findPostgres('debian15')).major, 15);
});

test('a PG_BIN that has no server is refused with its name', async (t) => {
  const before = process.env['PG_BIN'];
  t.after(() => {
    if (before === undefined) delete process.env['PG_BIN'];
    else process.env['PG_BIN'] = before;
  });
  process.env['PG_BIN'] = '/nonexistent';
  await assert.rejects(findPostgres(), /PG_BIN: \/nonexistent\/initdb does not exist/);
});

test('a PGC_TEST_PG that is not installed is an error, not another version', async (t) => {
  const before = process.env['PGC_TEST_PG'];
  t.after(() => {
    if (before === undefined) delete process.env['PGC_TEST_PG'];
    else process.env['PGC_TEST_PG'] = before;
  });
  process.env['PGC_TEST_PG'] = '9';
  await assert.rejects(testBinaries(), /PGC_TEST_PG=9, but only these are installed/);
});

test('a cluster for a test file is there with one call', async () => {
  const cluster = await withCluster(1);
  assert.equal(cluster.replicas.length, 1);
  await cluster.sql(cluster.primary, 'CREATE TABLE t AS SELECT 1 AS a');
  await cluster.waitCaughtUp();
  assert.deepEqual((await cluster.sql(cluster.node('pg2'), 'SELECT a FROM t')).rows, [['1']]);
  assert.throws(() => cluster.node('pg9'), /no node pg9/);
});

for (const binaries of all) describe(`PostgreSQL ${binaries.version}`, () => suite(binaries));

function suite(binaries: PostgresBinaries): void {
  let postgres: TestPostgres;
  before(async () => {
    postgres = await withPostgres({
      binaries,
      hba: [
        'host all scram_user 127.0.0.1/32 scram-sha-256',
        'host all md5_user 127.0.0.1/32 md5',
        'host all plain_user 127.0.0.1/32 password',
      ],
      setup: [
        "CREATE ROLE scram_user LOGIN PASSWORD 'pw1'",
        "SET password_encryption = 'md5'; CREATE ROLE md5_user LOGIN PASSWORD 'pw2'",
        "CREATE ROLE plain_user LOGIN PASSWORD 'pw3'",
      ],
    });
  });

  test('the raw client logs in by trust, SCRAM, md5 and password, and is refused with a wrong one', async () => {
    const logins = { postgres: undefined, scram_user: 'pw1', md5_user: 'pw2', plain_user: 'pw3' };
    for (const [user, password] of Object.entries(logins)) {
      const login = { user, database: 'postgres', ...(password === undefined ? {} : { password }) };
      const client = await RawClient.login(postgres, login);
      assert.deepEqual(await client.rows('SELECT current_user'), [[user]]);
      assert.equal(client.transactionStatus, 'I');
      assert.equal(client.parameters.get('server_encoding'), 'UTF8');
      await client.end();
      if (password === undefined) continue;
      await assert.rejects(RawClient.login(postgres, { ...login, password: 'wrong' }), (error: unknown) => {
        assert.ok(error instanceof RawError);
        return error.code === '28P01';
      });
    }
  });

  test('bytes may be split anywhere, and messages come back one by one', async () => {
    const client = await RawClient.connect(postgres);
    assert.equal(await client.negotiate(), 'N');
    const other = await RawClient.connect(postgres);
    assert.match(await other.negotiate(GSSENC_REQUEST), /^[NG]$/); // Debian's is built with GSSAPI
    other.destroy();
    await client.sendSplit(startupMessage({ user: 'postgres', database: 'postgres' }), 3);
    await client.until('Z');
    const bytes = Buffer.concat([
      parse('s', 'SELECT $1::int + 1'),
      describeMessage('S', 's'),
      bind('', 's', ['41']),
      execute(''),
      sync(),
    ]);
    await client.sendSplit(bytes, 7);
    const messages = await client.until('Z');
    assert.equal(typesOf(messages), '1tT2DCZ');
    assert.deepEqual(rowsOf(messages), [['42']]);
    assert.deepEqual(tagsOf(await client.query('SELECT 1; SELECT 2')), ['SELECT 1', 'SELECT 1']);
    await client.end();
  });

  test('COPY goes in, fails and comes out', async () => {
    const client = await RawClient.login(postgres, { user: 'postgres' });
    await client.rows('CREATE TEMP TABLE c (a int, b text)');
    client.send(query('COPY c FROM STDIN'));
    await client.until('G');
    client.send(copyData(Buffer.from('1\tx\n2\t\\N\n')), copyDone());
    assert.deepEqual(tagsOf(await client.until('Z')), ['COPY 2']);
    client.send(query('COPY c FROM STDIN'));
    await client.until('G');
    client.send(copyFail('changed my mind'));
    assert.equal(typesOf(await client.until('Z')), 'EZ');
    const messages = await client.query('SELECT * FROM c ORDER BY a');
    const [description] = messages;
    assert.ok(description);
    assert.deepEqual(columnNames(description), ['a', 'b']);
    assert.deepEqual(rowsOf(messages), [
      ['1', 'x'],
      ['2', null],
    ]);
    assert.equal(typesOf(await client.query('COPY c TO STDOUT')), 'HddcCZ');
    client.halfClose();
    await client.closed();
  });

  test('a cancel request ends the query; a paused reader gets everything later', async () => {
    const client = await RawClient.login(postgres, { user: 'postgres' });
    client.send(query('SELECT pg_sleep(30)'));
    await until(
      async () =>
        (await postgres.sql("SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)'")).rows
          .length > 0,
    );
    await client.cancel();
    assert.ok((await client.until('Z')).some((message) => message.type === 'E'));
    client.pause();
    client.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 20000)"));
    await assert.rejects(client.until('Z', 150), /within|seen/);
    client.resume();
    assert.match(tagsOf(await client.until('Z', 20_000)).join(), /^SELECT 20000$/);
    client.reset();
  });

  test('the fault proxy passes, delays, trickles, goes silent and cuts', async (t) => {
    const proxy = await FaultProxy.start(postgres);
    t.after(() => proxy.close());
    const login = { user: 'postgres' };
    const client = await RawClient.login(proxy, login);
    assert.deepEqual(await client.rows('SELECT 1'), [['1']]);

    proxy.delay(60);
    const startedAt = performance.now();
    await client.rows('SELECT 1');
    assert.ok(performance.now() - startedAt >= 115, 'both ways are delayed');
    proxy.heal();

    proxy.trickle(2);
    assert.deepEqual(await client.rows("SELECT 'abc'"), [['abc']]);
    proxy.heal();

    proxy.blackhole();
    client.send(query('SELECT 1'));
    await assert.rejects(client.until('Z', 100), /no message within/);
    assert.equal(client.ended, false, 'half-open: nobody is told');
    proxy.heal();

    const second = await RawClient.login(proxy, login);
    const before = second.bytesReceived;
    proxy.cutAfter(20, 'down');
    second.send(query("SELECT repeat('x', 100)"));
    await second.closed();
    assert.equal(second.bytesReceived - before, 20);

    const third = await RawClient.login(proxy, login);
    proxy.cut();
    await third.closed();
    await client.closed();
    await until(() => proxy.open === 0);

    proxy.refuse();
    await assert.rejects(RawClient.connect(proxy), /ECONNREFUSED/);
    await proxy.accept();
    await (await RawClient.login(proxy, login)).end();
  });

  test('settings and pg_hba.conf change under way; a paused server is silent; a killed one starts again', async () => {
    const { instance } = postgres;
    instance.configure({ work_mem: '7MB' });
    await until(async () => (await postgres.sql('SHOW work_mem')).rows[0]?.[0] === '7MB');

    const client = await RawClient.login(postgres, { user: 'postgres' });
    instance.pause();
    client.send(query('SELECT 1'));
    await assert.rejects(client.until('Z', 100), /no message within/);
    instance.resume();
    await client.until('Z');

    const { pid } = instance;
    assert.ok(pid !== null);
    const family = [pid, ...childrenOf(pid)];
    assert.ok(family.length > 3);
    await instance.kill();
    assert.deepEqual(family.filter(isAlive), []);
    await client.closed();
    await instance.start();
    assert.deepEqual((await postgres.sql('SELECT 1')).rows, [['1']]);
    await instance.restart('immediate');
    await assert.rejects(instance.start(), /is running already/);
  });

  test('a server that cannot start says why, and nothing stays behind', async (t) => {
    const dir = makeScratchDir('pgconcierge-test', unprivilegedUser());
    t.after(() => rmSync(dir, { recursive: true, force: true }));
    const starting = startPostgres({ binaries, dir: join(dir, 'data'), port: postgres.port });
    await assert.rejects(starting, /ended[\s\S]*Address already in use/);
    const wrong = startPostgres({
      binaries,
      dir: join(dir, 'data'),
      port: await freePort(),
      settings: { nonsense: 1 },
    });
    await assert.rejects(wrong, /unrecognized configuration parameter "nonsense"/);
  });

  test('psql reaches it', { skip: skipWithout('psql') }, async () => {
    const options = { port: postgres.port, user: 'scram_user', password: 'pw1', database: 'postgres' };
    assert.deepEqual(await psql('SELECT 1, current_user', options), ['1|scram_user']);
    await assert.rejects(psql('SELECT nonsense', options), /column "nonsense" does not exist/);
  });

  test('a primary and 2 replicas stream, fail over, follow, are cloned again, and are gone afterwards', async () => {
    const cluster = await PostgresCluster.start({
      binaries,
      auth: 'scram-sha-256',
      superuserPassword: "it's \\ 1",
    });
    const pids: number[] = [];
    try {
      const first = cluster.primary;
      assert.equal(first.name, 'pg1');
      assert.equal(cluster.replicas.length, 2);
      await cluster.sql(first, 'CREATE TABLE t AS SELECT generate_series(1, 100) AS a');
      await cluster.waitCaughtUp();
      for (const replica of cluster.replicas) {
        assert.deepEqual((await cluster.sql(replica, 'SELECT count(*), pg_is_in_recovery() FROM t')).rows, [
          ['100', 't'],
        ]);
        await assert.rejects(cluster.sql(replica, 'DELETE FROM t'), /read-only transaction/);
      }

      // pg3 receives no more, pg2 does: only pg3 can follow the other
      const [pg2, pg3] = [cluster.node('pg2'), cluster.node('pg3')];
      pg3.configure({ primary_conninfo: 'host=127.0.0.1 port=1 user=postgres' });
      await until(
        async () =>
          (await cluster.sql(pg3, 'SELECT count(*) FROM pg_stat_wal_receiver')).rows[0]?.[0] === '0',
      );
      assert.deepEqual([await cluster.aheadOf(pg2), await cluster.aheadOf(pg3)], [[], []]);
      await cluster.sql(first, 'DELETE FROM t WHERE a = 100');
      await until(async () => (await cluster.sql(pg2, 'SELECT count(*) FROM t')).rows[0]?.[0] === '99');
      assert.deepEqual([await cluster.aheadOf(pg2), await cluster.aheadOf(pg3)], [[], [pg2]]);

      await first.kill();
      await cluster.promote(pg2);
      assert.equal(cluster.primary.name, 'pg2');
      await cluster.follow(cluster.node('pg3'), cluster.primary);
      await cluster.reclone(first, cluster.primary);
      await cluster.sql(cluster.primary, 'INSERT INTO t VALUES (101)');
      await cluster.waitCaughtUp();
      assert.deepEqual((await cluster.sql(first, 'SELECT count(*) FROM t')).rows, [['100']]);
      for (const node of cluster.nodes) if (node.pid !== null) pids.push(node.pid, ...childrenOf(node.pid));
      assert.ok(pids.length > 9);
    } finally {
      await cluster.destroy();
    }
    assert.deepEqual(pids.filter(isAlive), []);
    assert.equal(existsSync(cluster.dir), false);
  });

  test('when the owner is killed, its server and its files go too', async () => {
    const child = run(process.execPath, ['--input-type=module', '-e', ORPHAN], {
      env: { ...process.env, PG_BIN: binaries.binDir },
    });
    // the script prints what it has started and kills itself with SIGKILL
    const failure = await child.then(
      () => assert.fail('it should have been killed'),
      (error: { stdout: string; signal: string }) => error,
    );
    assert.equal(failure.signal, 'SIGKILL');
    const [pid = '', dir = ''] = failure.stdout.trim().split('\n');
    assert.match(pid, /^\d+$/);
    assert.match(dir, /pgconcierge-orphan/);
    await until(() => !isAlive(Number(pid)), { what: 'the end of the server' });
    await until(() => !existsSync(dir), { what: 'the removal of its directory' });
  });
}
