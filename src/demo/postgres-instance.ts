/**
 * One real PostgreSQL server, for the demo and the tests: started, stopped in every way that a failover test wants,
 * and certainly gone afterwards. Readiness is taken from its log, so no client program is needed.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync, readlinkSync, realpathSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import {
  effectiveSettings,
  forgetAlterSystem,
  initDataDir,
  markStandby,
  type PostgresSettings,
  requestPromotion,
  writeHba,
  writeSettings,
} from './data-dir.ts';
import { guardProcess, unguardProcess } from './guard.ts';
import { LogLines } from './log-lines.ts';
import { type PostgresBinaries, postgresEnv } from './postgres-binaries.ts';
import { childrenOf, signalProcess, waitGone } from './processes.ts';
import { spawnIds } from './run-as.ts';

const READY = /database system is ready to accept (read-only )?connections/;
const PROMOTED = /database system is ready to accept connections/;

export interface PostgresOptions {
  readonly binaries: PostgresBinaries;
  /** Data directory; initdb makes it when it does not exist. Its parent must exist and be the server user's to enter. */
  readonly dir: string;
  /** On 127.0.0.1. */
  readonly port: number;
  /** On top of the quick defaults of data-dir.ts. */
  readonly settings?: PostgresSettings;
  /** Lines before the default ones of pg_hba.conf. */
  readonly hba?: readonly string[];
  /** Method of the default lines, default trust. */
  readonly auth?: 'trust' | 'md5' | 'scram-sha-256' | 'password' | 'reject';
  /** Given at initdb. */
  readonly superuserPassword?: string;
  /** Folder for the unix socket; none = no unix socket. */
  readonly socketDir?: string;
  /** In messages, default `postgres:PORT`. */
  readonly name?: string;
  /** Starts as a replica of this conninfo (the directory must be a copy of the primary's). */
  readonly primaryConninfo?: string;
}

/** fast = SIGINT: sessions are ended; immediate = SIGQUIT: as in a crash; smart = SIGTERM: waits for sessions. */
export type StopMode = 'fast' | 'immediate' | 'smart';
const STOP_SIGNALS = { fast: 'SIGINT', immediate: 'SIGQUIT', smart: 'SIGTERM' } as const;

export class PostgresInstance {
  readonly host = '127.0.0.1';
  readonly port: number;
  readonly dir: string;
  readonly name: string;
  readonly binaries: PostgresBinaries;
  readonly log: LogLines;
  readonly #auth: string;
  #hba: readonly string[];
  #settings: PostgresSettings;
  #child: ChildProcess | null = null;
  /** pids that a pause has stopped. */
  #paused: number[] = [];
  #wasKilled = false;

