/**
 * What is known about a cluster, as values: the supervisor's monitors make them (room cluster), the worker routes by
 * them, the console shows them. LSNs are bytes as numbers: exact up to 2^53 (9 PB of WAL).
 */
export type NodeState = 'starting' | 'primary' | 'replica' | 'lagging' | 'down' | 'detached' | 'conflict';

export interface NodeView {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly zone: string;
  /** As configured or as set on the console; 0 = no reads. */
  readonly weight: number;
  readonly state: NodeState;
  /** What the node itself says, whatever its state: null = not known yet. */
  readonly inRecovery: boolean | null;
  /** Wall ms since when it is in this state. */
  readonly sinceAt: number;
  /** Monotonic ms since when it may serve reads (slow start counts from here); 0 = it may not, or always could. */
  readonly readySinceMs: number;
  readonly timeline: number;
  readonly systemId: string;
  /** On a primary: insert position; on a replica: received. 0 = not known. */
  readonly writtenLsn: number;
  /** On a replica: replayed. */
  readonly replayedLsn: number;
  /** null = not known. */
  readonly lagMs: number | null;
  readonly lagBytes: number | null;
  /**
   * It follows the primary's timeline and its walreceiver runs. A short absence of the receiver does not count, nor any
   * while there is no primary: reads go on.
   */
  readonly streaming: boolean;
  /** `host:port` that the walreceiver is connected to; '' = not known. */
  readonly upstream: string;
  /** pg_stat_replication.sync_state on the primary for this node, '' = not known. */
  readonly syncState: string;
  /** Override by a person: '' | 'detached' | 'weight'. */
  readonly override: string;
  readonly lastError: string;
  readonly lastErrorAt: number;
  readonly lastCheckAt: number;
  /** Wall ms when the newest check that it has answered began; 0 = it has answered none. */
  readonly answeredFrom: number;
  /** Wall ms when the connection on which it answered was opened; 0 = not known. */
  readonly connectedAt: number;
  /** Checks that timed out while client queries on the node still finished. */
  readonly slowChecks: number;
  /** Consecutive failed checks. */
  readonly failures: number;
}

export interface ClusterView {
  readonly name: string;
  /** Grows with every change of a role, an address or a state. */
  readonly version: number;
  /** Name of the usable primary; null = none. */
  readonly primary: string | null;
  readonly timeline: number;
  readonly systemId: string;
  /** Wall ms since when there is no primary; 0 = there is one. */
  readonly noPrimarySinceAt: number;
  readonly nodes: readonly NodeView[];
}

/** A function of the catalog. */
export interface FunctionFact {
  readonly schema: string;
  readonly name: string;
  /** At least one overload is VOLATILE. */
  readonly volatile: boolean;
}

/** What the primary's catalog says about one database. */
export interface CatalogFacts {
  /** Grows with each load. */
  readonly version: number;
  readonly functions: readonly FunctionFact[];
  /**
   * Unlogged tables, and views that a replica cannot serve: they read one, or call a VOLATILE function. `mayWrite`: a view,
   * so whoever reads it may have written by that.
   */
  readonly unlogged: readonly {
    readonly schema: string;
    readonly name: string;
    readonly mayWrite?: boolean;
  }[];
  /**
   * Sequences: their last_value is up to 32 values ahead on a replica, so that reading one as a table is for the
   * primary. Missing = none known.
   */
  readonly sequences?: readonly { readonly schema: string; readonly name: string }[];
}

/** Pages and segments of WAL, for comparing positions (ROUTING.md "Two traps"). */
export interface WalGeometry {
  readonly segmentBytes: number;
}
