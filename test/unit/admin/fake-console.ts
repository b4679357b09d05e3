/** A fake ControlPort and a console session over it that is driven by messages; no sockets. */
import assert from 'node:assert/strict';
import { createConsole } from '../../../src/admin/console.ts';
import type { ConsoleInfo } from '../../../src/admin/outcome.ts';
import type { ConsoleIdentity, ConsoleSession } from '../../../src/control/console.ts';
import type {
  ClientRow,
  ControlPort,
  Counters,
  DatabaseRow,
  PendingCommand,
  ServerRow,
} from '../../../src/control/port.ts';
import { CommandError } from '../../../src/control/port.ts';
import { clusterRow, nodeRow } from '../../support/fake-clusters.ts';

export const VERSION = 'PgBouncer 1.26.0 (pgconcierge 0.1.0)';

const SOCKET = {
  id: 7,
  ptr: '0x55d0000007',
  link: '',
  user: 'alice',
  database: 'app',
  replication: 'none',
  addr: '127.0.0.1',
  port: 40001,
  localAddr: '127.0.0.1',
  localPort: 6432,
  connectedAt: Date.UTC(2026, 10, 20, 12, 0, 5),
  requestAt: 0,
  waitUs: 2_500_001,
  closeNeeded: false,
  remotePid: 0,
  tls: '',
  applicationName: 'psql',
  preparedStatements: 3,
  recvPending: 11,
  sendPending: 22,
} as const;

export const CLIENT: ClientRow = { ...SOCKET, state: 'waiting' };
export const SERVER: ServerRow = {
  ...SOCKET,
  id: 8,
  ptr: '0x55d0000008',
  state: 'login',
  closeNeeded: true,
  node: 'pg1',
};

/** Every counter has its own value, so that a swapped column shows. */
export function counters(base: number): Counters {
  return {
    serverAssignments: base + 1,
    xacts: base + 2,
    queries: base + 3,
    bytesReceived: base + 4,
    bytesSent: base + 5,
    xactTimeUs: base + 6,
    queryTimeUs: base + 7,
    waitTimeUs: base + 8,
    clientParses: base + 9,
    serverParses: base + 10,
    binds: base + 11,
    clientLogins: base + 12,
  };
}

export function database(name: string, changes: Partial<DatabaseRow> = {}): DatabaseRow {
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
    ...changes,
  };
}

export class FakePending implements PendingCommand {
  readonly done: Promise<void>;
  cancelled = 0;
  resolve: () => void = () => {};
  reject: (error: unknown) => void = () => {};

  constructor() {
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }

  cancel(): void {
    this.cancelled += 1;
  }
}

/** Commands are recorded in `calls`; waits in `pendings`. */
export function fakePort(
  calls: string[],
  pendings: FakePending[],
  changes: Partial<ControlPort> = {},
): ControlPort {
  const note =
    (name: string) =>
    (...args: unknown[]): void => {
      calls.push([name, ...args].join(' '));
    };
  const wait =
    (name: string) =>
    (...args: unknown[]): PendingCommand => {
      note(name)(...args);
      const pending = new FakePending();
      pendings.push(pending);
      return pending;
    };
  return {
    clients: () => [CLIENT],
    servers: () => [SERVER],
    pools: () => [],
    databases: () => [database('b'), database('a')],
    users: () => [],
    peers: () => [],
    peerPools: () => [],
    stats: () => [],
    lists: () => ({
      databases: 1,
      users: 2,
      peers: 3,
      pools: 4,
      peerPools: 5,
      freeClients: 6,
      usedClients: 7,
      loginClients: 8,
      freeServers: 9,
      usedServers: 10,
      dnsNames: 11,
      dnsZones: 12,
      dnsQueries: 13,
      dnsPending: 14,
    }),
    dnsHosts: () => [{ hostname: 'db1', ttlSeconds: 15, addrs: ['10.0.0.1', '10.0.0.2'] }],
    config: () => [{ key: 'pool_mode', value: 'transaction', default: 'session', changeable: true }],
    state: () => ({ active: true, paused: false, suspended: false }),
    metrics: () => [],
    errorCounts: () => new Map(),
    droppedLogLines: () => 0,
    healthy: () => true,
    isShuttingDown: () => false,
    reload: () => {
      calls.push('reload');
      return { ok: true, diagnostics: [] };
    },
    set: note('set'),
    pause: wait('pause'),
    resume: note('resume'),
    suspend: wait('suspend'),
    disable: note('disable'),
    enable: note('enable'),
    kill: note('kill'),
    killClient: (id) => {
      if (id === 404) throw new CommandError('client not found');
      note('killClient')(id);
    },
    reconnect: note('reconnect'),
    waitClose: wait('waitClose'),
    shutdown: note('shutdown'),
    nodes: () => [nodeRow('pg1', { state: 'primary' }), nodeRow('pg2')],
    clusters: () => [clusterRow('main')],
    routes: () => [],
    learned: () => [],
    shadow: () => [],
    decisions: () => [],
    explainRoute: (sql, name) => {
      calls.push(`explainRoute ${name} ${sql}`);
      return [{ item: 'class', value: 'read' }];
    },
    detach: note('detach'),
    attach: note('attach'),
    drain: wait('drain'),
    setWeight: note('setWeight'),
    redetect: wait('redetect'),
    ...changes,
  };
}

