/**
 * A pooler under test as a child process: PgBouncer or ourselves, from the same ini file with the same pool settings.
 * Both drop root by their own `user` setting.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../src/demo/free-port.ts';
import { guardProcess, unguardProcess } from '../../src/demo/guard.ts';
import { LogLines } from '../../src/demo/log-lines.ts';
import { signalProcess, waitGone } from '../../src/demo/processes.ts';
import { unprivilegedUser } from '../../src/demo/run-as.ts';
import { DATABASE } from './backend.ts';
import { cpuSeconds, residentKb } from './usage.ts';

export const POOL_SIZE = 20;
const START_TIMEOUT_MS = 15_000;

/** A program that can be started as a pooler. */
export interface PoolerProgram {
  readonly name: 'pgbouncer' | 'pgconcierge';
  readonly command: readonly string[];
  /** `1.25.2`. */
  readonly version: string;
  /** Carries protocol-level prepared statements in transaction mode (PgBouncer: since 1.21). */
  readonly preparedStatements: boolean;
}

export interface PoolerOptions {
  readonly backendPort: number;
  readonly auth: 'trust' | 'scram-sha-256';
  /** Lines of userlist.txt. */
  readonly userlist: readonly string[];
  /** Owned by the server user; the pooler gets a folder in it. */
  readonly scratch: string;
  /** Connection string of the database entry; default: `backendPort`. */
  readonly database?: string;
  /** More sections of the ini file. */
  readonly sections?: readonly string[];
}

export interface Pooler {
  readonly port: number;
  /** Seconds of CPU used so far by all its processes; null when unknown. */
  cpu(): number | null;
  /** Resident memory of all its processes in kB; null when unknown. */
  residentKb(): number | null;
  stop(): Promise<void>;
}

/** PGBOUNCER or the one in PATH (also in sbin); null when there is none. Throws when PGBOUNCER cannot be run. */
export function findPgbouncer(): PoolerProgram | null {
  const chosen = process.env['PGBOUNCER'] ?? '';
  const folders = [...(process.env['PATH'] ?? '').split(path.delimiter), '/usr/sbin', '/usr/local/sbin'];
  const found = folders.map((folder) => path.join(folder, 'pgbouncer')).find((file) => existsSync(file));
  const file = chosen !== '' ? chosen : found;
  if (file === undefined) return null;
  const version = /PgBouncer (\d+)\.(\d+)(\S*)/i.exec(
    execFileSync(file, ['--version'], { encoding: 'utf8' }),
  );
  if (version === null) throw new Error(`${file} --version does not say a version`);
  const [major, minor] = [Number(version[1]), Number(version[2])];
  return {
    name: 'pgbouncer',
    command: [file],
    version: `${version[1]}.${version[2]}${version[3]}`,
    preparedStatements: major > 1 || minor >= 21,
  };
}

/** Ourselves, from dist. */
export function ownProgram(root: string, version: string): PoolerProgram {
  const main = path.join(root, 'dist/src/main.js');
  if (!existsSync(main)) throw new Error('dist/src/main.js does not exist: npm run build');
  return { name: 'pgconcierge', command: [process.execPath, main], version, preparedStatements: true };
}

function iniText(program: PoolerProgram, options: PoolerOptions, port: number, userlist: string): string {
  const user = unprivilegedUser();
  const target = options.database ?? `host=127.0.0.1 port=${options.backendPort} dbname=${DATABASE}`;
  const lines = [
    ...(options.sections ?? []),
    '[databases]',
    `${DATABASE} = ${target}`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    `auth_type = ${options.auth}`,
    `auth_file = ${userlist}`,
    'pool_mode = transaction',
    `default_pool_size = ${POOL_SIZE}`,
    'max_client_conn = 20000',
    'log_connections = 0',
    'log_disconnections = 0',
  ];
  if (program.preparedStatements) lines.push('max_prepared_statements = 200');
  if (user !== null) lines.push(`user = ${user.name}`);
  return `${lines.join('\n')}\n`;
}

/** Writes a file that the pooler can read after it has dropped root. */
function writeFor(file: string, text: string): void {
  writeFileSync(file, text, { mode: 0o600 });
  const user = unprivilegedUser();
  if (user !== null) chownSync(file, user.uid, user.gid);
}

async function answers(port: number): Promise<boolean> {
  const { connect } = await import('node:net');
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const end = (is: boolean): void => {
      socket.destroy();
      resolve(is);
    };
    socket.once('connect', () => end(true)).once('error', () => end(false));
  });
}

/** Starts `program` and waits until it listens. Throws with its last log lines. */
export async function startPooler(program: PoolerProgram, options: PoolerOptions): Promise<Pooler> {
  const folder = mkdtempSync(path.join(options.scratch, `${program.name}-`));
  const user = unprivilegedUser();
  chmodSync(folder, 0o700);
  if (user !== null) chownSync(folder, user.uid, user.gid);
  const port = await freePort();
  const userlist = path.join(folder, 'userlist.txt');
  const ini = path.join(folder, 'pooler.ini');
  writeFor(userlist, `${options.userlist.join('\n')}\n`);
  writeFor(ini, iniText(program, options, port, userlist));
  const [command = '', ...rest] = program.command;
  const child = spawn(command, [...rest, ini], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const log = new LogLines(program.name);
  log.follow(child.stdout);
  log.follow(child.stderr);
  let spawnError: Error | null = null;
  child.once('error', (error) => {
    spawnError = error;
  });
  const { pid } = child;
  if (pid === undefined) {
    await sleep(0);
    throw new Error(`${command} could not be started: ${String(spawnError)}`);
  }
  guardProcess(pid);
  child.once('exit', () => unguardProcess(pid));
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(await answers(port))) {
    const ended = child.exitCode !== null || child.signalCode !== null;
    if (ended || performance.now() > deadline) {
      await stop(child, pid);
      const what = ended ? 'ended at start' : `does not listen after ${START_TIMEOUT_MS} ms`;
      throw new Error(`${program.name} ${what}:\n${log.tail()}`);
    }
    await sleep(20);
  }
  return {
    port,
    cpu: () => cpuSeconds(pid),
    residentKb: () => residentKb(pid),
    stop: () => stop(child, pid),
  };
}

async function stop(child: ChildProcess, pid: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  // an immediate shutdown for both; whoever does not go is killed
  signalProcess(pid, 'SIGTERM');
  try {
    await waitGone([pid], 1_000);
  } catch {
    signalProcess(pid, 'SIGKILL');
    await waitGone([pid], 5_000);
  }
}
