/**
 * What the metrics read at a scrape. A part of control/port.ts's ControlPort, written down here because observe/ may
 * not know control/; the roots pass the ControlPort, and the compiler holds the two together.
 */
import type { Histogram } from '../util/histogram.ts';

export interface PoolGauges {
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
  readonly maxwaitUs: number;
  readonly poolMode: string;
}

export interface DatabaseGauges {
  readonly name: string;
  readonly poolSize: number;
  readonly minPoolSize: number;
  readonly reservePoolSize: number;
  readonly maxConnections: number;
  readonly currentConnections: number;
  readonly maxClientConnections: number;
  readonly currentClientConnections: number;
  readonly paused: boolean;
  readonly disabled: boolean;
}

export interface PoolCounters {
  readonly serverAssignments: number;
  readonly xacts: number;
  readonly queries: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly xactTimeUs: number;
  readonly queryTimeUs: number;
  readonly waitTimeUs: number;
  readonly clientParses: number;
  readonly serverParses: number;
  readonly binds: number;
  readonly clientLogins: number;
}

export interface PoolTotals {
  readonly database: string;
  readonly user: string;
  readonly counters: PoolCounters;
  readonly waitUs: Histogram;
  readonly xactUs: Histogram;
}

export interface SocketLists {
  readonly usedClients: number;
  readonly loginClients: number;
  readonly freeServers: number;
  readonly usedServers: number;
  readonly pools: number;
}

export interface NodeGauges {
  readonly cluster: string;
  readonly name: string;
  readonly state: string;
  readonly weight: number;
  readonly timeline: number;
  readonly lagMs: number | null;
  readonly lagBytes: number | null;
  readonly banned: boolean;
  readonly slowChecks: number;
  readonly reads: number;
  readonly writes: number;
  readonly inFlight: number;
}

export interface ClusterGauges {
  readonly name: string;
  readonly primary: string | null;
  readonly eligible: number;
  readonly held: number;
}

export interface ShadowCounts {
  readonly database: string;
  readonly units: number;
  readonly reads: number;
  readonly wouldReplica: number;
  readonly wouldStale: number;
  readonly writes: number;
}

export interface DecisionCounts {
  readonly cluster: string;
  readonly class: string;
  readonly reason: string;
  readonly node: string;
  readonly count: number;
}

export interface MetricsSource {
  pools(): readonly PoolGauges[];
  databases(): readonly DatabaseGauges[];
  users(): readonly { readonly name: string; readonly poolSize: number | null }[];
  metrics(): readonly PoolTotals[];
  lists(): SocketLists;
  config(): readonly { readonly key: string; readonly value: string | null }[];
  state(): { readonly active: boolean; readonly paused: boolean; readonly suspended: boolean };
  errorCounts(): ReadonlyMap<string, number>;
  droppedLogLines(): number;
  healthy(): boolean;
  isShuttingDown(): boolean;
  nodes(): readonly NodeGauges[];
  clusters(): readonly ClusterGauges[];
  learned(): readonly { readonly cluster: string }[];
  shadow(): readonly ShadowCounts[];
  decisions(): readonly DecisionCounts[];
}
