/**
 * `npm start`: a PostgreSQL cluster of its own (a primary and two replicas) with the proxy in front of it, and what to
 * type next. Everything lives in a temporary directory and ends with Ctrl-C; nothing is left behind.
 */
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { userInfo } from 'node:os';
import { parseArgs } from 'node:util';
import { FatalError } from '../util/fatal-error.ts';
import { DemoProxy } from './demo-proxy.ts';
import { freePortFrom } from './free-port.ts';
import { unguardDir } from './guard.ts';
import { findPostgres } from './postgres-binaries.ts';
import { PostgresCluster } from './postgres-cluster.ts';
import { makeScratchDir } from './run-as.ts';
import { APP_DATABASE, APP_PASSWORD, APP_USER, createSampleData } from './sample-data.ts';
import { runTraffic } from './traffic.ts';

const HELP = `The demo starts PostgreSQL (a primary and 2 replicas) with pgconcierge in front of it.

Options:
  --port N       port of the proxy (default 6432, or the next free one)
  --http-port N  port of /health and /metrics (default 9127, or the next free one)
  --traffic      drive a small sample load and print a line every second
  --log          show the whole log of the proxy (default: warnings and worse)
  --help         show this
`;

interface DemoOptions {
  readonly port: number;
  readonly httpPort: number;
  readonly traffic: boolean;
  readonly log: boolean;
  readonly help: boolean;
}

function portOption(name: string, text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback;
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535)
    throw new FatalError(`--${name}: not a port number: ${text}`);
  return port;
}

const OPTIONS = {
  port: { type: 'string' },
  'http-port': { type: 'string' },
  traffic: { type: 'boolean', default: false },
  log: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

function parse(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: OPTIONS }).values;
  } catch (error) {
    // Node's words name the option; the stack would say nothing more
    throw new FatalError(`${error instanceof Error ? error.message : error}\n\n${HELP}`);
  }
}

