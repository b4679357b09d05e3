/**
 * The doors that know of clusters: /primary and /replica for load balancers, /redetect for the hooks of failover tools.
 * Query parameters are checked here; whatever is wrong with them is said with 400 or 404, never guessed.
 */
import type { ClusterControl, ClusterRow, NodeRow } from '../control/cluster-port.ts';
import { type Answer, jsonAnswer } from './answer.ts';

/** A request that cannot be answered as asked. */
export class BadRequest extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = 'BadRequest';
    this.status = status;
  }
}

function notFound(what: string, name: string, known: readonly string[]): BadRequest {
  return new BadRequest(404, `no such ${what}: ${name} (known: ${known.join(', ') || 'none'})`);
}

/** Refuses parameters that the door does not know, and repeated ones: a typo must not widen what is asked. */
function checkQuery(query: URLSearchParams, known: readonly string[]): void {
  for (const name of query.keys()) {
    if (!known.includes(name))
      throw new BadRequest(400, `unknown parameter: ${name} (known: ${known.join(', ')})`);
    if (query.getAll(name).length > 1) throw new BadRequest(400, `parameter given twice: ${name}`);
  }
}

/** The cluster that `?cluster=` names; it may be left out when there is only one. */
function clusterOf(control: ClusterControl, query: URLSearchParams): ClusterRow {
  const clusters = control.clusters();
  const names = clusters.map((row) => row.name);
  const name = query.get('cluster');
  const [first] = clusters;
  if (name === null) {
    if (first === undefined) throw new BadRequest(404, 'no cluster is configured');
    if (clusters.length === 1) return first;
    throw new BadRequest(400, `say which cluster, with ?cluster= (known: ${names.join(', ')})`);
  }
  const found = clusters.find((row) => row.name === name);
  if (found === undefined) throw notFound('cluster', name, names);
  return found;
}

/** The nodes of the cluster, or only the one that `?node=` names. */
function nodesOf(control: ClusterControl, cluster: string, query: URLSearchParams): NodeRow[] {
  const nodes = control.nodes().filter((node) => node.cluster === cluster);
  const name = query.get('node');
  if (name === null) return nodes;
  const found = nodes.filter((node) => node.name === name);
  if (found.length > 0) return found;
  throw notFound(
    'node',
    name,
    nodes.map((node) => node.name),
  );
}

/** 200 when the cluster has a usable primary (with `?node=`: when it is that node), else 503. */
export function primaryAnswer(control: ClusterControl, query: URLSearchParams): Answer {
  checkQuery(query, ['cluster', 'node']);
  const { name: cluster, primary } = clusterOf(control, query);
  const node = nodesOf(control, cluster, query).find((each) => each.name === primary);
  if (node === undefined)
    return jsonAnswer(503, { status: primary === null ? 'no primary' : 'not primary', cluster, primary });
  const { host, port, timeline } = node;
  return jsonAnswer(200, { status: 'primary', cluster, primary, host, port, timeline });
}

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kb: 1024,
  mb: 1024 ** 2,
  gb: 1024 ** 3,
  tb: 1024 ** 4,
};

/** `10MB` -> bytes, with PostgreSQL's units; a bare number is bytes. null = no limit was given. */
function lagLimit(text: string | null): number | null {
  if (text === null) return null;
  const [, digits, unit = ''] = /^(\d{1,15})(|b|kb|mb|gb|tb)$/i.exec(text) ?? [];
  if (digits === undefined) throw new BadRequest(400, `lag is a size such as 10MB, not "${text}"`);
  return Number(digits) * (UNITS[unit.toLowerCase()] ?? 1);
}

/** 200 with the replicas that take reads now and are not further behind than `?lag=`, 503 when there is none. */
export function replicaAnswer(control: ClusterControl, query: URLSearchParams): Answer {
  checkQuery(query, ['cluster', 'node', 'lag']);
  const { name: cluster } = clusterOf(control, query);
  const limit = lagLimit(query.get('lag'));
  const replicas = nodesOf(control, cluster, query).filter(
    (n) =>
      n.state === 'replica' &&
      n.streaming &&
      !n.banned &&
      n.weight > 0 &&
      (limit === null || (n.lagBytes ?? Infinity) <= limit),
  );
  if (replicas.length === 0) return jsonAnswer(503, { status: 'no replica', cluster, replicas: [] });
  return jsonAnswer(200, {
    status: 'replica',
    cluster,
    replicas: replicas.map((n) => ({
      node: n.name,
      host: n.host,
      port: n.port,
      lag_bytes: n.lagBytes,
      lag_seconds: n.lagMs === null ? null : n.lagMs / 1000,
    })),
  });
}

/** `{"main":"pg1","other":null}`: the primaries, for answers about several clusters. */
export function primariesOf(clusters: readonly ClusterRow[]): Record<string, string | null> {
  return Object.fromEntries(clusters.map((row) => [row.name, row.primary]));
}

/** The longest that a request waits; the checks go on after it. */
const REDETECT_WAIT_MS = 10_000;

/** POST /redetect. One round of checks at a time for each scope: who asks meanwhile waits for the same one. */
export class RedetectDoor {
  readonly #control: ClusterControl;
  readonly #running = new Map<string | null, Promise<void>>();

  constructor(control: ClusterControl) {
    this.#control = control;
  }

  /** 200 when the answers of the nodes are in, 202 when they take too long. Rejects with BadRequest. */
  async answer(query: URLSearchParams): Promise<Answer> {
    checkQuery(query, ['cluster']);
    const asked = query.get('cluster');
    const scope = asked === null ? null : clusterOf(this.#control, query).name;
    if (this.#control.clusters().length === 0) throw new BadRequest(404, 'no cluster is configured');
    const isDone = await this.#wait(scope);
    const clusters = this.#control.clusters().filter(({ name }) => scope === null || name === scope);
    const status = isDone ? 'done' : 'checks are still running';
    return jsonAnswer(isDone ? 200 : 202, { status, primaries: primariesOf(clusters) });
  }

  async #wait(scope: string | null): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), REDETECT_WAIT_MS);
    });
    try {
      return await Promise.race([this.#run(scope).then(() => true), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #run(scope: string | null): Promise<void> {
    const running = this.#running.get(scope);
    if (running !== undefined) return running;
    const started = this.#control.redetect(scope).done.finally(() => this.#running.delete(scope));
    this.#running.set(scope, started);
    return started;
  }
}
