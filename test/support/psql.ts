/**
 * psql and pgbench, the two programs of the PostgreSQL client package that some suites use. Where they are missing
 * those suites are skipped, and say so loudly: a silent skip would look like a pass.
 */
import { type ChildProcess, execFile } from 'node:child_process';
import { accessSync, constants, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { type RunAs, spawnIds } from '../../src/demo/run-as.ts';

const DEBIAN_ROOT = '/usr/lib/postgresql';
const told = new Set<string>();

export type ClientProgram = 'psql' | 'pgbench' | 'pg_dump' | 'pg_isready';

function systemDirs(): string[] {
  try {
    return readdirSync(DEBIAN_ROOT)
      .sort((a, b) => Number(b) - Number(a))
      .map((name) => join(DEBIAN_ROOT, name, 'bin'));
  } catch {
    return []; // not a Debian
  }
}

/** Full path of a client program: PG_BIN, the real ones of /usr/lib/postgresql, PATH; null when there is none. */
export function findProgram(name: ClientProgram): string | null {
  // Debian's /usr/bin/psql is a perl wrapper that starts slowly: the real one is preferred
  const dirs = [
    process.env['PG_BIN'] ?? '',
    ...systemDirs(),
    ...(process.env['PATH'] ?? '').split(delimiter),
  ];
  for (const dir of dirs) {
    if (dir === '') continue;
    const path = join(dir, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // look on
    }
  }
  return null;
}

/** For `test(name, { skip: skipWithout('psql') }, …)`: false, or the reason, which is also written to stderr once. */
export function skipWithout(...names: readonly ClientProgram[]): false | string {
  const missing = names.filter((name) => findProgram(name) === null);
  if (missing.length === 0) return false;
  const text = `${missing.join(' and ')} not installed`;
  if (!told.has(text)) {
    told.add(text);
    process.stderr.write(
      `\n*** SKIPPED TESTS: ${text} (Debian: postgresql-client, postgresql-contrib) ***\n\n`,
    );
  }
  return text;
}

export interface ProgramResult {
  /** Exit code; -1 when it was killed. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  readonly port: number;
  readonly host?: string;
  readonly user: string;
  readonly password?: string;
  readonly database: string;
  /** Written to its stdin. */
  readonly input?: string;
  /** Default 60,000; then it is killed. */
  readonly timeoutMs?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** As another system user; default: as we are. */
  readonly runAs?: RunAs | null;
}

export interface StartedProgram {
  /** To send signals to. */
  readonly child: ChildProcess;
  readonly done: Promise<ProgramResult>;
}

/** Starts a client program against host:port. Throws when it is missing; its failure is in the result's `code`. */
export function startProgram(
  name: ClientProgram,
  args: readonly string[],
  options: ProgramOptions,
): StartedProgram {
  const path = findProgram(name);
  if (path === null) throw new Error(`${name} is not installed`);
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    PGHOST: options.host ?? '127.0.0.1',
    PGPORT: String(options.port),
    PGUSER: options.user,
    PGPASSWORD: options.password ?? '',
    PGDATABASE: options.database,
    PGCONNECT_TIMEOUT: '10',
    PSQLRC: '/dev/null',
    PSQL_HISTORY: '/dev/null',
    ...options.env,
  };
  const settings = {
    env,
    timeout: options.timeoutMs ?? 60_000,
    maxBuffer: 64 * 1024 * 1024,
    ...spawnIds(options.runAs ?? null),
  };
  let finish: (result: ProgramResult) => void = () => {};
  const done = new Promise<ProgramResult>((resolve) => {
    finish = resolve;
  });
  const child = execFile(path, args, settings, (_error, stdout, stderr) => {
    finish({ code: child.exitCode ?? -1, stdout, stderr });
  });
  child.stdin?.on('error', () => {}); // it may end without reading its input
  child.stdin?.end(options.input ?? '');
  return { child, done };
}

/** Runs a client program to its end. Throws when the program is missing; its failure is in `code`. */
export async function runProgram(
  name: ClientProgram,
  args: readonly string[],
  options: ProgramOptions,
): Promise<ProgramResult> {
  return startProgram(name, args, options).done;
}

/** `psql -X -A -t -c SQL`, the lines of its output. Throws with its stderr when it fails. */
export async function psql(sql: string, options: ProgramOptions): Promise<string[]> {
  const result = await runProgram('psql', ['-X', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-c', sql], options);
  if (result.code !== 0) throw new Error(`psql exit ${result.code}: ${result.stderr}`);
  return result.stdout.split('\n').filter((line) => line !== '');
}
