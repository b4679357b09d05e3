/**
 * The real proxy as a child process: an ini and a userlist in a directory of its own, started from dist, waited for
 * until it listens, its log captured. As root it is spawned as an unprivileged user; when that user cannot reach the
 * program (a clone under /root) it is started as root with `user=`, which makes it change by itself.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { guardProcess, unguardDir, unguardProcess } from '../../src/demo/guard.ts';
import { LogLines } from '../../src/demo/log-lines.ts';
import { signalProcess } from '../../src/demo/processes.ts';
import {
  isReachable,
  makeScratchDir,
  type RunAs,
  spawnIds,
  unprivilegedUser,
} from '../../src/demo/run-as.ts';
import { atEndOfFile } from './file-cleanup.ts';
import { freePort } from './ports.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));

export interface DaemonConfig {
  /** [databases]: name → connection string. */
  readonly databases: Readonly<Record<string, string>>;
  /** [pgbouncer], on top of the defaults of `iniText`. An empty value is written as such. */
  readonly settings?: Readonly<Record<string, string | number>>;
  /** [users]: name → settings. */
  readonly users?: Readonly<Record<string, string>>;
  /** [peers]: id → settings. */
  readonly peers?: Readonly<Record<string, string>>;
  /** auth_file: name → password, md5 hash or SCRAM verifier. Default: app/app, postgres/postgres. */
  readonly userlist?: Readonly<Record<string, string>>;
  /** Lines at the end of the ini, as they are. */
  readonly extra?: string;
}

export interface DaemonOptions {
  /** Or the whole ini as text, made from the daemon's directory and port; then it must set auth_file and listen_* itself. */
  readonly ini?: (place: { readonly dir: string; readonly port: number }) => string;
  /** Further files of its directory: name → content, e.g. an auth_query ini for %include. */
  readonly files?: Readonly<Record<string, string>>;
  /** Before the ini's path. */
  readonly args?: readonly string[];
  /** For node itself, e.g. --cpu-prof. */
  readonly nodeArgs?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Wait for `process up`, default true; false = start failures are the test's subject. */
  readonly waitUp?: boolean;
  readonly timeoutMs?: number;
}

function quoteUserlist(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}

function section(name: string, entries: Readonly<Record<string, string | number>> | undefined): string[] {
  if (entries === undefined) return [];
  return [`[${name}]`, ...Object.entries(entries).map(([key, value]) => `${key} = ${value}`), ''];
}

export class Daemon {
  readonly host = '127.0.0.1';
  readonly port: number;
  /** Everything the daemon was given lies here, and its pidfile and sockets may. */
  readonly dir: string;
  readonly iniPath: string;
  readonly userlistPath: string;
  /** stdout and stderr, by line. */
  readonly log: LogLines;
  /** The user it runs as; null = ours. */
  readonly runAs: RunAs | null;
  /** Set once it has ended. */
  exit: { readonly code: number | null; readonly signal: NodeJS.Signals | null } | null = null;
  readonly #options: DaemonOptions;
  #config: DaemonConfig;
  #child: ChildProcess | null = null;
  #waiting: (() => void)[] = [];
  readonly #canSpawnAs: boolean;

  private constructor(port: number, config: DaemonConfig, options: DaemonOptions) {
    this.port = port;
    this.runAs = unprivilegedUser();
    this.#canSpawnAs =
      this.runAs === null || (isReachable(MAIN, this.runAs) && isReachable(process.execPath, this.runAs));
    this.dir = makeScratchDir('pgconcierge-daemon', this.runAs);
    this.iniPath = join(this.dir, 'pgconcierge.ini');
    this.userlistPath = join(this.dir, 'userlist.txt');
    this.log = new LogLines(`pgconcierge:${port}`);
    this.#config = config;
    this.#options = options;
  }

  /** Writes the files, starts the proxy and waits until it is up. Throws with its log when it ends instead. */
  static async start(config: DaemonConfig, options: DaemonOptions = {}): Promise<Daemon> {
    const daemon = new Daemon(await freePort(), config, options);
    try {
      for (const [name, text] of Object.entries(options.files ?? {})) daemon.writeFile(name, text);
      daemon.#writeConfig();
      await daemon.run();
    } catch (error) {
      await daemon.destroy();
      throw error;
    }
    return daemon;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error('the daemon is not running');
    return pid;
  }

  get running(): boolean {
    return this.#child !== null && this.exit === null;
  }

  /** `postgresql://user:password@127.0.0.1:port/database`. */
  url(database: string, user = 'app', password = user): string {
    const secret = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
    return `postgresql://${secret}@${this.host}:${this.port}/${encodeURIComponent(database)}`;
  }

