/** The PostgreSQL behind everything: one instance with the pgbench tables, and the users that the lines log in as. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import pg from 'pg';
import { freePort } from '../../src/demo/free-port.ts';
import { findPostgres, type PostgresBinaries } from '../../src/demo/postgres-binaries.ts';
import { type PostgresInstance, startPostgres } from '../../src/demo/postgres-instance.ts';
import { findPgbench, runPgbench } from './pgbench.ts';

export const DATABASE = 'bench';
/** Logs in without a password. */
export const TRUST_USER = 'bench';
/** Logs in with SCRAM, at PostgreSQL and at the poolers. */
export const SCRAM_USER = 'bench_scram';
export const SCRAM_PASSWORD = 'bench-password';

export interface Backend {
  readonly port: number;
  readonly binaries: PostgresBinaries;
  readonly pgbench: string;
  /** SCRAM_USER's secret as PostgreSQL stores it, for userlist.txt. */
  readonly scramVerifier: string;
  stop(): Promise<void>;
}

/** TRUST_USER and SCRAM_USER; returns the secret of the latter. */
export async function makeUsers(port: number): Promise<string> {
  const connect = { host: '127.0.0.1', port, user: 'postgres' };
  const first = new pg.Client({ ...connect, database: 'postgres' });
  await first.connect();
  try {
    await first.query(`create role ${TRUST_USER} login superuser`);
    await first.query(`create role ${SCRAM_USER} login password '${SCRAM_PASSWORD}'`);
    await first.query(`create database ${DATABASE} owner ${TRUST_USER}`);
    const found = await first.query<{ rolpassword: string }>(
      'select rolpassword from pg_authid where rolname = $1',
      [SCRAM_USER],
    );
    const verifier = found.rows[0]?.rolpassword ?? '';
    if (!verifier.startsWith('SCRAM-SHA-256$')) throw new Error(`no SCRAM secret for ${SCRAM_USER}`);
    return verifier;
  } finally {
    await first.end();
  }
}

/** The pgbench tables. */
export async function fill(port: number, pgbench: string, scale: number): Promise<void> {
  const where = ['-h', '127.0.0.1', '-p', String(port), '-U', TRUST_USER];
  // the report of an initialisation is none: run one transaction after it, which also proves the tables
  await runPgbench(pgbench, [...where, '-i', '-q', '-s', String(scale), DATABASE], 300_000).catch(
    (error: unknown) => {
      if (!(error instanceof Error) || !error.message.includes('unreadable report')) throw error;
    },
  );
  await runPgbench(pgbench, [...where, '-n', '-S', '-t', '1', DATABASE], 60_000);
  const client = new pg.Client({ host: '127.0.0.1', port, user: TRUST_USER, database: DATABASE });
  await client.connect();
  try {
    await client.query(`grant select on all tables in schema public to ${SCRAM_USER}`);
    await client.query('create table copy_sink (line text)');
    await client.query('vacuum analyze');
    await client.query('checkpoint');
  } finally {
    await client.end();
  }
}

/** Starts PostgreSQL below `scratch` (which the server user owns) and fills it. Throws when pgbench is missing. */
export async function startBackend(scratch: string, scale: number): Promise<Backend> {
  const binaries = await findPostgres();
  const pgbench = findPgbench(binaries.binDir);
  const port = await freePort();
  mkdirSync(scratch, { recursive: true });
  const instance: PostgresInstance = await startPostgres({
    binaries,
    dir: path.join(scratch, 'data'),
    port,
    name: 'bench postgres',
    hba: [`host all ${SCRAM_USER} 127.0.0.1/32 scram-sha-256`],
    settings: {
      max_connections: 300,
      shared_buffers: '256MB',
      password_encryption: 'scram-sha-256',
      autovacuum: false,
      max_wal_size: '2GB',
    },
  });
  try {
    const scramVerifier = await makeUsers(port);
    await fill(port, pgbench, scale);
    return { port, binaries, pgbench, scramVerifier, stop: () => instance.destroy() };
  } catch (error) {
    await instance.destroy();
    throw error;
  }
}
