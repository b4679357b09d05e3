/**
 * Samples WAL positions while somebody needs them (ROUTING.md "Fresh reads"): numbered ones on the primary, and what
 * each replica has replayed. On connections of its own: a slow check must not hold a sample up. The number is announced
 * before the query is written, so that whatever ended before the announcement lies below the sample's position.
 */
import type { ClusterSink } from '../control/cluster-port.ts';
import { normaliseLsn, parseLsn, WAL_BLOCK_BYTES } from './lsn.ts';
import { CheckError, type MonitorConnection } from './monitor-connection.ts';
import { SAMPLE_PRIMARY, SAMPLE_REPLICA } from './observe-sql.ts';

/** Sampling ends so long after it was wanted last. */
const WANTED_MS = 1_000;
/** Its connections are closed after that much idleness. */
const KEEP_MS = 60_000;

/** What the sampler sees of a node. */
export interface SampledNode {
  readonly name: string;
  readonly primary: boolean;
  /** A replica whose timeline is the primary's as of a check that began after the connection was opened. */
  readonly comparable: (openedMs: number) => boolean;
  readonly connection: MonitorConnection;
  readonly segmentBytes: number;
  readonly blockBytes: number;
}

export interface SamplerDeps {
  readonly cluster: string;
  readonly sink: Pick<ClusterSink, 'onSampleSent' | 'onSample' | 'onReplayed'>;
  readonly now: () => number;
  /** Nodes that may be asked now: the usable primary and replicas. */
  readonly nodes: () => readonly SampledNode[];
  /** Every sampling connection there is, to be closed after idleness. */
  readonly connections: () => Iterable<MonitorConnection>;
  /** Still the primary? */
  readonly isPrimary: (name: string) => boolean;
  /** A sample said that the role has changed, or failed. */
  readonly onDoubt: (node: string) => void;
  readonly timeoutMs: () => number;
}

export class LsnSampler {
  readonly #deps: SamplerDeps;
  #intervalMs: number;
  #number = 0;
  #wantedMs = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | null = null;
  #idleTimer: NodeJS.Timeout | null = null;

  constructor(deps: SamplerDeps, intervalMs: number) {
    this.#deps = deps;
    this.#intervalMs = intervalMs;
  }

  /** RELOAD. */
  setInterval(intervalMs: number): void {
    this.#intervalMs = intervalMs;
    if (this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#tick(), Math.max(1, intervalMs));
  }

  /** Samples are wanted for the next second; the first is taken at once. */
  want(): void {
    this.#wantedMs = this.#deps.now();
    if (this.#timer !== null) return;
    if (this.#idleTimer !== null) clearTimeout(this.#idleTimer);
    this.#idleTimer = null;
    this.#timer = setInterval(() => this.#tick(), Math.max(1, this.#intervalMs));
    this.#tick();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    if (this.#idleTimer !== null) clearTimeout(this.#idleTimer);
    this.#timer = null;
    this.#idleTimer = null;
  }

  #tick(): void {
    if (this.#deps.now() - this.#wantedMs > WANTED_MS + this.#intervalMs) {
      this.stop();
      this.#idleTimer = setTimeout(() => this.#closeIdle(), KEEP_MS);
      return;
    }
    for (const node of this.#deps.nodes()) {
      if (node.connection.busy) continue;
      if (node.primary) this.#samplePrimary(node);
      else this.#sampleReplica(node);
    }
  }

  #samplePrimary(node: SampledNode): void {
    const { cluster, sink, isPrimary, onDoubt, timeoutMs } = this.#deps;
    const { name, connection } = node;
    let number = 0;
    const announce = (): void => {
      number = ++this.#number;
      sink.onSampleSent(cluster, number);
    };
    connection.query(SAMPLE_PRIMARY, timeoutMs(), announce).then(
      (rows) => {
        const lsn = parseLsn(rows[0]?.[0] ?? null);
        if (lsn === 0) onDoubt(name);
        else if (isPrimary(name)) sink.onSample(cluster, number, this.#normal(lsn, node));
      },
      (error: unknown) => this.#failed(name, error),
    );
  }

  #sampleReplica(node: SampledNode): void {
    const { cluster, sink, onDoubt, timeoutMs } = this.#deps;
    const { name, connection } = node;
    connection.query(SAMPLE_REPLICA, timeoutMs()).then(
      (rows) => {
        const lsn = parseLsn(rows[0]?.[0] ?? null);
        if (lsn === 0) onDoubt(name);
        else if (node.comparable(connection.openedMs))
          sink.onReplayed(cluster, name, this.#normal(lsn, node));
        else onDoubt(name);
      },
      (error: unknown) => this.#failed(name, error),
    );
  }

  #failed(name: string, error: unknown): void {
    // a node that refuses the query does so every time: the check says what it thinks of that
    if (!(error instanceof CheckError) || error.kind !== 'sql') this.#deps.onDoubt(name);
  }

  #normal(lsn: number, node: SampledNode): number {
    return normaliseLsn(lsn, node.segmentBytes, node.blockBytes || WAL_BLOCK_BYTES);
  }

  #closeIdle(): void {
    this.#idleTimer = null;
    for (const connection of this.#deps.connections()) connection.close();
  }
}
