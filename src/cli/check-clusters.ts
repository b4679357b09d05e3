/** The part of `pgconcierge check` that looks at clusters: every node, the one primary, one system, its databases. */
import { httpGet } from '../cluster/http-get.ts';
import type { MonitorDeps, MonitorTarget } from '../cluster/monitor-connection.ts';
import { doorUrl, memberOf, readCluster } from '../cluster/patroni.ts';
import type { Config } from '../config/config.ts';
import type { ClusterSettings, NodeTarget } from '../config/effective-routing.ts';
import { clusterSettings } from '../config/resolve-clusters.ts';
import { NODE_TIMEOUT_MS, type NodeAnswer, type Probe, probeNode } from './check-node.ts';
import { type Finding, failed, ok, warn } from './check-report.ts';

/** A node that answered, for sums over everything that lives on one instance. */
export interface Answered {
  readonly item: string;
  /** `host:port` as configured. */
  readonly address: string;
  readonly answer: NodeAnswer;
  /** Connections of the monitors on it. */
  readonly monitors: number;
}

/** `host:port`, a unix socket by its directory. */
export function addressOf(host: string, port: number, unixSocketDir: string): string {
  const shown = host === '' ? unixSocketDir : host;
  return `${shown.includes(':') ? `[${shown}]` : shown}:${port}`;
}

/** Checks one cluster. What answered goes to `answered`. */
export async function checkCluster(
  config: Config,
  name: string,
  deps: MonitorDeps,
  answered: Answered[],
): Promise<Finding[]> {
  const settings = clusterSettings(config, name);
  const { unixSocketDir } = config.settings;
  const itemOf = (node: NodeTarget): string =>
    `cluster ${name}, node ${node.name} (${addressOf(node.host, node.port, unixSocketDir)})`;
  const [probes, web] = await Promise.all([
    Promise.all(
      settings.nodes.map((node) =>
        probeNode(monitorTarget(settings, node, unixSocketDir), deps, settings.roleQuery),
      ),
    ),
    checkWeb(settings, itemOf),
  ]);
  const found: Finding[] = [...web];
  const alive: { readonly node: NodeTarget; readonly answer: NodeAnswer }[] = [];
  settings.nodes.forEach((node, i) => {
    const probe = probes[i];
    if (probe === undefined) return;
    found.push(...nodeFindings(itemOf(node), settings, probe));
    if (probe.answer === undefined) return;
    alive.push({ node, answer: probe.answer });
    const address = addressOf(node.host, node.port, unixSocketDir);
    answered.push({ item: itemOf(node), address, answer: probe.answer, monitors: 2 });
  });
  if (alive.length === 0) return found;
  const label = `cluster ${name}`;
  found.push(checkPrimary(label, alive, settings.nodes.length), ...checkSystem(label, alive));
  found.push(
    ...checkDatabases(
      config,
      name,
      alive.map((one) => one.answer),
    ),
  );
  return found;
}

function monitorTarget(settings: ClusterSettings, node: NodeTarget, unixSocketDir: string): MonitorTarget {
  return {
    host: node.host,
    port: node.port,
    unixSocketDir,
    user: settings.checkUser,
    password: node.checkPassword ?? settings.checkPassword,
    dbname: settings.checkDbname,
  };
}

function nodeFindings(item: string, settings: ClusterSettings, probe: Probe): Finding[] {
  const user = `check user ${settings.checkUser}`;
  if (probe.answer === undefined) {
    return [failed(item, probe.refusedLogin ? `${user} cannot log in: ${probe.error}` : probe.error)];
  }
  const { isReplica, version, isMonitor, systemId } = probe.answer;
  const found = [ok(item, `${isReplica ? 'replica' : 'primary'}, PostgreSQL ${version}, ${user} logged in`)];
  if (!isMonitor) {
    const loss = 'walreceivers and synchronous standbys stay unknown';
    found.push(warn(item, `${user} is no member of pg_monitor: ${loss} (GRANT pg_monitor TO …)`));
  }
  if (systemId === '') {
    found.push(warn(item, `${user} may not call pg_control_system(): a foreign node would not be noticed`));
  }
  return found;
}