  /** The ini of the current configuration. */
  iniText(): string {
    if (this.#options.ini !== undefined) return this.#options.ini({ dir: this.dir, port: this.port });
    const config = this.#config;
    const settings = {
      listen_addr: this.host,
      listen_port: this.port,
      unix_socket_dir: '',
      auth_type: 'scram-sha-256',
      auth_file: this.userlistPath,
      admin_users: 'postgres',
      ...(this.#canSpawnAs || this.runAs === null ? {} : { user: this.runAs.name }),
      ...config.settings,
    };
    return [
      ...section('databases', config.databases),
      ...section('users', config.users),
      ...section('peers', config.peers),
      ...section('pgbouncer', settings),
      config.extra ?? '',
    ].join('\n');
  }

  /** A file of the daemon's directory that it can read; returns its path. */
  writeFile(name: string, text: string): string {
    const path = join(this.dir, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    chmodSync(path, 0o600);
    if (this.runAs !== null) chownSync(path, this.runAs.uid, this.runAs.gid);
    return path;
  }

  #writeConfig(): void {
    const users = this.#config.userlist ?? { app: 'app', postgres: 'postgres' };
    const lines = Object.entries(users).map(
      ([name, secret]) => `${quoteUserlist(name)} ${quoteUserlist(secret)}`,
    );
    this.writeFile('userlist.txt', `${lines.join('\n')}\n`);
    this.writeFile('pgconcierge.ini', this.iniText());
  }

  /** Starts the process (again, after it has ended) on the files as they are. */
  async run(): Promise<void> {
    if (this.running) throw new Error('the daemon is running already');
    const from = this.log.mark();
    const { nodeArgs = [], args = [], env = {}, waitUp = true, timeoutMs = 10_000 } = this.#options;
    const child = spawn(process.execPath, [...nodeArgs, MAIN, ...args, this.iniPath], {
      cwd: this.dir,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(this.#canSpawnAs ? spawnIds(this.runAs) : {}),
    });
    this.#child = child;
    this.exit = null;
    const { pid } = child;
    if (pid !== undefined) guardProcess(pid);
    child.once('error', (error) => this.#ended(null, null, `could not be started (${error.message})`));
    child.once('exit', () => {
      if (pid !== undefined) unguardProcess(pid);
    });
    // 'close' and not 'exit': then the last log lines are here too
    child.once('close', (code, signal) =>
      this.#ended(code, signal, `ended (${signal ?? `exit code ${code}`})`),
    );
    // neither the child nor its output keeps the test process alive
    child.unref();
    for (const stream of [child.stdout, child.stderr]) {
      this.log.follow(stream);
      if (stream instanceof Socket) stream.unref();
    }
    if (waitUp) await this.log.waitFor(/ process up:?/, { from, timeoutMs });
  }

  #ended(code: number | null, signal: NodeJS.Signals | null, how: string): void {
    this.exit ??= { code, signal };
    this.log.ended(how);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) one();
  }

  /** Sends a signal to the process. */
  kill(signal: NodeJS.Signals): void {
    signalProcess(this.pid, signal);
  }

  /** Resolves when the process has ended and its log is complete. */
  async waitExit(timeoutMs = 10_000): Promise<NonNullable<Daemon['exit']>> {
    if (this.exit === null) {
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(
          () =>
            reject(
              new Error(`the daemon still runs after ${timeoutMs} ms\n--- last lines\n${this.log.tail()}`),
            ),
          timeoutMs,
        );
        this.#waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    return this.exit ?? { code: null, signal: null };
  }

  /**
   * Replaces parts of the configuration, sends SIGHUP, and waits until the daemon says that it got it. What follows
   * (the new values, or the errors of a refused file) is for the test to wait for.
   */
  async reload(changes: Partial<DaemonConfig> = {}): Promise<void> {
    this.#config = { ...this.#config, ...changes };
    this.#writeConfig();
    const from = this.log.mark();
    this.kill('SIGHUP');
    await this.log.waitFor(/got SIGHUP/, { from });
  }

  /** Ends it at once (SIGQUIT, then SIGKILL) and waits. Its files stay: `run` starts it again. */
  async stop(): Promise<void> {
    if (!this.running) return;
    const { pid } = this;
    signalProcess(pid, 'SIGCONT');
    signalProcess(pid, 'SIGQUIT');
    const timer = setTimeout(() => signalProcess(pid, 'SIGKILL'), 3_000);
    await this.waitExit();
    clearTimeout(timer);
  }

  /** Ends it and removes its directory. */
  async destroy(): Promise<void> {
    await this.stop();
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
    unguardDir(this.dir);
  }
}

/** A running daemon that is ended and removed after the file's last test, wherever this is called. */
export async function withDaemon(config: DaemonConfig, options: DaemonOptions = {}): Promise<Daemon> {
  const daemon = await Daemon.start(config, options);
  atEndOfFile(() => daemon.destroy());
  return daemon;
}