  /** Use `startPostgres`; the cluster builds replicas from copies. Writes the configuration, starts nothing. */
  constructor(options: PostgresOptions) {
    this.port = options.port;
    this.dir = options.dir;
    this.name = options.name ?? `postgres:${options.port}`;
    this.binaries = options.binaries;
    this.log = new LogLines(this.name);
    this.#auth = options.auth ?? 'trust';
    this.#hba = options.hba ?? [];
    this.#settings = {
      ...effectiveSettings(options.binaries.major, options.settings ?? {}),
      port: options.port,
      ...(options.socketDir === undefined ? {} : { unix_socket_directories: options.socketDir }),
      ...(options.primaryConninfo === undefined ? {} : { primary_conninfo: options.primaryConninfo }),
    };
    writeSettings(this.dir, this.#settings, this.#owner);
    writeHba(this.dir, this.#hba, this.#auth, this.#owner);
    if (options.primaryConninfo !== undefined) markStandby(this.dir, this.#owner);
  }

  get #owner() {
    return this.binaries.runAs;
  }

  /** Of the postmaster; null when it is not running. */
  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  get running(): boolean {
    return this.#child !== null;
  }

  /** A server that somebody else has started on the directory (pg_ctl); null = there is none, or nobody can tell. */
  get strangerPid(): number | null {
    if (this.#child !== null) return null;
    try {
      const pid = Number(readFileSync(join(this.dir, 'postmaster.pid'), 'utf8').split('\n')[0]);
      // the file may be a killed server's, and the pid another process's by now
      return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(this.dir) ? pid : null;
    } catch {
      return null;
    }
  }

  /** The directory says replica: it has not been promoted. */
  get isReplica(): boolean {
    return existsSync(join(this.dir, 'standby.signal'));
  }

  /** Starts it and waits until it accepts connections (a replica: read-only ones). Throws with its last log lines. */
  async start(timeoutMs = 30_000): Promise<void> {
    if (this.#child !== null) throw new Error(`${this.name} is running already`);
    const from = this.log.mark();
    const child = spawn(this.binaries.postgres, ['-D', this.dir], {
      cwd: dirname(this.dir),
      env: postgresEnv(),
      detached: true, // the terminal's Ctrl-C is for us alone
      stdio: ['ignore', 'pipe', 'pipe'],
      windowsHide: true,
      ...spawnIds(this.#owner),
    });
    this.#child = child;
    const { pid } = child;
    if (pid !== undefined) guardProcess(pid);
    child.once('error', (error) => {
      if (this.#child === child) this.#child = null;
      this.log.ended(`could not be started (${error.message})`);
    });
    child.once('exit', () => {
      if (pid !== undefined) unguardProcess(pid);
      if (this.#child === child) this.#child = null;
      this.#paused = [];
    });
    child.once('close', (code, signal) => {
      // its pipes may close after the next run has begun, whose waiters are not meant
      if (this.#child === null || this.#child === child) {
        this.log.ended(`the server ended (${signal ?? `exit code ${code}`})`);
      }
    });
    this.#quietly(child);
    await this.log.waitFor(READY, { from, timeoutMs });
    this.#wasKilled = false;
  }

  /** The log is followed, but neither it nor the server keeps our own process alive. */
  #quietly(child: ChildProcess): void {
    child.unref();
    for (const stream of [child.stdout, child.stderr] as (Readable | null)[]) {
      if (stream === null) continue;
      this.log.follow(stream);
      if (stream instanceof Socket) stream.unref();
    }
  }

  /** Stops it, default fast, and waits for its end. Nothing happens when it is not running. */
  async stop(mode: StopMode = 'fast', timeoutMs = 15_000): Promise<void> {
    const { pid } = this;
    if (pid === null) return;
    this.resume();
    const all = [pid, ...childrenOf(pid)];
    signalProcess(pid, STOP_SIGNALS[mode]);
    await this.#gone(all, timeoutMs);
  }

  /** kill -9 of the postmaster and all its children: the machine has lost power. */
  async kill(): Promise<void> {
    const { pid } = this;
    if (pid === null) return;
    // stopped first: it must start no child between our look and the kill
    if (process.platform !== 'win32') signalProcess(pid, 'SIGSTOP');
    const all = [pid, ...childrenOf(pid)];
    this.#wasKilled = true;
    for (const one of all) signalProcess(one, 'SIGKILL');
    await this.#gone(all, 5_000);
  }

  /** SIGSTOP to the postmaster and all its children: connections stay open and nothing answers. */
  pause(): void {
    if (process.platform === 'win32') throw new Error('a server cannot be paused on Windows');
    const { pid } = this;
    if (pid === null) throw new Error(`${this.name} is not running`);
    signalProcess(pid, 'SIGSTOP');
    this.#paused = [pid, ...childrenOf(pid)];
    for (const one of this.#paused) signalProcess(one, 'SIGSTOP');
  }

  /** SIGCONT after `pause`; without one nothing happens. */
  resume(): void {
    for (const one of this.#paused.reverse()) signalProcess(one, 'SIGCONT');
    this.#paused = [];
  }

  async restart(mode: StopMode = 'fast'): Promise<void> {
    await this.stop(mode);
    await this.start();
  }

  /** Makes a replica a primary and waits until it takes writes. */
  async promote(timeoutMs = 15_000): Promise<void> {
    const { pid } = this;
    if (pid === null || !this.isReplica) throw new Error(`${this.name} is not a running replica`);
    const from = this.log.mark();
    requestPromotion(this.dir, this.#owner);
    signalProcess(pid, 'SIGUSR1');
    await this.log.waitFor(PROMOTED, { from, timeoutMs });
  }

  /** Changes settings on top of those it has; null takes one away. Those that need a restart wait for one. */
  configure(changes: Readonly<Record<string, string | number | boolean | null>>): void {
    const next: Record<string, string | number | boolean> = { ...this.#settings };
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) delete next[name];
      else next[name] = value;
    }
    this.#settings = next;
    writeSettings(this.dir, next, this.#owner);
    forgetAlterSystem(this.dir, Object.keys(changes), this.#owner);
    this.reload();
  }

  /** Replaces the lines before the default ones of pg_hba.conf. */
  setHba(lines: readonly string[]): void {
    this.#hba = lines;
    writeHba(this.dir, lines, this.#auth, this.#owner);
    this.reload();
  }

  /** After its directory was replaced by a copy of a primary's: our settings again, as a replica of `conninfo`. */
  becomeReplica(conninfo: string): void {
    if (this.#child !== null) throw new Error(`${this.name} is running`);
    writeHba(this.dir, this.#hba, this.#auth, this.#owner);
    this.configure({ primary_conninfo: conninfo });
    markStandby(this.dir, this.#owner);
  }

  /** SIGHUP. */
  reload(): void {
    if (this.pid !== null) signalProcess(this.pid, 'SIGHUP');
  }

  /** Ends it at once and removes its directory. */
  async destroy(): Promise<void> {
    await this.stop('immediate');
    const stranger = this.strangerPid;
    if (stranger !== null && signalProcess(stranger, STOP_SIGNALS.immediate))
      await waitGone([stranger], 15_000);
    if (this.#wasKilled) this.#removeSharedMemory();
    this.#wasKilled = false;
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }

  async #gone(pids: readonly number[], timeoutMs: number): Promise<void> {
    const child = this.#child;
    await waitGone(pids, timeoutMs);
    // the pid is gone, the event may not have been: whoever comes next must find the state settled
    if (child !== null && child.exitCode === null && child.signalCode === null) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1_000);
        child.once('exit', () => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    if (this.#child === child) this.#child = null;
  }

  /** A killed server leaves a System V segment of some bytes; its next start would remove it, and there is none. */
  #removeSharedMemory(): void {
    try {
      const id = /^\s*\d+\s+(\d+)\s*$/.exec(
        readFileSync(join(this.dir, 'postmaster.pid'), 'utf8').split('\n')[6] ?? '',
      );
      if (id?.[1] !== undefined) execFileSync('ipcrm', ['-m', id[1]], { stdio: 'ignore' });
    } catch {
      // no lock file (it was started again and stopped) or no ipcrm here
    }
  }
}

/** Starts a PostgreSQL on `dir` (initdb when it is new). Throws with initdb's or the server's own words. */
export async function startPostgres(options: PostgresOptions): Promise<PostgresInstance> {
  if (!existsSync(join(options.dir, 'PG_VERSION'))) {
    await initDataDir(options);
  }
  const instance = new PostgresInstance(options);
  try {
    await instance.start();
  } catch (error) {
    await instance.stop('immediate');
    throw error;
  }
  return instance;
}
