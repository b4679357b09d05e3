/**
 * Routing and cluster settings, resolved: the narrowest scope wins (database, cluster, global; a user's `route` over
 * the database's). Contract for worker and cluster; who else needs one of these values asks here.
 */
import type { Balance, ReadConsistency, ReadFromPrimary, Route, StaleRead } from './types.ts';

/** How the statements of one (database, user) are routed. */
export interface RoutingSettings {
  readonly route: Route;
  readonly readConsistency: ReadConsistency;
  readonly staleRead: StaleRead;
  readonly staleReadWaitMs: number;
  readonly balance: Balance;
  readonly readFromPrimary: ReadFromPrimary;
  readonly writeFunctions: readonly string[];
  readonly readFunctions: readonly string[];
  /** Of the database itself, beyond what makes a node `lagging`; 0 = no limit. */
  readonly maxLagMs: number;
  readonly maxLagBytes: number;
  readonly routeShadow: boolean;
  readonly primaryWaitTimeoutMs: number;
  /** The proxy's own zone, '' = none. */
  readonly zone: string;
}

/** How one cluster is observed. */
export interface ClusterSettings {
  readonly name: string;
  readonly checkUser: string;
  readonly checkPassword: string | null;
  readonly checkDbname: string;
  readonly checkIntervalMs: number;
  readonly checkTimeoutMs: number;
  readonly failThreshold: number;
  /** Base URL of Patroni's REST API, '' = ask the nodes with SQL. */
  readonly patroniUrl: string;
  /** Replaces pg_is_in_recovery(): true = replica; '' = not used. */
  readonly roleQuery: string;
  readonly lagSource: 'wal' | 'heartbeat';
  /** Strictly above → lagging; 0 = no limit. */
  readonly maxLagMs: number;
  readonly maxLagBytes: number;
  /** At or below → back. */
  readonly recoverLagMs: number;
  readonly lsnIntervalMs: number;
  readonly slowStartMs: number;
  readonly warmupQuery: string;
  readonly banTimeMs: number;
  readonly nodes: readonly NodeTarget[];
}

export interface NodeTarget {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly weight: number;
  readonly zone: string;
  /** `patroni:http://…` or `http://…` (200/503 on it) of this node alone; '' = as the cluster. */
  readonly check: string;
  /** Only where a passfile has another password for this node than ClusterSettings.checkPassword. */
  readonly checkPassword?: string;
}
