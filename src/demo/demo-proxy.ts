/** The demo's proxy: its ini and userlist in the demo's directory, and the proxy itself as a child process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chownSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FatalError } from '../util/fatal-error.ts';
import { guardProcess, unguardProcess } from './guard.ts';
import { LogLines } from './log-lines.ts';
import { signalProcess } from './processes.ts';
import type { RunAs } from './run-as.ts';

/** The program, beside this folder in dist. */
const MAIN = fileURLToPath(new URL('../main.js', import.meta.url));

export interface DemoProxyOptions {
  /** An existing directory for the ini and the userlist. */
  readonly dir: string;
  readonly port: number;
  readonly httpPort: number;
  /** [clusters], [nodes], [databases]: name → keys. */
  readonly clusters: Readonly<Record<string, string>>;
  readonly nodes: Readonly<Record<string, string>>;
  readonly databases: Readonly<Record<string, string>>;
  /** name → password. */
  readonly users: Readonly<Record<string, string>>;
  /** Whom the proxy shall become when it is started as root. */
  readonly runAs: RunAs | null;
  /** Called with each line of its log. */
  readonly onLine: (line: string) => void;
}

function iniText(options: DemoProxyOptions, userlist: string): string {
  const lines = (entries: Readonly<Record<string, string>>) =>
    Object.entries(entries)
      .map(([name, keys]) => `${name} = ${keys}`)
      .join('\n');
  return `; written by the demo; removed when it ends
[clusters]
${lines(options.clusters)}

[nodes]
${lines(options.nodes)}

[databases]
${lines(options.databases)}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${options.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${userlist}
admin_users = postgres
pool_mode = transaction
default_pool_size = 5
max_client_conn = 200
ignore_startup_parameters = extra_float_digits
http_addr = 127.0.0.1
http_port = ${options.httpPort}
${options.runAs === null ? '' : `user = ${options.runAs.name}\n`}`;
}

export class DemoProxy {
  readonly iniPath: string;
  readonly log = new LogLines('pgconcierge');
  /** Resolves when the process has ended, with what it ended with. */
  readonly ended: Promise<string>;
  readonly #child: ChildProcess;
  #over = false;

  private constructor(options: DemoProxyOptions) {
    const userlist = join(options.dir, 'userlist.txt');
    this.iniPath = join(options.dir, 'pgconcierge.ini');
    const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
    const users = Object.entries(options.users).map(
      ([name, password]) => `${quoted(name)} ${quoted(password)}\n`,
    );
    for (const [path, text] of [
      [userlist, users.join('')],
      [this.iniPath, iniText(options, userlist)],
    ] as const) {
      writeFileSync(path, text, { mode: 0o600 });
      if (options.runAs !== null) chownSync(path, options.runAs.uid, options.runAs.gid);
    }
    const child = spawn(process.execPath, [MAIN, this.iniPath], {
      cwd: options.dir,
      detached: true, // the terminal's Ctrl-C is for the demo, which ends things in order
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    const { pid } = child;
    if (pid !== undefined) guardProcess(pid);
    this.ended = new Promise((resolve) => {
      child.once('error', (error) => resolve(`could not be started: ${error.message}`));
      child.once('exit', () => {
        this.#over = true;
        if (pid !== undefined) unguardProcess(pid);
      });
      child.once('close', (code, signal) => resolve(`ended (${signal ?? `exit code ${code}`})`));
    });
    this.ended.then((how) => {
      this.#over = true;
      this.log.ended(how);
    });
    this.log.onLine = options.onLine;
    this.log.follow(child.stdout);
    this.log.follow(child.stderr);
  }

  /** Starts it and waits until it is up. Throws with its last log lines when it is not. */
  static async start(options: DemoProxyOptions): Promise<DemoProxy> {
    const proxy = new DemoProxy(options);
    try {
      await proxy.log.waitFor(/ process up:?/, { timeoutMs: 15_000 });
    } catch (error) {
      await proxy.stop();
      throw error instanceof Error ? new FatalError(error.message) : error;
    }
    return proxy;
  }

  /** Ends it at once; after 3 s by SIGKILL. */
  async stop(): Promise<void> {
    const { pid } = this.#child;
    if (this.#over || pid === undefined) return;
    signalProcess(pid, process.platform === 'win32' ? 'SIGKILL' : 'SIGQUIT');
    const timer = setTimeout(() => signalProcess(pid, 'SIGKILL'), 3_000);
    await this.ended;
    clearTimeout(timer);
  }
}
