/**
 * What the monitors of the supervisor and the data plane say to each other about clusters. With one process these are
 * direct calls; everything that passes is a value.
 */
import type { CatalogFacts, ClusterView, WalGeometry } from '../routing/cluster-view.ts';

/** Supervisor to worker. */
export interface ClusterSink {
  /** Something changed: roles, states, weights, lag. Called for every check, cheap to call again. */
  onView(view: ClusterView): void;
  /** Sample `number` is about to be asked of the primary: commits that end after this call are not covered by it. */
  onSampleSent(cluster: string, number: number): void;
  /** Sample `number` has come in: nothing that ended before it was sent lies beyond `primaryLsn` (normalised). */
  onSample(cluster: string, number: number, primaryLsn: number): void;
  /** A replica has replayed up to `lsn` (normalised). */
  onReplayed(cluster: string, node: string, lsn: number): void;
  onGeometry(cluster: string, geometry: WalGeometry): void;
  /** The catalog of a database was loaded; null = it cannot be (the reason is logged once). */
  onCatalog(cluster: string, dbname: string, facts: CatalogFacts | null): void;
  /** Monotonic ms at which a query of a client on this node last finished; 0 = never. Makes slow of dead. */
  lastAnswerMs(cluster: string, node: string): number;
}

export type Trouble =
  | 'refused' // a server could not be opened
  | 'lost' // a server connection broke
  | 'read_only' // 25006 from a node thought to be primary
  | 'hot_standby_on' // a server of the primary says that it is in recovery
  | 'hot_standby_off'; // a replica's server says that it was promoted

/** Worker to supervisor. All are hints: idempotent, may come often. */
export interface ClusterSource {
  /** Check this node at once. */
  trouble(cluster: string, node: string, what: Trouble): void;
  /** Somebody wrote, or waits for a fresh replica: sample the LSNs for a while. */
  wantSamples(cluster: string): void;
  /** A client uses this database (or DDL has just changed it): load its catalog soon. `fresh` = again, even if known. */
  wantCatalog(cluster: string, dbname: string, fresh: boolean): void;
}

// --- rows of the views

export interface NodeRow {
  readonly cluster: string;
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly zone: string;
  readonly state: string;
  readonly weight: number;
  /** Share of reads that the weights give it, 0..1 (pgpool's lb_weight). */
  readonly share: number;
  /** It last said that it is in recovery. */
  readonly readOnly: boolean;
  readonly timeline: number;
  readonly systemId: string;
  readonly writtenLsn: string;
  readonly replayedLsn: string;
  readonly lagMs: number | null;
  readonly lagBytes: number | null;
  readonly streaming: boolean;
  readonly upstream: string;
  readonly syncState: string;
  readonly override: string;
  readonly banned: boolean;
  readonly sinceAt: number;
  readonly lastCheckAt: number;
  readonly lastError: string;
  readonly lastErrorAt: number;
  readonly slowChecks: number;
  /** Units sent there since start. */
  readonly reads: number;
  readonly writes: number;
  readonly inFlight: number;
  /** EWMA of the service time, microseconds. */
  readonly serviceUs: number;
  /** The next read would go there (pgpool's load_balance_node). */
  readonly nextRead: boolean;
}

export interface ClusterRow {
  readonly name: string;
  readonly primary: string | null;
  readonly timeline: number;
  readonly systemId: string;
  readonly nodes: number;
  /** Replicas that take reads now. */
  readonly eligible: number;
  readonly noPrimarySinceAt: number;
  /** Clients that wait for a primary. */
  readonly held: number;
  readonly samples: number;
  readonly readConsistency: string;
  readonly balance: string;
}

/** One decision, newest first. */
export interface RouteRow {
  readonly at: number;
  readonly clientId: number;
  readonly database: string;
  readonly user: string;
  readonly text: string;
  readonly class: 'read' | 'write';
  readonly reason: string;
  readonly node: string;
  /** It ran on a replica first, which refused it. */
  readonly retried: boolean;
}

export interface LearnedRow {
  readonly cluster: string;
  readonly database: string;
  readonly text: string;
  readonly sqlstate: string;
  readonly since: number;
  readonly hits: number;
}

export interface ShadowRow {
  readonly database: string;
  readonly units: number;
  readonly reads: number;
  readonly wouldReplica: number;
  readonly wouldStale: number;
  readonly writes: number;
}

/** Decisions counted for the metrics. */
export interface DecisionRow {
  readonly cluster: string;
  readonly class: 'read' | 'write';
  readonly reason: string;
  readonly node: string;
  readonly count: number;
}

/** EXPLAIN ROUTE: one row per line of the explanation. */
export interface ExplainRow {
  readonly item: string;
  readonly value: string;
}

/** What the console and HTTP may see and do with clusters; part of ControlPort. Commands throw CommandError. */
export interface ClusterControl {
  nodes(): NodeRow[];
  clusters(): ClusterRow[];
  routes(): RouteRow[];
  learned(): LearnedRow[];
  shadow(): ShadowRow[];
  decisions(): DecisionRow[];
  /** `database` null = the only routed one, else it must be named. */
  explainRoute(sql: string, database: string | null): ExplainRow[];
  /** Takes the node out by hand: running statements finish, new ones go elsewhere. Survives RELOAD. */
  detach(node: string): void;
  attach(node: string): void;
  /** DETACH that ends when nothing runs there any more. */
  drain(node: string): { readonly done: Promise<void>; cancel(): void };
  setWeight(node: string, weight: number): void;
  /** Checks all nodes of a cluster (null = all clusters) now; resolves when the answers are in. */
  redetect(cluster: string | null): { readonly done: Promise<void>; cancel(): void };
}