function readOptions(argv: readonly string[]): DemoOptions {
  const values = parse(argv);
  return {
    port: portOption('port', values.port, 6432),
    httpPort: portOption('http-port', values['http-port'], 9127),
    traffic: values.traffic,
    log: values.log,
    help: values.help,
  };
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** psql without -U uses the name of the system's user, and a database of that name: the demo has both. */
function systemUser(): string | null {
  let name: string;
  try {
    name = userInfo().username;
  } catch {
    return null; // a uid without a name, as containers have
  }
  const taken = ['postgres', 'pgbouncer', APP_USER];
  return /^[a-z_][a-z0-9_-]*$/.test(name) && !taken.includes(name) && !/^app_r\d+$/.test(name) ? name : null;
}

async function choosePort(what: string, wanted: number): Promise<number> {
  const port = await freePortFrom(wanted);
  if (port !== wanted) print(`  port ${wanted} is in use, so ${what} listens on ${port}`);
  return port;
}

/** Resolves at the first Ctrl-C or TERM; a second one ends the process the hard way (the guard cleans up). */
function stopRequested(stop: AbortController): void {
  const signals: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  const handler = () => {
    for (const signal of signals) process.off(signal, handler);
    stop.abort();
  };
  for (const signal of signals) process.on(signal, handler);
}

interface Guide {
  readonly port: number;
  readonly httpPort: number;
  readonly adminPassword: string;
  readonly systemUser: string | null;
  readonly cluster: PostgresCluster;
  readonly iniPath: string;
  readonly replicaNames: readonly string[];
}

function printGuide(guide: Guide): void {
  const psql = (user: string, password: string, database: string) =>
    `  psql postgresql://${user}:${password}@127.0.0.1:${guide.port}/${database}`;
  const nodes = guide.cluster.nodes.map((node) => `${node.name} on ${node.port}`).join(', ');
  const tables = 'accounts, tellers, branches, history';
  print('');
  print(`pgconcierge listens on 127.0.0.1:${guide.port}. Behind it: ${nodes}.`);
  print('');
  print(`As the application (tables ${tables}):`);
  print(psql(APP_USER, APP_PASSWORD, APP_DATABASE));
  if (guide.systemUser !== null) {
    print(
      `  psql -h 127.0.0.1 -p ${guide.port}        # you are ${guide.systemUser}, the password is ${APP_PASSWORD}`,
    );
  }
  print('On the replicas (read only):');
  for (const name of guide.replicaNames) print(psql(APP_USER, APP_PASSWORD, name));
  print('On the console (SHOW HELP, SHOW POOLS, PAUSE, RESUME):');
  print(psql('postgres', guide.adminPassword, 'pgbouncer'));
  print('Watched from outside:');
  print(`  curl http://127.0.0.1:${guide.httpPort}/health`);
  print(`  curl http://127.0.0.1:${guide.httpPort}/metrics`);
  print(`Its configuration: ${guide.iniPath}`);
  print('');
  print('Ctrl-C ends everything and removes it.');
  print('');
}

/**
 * Runs the demo until Ctrl-C (or SIGTERM) and cleans up. `argv`: what follows `demo` on the command line.
 * A wrong option, no PostgreSQL, a proxy that does not start: a sentence on stderr and exit code 1.
 */
export async function runDemo(argv: string[]): Promise<void> {
  try {
    await runUntilStopped(readOptions(argv));
  } catch (error) {
    if (!(error instanceof FatalError)) throw error;
    process.stderr.write(`demo: ${error.message}\n`);
    process.exitCode = 1;
  }
}

async function runUntilStopped(options: DemoOptions): Promise<void> {
  if (options.help) {
    process.stdout.write(HELP);
    return;
  }
  const stop = new AbortController();
  stopRequested(stop);
  // children and their pipes do not keep us alive, waiting for Ctrl-C must
  const alive = setInterval(() => {}, 60_000);
  const cleanUp: (() => Promise<void>)[] = [];
  try {
    await demo(options, stop.signal, cleanUp);
  } catch (error) {
    // whatever breaks because everything is being ended is no failure
    if (!stop.signal.aborted) throw error;
  } finally {
    if (cleanUp.length > 0) print('stopping');
    for (const step of cleanUp.reverse()) await step();
    clearInterval(alive);
  }
}

async function demo(
  options: DemoOptions,
  stop: AbortSignal,
  cleanUp: (() => Promise<void>)[],
): Promise<void> {
  const startedAt = performance.now();
  const binaries = await findPostgres();
  print(`Starting PostgreSQL ${binaries.version} (${binaries.origin}): a primary and 2 replicas`);
  if (binaries.runAs !== null) print(`  we are root, so it and the proxy run as ${binaries.runAs.name}`);
  // on a shared machine a superuser without a password would be everybody's shell
  const adminPassword = randomBytes(6).toString('hex');
  const cluster = await PostgresCluster.start({
    binaries,
    replicas: 2,
    auth: 'scram-sha-256',
    superuserPassword: adminPassword,
  });
  cleanUp.push(() => cluster.destroy());
  if (stop.aborted) return;
  const extraUser = systemUser();
  await createSampleData(cluster.superuser(cluster.primary), extraUser);
  await cluster.waitCaughtUp();
  if (stop.aborted) return;

  const target = (port: number) => `host=127.0.0.1 port=${port} dbname=${APP_DATABASE}`;
  const replicaNames = cluster.replicas.map((_, i) => `${APP_DATABASE}_r${i + 1}`);
  const databases: Record<string, string> = { [APP_DATABASE]: target(cluster.primary.port) };
  cluster.replicas.forEach((replica, i) => {
    databases[replicaNames[i] ?? ''] = target(replica.port);
  });
  const users: Record<string, string> = { [APP_USER]: APP_PASSWORD, postgres: adminPassword };
  if (extraUser !== null) {
    users[extraUser] = APP_PASSWORD;
    databases[extraUser] = target(cluster.primary.port);
  }
  const dir = makeScratchDir('pgconcierge-demo', binaries.runAs);
  cleanUp.push(async () => {
    rmSync(dir, { recursive: true, force: true });
    unguardDir(dir);
  });
  const port = await choosePort('the proxy', options.port);
  const httpPort = await choosePort('HTTP', options.httpPort);
  const proxy = await DemoProxy.start({
    dir,
    port,
    httpPort,
    databases,
    users,
    runAs: binaries.runAs,
    onLine: (line) => {
      if (options.log || / (WARNING|ERROR|FATAL) /.test(line)) print(line);
    },
  });
  cleanUp.push(() => proxy.stop());
  print(`Ready in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  printGuide({
    port,
    httpPort,
    adminPassword,
    systemUser: extraUser,
    cluster,
    iniPath: proxy.iniPath,
    replicaNames,
  });

  const stopped = new Promise<void>((resolve) => {
    if (stop.aborted) resolve();
    else stop.addEventListener('abort', () => resolve(), { once: true });
  });
  const died = proxy.ended.then((how) => {
    if (!stop.aborted) throw new FatalError(`pgconcierge ${how}\n--- last lines\n${proxy.log.tail()}`);
  });
  const halt = new AbortController();
  const traffic = options.traffic
    ? runTraffic({
        login: {
          host: '127.0.0.1',
          port,
          user: APP_USER,
          password: APP_PASSWORD,
          applicationName: 'demo traffic',
        },
        writeTo: [APP_DATABASE],
        readFrom: replicaNames,
        print,
        signal: halt.signal,
      })
    : Promise.resolve();
  try {
    await Promise.race([stopped, died]);
  } finally {
    halt.abort();
    await traffic;
  }
}
