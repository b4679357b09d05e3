/**
 * A real PostgreSQL for a test file. One server per file and set of options, shared by its tests, gone when the file
 * is done. PGC_TEST_PG=15 or 18 chooses the major version, so that a suite can run on each.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { PostgresSettings } from '../../src/demo/data-dir.ts';
import { unguardDir } from '../../src/demo/guard.ts';
import { findPostgres, listPostgres, type PostgresBinaries } from '../../src/demo/postgres-binaries.ts';
import { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import { type PostgresInstance, startPostgres } from '../../src/demo/postgres-instance.ts';
import { makeScratchDir } from '../../src/demo/run-as.ts';
import { runSql, type SampleResult } from '../../src/demo/sample-client.ts';
import { atEndOfFile } from './file-cleanup.ts';
import { freePort } from './ports.ts';

export interface TestPostgresOptions {
  /** Default: what PGC_TEST_PG says, else the demo's choice. */
  readonly binaries?: PostgresBinaries;
  readonly settings?: PostgresSettings;
  /** Lines of pg_hba.conf before `trust` for everybody from loopback. */
  readonly hba?: readonly string[];
  /** SQL run once as the superuser `postgres` in database postgres, e.g. CREATE ROLE. */
  readonly setup?: readonly string[];
}

export interface TestPostgres {
  readonly host: string;
  readonly port: number;
  readonly instance: PostgresInstance;
  /** Runs SQL as the superuser, past the proxy. */
  sql(text: string, database?: string): Promise<SampleResult>;
  /** Ends it and removes its files; a test file needs not call it. */
  destroy(): Promise<void>;
}

/** The binaries that tests use. Throws when PGC_TEST_PG names a version that is not here. */
export async function testBinaries(): Promise<PostgresBinaries> {
  const wanted = process.env['PGC_TEST_PG'];
  if (wanted === undefined || wanted === '') return findPostgres();
  const all = await listPostgres();
  const found = all.find((one) => String(one.major) === wanted);
  if (found === undefined) {
    const have = all.map((one) => one.major).join(', ');
    throw new Error(`PGC_TEST_PG=${wanted}, but only these are installed: ${have === '' ? 'none' : have}`);
  }
  return found;
}

async function start(options: TestPostgresOptions): Promise<TestPostgres> {
  const binaries = options.binaries ?? (await testBinaries());
  const parent = makeScratchDir('pgconcierge-test', binaries.runAs);
  const removeParent = () => {
    rmSync(parent, { recursive: true, force: true });
    unguardDir(parent);
  };
  let instance: PostgresInstance;
  try {
    instance = await startPostgres({
      binaries,
      dir: join(parent, 'data'),
      port: await freePort(),
      ...(options.settings === undefined ? {} : { settings: options.settings }),
      ...(options.hba === undefined ? {} : { hba: options.hba }),
    });
  } catch (error) {
    removeParent();
    throw error;
  }
  const { host, port } = instance;
  const sql = (text: string, database = 'postgres') =>
    runSql({ host, port, user: 'postgres', database }, text);
  const destroy = async () => {
    await instance.destroy();
    removeParent();
  };
  try {
    // one statement each: CREATE DATABASE refuses to be part of a list
    for (const text of options.setup ?? []) await sql(text);
  } catch (error) {
    await destroy();
    throw error;
  }
  return { host, port, instance, sql, destroy };
}

const shared = new Map<string, Promise<TestPostgres>>();

/**
 * The test file's PostgreSQL: the first call starts it, later calls with the same options return it, and it is ended
 * after the file's last test. Superuser `postgres`, trust on loopback.
 */
export function withPostgres(options: TestPostgresOptions = {}): Promise<TestPostgres> {
  const key = JSON.stringify(options);
  let found = shared.get(key);
  if (found === undefined) {
    const started = start(options);
    found = started;
    shared.set(key, started);
    atEndOfFile(async () => {
      // a failed start has cleaned up after itself and has been reported to who called
      await started.then(
        (one) => one.destroy(),
        () => {},
      );
    });
  }
  return found;
}

/** A primary with `replicas` streaming replicas, ended after the file's last test. One for each call. */
export async function withCluster(
  replicas = 2,
  options: Omit<TestPostgresOptions, 'setup'> = {},
): Promise<PostgresCluster> {
  const binaries = options.binaries ?? (await testBinaries());
  const cluster = await PostgresCluster.start({
    binaries,
    replicas,
    ...(options.settings === undefined ? {} : { settings: options.settings }),
    ...(options.hba === undefined ? {} : { hba: options.hba }),
  });
  atEndOfFile(() => cluster.destroy());
  return cluster;
}
