/**
 * One line of [databases], [users] or [peers] into its entry; a line with a problem gives null. An entry holds only what the line says (null = not said): effective.ts knows who wins.
 */
import { ROUTING_KEYS, readRoutingKeys, type Target } from './cluster-entries.ts';
import { EntryLine } from './entry-line.ts';
import type { Place } from './lines.ts';
import { at } from './lines.ts';
import { route } from './options-clusters.ts';
import type { DatabaseEntry, Diagnostic, PeerEntry, UserEntry } from './types.ts';

/** Names of the console that no entry may have; `admin_database` adds one. */
export const CONSOLE_NAMES: readonly string[] = ['pgbouncer', 'pgconcierge'];
const MAX_DATABASE_BYTES = 64;
const MAX_USER_BYTES = 128;
const MAX_PEER_ID = 16383;

/** Keys of a plain entry that have no place beside `cluster=`, which knows the nodes. */
const ADDRESS_KEYS: readonly string[] = ['host', 'port', 'load_balance_hosts'];

export interface ReadDatabase {
  /** Of a host list with `route=`, `cluster` is null still: link-clusters.ts makes its cluster. */
  readonly entry: DatabaseEntry;
  /** Where the nodes of a host list with `route=` are; null = the entry is no such list. */
  readonly targets: readonly Target[] | null;
}

/** A line of [databases]. The `*` entry is one too; its dbname is '' unless the line names one. */
export function readDatabase(
  name: string,
  value: string,
  place: Place,
  diagnostics: Diagnostic[],
): ReadDatabase | null {
  const line = new EntryLine('databases', value);
  const cluster = line.text('cluster');
  const isList = cluster === null && line.has('route');
  if (cluster !== null) {
    for (const key of ADDRESS_KEYS) {
      if (line.has(key))
        line.problem(`${key} and cluster cannot stand together`, '[nodes] says where a cluster is');
    }
  }
  const hosts = line.hosts();
  const ports = isList ? line.ports(hosts.length) : [line.number('port', 1, 65535) ?? 5432];
  const targets = isList ? targetsOf(hosts, ports) : null;
  const twice = targets?.find(({ host, port }, i) =>
    targets.some((other, j) => j < i && other.host === host && other.port === port),
  );
  if (twice !== undefined) line.problem(`node ${twice.host}:${twice.port} is listed twice`);
  if (CONSOLE_NAMES.includes(name)) line.problem(`database name "${name}" is reserved`);
  if (Buffer.byteLength(name) >= MAX_DATABASE_BYTES) {
    line.problem(`too long db name: ${name}`, `at most ${MAX_DATABASE_BYTES - 1} bytes`);
  }
  const user = line.text('user');
  if (user !== null && Buffer.byteLength(user) >= MAX_USER_BYTES) {
    line.problem(`too long user name: ${user}`, `at most ${MAX_USER_BYTES - 1} bytes`);
  }
  const authDbname = line.text('auth_dbname');
  if (authDbname !== null && CONSOLE_NAMES.includes(authDbname)) {
    line.problem(`cannot use the reserved "${authDbname}" database as an auth_dbname`);
  }
  const entry: DatabaseEntry = {
    name,
    cluster,
    route: line.typed('route', route),
    ...readRoutingKeys(line),
    hosts: Object.freeze(hosts),
    port: ports[0] ?? 5432,
    dbname: line.text('dbname') ?? (name === '*' ? '' : name),
    user,
    password: line.text('password'),
    authUser: line.text('auth_user'),
    authQuery: line.text('auth_query'),
    authDbname,
    poolSize: line.number('pool_size'),
    minPoolSize: line.number('min_pool_size'),
    reservePoolSize: line.number('reserve_pool_size') ?? line.number('reserve_pool'),
    poolMode: line.poolMode(),
    connectQuery: line.text('connect_query'),
    queryWaitTimeoutMs: line.time('query_wait_timeout'),
    loadBalanceHosts: line.loadBalance(),
    maxDbConnections: line.number('max_db_connections'),
    maxDbClientConnections: line.number('max_db_client_connections'),
    serverLifetimeMs: line.time('server_lifetime'),
    startupParameters: line.startupParameters(),
    at: `${place.file}:${place.line}`,
  };
  if (!line.good(name, value, place, diagnostics)) return null;
  if (cluster === null || isList) tellIdleKeys(line, name, isList, place, diagnostics);
  return { entry: Object.freeze(entry), targets };
}

