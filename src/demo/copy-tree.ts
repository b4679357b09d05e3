/**
 * Copies a directory tree: PostgreSQL's binaries for another user, data directories into replicas. fs.cp would do but
 * for three needs: files that vanish while a running server is copied, a new owner, and folders to leave empty.
 */
import { constants } from 'node:fs';
import { chmod, chown, copyFile, lstat, mkdir, readdir, readlink, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { RunAs } from './run-as.ts';

export interface CopyOptions {
  /** Owner of what is written; null = we. */
  readonly owner: RunAs | null;
  /** Everybody may read (and enter, execute what the owner may). */
  readonly worldReadable?: boolean;
  /** Paths relative to the root (with `/`) that are not copied. */
  readonly skip?: (path: string) => boolean;
}

const AT_ONCE = 16;

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

async function copyEntry(from: string, to: string, path: string, options: CopyOptions): Promise<void> {
  const source = join(from, path);
  const target = join(to, path);
  const stat = await lstat(source);
  if (stat.isSymbolicLink()) {
    await symlink(await readlink(source), target);
    return;
  }
  if (stat.isDirectory()) {
    await mkdir(target, { recursive: true });
    await copyFolder(from, to, path, options);
  } else if (stat.isFile()) {
    await copyFile(source, target, constants.COPYFILE_FICLONE);
  } else {
    return; // a socket or a pipe belongs to the running server
  }
  const mode = stat.mode & 0o777;
  await chmod(target, options.worldReadable ? mode | 0o444 | (mode & 0o100 ? 0o111 : 0) : mode);
  if (options.owner !== null) await chown(target, options.owner.uid, options.owner.gid);
}

async function copyFolder(from: string, to: string, path: string, options: CopyOptions): Promise<void> {
  const names = await readdir(join(from, path));
  let next = 0;
  const work = async (): Promise<void> => {
    for (let name = names[next++]; name !== undefined; name = names[next++]) {
      const inner = path === '' ? name : `${path}/${name}`;
      if (options.skip?.(inner)) continue;
      try {
        await copyEntry(from, to, inner, options);
      } catch (error) {
        if (!isMissing(error)) throw error; // a running server removes files under our hands; its WAL knows
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, names.length) }, work));
}

/** Copies the contents of `from` into `to` (made when missing). Files that vanish meanwhile are left out. */
export async function copyTree(from: string, to: string, options: CopyOptions): Promise<void> {
  await copyEntry(from, to, '', options);
}
