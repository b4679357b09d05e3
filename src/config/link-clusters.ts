/**
 * Puts databases, clusters and nodes together when all lines have been read: makes the clusters of host lists with
 * `route=`, and finds names that lead nowhere. Called by the loader only.
 */
import { type Target, unnamedCluster } from './cluster-entries.ts';
import type { ReadDatabase } from './entries.ts';
import type { Place } from './lines.ts';
import { at } from './lines.ts';
import { didYouMean } from './nearest.ts';
import type { ClusterEntry, DatabaseEntry, Diagnostic, NodeEntry } from './types.ts';

/** What the lines said, by section. */
export interface Loaded {
  readonly databases: ReadonlyMap<string, ReadDatabase>;
  readonly clusters: ReadonlyMap<string, ClusterEntry>;
  readonly nodes: ReadonlyMap<string, NodeEntry>;
  /** Where `section/key` was set last, also for lines that were refused. */
  readonly places: ReadonlyMap<string, Place>;
  /** Lines of [nodes] that were refused: which clusters have nodes cannot be judged then. */
  readonly hasBadNodes: boolean;
}

export interface Linked {
  readonly databases: Map<string, DatabaseEntry>;
  readonly clusters: Map<string, ClusterEntry>;
  readonly nodes: Map<string, NodeEntry>;
}

const nowhere: Place = { file: '', line: 0 };

/** Makes what is missing, and reports what does not fit. */
export function linkClusters(loaded: Loaded, diagnostics: Diagnostic[]): Linked {
  const clusters = new Map(loaded.clusters);
  const nodes = new Map(loaded.nodes);
  const databases = new Map<string, DatabaseEntry>();
  const names = [...loaded.places.keys()]
    .filter((key) => key.startsWith('clusters/'))
    .map((key) => key.slice(9));
  const error = (
    section: string,
    key: string,
    message: string,
    hint: { readonly hint?: string } = {},
  ): void => {
    const place = loaded.places.get(`${section}/${key}`) ?? nowhere;
    diagnostics.push({ level: 'error', ...place, message: `${message} ${at(place)}`, ...hint });
  };
  const mustExist = (section: string, key: string, cluster: string): void => {
    if (names.includes(cluster)) return;
    const near = didYouMean(cluster, names);
    const hint =
      near.hint ?? (names.length > 0 ? `known are ${names.join(', ')}` : 'there is no [clusters] section');
    error(section, key, `unknown cluster "${cluster}" of ${section.slice(0, -1)} ${key}`, { hint });
  };

  for (const [name, node] of loaded.nodes) mustExist('nodes', name, node.cluster);
  findTwins(loaded.nodes, error);
  if (!loaded.hasBadNodes) {
    const used = new Set([...loaded.nodes.values()].map((node) => node.cluster));
    for (const name of loaded.clusters.keys()) {
      const hint = `write a line in [nodes] with cluster=${name} for each PostgreSQL instance`;
      if (!used.has(name)) error('clusters', name, `cluster "${name}" has no nodes`, { hint });
    }
  }

  const lists = new Map<string, string>();
  for (const [name, { entry, targets }] of loaded.databases) {
    databases.set(name, entry);
    if (entry.cluster !== null) mustExist('databases', name, entry.cluster);
    if (targets === null) continue;
    const identity = JSON.stringify([sorted(targets), entry.maxLagMs, entry.maxLagBytes]);
    let cluster = lists.get(identity);
    if (cluster === undefined) {
      cluster = name;
      if (names.includes(name)) {
        const message = `the host list of database ${name} makes a cluster of that name, which [clusters] has already`;
        error('databases', name, message, {
          hint: `write cluster=${name} instead of the hosts, or rename one of them`,
        });
        continue;
      }
      lists.set(identity, name);
      clusters.set(name, unnamedCluster(name, entry, entry.at));
      addNodes(nodes, name, targets, entry.at);
    }
    databases.set(name, Object.freeze({ ...entry, cluster }));
  }
  return { databases, clusters, nodes };
}

const address = ({ host, port }: Target): string => `${host}:${port}`;

/** `app = host=a,b route=auto` and `app_rw = host=b,a route=primary` are the same nodes: one cluster. */
function sorted(targets: readonly Target[]): readonly string[] {
  return targets.map(address).sort();
}

/** Two names for one instance would count its weight twice and look like two primaries. */
function findTwins(
  nodes: ReadonlyMap<string, NodeEntry>,
  error: (section: string, key: string, message: string) => void,
): void {
  const seen = new Map<string, string>();
  for (const [name, node] of nodes) {
    const where = `${node.cluster} ${address(node)}`;
    const twin = seen.get(where);
    if (twin !== undefined)
      error('nodes', name, `nodes ${twin} and ${name} are the same instance, ${address(node)}`);
    seen.set(where, name);
  }
}

/** Nodes of a host list are called by their host, with port or cluster where that name is taken. */
function addNodes(
  nodes: Map<string, NodeEntry>,
  cluster: string,
  targets: readonly Target[],
  position: string,
): void {
  for (const target of targets) {
    const { host, port } = target;
    const isAlone = targets.filter((other) => other.host === host).length === 1;
    const short = host === '' ? 'unix' : host;
    const candidates = [...(isAlone ? [short] : []), `${short}:${port}`, `${cluster}/${short}:${port}`];
    const name = candidates.find((one) => !nodes.has(one)) ?? `${cluster}/${short}:${port}`;
    nodes.set(
      name,
      Object.freeze({ name, cluster, host, port, weight: 1, zone: '', check: null, at: position }),
    );
  }
}
