/** What the proxy itself says about its nodes, read from its /metrics: the demo prints nothing that it only believes. */

export interface NodeCounts {
  readonly name: string;
  /** As in SHOW NODES. */
  readonly state: string;
  readonly reads: number;
  readonly writes: number;
  /** null = not known, or the primary. */
  readonly lagBytes: number | null;
}

export interface ClusterCounts {
  readonly nodes: readonly NodeCounts[];
  /** Reads that went to the primary because no replica had replayed yet what they must see. */
  readonly notFresh: number;
}

interface Sample {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
}

function* samples(text: string): Generator<Sample> {
  for (const line of text.split('\n')) {
    const [, name, inner, value] = /^pgconcierge_([a-z_]+)\{(.*)\} (\S+)$/.exec(line) ?? [];
    if (name === undefined || inner === undefined) continue;
    const labels = new Map<string, string>();
    for (const [, label = '', of = ''] of inner.matchAll(/([a-z_]+)="([^"]*)"/g)) labels.set(label, of);
    yield { name, labels, value: Number(value) };
  }
}

/** The counts in a text in Prometheus' format. */
export function readCounts(text: string): ClusterCounts {
  const nodes = new Map<string, { -readonly [key in keyof NodeCounts]: NodeCounts[key] }>();
  let notFresh = 0;
  for (const { name, labels, value } of samples(text)) {
    if (name === 'route_decisions_total' && labels.get('reason') === 'not fresh') notFresh += value;
    const node = labels.get('node');
    if (node === undefined || !name.startsWith('node_')) continue;
    const counts = nodes.get(node) ?? { name: node, state: '?', reads: 0, writes: 0, lagBytes: null };
    nodes.set(node, counts);
    if (name === 'node_state' && value === 1) counts.state = labels.get('state') ?? '?';
    else if (name === 'node_reads_total') counts.reads = value;
    else if (name === 'node_writes_total') counts.writes = value;
    else if (name === 'node_lag_bytes') counts.lagBytes = value;
  }
  const sorted = [...nodes.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  return { nodes: sorted, notFresh };
}

/** Asks the proxy. Rejects when it does not answer. */
export async function fetchCounts(httpPort: number): Promise<ClusterCounts> {
  const response = await fetch(`http://127.0.0.1:${httpPort}/metrics`, {
    signal: AbortSignal.timeout(5_000),
  });
  return readCounts(await response.text());
}
