/** A ControlPort of plain data for the tests of metrics and HTTP. Change the fields, then look. */
import type {
  ConfigRow,
  ControlPort,
  Counters,
  DatabaseRow,
  PendingCommand,
  PoolMetricsRow,
  PoolRow,
  UserRow,
} from '../../../src/control/port.ts';
import { Histogram } from '../../../src/util/histogram.ts';
import { FakeClusters } from '../../support/fake-clusters.ts';

export function counters(values: Partial<Counters> = {}): Counters {
  return {
    serverAssignments: 0,
    xacts: 0,
    queries: 0,
    bytesReceived: 0,
    bytesSent: 0,
    xactTimeUs: 0,
    queryTimeUs: 0,
    waitTimeUs: 0,
    clientParses: 0,
    serverParses: 0,
    binds: 0,
    clientLogins: 0,
    ...values,
  };
}

export function poolRow(database: string, user: string, values: Partial<PoolRow> = {}): PoolRow {
  return {
    database,
    user,
    clActive: 0,
    clWaiting: 0,
    clActiveCancelReq: 0,
    clWaitingCancelReq: 0,
    svActive: 0,
    svActiveCancel: 0,
    svBeingCanceled: 0,
    svIdle: 0,
    svUsed: 0,
    svTested: 0,
    svLogin: 0,
    maxwaitUs: 0,
    poolMode: 'transaction',
    loadBalanceHosts: null,
    node: '',
    ...values,
  };
}

export function databaseRow(name: string, values: Partial<DatabaseRow> = {}): DatabaseRow {
  return {
    name,
    host: '127.0.0.1',
    port: 5432,
    database: name,
    forceUser: null,
    poolSize: 20,
    minPoolSize: 0,
    reservePoolSize: 0,
    serverLifetimeMs: 3_600_000,
    poolMode: null,
    loadBalanceHosts: null,
    maxConnections: 0,
    currentConnections: 0,
    maxClientConnections: 0,
    currentClientConnections: 0,
    paused: false,
    disabled: false,
    ...values,
  };
}

export function userRow(name: string, poolSize: number | null): UserRow {
  return {
    name,
    poolSize,
    reservePoolSize: null,
    poolMode: null,
    maxUserConnections: 0,
    currentConnections: 0,
    maxUserClientConnections: 0,
    currentClientConnections: 0,
  };
}

/** `waits` and `xacts` are durations in microseconds. */
export function metricsRow(
  database: string,
  user: string,
  values: Partial<Counters> = {},
  waits: readonly number[] = [],
  xacts: readonly number[] = [],
): PoolMetricsRow {
  const waitUs = new Histogram();
  const xactUs = new Histogram();
  for (const us of waits) waitUs.observe(us);
  for (const us of xacts) xactUs.observe(us);
  return { database, user, counters: counters(values), waitUs, xactUs };
}

const refuse = (): never => {
  throw new Error('metrics and HTTP give no commands');
};

export class FakeControl extends FakeClusters implements ControlPort {
  poolRows: PoolRow[] = [];
  databaseRows: DatabaseRow[] = [];
  userRows: UserRow[] = [];
  metricsRows: PoolMetricsRow[] = [];
  configRows: ConfigRow[] = [];
  errors = new Map<string, number>();
  dropped = 0;
  serving = true;
  shuttingDown = false;
  states = { active: true, paused: false, suspended: false };
  /** Snapshots taken so far. */
  looks = 0;
  /** Thrown at the next look. */
  trouble: Error | null = null;

  clients = refuse;
  servers = refuse;
  peers = refuse;
  peerPools = refuse;
  stats = refuse;
  dnsHosts = refuse;
  pools(): PoolRow[] {
    this.looks += 1;
    if (this.trouble !== null) throw this.trouble;
    return this.poolRows;
  }
  databases(): DatabaseRow[] {
    return this.databaseRows;
  }
  users(): UserRow[] {
    return this.userRows;
  }
  lists(): ReturnType<ControlPort['lists']> {
    return {
      databases: this.databaseRows.length,
      users: this.userRows.length,
      peers: 0,
      pools: this.poolRows.length,
      peerPools: 0,
      freeClients: 0,
      usedClients: 12,
      loginClients: 3,
      freeServers: 4,
      usedServers: 5,
      dnsNames: 0,
      dnsZones: 0,
      dnsQueries: 0,
      dnsPending: 0,
    };
  }
  config(): ConfigRow[] {
    return this.configRows;
  }
  state(): { active: boolean; paused: boolean; suspended: boolean } {
    return this.states;
  }
  metrics(): PoolMetricsRow[] {
    return this.metricsRows;
  }
  errorCounts(): ReadonlyMap<string, number> {
    return this.errors;
  }
  droppedLogLines(): number {
    return this.dropped;
  }
  healthy(): boolean {
    return this.serving;
  }
  isShuttingDown(): boolean {
    return this.shuttingDown;
  }

  reload = refuse;
  set = refuse;
  pause = (): PendingCommand => refuse();
  resume = refuse;
  suspend = (): PendingCommand => refuse();
  disable = refuse;
  enable = refuse;
  kill = refuse;
  killClient = refuse;
  reconnect = refuse;
  waitClose = (): PendingCommand => refuse();
  shutdown = refuse;
}
