/** The rows that SHOW and the metrics read, taken from the live objects at the moment of asking. */

import type { Client } from '../client/client.ts';
import type { ClientRegistry } from '../client/client-registry.ts';
import {
  effectiveMinPoolSize,
  effectivePoolSize,
  effectiveReservePoolSize,
  effectiveServerLifetimeMs,
  maxDbClientConnections,
  maxDbConnections,
  maxUserClientConnections,
  maxUserConnections,
} from '../config/effective.ts';
import type {
  ClientRow,
  ClientState,
  DatabaseRow,
  ListsRow,
  PoolRow,
  ServerRow,
  ServerState,
  UserRow,
} from '../control/port.ts';
import type { Pool } from '../pool/pool.ts';
import type { PoolRegistry } from '../pool/registry.ts';
import type { ServerConnection } from '../server/server-connection.ts';

/** `0x…`, as PgBouncer prints its pointers; stable and unique for the life of the process. */
export function ptrOf(id: number): string {
  return `0x${(0x560000000000 + id * 0x250).toString(16)}`;
}

/** The console's pool and database have one name here, whatever name the client used. */
const CONSOLE = 'pgbouncer';

export function clientState(client: Client): ClientState {
  switch (client.phase) {
    case 'linked':
    case 'settling':
    case 'console':
      return 'active';
    case 'waiting':
    case 'welcome':
      return 'waiting';
    case 'idle':
      return 'idle';
    case 'cancel':
      return 'active_cancel_req';
    default:
      return 'login';
  }
}

export function clientRow(client: Client, nowMs: number, wall: number): ClientRow {
  const waitingMs =
    client.phase === 'welcome'
      ? nowMs - client.connectedMs
      : client.waitingSinceMs > 0
        ? nowMs - client.waitingSinceMs
        : 0;
  return {
    id: client.id,
    ptr: ptrOf(client.id),
    link: client.server === null ? '' : ptrOf(client.server.id),
    user: client.userName,
    database: client.phase === 'console' ? CONSOLE : client.databaseName,
    replication: client.replication,
    state: clientState(client),
    addr: client.addr,
    port: client.port,
    localAddr: client.localAddr,
    localPort: client.localPort,
    connectedAt: client.connectedAt,
    requestAt: client.requestMs === 0 ? client.connectedAt : wall - (nowMs - client.requestMs),
    waitUs: Math.round(waitingMs * 1000),
    closeNeeded: false,
    remotePid: 0,
    tls: client.tls,
    applicationName: client.applicationName,
    preparedStatements: client.prepared.size,
    recvPending: client.requests.pending,
    sendPending: client.transport.closed ? 0 : client.transport.pending,
  };
}

export function serverState(pool: Pool, server: ServerConnection): ServerState {
  switch (server.state) {
    case 'active':
      return 'active';
    case 'idle':
      return 'idle';
    case 'used':
      return 'used';
    case 'tested':
      return 'tested';
    case 'canceled':
      return 'being_canceled';
    default:
      void pool;
      return 'login';
  }
}

export function serverRow(pool: Pool, server: ServerConnection, nowMs: number, wall: number): ServerRow {
  const socket = server.transport.socket;
  const unix = server.address.unixPath !== null;
  const client = server.peer as Client | null;
  return {
    id: server.id,
    ptr: ptrOf(server.id),
    link: client === null ? '' : ptrOf(client.id),
    user: pool.user.name,
    database: pool.database.name,
    replication: 'none',
    state: serverState(pool, server),
    addr: unix ? 'unix' : server.address.address,
    port: server.address.port,
    localAddr: unix ? 'unix' : (socket.localAddress ?? ''),
    localPort: unix ? 0 : (socket.localPort ?? 0),
    connectedAt: server.connectedAt,
    requestAt: server.requestAt === 0 ? server.connectedAt : wall - (nowMs - server.requestAt),
    waitUs: 0,
    closeNeeded: pool.isStale(server),
    remotePid: server.pid,
    tls: server.tls,
    applicationName: client?.applicationName ?? '',
    preparedStatements: server.statements.size,
    recvPending: 0,
    sendPending: server.transport.closed ? 0 : server.transport.pending,
    node: pool.node?.name ?? '',
  };
}

export function poolRows(pools: PoolRegistry, clients: ClientRegistry, nowMs: number): PoolRow[] {
  const rows: PoolRow[] = [];
  for (const pool of pools.pools()) rows.push(poolRow(pool, nowMs));
  let consoles = 0;
  for (const client of clients.clients) if (client.phase === 'console') consoles += 1;
  rows.push({ ...EMPTY, database: CONSOLE, user: CONSOLE, clActive: consoles, poolMode: 'statement' });
  return rows.sort(
    (a, b) => compare(a.database, b.database) || compare(a.user, b.user) || compare(a.node, b.node),
  );
}

