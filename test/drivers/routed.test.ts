/**
 * The drivers on a database with route=auto of a real cluster: reads that are prepared reach the replicas, everybody
 * reads what he has written, READ ONLY transactions run on replicas, and nobody is told 25006.
 */
// apt: python3 python3-asyncpg python3-psycopg python3-psycopg2 libdbd-pg-perl default-jdk-headless libpostgresql-jdbc-java
import { before, test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { Daemon } from '../support/daemon.ts';
import { withCluster } from '../support/postgres.ts';
import { routedDaemon } from '../support/routed.ts';
import { programPath, runProgram, skipUnless } from './driver-program.ts';

const PYTHON = '/usr/bin/python3';
const JAR = '/usr/share/java/postgresql.jar';

let cluster: PostgresCluster;
let daemon: Daemon;

before(async () => {
  cluster = await withCluster(2);
  for (const sql of [
    'CREATE TABLE items (who text, n integer)',
    'CREATE TABLE notes (n serial)',
    `CREATE FUNCTION note() RETURNS integer VOLATILE LANGUAGE sql AS 'INSERT INTO notes DEFAULT VALUES RETURNING n'`,
    `CREATE FUNCTION noted(integer) RETURNS integer STABLE LANGUAGE sql AS 'SELECT note()'`,
  ])
    await cluster.sql(cluster.primary, sql);
  await cluster.waitCaughtUp();
  daemon = await routedDaemon(null, cluster, {
    settings: { lsn_interval: 0.02, ignore_startup_parameters: 'extra_float_digits' },
  });
});

/** Every program gets host and port of the proxy and the port of the primary. */
async function run(command: readonly string[], expected: readonly string[]): Promise<void> {
  const { host, port } = daemon;
  await runProgram(daemon, [...command, host, String(port), String(cluster.primary.port)], expected);
}

test('asyncpg', { skip: skipUnless([PYTHON, '-c', 'import asyncpg'], 'python3-asyncpg') }, async () => {
  await run(
    [PYTHON, programPath('routed-asyncpg.py')],
    ['reads', 'uncached', 'own writes', 'transactions', 'read only', 'lies', 'settings'],
  );
});

test('psycopg 3', { skip: skipUnless([PYTHON, '-c', 'import psycopg'], 'python3-psycopg') }, async () => {
  await run(
    [PYTHON, programPath('routed-psycopg3.py')],
    ['reads', 'own writes', 'transactions', 'read only', 'pipeline', 'lies', 'cursor'],
  );
});

test('psycopg2', { skip: skipUnless([PYTHON, '-c', 'import psycopg2'], 'python3-psycopg2') }, async () => {
  await run(
    [PYTHON, programPath('routed-psycopg2.py')],
    ['reads', 'own writes', 'transactions', 'read only', 'lies', 'copy'],
  );
});

test('DBD::Pg', {
  skip: skipUnless(['/usr/bin/perl', '-MDBD::Pg', '-e', '1'], 'libdbd-pg-perl'),
}, async () => {
  await run(
    ['/usr/bin/perl', programPath('routed-dbd-pg.pl')],
    ['reads', 'own writes', 'transactions', 'read only', 'lies'],
  );
});

const noJdbc =
  skipUnless(['javac', '-version'], 'javac (default-jdk-headless)') ||
  skipUnless(['test', '-r', JAR], 'libpostgresql-jdbc-java');

for (const mode of ['extended', 'simple', 'extendedForPrepared', 'extendedCacheEverything']) {
  test(`PgJDBC, preferQueryMode=${mode}`, { skip: noJdbc }, async () => {
    await run(
      ['java', '-cp', JAR, programPath('routed-jdbc.java'), mode],
      ['reads', 'ownWrites', 'transactions', 'readOnly', 'batches', 'fetchSize', 'lies', 'targetServerType'],
    );
  });
}
