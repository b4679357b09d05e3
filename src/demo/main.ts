/**
 * `npm start`: a PostgreSQL cluster of its own (a primary and two replicas) with the proxy in front of it, and what to
 * type next. Everything lives in a temporary directory and ends with Ctrl-C; nothing is left behind.
 */
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { FatalError } from '../util/fatal-error.ts';
import { type ClusterCounts, fetchCounts } from './cluster-metrics.ts';
import { DemoProxy } from './demo-proxy.ts';
import { freePortFrom } from './free-port.ts';
import { unguardDir } from './guard.ts';
import { guideLines } from './guide.ts';
import { takeMoves } from './moves.ts';
import { findPostgres } from './postgres-binaries.ts';
import { PostgresCluster } from './postgres-cluster.ts';
import { makeScratchDir } from './run-as.ts';
import { APP_DATABASE, APP_PASSWORD, APP_USER, createSampleData, MONITOR_USER } from './sample-data.ts';
import { newTraffic, runTraffic } from './traffic.ts';
import { reportTraffic, TRAFFIC_LEGEND } from './traffic-report.ts';

const HELP = `The demo starts PostgreSQL (a primary and 2 replicas) with pgconcierge in front of it.

Options:
  --port N       port of the proxy (default 6432, or the next free one)
  --http-port N  port of /health and /metrics (default 9127, or the next free one)
  --traffic      drive a small mixed load and print every second where it goes
  --log          show the whole log of the proxy (default: warnings and worse)
  --help         show this
`;

const CLUSTER = 'main';
/** In which the proxy must have found all roles. */
const KNOWN_MS = 15_000;

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
  const taken = ['postgres', 'pgbouncer', 'pgconcierge', 'template0', 'template1', MONITOR_USER, APP_USER];
  const usable =
    /^[a-z_][a-z0-9_-]*$/.test(name) && !taken.includes(name) && !/^(app_r[wo]|pg_.*)$/.test(name);
  return usable ? name : null;
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

/** Waits until the proxy has found the roles of all nodes, and says what it found. */
async function untilKnown(httpPort: number, nodes: number, stop: AbortSignal): Promise<ClusterCounts> {
  const deadline = performance.now() + KNOWN_MS;
  for (;;) {
    const counts = await fetchCounts(httpPort);
    const known = counts.nodes.filter(({ state }) => state === 'primary' || state === 'replica');
    if (known.length === nodes || stop.aborted) return counts;
    if (performance.now() > deadline) {
      const states = counts.nodes.map(({ name, state }) => `${name} ${state}`).join(', ');
      throw new FatalError(`the proxy has not found the primary and the replicas: ${states}`);
    }
    await sleep(50);
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
  const monitorPassword = randomBytes(6).toString('hex');
  await createSampleData(cluster.superuser(cluster.primary), monitorPassword, extraUser);
  await cluster.waitCaughtUp();
  if (stop.aborted) return;

  const users: Record<string, string> = { [APP_USER]: APP_PASSWORD, postgres: adminPassword };
  if (extraUser !== null) users[extraUser] = APP_PASSWORD;
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
    clusters: { [CLUSTER]: `check_user=${MONITOR_USER} check_password=${monitorPassword}` },
    nodes: Object.fromEntries(
      cluster.nodes.map((node) => [node.name, `cluster=${CLUSTER} host=127.0.0.1 port=${node.port}`]),
    ),
    databases: {
      [APP_DATABASE]: `cluster=${CLUSTER}`,
      [`${APP_DATABASE}_rw`]: `cluster=${CLUSTER} dbname=${APP_DATABASE} route=primary`,
      [`${APP_DATABASE}_ro`]: `cluster=${CLUSTER} dbname=${APP_DATABASE} route=replica`,
      ...(extraUser === null ? {} : { [extraUser]: `cluster=${CLUSTER} dbname=${APP_DATABASE}` }),
    },
    users,
    runAs: binaries.runAs,
    onLine: (line) => {
      if (options.log || /\] (WARNING|ERROR|FATAL) /.test(line)) print(line);
    },
  });
  cleanUp.push(() => proxy.stop());
  const { nodes } = await untilKnown(httpPort, cluster.nodes.length, stop);
  if (stop.aborted) return;
  print(`Ready in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  const { iniPath } = proxy;
  const guide = { port, httpPort, adminPassword, systemUser: extraUser, cluster, nodes, iniPath };
  for (const line of guideLines(guide)) print(line);
  if (options.traffic) for (const line of [...TRAFFIC_LEGEND, '']) print(line);
  cleanUp.push(takeMoves({ cluster, print }));

  const stopped = new Promise<void>((resolve) => {
    if (stop.aborted) resolve();
    else stop.addEventListener('abort', () => resolve(), { once: true });
  });
  const died = proxy.ended.then((how) => {
    if (!stop.aborted) throw new FatalError(`pgconcierge ${how}\n--- last lines\n${proxy.log.tail()}`);
  });
  const halt = new AbortController();
  const { signal } = halt;
  const login = { host: '127.0.0.1', port, user: APP_USER, password: APP_PASSWORD, database: APP_DATABASE };
  const seen = newTraffic();
  const traffic = options.traffic
    ? Promise.all([
        runTraffic({ login: { ...login, applicationName: 'demo traffic' }, seen, signal }),
        reportTraffic({ httpPort, seen, print, signal }),
      ])
    : Promise.resolve();
  try {
    await Promise.race([stopped, died]);
  } finally {
    halt.abort();
    await traffic;
  }
}
