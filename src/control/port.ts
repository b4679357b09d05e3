/**
 * What the control plane (console, HTTP) may ask of the data plane. With one process this is a direct call;
 * rows are plain values (no live objects), so that the same shapes can cross a process boundary later.
 * Units are in the names; times called `…At` are epoch milliseconds; 0 = never.
 */
import type { Diagnostic } from '../config/types.ts';
import type { Histogram } from '../util/histogram.ts';
import type { ClusterControl } from './cluster-port.ts';

export type ClientState =
  | 'login'
  | 'active'
  | 'idle'
  | 'waiting'
  | 'active_cancel_req'
  | 'waiting_cancel_req';
export type ServerState =
  | 'login'
  | 'idle'
  | 'active'
  | 'used'
  | 'tested'
  | 'active_cancel'
  | 'being_canceled';

/** Common to SHOW CLIENTS, SERVERS and SOCKETS. */
export interface SocketRow {
  readonly id: number;
  /** `0x…`, stable for the life of the socket. */
  readonly ptr: string;
  /** ptr of the other side, or ''. */
  readonly link: string;
  readonly user: string;
  readonly database: string;
  readonly replication: 'none' | 'logical' | 'physical';
  /** IP address, or `unix`. */
  readonly addr: string;
  readonly port: number;
  readonly localAddr: string;
  readonly localPort: number;
  readonly connectedAt: number;
  readonly requestAt: number;
  /** How long the client has been waiting; 0 when it is not. */
  readonly waitUs: number;
  readonly closeNeeded: boolean;
  readonly remotePid: number;
  /** '' or `TLSv1.3/TLS_AES_256_GCM_SHA384`. */
  readonly tls: string;
  readonly applicationName: string;
  readonly preparedStatements: number;
  /** Bytes waiting to be processed / sent, for SHOW SOCKETS. */
  readonly recvPending: number;
  readonly sendPending: number;
}
export interface ClientRow extends SocketRow {
  readonly state: ClientState;
}
export interface ServerRow extends SocketRow {
  readonly state: ServerState;
  /** Name of the cluster's node that it is connected to; '' for a plain entry. */
  readonly node: string;
}

export interface PoolRow {
  readonly database: string;
  readonly user: string;
  readonly clActive: number;
  readonly clWaiting: number;
  readonly clActiveCancelReq: number;
  readonly clWaitingCancelReq: number;
  readonly svActive: number;
  readonly svActiveCancel: number;
  readonly svBeingCanceled: number;
  readonly svIdle: number;
  readonly svUsed: number;
  readonly svTested: number;
  readonly svLogin: number;
  /** Age of the oldest waiter, microseconds. */
  readonly maxwaitUs: number;
  readonly poolMode: string;
  readonly loadBalanceHosts: string | null;
  /** Name of the cluster's node that its servers are on; '' for a plain entry. */
  readonly node: string;
}

export interface DatabaseRow {
  readonly name: string;
  readonly host: string | null;
  readonly port: number;
  readonly database: string;
  readonly forceUser: string | null;
  readonly poolSize: number;
  readonly minPoolSize: number;
  readonly reservePoolSize: number;
  readonly serverLifetimeMs: number;
  readonly poolMode: string | null;
  readonly loadBalanceHosts: string | null;
  readonly maxConnections: number;
  readonly currentConnections: number;
  readonly maxClientConnections: number;
  readonly currentClientConnections: number;
  readonly paused: boolean;
  readonly disabled: boolean;
}

export interface UserRow {
  readonly name: string;
  /** null = not set for this user. */
  readonly poolSize: number | null;
  readonly reservePoolSize: number | null;
  readonly poolMode: string | null;
  readonly maxUserConnections: number;
  readonly currentConnections: number;
  readonly maxUserClientConnections: number;
  readonly currentClientConnections: number;
}

export interface PeerRow {
  readonly peerId: number;
  readonly host: string;
  readonly port: number;
  readonly poolSize: number;
}
export interface PeerPoolRow {
  readonly peerId: number;
  readonly clActiveCancelReq: number;
  readonly clWaitingCancelReq: number;
  readonly svActiveCancel: number;
  readonly svLogin: number;
}

