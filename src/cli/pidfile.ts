/**
 * The pidfile: one process per file. It is created exclusively, a stale one is replaced, and at exit it is removed if it
 * still carries our pid.
 */
import { closeSync, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { FatalError } from '../util/fatal-error.ts';
import type { Log } from '../util/log.ts';
import { describeError, errorCode } from '../util/system-error.ts';

/** The pid in the file; null = no such file, 0 = the file is empty (its writer died, or the disk was full). */
function readPid(path: string): number | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null;
    throw new FatalError(`could not read pidfile '${path}': ${describeError(error)}`);
  }
  if (text === '') return 0;
  // Never replace what was not written by a pooler: pidfile = /etc/passwd must cost nothing.
  if (!/^\d{1,10}$/.test(text)) throw new FatalError(`pidfile '${path}' does not contain a pid`);
  return Number(text);
}

/** A process of another user counts as alive: it may not be asked, but it is there. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) === 'EPERM';
  }
}

/**
 * Throws FatalError when another instance holds the file; removes a stale one. Our own pid is stale too: in a container
 * every start has the pid of the one before.
 */
export function checkPidfile(path: string, log: Log): void {
  const pid = readPid(path);
  if (pid === null) return;
  if (pid > 0 && pid !== process.pid && isAlive(pid)) {
    throw new FatalError(`pidfile '${path}' exists, another instance running?`);
  }
  log.log('stale pidfile, removing');
  try {
    unlinkSync(path);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') {
      throw new FatalError(`could not remove stale pidfile '${path}': ${describeError(error)}`);
    }
  }
}

/** Creates the file with our pid and has it removed at exit. Throws FatalError. */
export function writePidfile(path: string, log: Log): void {
  checkPidfile(path, log);
  try {
    const fd = openSync(path, 'wx', 0o644);
    try {
      writeSync(fd, `${process.pid}\n`);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    // EEXIST: another start has won the race since the check.
    if (errorCode(error) === 'EEXIST') {
      throw new FatalError(`pidfile '${path}' exists, another instance running?`);
    }
    throw new FatalError(`could not write pidfile '${path}': ${describeError(error)}`);
  }
  process.once('exit', () => removePidfile(path));
}

function removePidfile(path: string): void {
  try {
    if (readPid(path) === process.pid) unlinkSync(path);
  } catch {
    // gone, or its directory is: nothing is left to be removed, and nobody to tell at exit
  }
}
