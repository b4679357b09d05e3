/**
 * The unix socket that libpq looks for, `DIR/.s.PGSQL.PORT` (or its abstract sister `@NAME/.s.PGSQL.PORT`): where it is,
 * whether somebody lives there, who may open it, and its removal.
 */
import { chmodSync, chownSync, lstatSync, statSync, unlinkSync } from 'node:fs';
import net from 'node:net';
import { groupIdByName } from '../util/accounts.ts';
import { FatalError } from '../util/fatal-error.ts';
import type { Log } from '../util/log.ts';
import { describeCode, describeError, errorCode } from '../util/system-error.ts';
import { nativeSockets } from './native.ts';

/** sizeof(sockaddr_un.sun_path) without its NUL. */
const MAX_PATH_BYTES = process.platform === 'linux' ? 107 : 103;
/** A local listener answers in microseconds; one that is stopped still has its backlog. */
const PROBE_TIMEOUT_MS = 2000;

export interface UnixSocketOptions {
  readonly dir: string;
  readonly port: number;
  /** Permission bits, e.g. 0o777. */
  readonly mode: number;
  /** Name of a group, '' = leave the process' own. */
  readonly group: string;
  readonly backlog: number;
}

/** The name as people write it: a file, or `@…` for the abstract name space. */
export function unixSocketPath(dir: string, port: number): string {
  return `${dir.endsWith('/') && dir !== '/' ? dir.slice(0, -1) : dir}/.s.PGSQL.${port}`;
}

/** Node's form of the name: the abstract name space begins with a NUL byte. */
function nodePath(path: string): string {
  return path.startsWith('@') ? `\0${path.slice(1)}` : path;
}

/** True when a process listens there. Asked before the start, so that two poolers never share a directory. */
export function isUnixSocketInUse(dir: string, port: number): Promise<boolean> {
  const path = unixSocketPath(dir, port);
  return new Promise((resolve) => {
    const probe = net.connect({ path: nodePath(path) });
    const done = (inUse: boolean): void => {
      clearTimeout(timer);
      probe.destroy();
      resolve(inUse);
    };
    const timer = setTimeout(() => done(true), PROBE_TIMEOUT_MS);
    probe.once('connect', () => done(true));
    // ENOENT, ECONNREFUSED: nobody. Else bind will tell.
    probe.once('error', (error) => done(isTaken(errorCode(error), path)));
  });
}

/** What a failed connect says: a full backlog has a listener; a socket that we may not open is not ours to remove. */
function isTaken(code: string, path: string): boolean {
  if (code === 'EAGAIN') return true;
  if (code !== 'EACCES' && code !== 'EPERM') return false;
  try {
    return lstatSync(path).isSocket();
  } catch {
    return false; // it is the directory that is closed to us
  }
}

/**
 * Listens on the unix socket; a dead socket file is replaced. The file never has wider permissions than `mode`.
 * Throws FatalError after the WARNING or ERROR that says why.
 */
export async function listenOnUnixSocket(
  server: net.Server,
  options: UnixSocketOptions,
  log: Log,
): Promise<void> {
  const path = unixSocketPath(options.dir, options.port);
  const abstract = path.startsWith('@');
  try {
    if (Buffer.byteLength(path) > MAX_PATH_BYTES) throw new Error(describeCode('ENAMETOOLONG'));
    if (abstract) await listenAbstract(server, path, options.backlog, log);
    else await listenOnFile(server, path, options);
  } catch (error) {
    log.warning(`cannot listen on unix:${path}: bind(): ${describeError(error)}`);
    throw new FatalError('failed to create unix socket');
  }
  if (abstract) return;
  try {
    setAccess(path, options);
  } catch (error) {
    server.close();
    log.error(`cannot set the access of unix:${path}: ${describeError(error)}`);
    throw new FatalError('failed to create unix socket');
  }
}

async function listenOnFile(server: net.Server, path: string, options: UnixSocketOptions): Promise<void> {
  statSync(options.dir); // libuv turns bind's ENOENT into EACCES: ask first
  removeDeadSocket(path);
  await withUmask(0o777 & ~options.mode, () => startListening(server, { path, backlog: options.backlog }));
}

/** For calls that make their file at once, like bind(2) inside `listen`; only its result comes later. */
function withUmask<T>(mask: number, make: () => T): T {
  const before = process.umask(mask);
  try {
    return make();
  } finally {
    process.umask(before);
  }
}

async function listenAbstract(server: net.Server, path: string, backlog: number, log: Log): Promise<void> {
  const native = nativeSockets();
  if (typeof native !== 'string') {
    await startListening(server, { fd: native.bindAbstract(path.slice(1)), backlog });
    return;
  }
  // libuv of Node 20 fills the name up with NULs, so that only another Node would find it.
  log.warning(`unix:${path} may not be found by libpq: ${native}`);
  await startListening(server, { path: nodePath(path), backlog });
}

/** Resolves when the server listens, rejects with Node's error. */
export function startListening(
  server: net.Server,
  options: net.ListenOptions & { fd?: number },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const onListening = (): void => {
      server.off('error', onError);
      resolve();
    };
    const onError = (error: Error): void => {
      server.off('listening', onListening);
      reject(error);
    };
    server.once('listening', onListening);
    server.once('error', onError);
    server.listen(options);
  });
}

/** Only a socket is removed: a file or a directory of that name is somebody's data. */
function removeDeadSocket(path: string): void {
  try {
    if (lstatSync(path).isSocket()) unlinkSync(path);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
}

function setAccess(path: string, options: UnixSocketOptions): void {
  if (options.group !== '') {
    const gid = groupIdByName(options.group);
    if (gid === null) throw new Error(`could not find group '${options.group}'`);
    chownSync(path, -1, gid);
  }
  chmodSync(path, options.mode);
}

/**
 * Removes the socket file when the process ends without closing its listener, if the file is still the one made here.
 * Returns the function that takes the hook away again.
 */
export function removeAtExit(dir: string, port: number): () => void {
  const path = unixSocketPath(dir, port);
  if (path.startsWith('@')) return () => {};
  const { ino, dev } = lstatSync(path);
  const remove = (): void => {
    try {
      const now = lstatSync(path);
      if (now.ino === ino && now.dev === dev) unlinkSync(path);
    } catch {
      // gone already: that is what was wanted
    }
  };
  process.once('exit', remove);
  return () => process.off('exit', remove);
}
