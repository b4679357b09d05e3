/** SHOW POOLS, DATABASES, USERS, PEERS, PEER_POOLS: what is configured and how it is used. */
import type { DatabaseRow, PeerPoolRow, PeerRow, PoolRow, UserRow } from '../control/port.ts';
import { byName, field, view } from './view.ts';

const POOL_MODES = {
  session: 'a client keeps its server until it disconnects',
  transaction: 'a client keeps its server for one transaction',
  statement: 'a client keeps its server for one statement; transaction blocks are refused',
};

const YES_NO = { 0: 'no', 1: 'yes' };

const LOAD_BALANCE = {
  'round-robin': 'new connections go to the hosts of the list in turn',
  disable: 'one host of the list is used until it fails, then the next',
};

export const POOLS = view<PoolRow>({
  name: 'POOLS',
  doc: 'One row for each pool, that is for each pair of database and user; for a database of a cluster, for each of its nodes.',
  source: (env) => env.port.pools(),
  fields: [
    field('database', 'text', 'Database name.', (p) => p.database),
    field('user', 'text', 'User name.', (p) => p.user),
    field(
      'cl_active',
      'int4',
      'Clients that hold a server; always equal to sv_active. Other than in PgBouncer, idle ones do not count: see SHOW CLIENTS.',
      (p) => p.clActive,
    ),
    field(
      'cl_waiting',
      'int4',
      'Clients that have sent a request and wait for a server.',
      (p) => p.clWaiting,
    ),
    field(
      'cl_active_cancel_req',
      'int4',
      'Cancel requests being sent to a server.',
      (p) => p.clActiveCancelReq,
    ),
    field(
      'cl_waiting_cancel_req',
      'int4',
      'Cancel requests that wait for a connection.',
      (p) => p.clWaitingCancelReq,
    ),
    field('sv_active', 'int4', 'Servers linked to a client.', (p) => p.svActive),
    field(
      'sv_active_cancel',
      'int4',
      'Connections that are sending a cancel request.',
      (p) => p.svActiveCancel,
    ),
    field(
      'sv_being_canceled',
      'int4',
      'Free servers kept back until a cancel request to them has ended.',
      (p) => p.svBeingCanceled,
    ),
    field('sv_idle', 'int4', 'Servers ready for the next client.', (p) => p.svIdle),
    field(
      'sv_used',
      'int4',
      'Servers idle for longer than server_check_delay: checked before their next use.',
      (p) => p.svUsed,
    ),
    field(
      'sv_tested',
      'int4',
      'Servers running server_reset_query or server_check_query.',
      (p) => p.svTested,
    ),
    field('sv_login', 'int4', 'Servers connecting or logging in.', (p) => p.svLogin),
    field(
      'maxwait',
      'int4',
      'How long the oldest waiting client has waited: whole seconds. If this grows, the pool is too small or the servers too slow.',
      (p) => Math.floor(p.maxwaitUs / 1e6),
    ),
    field(
      'maxwait_us',
      'int4',
      'The rest of that time, in microseconds (0 to 999999).',
      (p) => p.maxwaitUs % 1e6,
    ),
    field('pool_mode', 'text', 'Pool mode in force.', (p) => p.poolMode, POOL_MODES),
    field(
      'load_balance_hosts',
      'text',
      'How the hosts of a list are used; NULL without a list.',
      (p) => p.loadBalanceHosts,
      LOAD_BALANCE,
    ),
    field(
      'node',
      'text',
      'Node of the cluster that the servers of this pool are on; empty = the database has a plain entry.',
      (p) => p.node,
    ),
  ],
});

