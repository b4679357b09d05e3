/**
 * One line of [databases], [users] or [peers] into its entry. All problems of a line are collected; a line with a
 * problem gives null. An entry holds only what the line says (null = not said): effective.ts knows who wins.
 */
import { maskPasswords, parseConnstr } from './connstr.ts';
import type { EntrySection } from './entry-keys.ts';
import { entryKeyNames } from './entry-keys.ts';
import { frozenMap } from './frozen-map.ts';
import type { Place } from './lines.ts';
import { at } from './lines.ts';
import { didYouMean } from './nearest.ts';
import { poolMode } from './options-general.ts';
import type { DatabaseEntry, Diagnostic, LoadBalance, PeerEntry, PoolMode, UserEntry } from './types.ts';
import { lookup, parseSeconds } from './value-types.ts';

/** Names of the console that no entry may have; `admin_database` adds one. */
export const CONSOLE_NAMES: readonly string[] = ['pgbouncer', 'pgconcierge'];
const MAX_DATABASE_BYTES = 64;
const MAX_USER_BYTES = 128;
const MAX_PEER_ID = 16383;
const MAX_INT = 2147483647;
const loadBalance = lookup('round-robin', 'disable');

/** PostgreSQL's spelling of the parameters that an entry may ask for. */
const STARTUP_PARAMETERS: readonly (readonly [string, string])[] = [
  ['client_encoding', 'client_encoding'],
  ['datestyle', 'DateStyle'],
  ['timezone', 'TimeZone'],
  ['application_name', 'application_name'],
];

/** The pairs of one line, read by type; remembers what was wrong. */
class Line {
  readonly #pairs: ReadonlyMap<string, string>;
  readonly #problems: { readonly message: string; readonly hint?: string }[] = [];

  constructor(section: EntrySection, value: string) {
    const parsed = parseConnstr(value);
    if (parsed.error !== undefined) {
      this.#pairs = new Map();
      this.problem(parsed.error, parsed.hint);
      return;
    }
    this.#pairs = parsed.pairs;
    const known = entryKeyNames(section);
    for (const key of parsed.pairs.keys()) {
      if (!known.includes(key)) {
        this.#problems.push({
          message: `unrecognized connection parameter: ${key}`,
          ...didYouMean(key, known),
        });
      }
    }
  }

  problem(message: string, hint?: string): void {
    this.#problems.push(hint === undefined ? { message } : { message, hint });
  }

  text(key: string): string | null {
    return this.#pairs.get(key) ?? null;
  }

  /** A decimal number (not strtol: PgBouncer uses atoi here); -1 = not set. */
  number(key: string, min = 0, max = MAX_INT): number | null {
    const value = this.text(key);
    if (value === null || value === '-1') return null;
    const number = /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN;
    if (number >= min && number <= max) return number;
    this.problem(`invalid ${key}: ${value}`, `${key} is an integer, ${min}..${max}`);
    return null;
  }

  /** Seconds -> ms; -1 = not set. */
  time(key: string): number | null {
    const value = this.text(key);
    if (value === null || value === '-1') return null;
    const ms = parseSeconds(value);
    if (!Number.isNaN(ms)) return ms;
    this.problem(`invalid ${key}: ${value}`, `${key} is a time in seconds`);
    return null;
  }

  poolMode(): PoolMode | null {
    const value = this.text('pool_mode');
    if (value === null) return null;
    const mode = poolMode.parse(value);
    if (mode === undefined) this.problem(`invalid pool mode: ${value}`, poolMode.label);
    return mode ?? null;
  }

  loadBalance(): LoadBalance {
    const value = this.text('load_balance_hosts') ?? 'round-robin';
    const mode = loadBalance.parse(value);
    if (mode === undefined) this.problem(`invalid load_balance_hosts: ${value}`, loadBalance.label);
    return mode ?? 'round-robin';
  }

  hosts(): readonly string[] {
    const hosts = (this.text('host') ?? '').split(',').map((host) => host.trim());
    if (hosts.length === 1 && hosts[0] === '') return [];
    if (hosts.includes(''))
      this.problem(`invalid host: ${this.text('host') ?? ''}`, 'the list has an empty place');
    return hosts;
  }

  startupParameters(): ReadonlyMap<string, string> {
    const found = new Map<string, string>();
    for (const [key, parameter] of STARTUP_PARAMETERS) {
      const value = this.text(key);
      if (value !== null) found.set(parameter, value);
    }
    return frozenMap(found);
  }

  /** Tells the problems, in PgBouncer's words; true when there are none. */
  good(key: string, value: string, place: Place, diagnostics: Diagnostic[]): boolean {
    for (const problem of this.#problems) diagnostics.push({ level: 'error', ...place, ...problem });
    if (this.#problems.length === 0) return true;
    const message = `invalid value "${maskPasswords(value)}" for parameter ${key} in configuration ${at(place)}`;
    diagnostics.push({ level: 'error', ...place, message });
    return false;
  }
}

/** A line of [databases]. The `*` entry is one too; its dbname is '' unless the line names one. */
export function readDatabase(
  name: string,
  value: string,
  place: Place,
  diagnostics: Diagnostic[],
): DatabaseEntry | null {
  const line = new Line('databases', value);
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
    hosts: Object.freeze(line.hosts()),
    port: line.number('port', 1, 65535) ?? 5432,
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
  return line.good(name, value, place, diagnostics) ? Object.freeze(entry) : null;
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
  const line = new Line('users', value);
  if (Buffer.byteLength(name) >= MAX_USER_BYTES) {
    line.problem(`too long user name: ${name}`, `at most ${MAX_USER_BYTES - 1} bytes`);
  }
  const entry: UserEntry = {
    name,
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
  const line = new Line('peers', value);
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
