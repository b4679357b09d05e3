/**
 * `pgconcierge check FILE`: loads the file, then connects to everything that it names. A line per item, OK, WARN or
 * FAILED; nothing is changed anywhere. Nodes are asked in parallel, each for at most five seconds.
 */
import type { MonitorDeps } from '../cluster/monitor-connection.ts';
import type { Config } from '../config/config.ts';
import { formatDiagnostic, loadConfig } from '../config/load.ts';
import type { Settings } from '../config/options.ts';
import type { DatabaseEntry } from '../config/types.ts';
import { Resolver } from '../net/resolver.ts';
import { SYSTEM_CLOCK } from '../util/clock.ts';
import { type Answered, addressOf, checkCluster } from './check-clusters.ts';
import { checkPlainDatabase } from './check-databases.ts';
import { checkFiles, checkLimits } from './check-files.ts';
import { type Finding, failed, ok, passed, reportText, warn } from './check-report.ts';
import { fileLimits } from './limits.ts';
import { serversOn } from './pool-demand.ts';

/** What this room may not import: main.ts hands it in. */
export interface CheckDeps {
  /** server_tls_* made into options; throws when a file cannot be read. */
  readonly serverTls: (settings: Settings) => ReturnType<MonitorDeps['tls']>;
}

/** Checks all. `ok` false = exit status 1. Never rejects for what is in the file or on the network. */
export async function checkLive(
  file: string,
  deps: CheckDeps,
): Promise<{ readonly ok: boolean; readonly text: string }> {
  const { config, diagnostics } = loadConfig(file);
  const findings: Finding[] = diagnostics
    .filter((found) => found.level !== 'info')
    .map((found) => (found.level === 'error' ? failed : warn)('configuration', formatDiagnostic(found)));
  if (config !== null) findings.push(...(await checkConfig(config, deps)));
  return { ok: passed(findings), text: reportText(findings) };
}

async function checkConfig(config: Config, { serverTls }: CheckDeps): Promise<Finding[]> {
  const findings = [...checkFiles(config), checkLimits(config, fileLimits())];
  let tls: ReturnType<CheckDeps['serverTls']>;
  try {
    tls = serverTls(config.settings);
  } catch (error) {
    findings.push(failed('server_tls', error instanceof Error ? error.message : String(error)));
    return findings;
  }
  const clock = SYSTEM_CLOCK;
  const { dnsMaxTtlMs, dnsNxdomainTtlMs } = config.settings;
  const resolver = new Resolver(dnsMaxTtlMs, dnsNxdomainTtlMs, () => clock.now());
  const monitors: MonitorDeps = { clock, resolver, tls: () => tls };
  const answered: Answered[] = [];
  const plain = everyDatabase(config).filter((db) => db.cluster === null);
  const parts = await Promise.all([
    ...[...config.clusters.keys()].map((name) => checkCluster(config, name, monitors, answered)),
    ...plain.map((db) => checkPlainDatabase(config, db, monitors, answered)),
  ]);
  return [...findings, ...parts.flat(), ...checkConnections(config, answered)];
}

function everyDatabase(config: Config): DatabaseEntry[] {
  return [...config.databases.values(), ...(config.fallback === null ? [] : [config.fallback])];
}

/** The addresses on which servers of a database may be opened. */
function addressesOf(config: Config, db: DatabaseEntry): string[] {
  const { unixSocketDir } = config.settings;
  if (db.cluster === null) {
    return (db.hosts.length === 0 ? [''] : db.hosts).map((host) => addressOf(host, db.port, unixSocketDir));
  }
  const nodes = [...config.nodes.values()].filter((node) => node.cluster === db.cluster);
  return nodes.map((node) => addressOf(node.host, node.port, unixSocketDir));
}

/** What all pools together may open on an instance, against what it allows; once for each address. */
function checkConnections(config: Config, answered: readonly Answered[]): Finding[] {
  const found = new Map<string, Finding>();
  const databases = everyDatabase(config).map((db) => ({ db, addresses: addressesOf(config, db) }));
  for (const { address, answer } of answered) {
    if (found.has(address)) continue;
    const here = databases.filter((one) => one.addresses.includes(address)).map((one) => one.db);
    const monitors = Math.max(
      ...answered.filter((one) => one.address === address).map((one) => one.monitors),
    );
    const servers = serversOn(config, here) + monitors;
    const free = answer.maxConnections - answer.reserved;
    const item = `max_connections of ${address}`;
    const sum = `pools and monitors may open ${servers} of ${free} connections`;
    const text = `${sum} (${answer.maxConnections}, ${answer.reserved} of them reserved)`;
    found.set(address, servers > free ? warn(item, text) : ok(item, text));
  }
  return [...found.values()];
}