type Alive = readonly { readonly node: NodeTarget; readonly answer: NodeAnswer }[];

function checkPrimary(label: string, alive: Alive, nodes: number): Finding {
  const primaries = alive.filter(({ answer }) => !answer.isReplica).map(({ node }) => node.name);
  const item = `${label}, primary`;
  if (primaries.length > 1)
    return failed(item, `${primaries.length} nodes are writable: ${primaries.join(', ')}`);
  if (primaries.length === 1) return ok(item, primaries.join());
  return failed(
    item,
    alive.length === nodes ? 'every node is a replica' : 'none among the nodes that answer',
  );
}

function checkSystem(label: string, alive: Alive): Finding[] {
  const systems = new Map<string, string[]>();
  for (const { node, answer } of alive) {
    if (answer.systemId !== '')
      systems.set(answer.systemId, [...(systems.get(answer.systemId) ?? []), node.name]);
  }
  const item = `${label}, system identifier`;
  if (systems.size === 0) return [];
  if (systems.size === 1) return [ok(item, [...systems.keys()].join())];
  const shown = [...systems].map(([id, nodes]) => `${id} on ${nodes.join(', ')}`);
  return [failed(item, `these nodes are not of one cluster: ${shown.join('; ')}`)];
}

/** Databases are the same on all nodes of a cluster; a replica may only be late with a new one. */
function checkDatabases(config: Config, cluster: string, answers: readonly NodeAnswer[]): Finding[] {
  const known = (answers.find((answer) => !answer.isReplica) ?? answers[0])?.databases;
  const mine = [...config.databases.values()].filter((db) => db.cluster === cluster);
  return mine.map((db) => {
    const item = `database ${db.name}`;
    return known?.has(db.dbname) === true
      ? ok(item, `is ${db.dbname} of cluster ${cluster}`)
      : failed(item, `cluster ${cluster} has no database "${db.dbname}" that can be connected to`);
  });
}

/** The HTTP doors that tell roles: Patroni's for the cluster, or one per node. */
async function checkWeb(settings: ClusterSettings, itemOf: (node: NodeTarget) => string): Promise<Finding[]> {
  const doors: Promise<Finding | Finding[]>[] = [];
  if (settings.patroniUrl !== '') doors.push(checkPatroni(settings, itemOf));
  for (const node of settings.nodes) {
    if (node.check !== '') doors.push(checkDoor(`${itemOf(node)}, check`, doorUrl(node.check)));
  }
  return (await Promise.all(doors)).flat();
}

function webError(item: string, error: unknown): Finding {
  return failed(item, error instanceof Error ? error.message : String(error));
}

/** A node that Patroni does not name, or says not to run, is down for the monitors. */
async function checkPatroni(
  settings: ClusterSettings,
  itemOf: (node: NodeTarget) => string,
): Promise<Finding[]> {
  const item = `cluster ${settings.name}, Patroni`;
  const url = `${settings.patroniUrl}/cluster`;
  try {
    const { status, body } = await httpGet(url, NODE_TIMEOUT_MS);
    if (status !== 200) return [failed(item, `${url} answers ${status}, without a list of members`)];
    const { members } = readCluster(body, url);
    const found = [ok(item, `${url} names ${members.length} members`)];
    for (const node of settings.nodes) {
      try {
        memberOf(members, node);
      } catch (error) {
        found.push(webError(`${itemOf(node)}, Patroni`, error));
      }
    }
    return found;
  } catch (error) {
    return [webError(item, error)];
  }
}

async function checkDoor(item: string, url: string): Promise<Finding> {
  try {
    const { status } = await httpGet(url, NODE_TIMEOUT_MS);
    return status === 200 || status === 503
      ? ok(item, `${url} answers ${status}`)
      : failed(item, `${url} answers ${status}, neither 200 (primary) nor 503`);
  } catch (error) {
    return webError(item, error);
  }
}
