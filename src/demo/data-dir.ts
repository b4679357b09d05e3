/**
 * What lies in a PostgreSQL data directory: initdb, our settings in a file of their own, pg_hba.conf, and copies that
 * become replicas. Only this file writes into one.
 */
import { execFile } from 'node:child_process';
import { chownSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { copyTree } from './copy-tree.ts';
import { type PostgresBinaries, postgresEnv } from './postgres-binaries.ts';
import { type RunAs, spawnIds } from './run-as.ts';

const run = promisify(execFile);
const CONF = 'pgconcierge.conf';

export type PostgresSettings = Readonly<Record<string, string | number | boolean>>;

/** Quick to start, quick to write, nothing durable. */
const BASE: PostgresSettings = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  fsync: false,
  full_page_writes: false,
  shared_buffers: '16MB',
  // replicas copied before the first start compare these with initdb's control file: not below its defaults
  max_connections: 100,
  max_wal_senders: 10,
  max_replication_slots: 10,
  wal_level: 'replica',
  wal_keep_size: '64MB',
  hot_standby: true,
  wal_receiver_status_interval: '1s',
  wal_retrieve_retry_interval: '100ms',
  // in the data directory, so that a killed server leaves nothing in /dev/shm
  dynamic_shared_memory_type: process.platform === 'win32' ? 'windows' : 'mmap',
  jit: false,
  logging_collector: false,
  log_destination: 'stderr',
  log_line_prefix: '%m [%p] ',
  log_checkpoints: false,
  lc_messages: 'C',
  timezone: 'UTC',
  log_timezone: 'UTC',
};

/** The defaults with `own` on top. */
export function effectiveSettings(major: number, own: PostgresSettings): PostgresSettings {
  // three idle worker processes per server less
  return { ...BASE, ...(major >= 18 ? { io_method: 'sync' } : {}), ...own };
}

function writeOwned(file: string, text: string, owner: RunAs | null): void {
  writeFileSync(file, text, { mode: 0o600 });
  if (owner !== null) chownSync(file, owner.uid, owner.gid);
}

/** A value of postgresql.conf, quoted. */
function confValue(value: string | number | boolean): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  return `'${String(value).replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}

/** A value of a libpq connection string, quoted. */
export function conninfoValue(value: string | number): string {
  return `'${String(value).replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

export interface InitOptions {
  readonly binaries: PostgresBinaries;
  readonly dir: string;
  /** Password of the superuser `postgres`; none = no password. */
  readonly superuserPassword?: string;
}

/** Runs initdb: superuser `postgres`, UTF8, C locale. Throws with initdb's own words. */
export async function initDataDir(options: InitOptions): Promise<void> {
  const { binaries, dir, superuserPassword } = options;
  const args = ['-D', dir, '-U', 'postgres', '--auth=trust', '--no-sync', '--wal-segsize=1'];
  args.push('--encoding=UTF8', '--locale=C');
  const passwordFile = `${dir}.pw`;
  if (superuserPassword !== undefined) {
    writeOwned(passwordFile, `${superuserPassword}\n`, binaries.runAs);
    args.push(`--pwfile=${passwordFile}`);
  }
  try {
    await run(binaries.initdb, args, { cwd: dirname(dir), env: postgresEnv(), ...spawnIds(binaries.runAs) });
  } catch (error) {
    throw new Error(`initdb of ${dir} failed: ${error instanceof Error ? error.message : error}`);
  } finally {
    rmSync(passwordFile, { force: true });
  }
  const main = join(dir, 'postgresql.conf');
  writeOwned(main, `${readFileSync(main, 'utf8')}\ninclude_if_exists = '${CONF}'\n`, binaries.runAs);
}

/** Replaces our settings; the server reads them at start or SIGHUP. */
export function writeSettings(dir: string, settings: PostgresSettings, owner: RunAs | null): void {
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${confValue(value)}`);
  writeOwned(join(dir, CONF), `${lines.join('\n')}\n`, owner);
}

/** As ALTER SYSTEM RESET of `names`: what somebody has set by hand there would win over our file. */
export function forgetAlterSystem(dir: string, names: readonly string[], owner: RunAs | null): void {
  const file = join(dir, 'postgresql.auto.conf');
  const before = readFileSync(file, 'utf8');
  const kept = before.split('\n').filter((line) => !names.some((name) => line.startsWith(`${name} =`)));
  if (kept.join('\n') !== before) writeOwned(file, kept.join('\n'), owner);
}

/** Replaces pg_hba.conf: `lines` first, then everybody from loopback by `auth`. */
export function writeHba(dir: string, lines: readonly string[], auth: string, owner: RunAs | null): void {
  const rest: string[] = process.platform === 'win32' ? [] : [`local all all ${auth}`];
  for (const address of ['127.0.0.1/32', '::1/128']) {
    rest.push(`host all all ${address} ${auth}`, `host replication all ${address} ${auth}`);
  }
  writeOwned(join(dir, 'pg_hba.conf'), `${[...lines, ...rest].join('\n')}\n`, owner);
}

/** The server on `dir` starts as a replica. */
export function markStandby(dir: string, owner: RunAs | null): void {
  writeOwned(join(dir, 'standby.signal'), '', owner);
}

/** Asks for promotion, as pg_ctl does: this file, then SIGUSR1 to the postmaster. */
export function requestPromotion(dir: string, owner: RunAs | null): void {
  writeOwned(join(dir, 'promote'), '', owner);
}

/** Puts the label of a backup taken while the source was running. */
export function writeBackupLabel(dir: string, label: string, owner: RunAs | null): void {
  writeOwned(join(dir, 'backup_label'), label, owner);
}

const NEVER = /^(postmaster\.(pid|opts)|backup_label.*|tablespace_map|promote|pgsql_tmp.*)$/;
const EMPTIED = /^(pg_dynshmem|pg_notify|pg_replslot|pg_serial|pg_snapshots|pg_stat_tmp|pg_subtrans)\/./;

/**
 * Copies a data directory. `cold`: the source is stopped and its WAL comes along. Else the source is running between
 * pg_backup_start and pg_backup_stop, and the copy streams the WAL.
 */
export async function copyDataDir(
  from: string,
  to: string,
  cold: boolean,
  owner: RunAs | null,
): Promise<void> {
  await mkdir(to, { mode: 0o700 });
  const skip = (path: string): boolean =>
    NEVER.test(path) ||
    EMPTIED.test(path) ||
    (!cold && /^pg_wal\/[^/]+$/.test(path) && !path.endsWith('_status'));
  await copyTree(from, to, { owner, skip });
}
