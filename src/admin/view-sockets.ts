/** SHOW CLIENTS, SERVERS, SOCKETS, ACTIVE_SOCKETS. */
import type { ClientRow, ClientState, ServerRow, ServerState, SocketRow } from '../control/port.ts';
import { localTime } from './local-time.ts';
import type { Environment } from './outcome.ts';
import type { Field } from './view.ts';
import { field, view } from './view.ts';

interface Entry {
  readonly type: 'C' | 'S';
  readonly state: string;
  readonly socket: SocketRow;
  /** Of a server: name of its node. */
  readonly node: string;
}

export const CLIENT_STATES: Readonly<Record<ClientState, string>> = {
  login: 'logging in: its password is being checked, or it waits for the first server of its pool',
  active: 'has a server: a transaction (or, in session mode, the session) is under way',
  idle: 'connected, without a server, and asking for nothing',
  waiting: 'has sent a request and waits for a server',
  active_cancel_req: 'a connection that brings a cancel request, which is being sent to the server',
  waiting_cancel_req: 'a connection that brings a cancel request, which waits for a server connection',
};

export const SERVER_STATES: Readonly<Record<string, string>> = {
  new: 'connecting or logging in to PostgreSQL',
  active: 'linked to a client',
  idle: 'free and ready for the next client',
  used: 'free, but idle for longer than server_check_delay: server_check_query runs before the next use',
  tested: 'running server_reset_query or server_check_query',
  active_cancel: 'a connection that sends a cancel request',
  being_canceled: 'free, but a cancel request is on its way to it, so it is given to nobody',
};

const SOCKET_STATES: Readonly<Record<string, string>> = {
  cl_login: 'client, logging in',
  cl_active: 'client, with a server or idle',
  cl_waiting: 'client, waits for a server',
  cl_active_cancel_req: 'cancel request, being sent',
  cl_waiting_cancel_req: 'cancel request, waits for a connection',
  sv_login: 'server, connecting or logging in',
  sv_active: 'server, linked to a client',
  sv_idle: 'server, free',
  sv_used: 'server, free, to be checked before use',
  sv_tested: 'server, running a reset or check query',
  sv_active_cancel: 'connection that sends a cancel request',
  sv_being_canceled: 'server with a cancel request on its way',
};

const serverStateName = (state: ServerState): string => (state === 'login' ? 'new' : state);
/** PgBouncer's lists, whose names SHOW SOCKETS prints, do not tell idle clients from active ones. */
const clientListName = (state: ClientState): string => `cl_${state === 'idle' ? 'active' : state}`;

function socketFields(states: Readonly<Record<string, string>>): readonly Field<Entry>[] {
  return [
    field('type', 'text', 'What the connection is to us.', (e) => e.type, {
      C: 'client: from an application to the pooler',
      S: 'server: from the pooler to PostgreSQL',
    }),
    field(
      'user',
      'text',
      'User that the client logged in as, or that the server connection uses.',
      (e) => e.socket.user,
    ),
    field('database', 'text', 'Database name, as the client gave it.', (e) => e.socket.database),
    field('replication', 'text', 'Whether this is a replication connection.', (e) => e.socket.replication, {
      none: 'an ordinary connection',
      logical: 'replication=database',
      physical: 'replication=true',
    }),
    field('state', 'text', 'What the connection is doing.', (e) => e.state, states),
    field('addr', 'text', 'IP address of the other end, or `unix`.', (e) => e.socket.addr),
    field('port', 'int4', 'Port of the other end.', (e) => e.socket.port),
    field('local_addr', 'text', 'IP address of our end, or `unix`.', (e) => e.socket.localAddr),
    field('local_port', 'int4', 'Port of our end.', (e) => e.socket.localPort),
    field('connect_time', 'text', 'When the connection was made (local time).', (e) =>
      localTime(e.socket.connectedAt),
    ),
    field('request_time', 'text', 'When the last request was sent; empty = never.', (e) =>
      localTime(e.socket.requestAt),
    ),
    field('wait', 'int4', 'How long this client has been waiting for a server: whole seconds.', (e) =>
      Math.floor(e.socket.waitUs / 1e6),
    ),
    field(
      'wait_us',
      'int4',
      'The rest of that time, in microseconds (0 to 999999).',
      (e) => e.socket.waitUs % 1e6,
    ),
    field(
      'close_needed',
      'int4',
      'The connection is closed as soon as it is free.',
      (e) => (e.socket.closeNeeded ? 1 : 0),
      {
        0: 'no',
        1: 'yes: after RECONNECT, RELOAD or a change of its settings',
      },
    ),
    field('ptr', 'text', 'Name of this connection in the log and in `link`.', (e) => e.socket.ptr),
    field(
      'link',
      'text',
      '`ptr` of the server that a client holds, or of the client that a server serves; else empty.',
      (e) => e.socket.link,
    ),
    field(
      'remote_pid',
      'int4',
      'Process id of the other end: the backend of a server, the peer of a unix socket.',
      (e) => e.socket.remotePid,
    ),
    field(
      'tls',
      'text',
      'TLS version and cipher, e.g. `TLSv1.3/TLS_AES_256_GCM_SHA384`; empty = none.',
      (e) => e.socket.tls,
    ),
    field(
      'application_name',
      'text',
      'application_name of the client or set on the server.',
      (e) => e.socket.applicationName,
    ),
    field(
      'prepared_statements',
      'int4',
      'Prepared statements kept for this connection.',
      (e) => e.socket.preparedStatements,
    ),
    field('id', 'int4', 'Number of this connection since start; KILL_CLIENT takes it.', (e) => e.socket.id),
  ];
}