/** Keys that are spelled right and yet do nothing in this line. */
function tellIdleKeys(
  line: EntryLine,
  name: string,
  isList: boolean,
  place: Place,
  diagnostics: Diagnostic[],
): void {
  const idle = (isList ? ['load_balance_hosts'] : ROUTING_KEYS).filter((key) => line.has(key));
  if (idle.length === 0) return;
  const message = `${idle.join(', ')} of database ${name} has no meaning here ${at(place)}`;
  const hint = isList ? 'balance= says how a cluster spreads reads' : 'only with cluster= or route=';
  diagnostics.push({ level: 'warning', ...place, message, hint });
}

/** The nodes of a list; one port serves all hosts. */
function targetsOf(hosts: readonly string[], ports: readonly number[]): Target[] {
  const all = hosts.length === 0 ? [''] : hosts;
  return all.map((host, i) => ({ host, port: ports[i] ?? ports[0] ?? 5432 }));
}

/**
 * The entry for a database that only `*` covers ("auto database"); null when the name is too long to be one. The
 * caller has looked among the configured databases and the names of the console before.
 */
export function autoDatabase(fallback: DatabaseEntry, name: string): DatabaseEntry | null {
  if (Buffer.byteLength(name) >= MAX_DATABASE_BYTES) return null;
  return Object.freeze({ ...fallback, name, dbname: fallback.dbname === '' ? name : fallback.dbname });
}

/** A line of [users]. */
export function readUser(
  name: string,
  value: string,
  place: Place,
  diagnostics: Diagnostic[],
): UserEntry | null {
  const line = new EntryLine('users', value);
  if (Buffer.byteLength(name) >= MAX_USER_BYTES) {
    line.problem(`too long user name: ${name}`, `at most ${MAX_USER_BYTES - 1} bytes`);
  }
  const entry: UserEntry = {
    name,
    route: line.typed('route', route),
    poolMode: line.poolMode(),
    poolSize: line.number('pool_size'),
    reservePoolSize: line.number('reserve_pool_size'),
    maxUserConnections: line.number('max_user_connections'),
    maxUserClientConnections: line.number('max_user_client_connections'),
    queryTimeoutMs: line.time('query_timeout'),
    queryWaitTimeoutMs: line.time('query_wait_timeout'),
    idleTransactionTimeoutMs: line.time('idle_transaction_timeout'),
    transactionTimeoutMs: line.time('transaction_timeout'),
    clientIdleTimeoutMs: line.time('client_idle_timeout'),
    at: `${place.file}:${place.line}`,
  };
  return line.good(name, value, place, diagnostics) ? Object.freeze(entry) : null;
}

/** A line of [peers]. Without `host` it is the unix socket directory (host ''), which is hardly meant: a warning. */
export function readPeer(
  key: string,
  value: string,
  place: Place,
  diagnostics: Diagnostic[],
): PeerEntry | null {
  const line = new EntryLine('peers', value);
  const id = /^\d{1,5}$/.test(key) ? Number(key) : 0;
  if (id < 1 || id > MAX_PEER_ID)
    line.problem(`invalid peer id: ${key}`, `peers are numbered 1..${MAX_PEER_ID}`);
  const host = line.text('host');
  const entry: PeerEntry = {
    id,
    host: host ?? '',
    port: line.number('port', 1, 65535) ?? 6432,
    poolSize: line.number('pool_size'),
    at: `${place.file}:${place.line}`,
  };
  if (!line.good(key, value, place, diagnostics)) return null;
  if (host === null) {
    const message = `peer ${key} has no host, its unix socket is used ${at(place)}`;
    diagnostics.push({ level: 'warning', ...place, message });
  }
  return Object.freeze(entry);
}
