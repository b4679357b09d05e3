/**
 * How many file descriptors the kernel allows and how many the configuration may come to use: the line of the start log
 * that tells whether max_client_conn is a promise that can be kept.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface FileLimits {
  /** Infinity = unlimited. */
  readonly soft: number;
  readonly hard: number;
}

const toLimit = (text: string | undefined): number =>
  text === 'unlimited' ? Number.POSITIVE_INFINITY : Number(text ?? Number.NaN);

/** From the text of /proc/self/limits; null when the line is not there. */
export function parseProcLimits(text: string): FileLimits | null {
  const [, soft, hard] = /^Max open files\s+(\S+)\s+(\S+)/m.exec(text) ?? [];
  return checked(toLimit(soft), toLimit(hard));
}

function checked(soft: number, hard: number): FileLimits | null {
  return Number.isNaN(soft) || Number.isNaN(hard) ? null : { soft, hard };
}

/** Of this process (Node raises the soft limit to the hard one at its start). Null = the system does not tell. */
export function fileLimits(): FileLimits | null {
  try {
    return parseProcLimits(readFileSync('/proc/self/limits', 'utf8'));
  } catch {
    // not Linux: a shell inherits our limits and can print them
  }
  try {
    const [soft, hard] = execFileSync('/bin/sh', ['-c', 'ulimit -Sn; ulimit -Hn'], {
      encoding: 'utf8',
    }).split('\n');
    return checked(toLimit(soft), toLimit(hard));
  } catch {
    return null; // nor a POSIX shell: then the line is left out
  }
}

export interface PoolDemand {
  readonly poolSize: number;
  /** One pool for all users. */
  readonly forcedUser: boolean;
}

/** PgBouncer's estimate: all clients, and every pool of every database full; 10 to be sure and 2 for the console. */
export function expectedFileUse(maxClientConn: number, pools: readonly PoolDemand[], users: number): number {
  let total = maxClientConn + 10 + 2;
  for (const { poolSize, forcedUser } of pools) total += forcedUser ? poolSize : poolSize * users;
  return total;
}

/** The log line. */
export function limitsLine(limits: FileLimits, maxClientConn: number, expected: number): string {
  const number = (n: number): string => (Number.isFinite(n) ? String(n) : 'unlimited');
  return (
    `kernel file descriptor limit: ${number(limits.soft)} (hard: ${number(limits.hard)}); ` +
    `max_client_conn: ${maxClientConn}, max expected fd use: ${expected}`
  );
}
