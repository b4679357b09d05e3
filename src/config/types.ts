/**
 * The shapes of a loaded configuration. `Settings` (the [pgbouncer] section) is derived from the options table in
 * options.ts; the entries below are the other sections. Everything is frozen after loading.
 */
export type PoolMode = 'session' | 'transaction' | 'statement';
export type LoadBalance = 'round-robin' | 'disable';

/** Where the statements of a database or user go. */
export type Route = 'auto' | 'primary' | 'replica';
export type ReadConsistency = 'session' | 'database' | 'eventual';
export type StaleRead = 'primary' | 'wait';
export type Balance = 'weighted' | 'least_busy' | 'fastest';
export type ReadFromPrimary = 'fallback' | 'weighted' | 'never';

/** Routing settings as [clusters] and [databases] may set them; null = not set here, the wider scope holds. */
export interface RoutingKeys {
  readonly readConsistency: ReadConsistency | null;
  readonly staleRead: StaleRead | null;
  readonly staleReadWaitMs: number | null;
  readonly balance: Balance | null;
  readonly readFromPrimary: ReadFromPrimary | null;
  /** Names or regexps (a word that is no plain name), schema-qualified or not. */
  readonly writeFunctions: readonly string[] | null;
  readonly readFunctions: readonly string[] | null;
  readonly maxLagMs: number | null;
  /** 0 = no limit. */
  readonly maxLagBytes: number | null;
  readonly routeShadow: boolean | null;
  readonly primaryWaitTimeoutMs: number | null;
}

/** One entry of [clusters], or a host list with `route=` in [databases] (then named after the database). */
export interface ClusterEntry extends RoutingKeys {
  readonly name: string;
  /** Of its databases that have none of their own; null = the global one. */
  readonly route: Route | null;
  readonly checkUser: string | null;
  readonly checkPassword: string | null;
  /** Path; its lines are in Config.passfiles. */
  readonly passfile: string | null;
  readonly checkDbname: string | null;
  readonly checkIntervalMs: number | null;
  readonly checkTimeoutMs: number | null;
  readonly failThreshold: number | null;
  /** `sql`, or `patroni:http://…`. */
  readonly check: string | null;
  readonly roleQuery: string | null;
  readonly lagSource: 'wal' | 'heartbeat' | null;
  /** null = half of max_lag. */
  readonly recoverLagMs: number | null;
  readonly lsnIntervalMs: number | null;
  readonly slowStartMs: number | null;
  readonly warmupQuery: string | null;
  readonly banTimeMs: number | null;
  readonly at: string;
}

/** One entry of [nodes]. */
export interface NodeEntry {
  readonly name: string;
  readonly cluster: string;
  /** One host, or '' = the unix socket directory. */
  readonly host: string;
  readonly port: number;
  readonly weight: number;
  readonly zone: string;
  /** `check=` of this node, null = the cluster's. */
  readonly check: string | null;
  readonly at: string;
}

/** One entry of [routes]: `name = application_name='^report' route=replica`. First match wins. */
export interface RouteRule {
  readonly name: string;
  readonly applicationName: RegExp;
  readonly route: Route;
  readonly at: string;
}

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
export interface DatabaseEntry extends RoutingKeys {
  readonly name: string;
  /** Name of its cluster; null = a plain entry, as in PgBouncer (`hosts` says where). */
  readonly cluster: string | null;
  /** null = that of its cluster, else the global one; see routeOf. Without meaning in a plain entry. */
  readonly route: Route | null;
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
  /** Over that of the database. */
  readonly route: Route | null;
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
