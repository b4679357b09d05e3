/**
 * PostgreSQL refuses to run as root, and the proxy does too. When we are root, children run as `postgres` (else
 * `nobody`), which raises one question everywhere: can that user reach this path?
 */
import {
  accessSync,
  chmodSync,
  chownSync,
  constants,
  mkdtempSync,
  readFileSync,
  realpathSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { guardDir } from './guard.ts';

export interface RunAs {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

const NOBODY: RunAs = { name: 'nobody', uid: 65534, gid: 65534 };

function passwdEntry(name: string): RunAs | null {
  let text: string;
  try {
    text = readFileSync('/etc/passwd', 'utf8');
  } catch {
    return null; // a minimal container; the numeric ids of nobody still work
  }
  for (const line of text.split('\n')) {
    const [user, , uid, gid] = line.split(':');
    if (user === name && uid !== undefined && gid !== undefined && Number(uid) > 0) {
      return { name, uid: Number(uid), gid: Number(gid) };
    }
  }
  return null;
}

/** Whom children must run as: null = as we are, because we are not root (or on Windows). */
export function unprivilegedUser(): RunAs | null {
  if (process.getuid?.() !== 0) return null;
  return passwdEntry('postgres') ?? passwdEntry('nobody') ?? NOBODY;
}

/** The `uid`/`gid` options of spawn for `user`. */
export function spawnIds(user: RunAs | null): { uid?: number; gid?: number } {
  return user === null ? {} : { uid: user.uid, gid: user.gid };
}

/** May `user` enter every folder above `path` and read `path` itself? Mode bits only; ACLs are not looked at. */
export function isReachable(path: string, user: RunAs | null): boolean {
  if (user === null) {
    try {
      accessSync(path, constants.R_OK);
      return true;
    } catch {
      return false;
    }
  }
  let at: string;
  try {
    at = realpathSync(path);
  } catch {
    return false;
  }
  let needed = statSync(at).isDirectory() ? 0o5 : 0o4;
  for (;;) {
    const { mode, uid, gid } = statSync(at);
    const bits = uid === user.uid ? mode >> 6 : gid === user.gid ? mode >> 3 : mode;
    if ((bits & needed) !== needed) return false;
    const up = dirname(at);
    if (up === at) return true;
    at = up;
    needed = 0o1;
  }
}

/** The directory for temporary files that `user` can reach: TMPDIR, unless it is root's own. */
export function reachableTmp(user: RunAs | null): string {
  const chosen = tmpdir();
  if (user === null || isReachable(chosen, user)) return chosen;
  if (isReachable('/tmp', user)) return '/tmp';
  throw new Error(`neither ${chosen} nor /tmp can be entered by user ${user.name}; set TMPDIR`);
}

/** A new private directory that belongs to `user`; it is removed at the latest when this process ends. */
export function makeScratchDir(prefix: string, user: RunAs | null): string {
  const dir = mkdtempSync(join(realpathSync(reachableTmp(user)), `${prefix}-`));
  guardDir(dir);
  chmodSync(dir, 0o700);
  if (user !== null) chownSync(dir, user.uid, user.gid);
  return dir;
}