const EMPTY: PoolRow = {
  database: '',
  user: '',
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
  poolMode: '',
  loadBalanceHosts: null,
  node: '',
};

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function poolRow(pool: Pool, nowMs: number): PoolRow {
  const n: Record<ServerState, number> = {
    login: pool.size - pool.servers.size,
    idle: 0,
    active: 0,
    used: 0,
    tested: 0,
    active_cancel: 0,
    being_canceled: 0,
  };
  let linked = 0;
  for (const server of pool.servers) {
    n[serverState(pool, server)] += 1;
    if (server.peer !== null) linked += 1;
  }
  // those who wait for the first server of the pool wait too: the Set is in the order of arrival
  const [login] = pool.loginWaiters;
  const queued = pool.waiters.oldest();
  const waitingSince = [
    queued?.waitingSinceMs ?? nowMs,
    login === undefined ? nowMs : (login as Client).connectedMs,
  ];
  return {
    database: pool.database.name,
    user: pool.user.name,
    // both from the same links, so that they are always equal
    clActive: linked,
    clWaiting: pool.waiters.count + pool.loginWaiters.size,
    clActiveCancelReq: pool.cancels.size,
    clWaitingCancelReq: 0,
    svActive: n.active,
    svActiveCancel: pool.cancels.size,
    svBeingCanceled: n.being_canceled,
    svIdle: n.idle,
    svUsed: n.used,
    svTested: n.tested,
    svLogin: n.login,
    maxwaitUs: Math.round(Math.max(0, nowMs - Math.min(...waitingSince)) * 1000),
    poolMode: pool.limits.mode,
    loadBalanceHosts: balance(pool.database.entry),
    node: pool.node?.name ?? '',
  };
}

function balance(entry: {
  readonly hosts: readonly string[];
  readonly loadBalanceHosts: string;
}): string | null {
  return entry.hosts.length > 1 ? entry.loadBalanceHosts : null;
}

export function databaseRows(pools: PoolRegistry): DatabaseRow[] {
  const { config } = pools;
  const rows: DatabaseRow[] = [];
  for (const database of pools.databases.values()) {
    const { entry } = database;
    // of a cluster: where its primary is at the moment
    const node = entry.cluster === null ? null : pools.placement.anyNode(entry.cluster);
    const host = entry.hosts.length === 0 ? config.settings.unixSocketDir : entry.hosts.join(',');
    rows.push({
      name: database.name,
      host: entry.cluster === null ? host : (node?.host ?? null),
      port: node?.port ?? entry.port,
      database: entry.dbname,
      forceUser: entry.user,
      poolSize: effectivePoolSize(config, entry, entry.user ?? ''),
      minPoolSize: effectiveMinPoolSize(config, entry, entry.user ?? ''),
      reservePoolSize: effectiveReservePoolSize(config, entry, entry.user ?? ''),
      serverLifetimeMs: effectiveServerLifetimeMs(config, entry),
      poolMode: entry.poolMode,
      loadBalanceHosts: balance(entry),
      maxConnections: maxDbConnections(config, entry),
      currentConnections: database.servers,
      maxClientConnections: maxDbClientConnections(config, entry),
      currentClientConnections: database.clients,
      paused: database.paused,
      disabled: database.disabled || database.removed,
    });
  }
  rows.push({
    name: CONSOLE,
    host: null,
    port: config.settings.listenPort,
    database: CONSOLE,
    forceUser: CONSOLE,
    poolSize: 2,
    minPoolSize: 0,
    reservePoolSize: 0,
    serverLifetimeMs: config.settings.serverLifetimeMs,
    poolMode: 'statement',
    loadBalanceHosts: null,
    maxConnections: 0,
    currentConnections: 0,
    maxClientConnections: 0,
    currentClientConnections: 0,
    paused: false,
    disabled: false,
  });
  return rows.sort((a, b) => compare(a.name, b.name));
}

export function userRows(pools: PoolRegistry): UserRow[] {
  const { config } = pools;
  const names = new Set([...pools.users.keys(), ...config.users.keys(), CONSOLE]);
  return [...names].sort().map((name) => {
    const entry = config.users.get(name);
    const user = pools.users.get(name);
    return {
      name,
      poolSize: entry?.poolSize ?? null,
      reservePoolSize: entry?.reservePoolSize ?? null,
      poolMode: entry?.poolMode ?? null,
      maxUserConnections: maxUserConnections(config, name),
      currentConnections: user?.servers ?? 0,
      maxUserClientConnections: maxUserClientConnections(config, name),
      currentClientConnections: user?.clients ?? 0,
    };
  });
}

export function listsRow(pools: PoolRegistry, clients: ClientRegistry): ListsRow {
  let poolCount = 0;
  let free = 0;
  let used = 0;
  for (const pool of pools.pools()) {
    poolCount += 1;
    free += pool.idle.size + pool.used.size;
    used += pool.servers.size - pool.idle.size - pool.used.size;
  }
  let logins = 0;
  for (const client of clients.clients) if (clientState(client) === 'login') logins += 1;
  return {
    databases: pools.databases.size + 1,
    users: pools.users.size,
    peers: pools.config.peers.size,
    pools: poolCount + 1,
    peerPools: clients.cancels.forwarding.size,
    freeClients: 0,
    usedClients: clients.clients.size - logins,
    loginClients: logins,
    freeServers: free,
    usedServers: used,
    dnsNames: pools.resolver.rows().length,
    dnsZones: 0,
    dnsQueries: pools.resolver.pending,
    dnsPending: pools.resolver.pending,
  };
}
