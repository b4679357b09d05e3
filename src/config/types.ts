/**
 * The shapes of a loaded configuration. `Settings` (the [pgbouncer] section) is derived from the options table in
 * options.ts; the entries below are the other sections. Everything is frozen after loading.
 */
export type PoolMode = 'session' | 'transaction' | 'statement';
export type LoadBalance = 'round-robin' | 'disable';

/** One finding of the loader. `error` refuses the file, the others are only told. */
export interface Diagnostic {
  readonly level: 'error' | 'warning' | 'info';
  readonly file: string;
  /** 1-based; 0 = the file as a whole. */
  readonly line: number;
  /** PgBouncer's wording where it has one. */
  readonly message: string;
  /** What to do, e.g. the nearest valid key. */
  readonly hint?: string;
}

/** One entry of [databases]. `null` = not set here, the global setting holds. */
export interface DatabaseEntry {
  readonly name: string;
  /** Hosts in order; an empty list = the unix socket directory. */
  readonly hosts: readonly string[];
  readonly port: number;
  readonly dbname: string;
  /** Forced user. */
  readonly user: string | null;
  readonly password: string | null;
  readonly authUser: string | null;
  readonly authQuery: string | null;
  readonly authDbname: string | null;
  readonly poolSize: number | null;
  readonly minPoolSize: number | null;
  readonly reservePoolSize: number | null;
  readonly poolMode: PoolMode | null;
  readonly connectQuery: string | null;
  readonly queryWaitTimeoutMs: number | null;
  readonly loadBalanceHosts: LoadBalance;
  readonly maxDbConnections: number | null;
  readonly maxDbClientConnections: number | null;
  readonly serverLifetimeMs: number | null;
  /** client_encoding, datestyle, timezone, application_name as given, keyed by PostgreSQL's spelling. */
  readonly startupParameters: ReadonlyMap<string, string>;
  /** `file:line`, for messages. */
  readonly at: string;
}

/** One entry of [users]. */
export interface UserEntry {
  readonly name: string;
  readonly poolMode: PoolMode | null;
  readonly poolSize: number | null;
  readonly reservePoolSize: number | null;
  readonly maxUserConnections: number | null;
  readonly maxUserClientConnections: number | null;
  readonly queryTimeoutMs: number | null;
  readonly queryWaitTimeoutMs: number | null;
  readonly idleTransactionTimeoutMs: number | null;
  readonly transactionTimeoutMs: number | null;
  readonly clientIdleTimeoutMs: number | null;
  readonly at: string;
}

/** One entry of [peers]. */
export interface PeerEntry {
  readonly id: number;
  readonly host: string;
  readonly port: number;
  readonly poolSize: number | null;
  readonly at: string;
}