/** Monotonic counters of one database since start. */
export interface Counters {
  serverAssignments: number;
  xacts: number;
  queries: number;
  /** From clients. */
  bytesReceived: number;
  /** To clients. */
  bytesSent: number;
  xactTimeUs: number;
  queryTimeUs: number;
  waitTimeUs: number;
  clientParses: number;
  serverParses: number;
  binds: number;
  clientLogins: number;
}

export interface StatsRow {
  readonly database: string;
  readonly totals: Readonly<Counters>;
  /** Per second over the last stats_period; the *TimeUs fields are the mean per xact / query / wait. */
  readonly averages: Readonly<Counters>;
}

/** Per (database, user), for the metrics. Rows of one pair (a pool on each node of a cluster) are added up. */
export interface PoolMetricsRow {
  readonly database: string;
  readonly user: string;
  readonly counters: Readonly<Counters>;
  /** Time a client waited for a server. */
  readonly waitUs: Histogram;
  /** Time a transaction held a server. */
  readonly xactUs: Histogram;
}

export interface ListsRow {
  readonly databases: number;
  readonly users: number;
  readonly peers: number;
  readonly pools: number;
  readonly peerPools: number;
  readonly freeClients: number;
  readonly usedClients: number;
  readonly loginClients: number;
  readonly freeServers: number;
  readonly usedServers: number;
  readonly dnsNames: number;
  readonly dnsZones: number;
  readonly dnsQueries: number;
  readonly dnsPending: number;
}

export interface DnsHostRow {
  readonly hostname: string;
  readonly ttlSeconds: number;
  readonly addrs: readonly string[];
}

export interface ConfigRow {
  readonly key: string;
  readonly value: string | null;
  readonly default: string | null;
  readonly changeable: boolean;
}

/**
 * A command that may have to wait (PAUSE, WAIT_CLOSE). `cancel` is called when the console client goes away or
 * sends a CancelRequest: the wait ends, what the command has set stays.
 */
export interface PendingCommand {
  readonly done: Promise<void>;
  cancel(): void;
}

export type ShutdownMode = 'immediate' | 'wait_for_servers' | 'wait_for_clients';

/** A command refused: `message` is PgBouncer's text, sent as ERROR with `sqlstate`. */
export class CommandError extends Error {
  readonly sqlstate: string;
  readonly detail: string | null;
  constructor(message: string, sqlstate = '08P01', detail: string | null = null) {
    super(message);
    this.name = 'CommandError';
    this.sqlstate = sqlstate;
    this.detail = detail;
  }
}

/** Everything that the console and HTTP can see and do. All commands throw CommandError when refused. */
export interface ControlPort extends ClusterControl {
  // views
  clients(): ClientRow[];
  servers(): ServerRow[];
  pools(): PoolRow[];
  databases(): DatabaseRow[];
  users(): UserRow[];
  peers(): PeerRow[];
  peerPools(): PeerPoolRow[];
  stats(): StatsRow[];
  lists(): ListsRow;
  dnsHosts(): DnsHostRow[];
  config(): ConfigRow[];
  state(): { readonly active: boolean; readonly paused: boolean; readonly suspended: boolean };
  metrics(): PoolMetricsRow[];
  /** Closed sockets and refusals by reason (the texts of util/errors.ts and the close reasons), since start. */
  errorCounts(): ReadonlyMap<string, number>;
  /** Lines that the log dropped because its destination did not take them. */
  droppedLogLines(): number;
  /** True while new clients are served (not shutting down). */
  healthy(): boolean;
  isShuttingDown(): boolean;

  // commands; `database` null = all
  reload(): { readonly ok: boolean; readonly diagnostics: readonly Diagnostic[] };
  /** SET key = value. Throws CommandError('SET failed'). */
  set(key: string, value: string): void;
  /** With `timeoutMs` > 0: gives up after that time, un-pauses and fails naming the clients it waited for. */
  pause(database: string | null, timeoutMs: number): PendingCommand;
  resume(database: string | null): void;
  suspend(): PendingCommand;
  disable(database: string): void;
  enable(database: string): void;
  kill(database: string | null): void;
  killClient(id: number): void;
  reconnect(database: string | null): void;
  waitClose(database: string | null): PendingCommand;
  shutdown(mode: ShutdownMode): void;
}
