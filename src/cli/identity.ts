/**
 * As whom the process runs. PgBouncer's rule: never as root; started as root it becomes the user of `-u` or of the setting
 * `user` before it opens anything.
 */
import { userByName } from '../util/accounts.ts';
import { FatalError } from '../util/fatal-error.ts';
import { describeError } from '../util/system-error.ts';

const AS_ROOT = 'pgconcierge should not run as root: name a user with -u or the setting user';

/** Throws FatalError when `user` is '' and we are root; for the process that only starts the daemon. */
export function refuseRoot(user: string): void {
  if (user === '' && process.getuid?.() === 0) throw new FatalError(AS_ROOT);
}

/** Becomes `user` ('' = stays who it is) for good, with its groups. Throws FatalError, also when the result is root. */
export function assumeIdentity(user: string): void {
  if (user !== '') become(user);
  if (process.getuid?.() === 0) throw new FatalError(AS_ROOT);
}

/** The calls of a POSIX system; `initgroups` is missing in the types of Node. */
interface PosixProcess {
  getuid(): number;
  geteuid(): number;
  setuid(id: number): void;
  setgid(id: number): void;
  initgroups(user: string, extraGroup: number): void;
}

function become(name: string): void {
  if (process.getuid === undefined)
    throw new FatalError(`cannot assume identity of user '${name}' on ${process.platform}`);
  const posix = process as unknown as PosixProcess;
  const user = userByName(name);
  if (user === null) throw new FatalError(`no such user: ${name}`);
  if (posix.getuid() === user.uid && posix.geteuid() === user.uid) return;
  try {
    // Groups first: afterwards the right to change them is gone.
    posix.initgroups(user.name, user.gid);
    posix.setgid(user.gid);
    posix.setuid(user.uid);
  } catch (error) {
    throw new FatalError(`failed to assume identity of user '${name}': ${describeError(error)}`);
  }
  if (posix.getuid() !== user.uid || posix.geteuid() !== user.uid) {
    throw new FatalError(`failed to assume identity of user '${name}'`);
  }
}