export const DATABASES = view<DatabaseRow>({
  name: 'DATABASES',
  doc: 'One row for each entry of [databases], for each database made from `*`, and for the console.',
  source: (env) => [...env.port.databases()].sort(byName),
  fields: [
    field('name', 'text', 'Name that clients ask for.', (d) => d.name),
    field(
      'host',
      'text',
      'Host or list of hosts; of a cluster the host of its primary (without one, of a replica in use). NULL = unix socket, or no node known.',
      (d) => d.host,
    ),
    field('port', 'int4', 'Port of PostgreSQL.', (d) => d.port),
    field('database', 'text', 'Name of the database in PostgreSQL.', (d) => d.database),
    field(
      'force_user',
      'text',
      'User for all server connections; NULL = the user of the client.',
      (d) => d.forceUser,
    ),
    field('pool_size', 'int4', 'Most server connections of one pool.', (d) => d.poolSize),
    field('min_pool_size', 'int4', 'Server connections kept open.', (d) => d.minPoolSize),
    field(
      'reserve_pool_size',
      'int4',
      'Server connections that may be added when clients wait too long.',
      (d) => d.reservePoolSize,
    ),
    field(
      'server_lifetime',
      'int4',
      'Age in seconds at which a server connection is replaced.',
      (d) => d.serverLifetimeMs / 1000,
    ),
    field(
      'pool_mode',
      'text',
      'Pool mode of this entry; NULL = the global one.',
      (d) => d.poolMode,
      POOL_MODES,
    ),
    field(
      'load_balance_hosts',
      'text',
      'How the hosts of a list are used; NULL without a list.',
      (d) => d.loadBalanceHosts,
      LOAD_BALANCE,
    ),
    field('max_connections', 'int4', 'max_db_connections; 0 = no limit.', (d) => d.maxConnections),
    field('current_connections', 'int4', 'Server connections now.', (d) => d.currentConnections),
    field(
      'max_client_connections',
      'int4',
      'max_db_client_connections; 0 = no limit.',
      (d) => d.maxClientConnections,
    ),
    field('current_client_connections', 'int4', 'Client connections now.', (d) => d.currentClientConnections),
    field('paused', 'int4', 'Paused by PAUSE or KILL.', (d) => (d.paused ? 1 : 0), YES_NO),
    field('disabled', 'int4', 'Refuses new clients because of DISABLE.', (d) => (d.disabled ? 1 : 0), YES_NO),
  ],
});

/** PgBouncer prints these with `%9d`, or the empty string when they are not set. */
const padded = (n: number | null): string => (n === null ? '' : String(n).padStart(9));

export const USERS = view<UserRow>({
  name: 'USERS',
  doc: 'One row for each user of auth_file and [users].',
  source: (env) => [...env.port.users()].sort(byName),
  fields: [
    field('name', 'text', 'User name.', (u) => u.name),
    field('pool_size', 'text', 'pool_size of this user; empty = not set.', (u) => padded(u.poolSize)),
    field('reserve_pool_size', 'text', 'reserve_pool_size of this user; empty = not set.', (u) =>
      padded(u.reservePoolSize),
    ),
    field('pool_mode', 'text', 'Pool mode of this user; NULL = not set.', (u) => u.poolMode, POOL_MODES),
    field(
      'max_user_connections',
      'int4',
      'Most server connections of this user; 0 = no limit.',
      (u) => u.maxUserConnections,
    ),
    field('current_connections', 'int4', 'Server connections of this user now.', (u) => u.currentConnections),
    field(
      'max_user_client_connections',
      'int4',
      'Most client connections of this user; 0 = no limit.',
      (u) => u.maxUserClientConnections,
    ),
    field(
      'current_client_connections',
      'int4',
      'Client connections of this user now.',
      (u) => u.currentClientConnections,
    ),
  ],
});

export const PEERS = view<PeerRow>({
  name: 'PEERS',
  doc: 'One row for each entry of [peers].',
  source: (env) => env.port.peers(),
  fields: [
    field('peer_id', 'int4', 'peer_id of the other pooler.', (p) => p.peerId),
    field('host', 'text', 'Its host.', (p) => p.host),
    field('port', 'int4', 'Its port.', (p) => p.port),
    field('pool_size', 'int4', 'Most connections to it at a time.', (p) => p.poolSize),
  ],
});

export const PEER_POOLS = view<PeerPoolRow>({
  name: 'PEER_POOLS',
  doc: 'One row for each peer: cancel requests on their way to it.',
  source: (env) => env.port.peerPools(),
  fields: [
    field('peer_id', 'int4', 'peer_id of the other pooler.', (p) => p.peerId),
    field('cl_active_cancel_req', 'int4', 'Cancel requests being forwarded.', (p) => p.clActiveCancelReq),
    field(
      'cl_waiting_cancel_req',
      'int4',
      'Cancel requests that wait to be forwarded.',
      (p) => p.clWaitingCancelReq,
    ),
    field(
      'sv_active_cancel',
      'int4',
      'Connections to the peer that are sending a cancel request.',
      (p) => p.svActiveCancel,
    ),
    field('sv_login', 'int4', 'Connections to the peer being made.', (p) => p.svLogin),
  ],
});