const BUFFER_FIELDS: readonly Field<Entry>[] = [
  field('recv_pos', 'int4', 'Bytes received and not processed yet.', (e) => e.socket.recvPending),
  field('pkt_pos', 'int4', 'Always 0: packets are passed on as they come.', () => 0),
  field('pkt_remain', 'int4', 'Always 0.', () => 0),
  field('send_pos', 'int4', 'Always 0.', () => 0),
  field('send_remain', 'int4', 'Bytes that the other end has not taken yet.', (e) => e.socket.sendPending),
  field('pkt_avail', 'int4', 'As recv_pos.', (e) => e.socket.recvPending),
  field('send_avail', 'int4', 'As send_remain.', (e) => e.socket.sendPending),
];

const clientEntry = (c: ClientRow): Entry => ({ type: 'C', state: c.state, socket: c, node: '' });
const serverEntry = (s: ServerRow): Entry => ({
  type: 'S',
  state: serverStateName(s.state),
  socket: s,
  node: s.node,
});

function allSockets(
  env: Environment,
  only: (state: ClientState | ServerState, row: SocketRow) => boolean,
): Entry[] {
  const entries: Entry[] = [];
  for (const c of env.port.clients()) {
    if (only(c.state, c)) entries.push({ ...clientEntry(c), state: clientListName(c.state) });
  }
  for (const s of env.port.servers()) {
    if (only(s.state, s)) entries.push({ ...serverEntry(s), state: `sv_${s.state}` });
  }
  return entries;
}

export const CLIENTS = view<Entry>({
  name: 'CLIENTS',
  doc: 'One row for each client connection.',
  fields: socketFields(CLIENT_STATES),
  source: (env) => env.port.clients().map(clientEntry),
});

export const SERVERS = view<Entry>({
  name: 'SERVERS',
  doc: 'One row for each connection to PostgreSQL.',
  fields: [
    ...socketFields(SERVER_STATES),
    field(
      'node',
      'text',
      'Node of the cluster that it is connected to; empty = the database has a plain entry.',
      (e) => e.node,
    ),
  ],
  source: (env) => env.port.servers().map(serverEntry),
});

export const SOCKETS = view<Entry>({
  name: 'SOCKETS',
  doc: 'Clients and servers together, with what waits in their buffers.',
  fields: [...socketFields(SOCKET_STATES), ...BUFFER_FIELDS],
  source: (env) => allSockets(env, () => true),
});

export const ACTIVE_SOCKETS = view<Entry>({
  name: 'ACTIVE_SOCKETS',
  doc: 'As SOCKETS, without the connections that are idle and have nothing in their buffers.',
  fields: [...socketFields(SOCKET_STATES), ...BUFFER_FIELDS],
  source: (env) =>
    allSockets(
      env,
      (state, row) => (state !== 'idle' && state !== 'used') || row.recvPending + row.sendPending > 0,
    ),
});