export interface Reply {
  /** The type byte as a letter. */
  readonly type: string;
  readonly body: Buffer;
}

/** Whole messages out of bytes; fails when they do not end at a message. */
export function readReplies(bytes: Buffer): Reply[] {
  const replies: Reply[] = [];
  let at = 0;
  while (at < bytes.length) {
    const length = bytes.readUInt32BE(at + 1);
    assert.ok(length >= 4 && at + 1 + length <= bytes.length, 'whole messages');
    replies.push({
      type: String.fromCharCode(bytes.readUInt8(at)),
      body: bytes.subarray(at + 5, at + 1 + length),
    });
    at += 1 + length;
  }
  return replies;
}

/** Fields of an ErrorResponse or NoticeResponse, by letter. */
export function fieldsOf(reply: Reply): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const part of reply.body.toString('utf8').split('\0')) {
    if (part !== '') fields[part.slice(0, 1)] = part.slice(1);
  }
  return fields;
}

export interface ColumnSeen {
  readonly name: string;
  readonly oid: number;
  readonly format: number;
}

export function columnsOf(reply: Reply): ColumnSeen[] {
  const columns: ColumnSeen[] = [];
  let at = 2;
  for (let i = 0; i < reply.body.readUInt16BE(0); i += 1) {
    const end = reply.body.indexOf(0, at);
    const name = reply.body.toString('utf8', at, end);
    columns.push({ name, oid: reply.body.readUInt32BE(end + 7), format: reply.body.readUInt16BE(end + 17) });
    at = end + 19;
  }
  assert.equal(at, reply.body.length);
  return columns;
}

/** The raw values of a DataRow. */
export function valuesOf(reply: Reply): (Buffer | null)[] {
  const values: (Buffer | null)[] = [];
  let at = 2;
  for (let i = 0; i < reply.body.readUInt16BE(0); i += 1) {
    const length = reply.body.readInt32BE(at);
    values.push(length < 0 ? null : reply.body.subarray(at + 4, at + 4 + length));
    at += 4 + Math.max(length, 0);
  }
  assert.equal(at, reply.body.length);
  return values;
}

export function textsOf(reply: Reply): (string | null)[] {
  return valuesOf(reply).map((v) => v?.toString('utf8') ?? null);
}

/** One line for a reply: `E 42501 admin access needed`, `C SHOW`, `Z I`, `D a|b` … */
export function line(reply: Reply): string {
  switch (reply.type) {
    case 'E':
    case 'N': {
      const { S, C, M } = fieldsOf(reply);
      return `${reply.type} ${S} ${C} ${M}`;
    }
    case 'C':
      return `C ${reply.body.toString('utf8', 0, reply.body.length - 1)}`;
    case 'Z':
      return `Z ${reply.body.toString('latin1')}`;
    case 'D':
      return `D ${textsOf(reply)
        .map((t) => t ?? 'NULL')
        .join('|')}`;
    case 'T':
      return `T ${columnsOf(reply)
        .map((c) => c.name)
        .join(' ')}`;
    default:
      return reply.type;
  }
}

export class FakeConsole {
  readonly calls: string[] = [];
  readonly pendings: FakePending[] = [];
  readonly closed: string[] = [];
  readonly greeting: Reply[];
  readonly session: ConsoleSession;
  #bytes: Buffer[] = [];

  constructor(options: { admin?: boolean; port?: Partial<ControlPort>; info?: Partial<ConsoleInfo> } = {}) {
    const open = createConsole(fakePort(this.calls, this.pendings, options.port), {
      version: VERSION,
      ...options.info,
    });
    const who: ConsoleIdentity = {
      user: 'admin',
      admin: options.admin ?? true,
      clientId: 1,
      pid: 4711,
      secret: Buffer.from([1, 2, 3, 4]),
    };
    this.session = open(who, {
      write: (bytes) => {
        assert.equal(this.closed.length, 0, 'nothing is written after close');
        this.#bytes.push(bytes);
      },
      close: (reason) => {
        this.closed.push(reason);
      },
    });
    this.greeting = this.take();
  }

  /** What has been written since the last take. */
  take(): Reply[] {
    const bytes = Buffer.concat(this.#bytes);
    this.#bytes = [];
    return readReplies(bytes);
  }

  /** Sends whole messages (with headers) without reading the replies. */
  send(...messages: readonly Buffer[]): void {
    for (const m of messages) this.session.onMessage(m.readUInt8(0), m.subarray(5));
  }

  /** Sends and takes the replies as lines. */
  ask(...messages: readonly Buffer[]): string[] {
    this.send(...messages);
    return this.take().map(line);
  }
}

/** Lets settled promises run. */
export function tick(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
