/** Runs pgbench and reads its report. */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';

export interface PgbenchRun {
  readonly transactions: number;
  /** Without the time for the first connections; with `-C` including the connections. */
  readonly tps: number;
}

/** pgbench's path: beside the server's programs, in PATH, or in Debian's folders. Throws when there is none. */
export function findPgbench(binDir: string): string {
  const folders = [binDir, ...(process.env['PATH'] ?? '').split(path.delimiter)];
  const debian = '/usr/lib/postgresql';
  if (existsSync(debian)) {
    const majors = readdirSync(debian).filter((name) => /^\d+$/.test(name));
    majors.sort((a, b) => Number(b) - Number(a));
    folders.push(...majors.map((major) => path.join(debian, major, 'bin')));
  }
  for (const folder of folders) {
    const file = path.join(folder, 'pgbench');
    if (folder !== '' && existsSync(file)) return file;
  }
  throw new Error('pgbench was not found; on Debian: apt-get install postgresql');
}

/** e.g. `15.20`. */
export function pgbenchVersion(pgbench: string): string {
  return (
    /\(PostgreSQL\) (\S+)/.exec(execFileSync(pgbench, ['--version'], { encoding: 'utf8' }))?.[1] ?? 'unknown'
  );
}

/** Environment for libpq programs: nothing of the caller's PG variables except what is given. */
export function libpqEnv(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('PG'));
  return { ...Object.fromEntries(kept), PGSSLMODE: 'disable', PGCONNECT_TIMEOUT: '20', ...extra };
}

/** Runs pgbench with `args`; throws with its stderr when it fails, when a client was aborted or when nothing ran. */
export function runPgbench(
  pgbench: string,
  args: readonly string[],
  timeoutMs: number,
  env: Readonly<Record<string, string>> = {},
): Promise<PgbenchRun> {
  return new Promise((resolve, reject) => {
    const options = { env: libpqEnv(env), timeout: timeoutMs, maxBuffer: 16 << 20 };
    execFile(pgbench, [...args], options, (error, stdout, stderr) => {
      const fail = (why: string): void => {
        reject(new Error(`pgbench ${args.join(' ')}: ${why}\n${stderr.trim().slice(-2000)}`));
      };
      if (error !== null)
        return fail(error.killed === true ? `no end after ${timeoutMs} ms` : `exit ${error.code}`);
      if (/aborted/.test(stderr)) return fail('a client was aborted');
      const transactions = Number(
        /^number of transactions actually processed: (\d+)/m.exec(stdout)?.[1] ?? Number.NaN,
      );
      const tps = Number(/^tps = ([\d.]+)/m.exec(stdout)?.[1] ?? Number.NaN);
      if (!(transactions > 0) || !(tps > 0)) return fail(`unreadable report: ${stdout}`);
      resolve({ transactions, tps });
    });
  });
}
