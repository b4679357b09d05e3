/**
 * One line of [clusters], [nodes] or [routes] into its entry, and the routing keys that [databases] have in common
 * with [clusters]. Values may hold `${NAME}` of the environment here.
 */
import { EntryLine } from './entry-line.ts';
import type { Environment } from './environment.ts';
import type { Place } from './lines.ts';
import {
  balance,
  CLUSTER_OPTIONS,
  lagSource,
  readConsistency,
  readFromPrimary,
  route,
  staleRead,
  threshold,
} from './options-clusters.ts';
import type { ClusterEntry, Diagnostic, NodeEntry, RouteRule, RoutingKeys } from './types.ts';
import {
  byteSize,
  checkMethod,
  duration,
  functionList,
  isWebAddress,
  period,
  secretText,
} from './unit-types.ts';
import { boolean, nullableText, type ValueType } from './value-types.ts';

const MAX_NAME_BYTES = 63;

/** Where a node is. */
export interface Target {
  readonly host: string;
  readonly port: number;
}

/** Names of the keys of RoutingKeys, as the file spells them. */
export const ROUTING_KEYS: readonly string[] = CLUSTER_OPTIONS.filter(
  (row) => row.scopes.includes('database') && row.name !== 'route',
).map((row) => row.name);

/** The keys that a cluster and a database may both set. */
export function readRoutingKeys(line: EntryLine): RoutingKeys {
  return {
    readConsistency: line.typed('read_consistency', readConsistency),
    staleRead: line.typed('stale_read', staleRead),
    staleReadWaitMs: line.typed('stale_read_wait', duration),
    balance: line.typed('balance', balance),
    readFromPrimary: line.typed('read_from_primary', readFromPrimary),
    writeFunctions: line.typed('write_functions', functionList),
    readFunctions: line.typed('read_functions', functionList),
    maxLagMs: line.typed('max_lag', duration),
    maxLagBytes: line.typed('max_lag_bytes', byteSize),
    routeShadow: line.typed('route_shadow', boolean),
    primaryWaitTimeoutMs: line.typed('primary_wait_timeout', duration),
  };
}

/** `*` is the fallback of [databases] and of nothing else. */
function checkName(line: EntryLine, what: string, name: string): void {
  if (name === '*')
    line.problem(`* is no name of a ${what}`, 'defaults of all clusters stand in [pgbouncer]');
  if (Buffer.byteLength(name) > MAX_NAME_BYTES)
    line.problem(`too long ${what} name: ${name}`, `at most ${MAX_NAME_BYTES} bytes`);
}

const position = (place: Place): string => `${place.file}:${place.line}`;

function clusterEntry(line: EntryLine, name: string, at: string): ClusterEntry {
  return {
    name,
    route: line.typed('route', route),
    ...readRoutingKeys(line),
    checkUser: line.text('check_user'),
    checkPassword: line.typed('check_password', secretText),
    passfile: line.typed('passfile', nullableText),
    checkDbname: line.text('check_dbname'),
    checkIntervalMs: line.typed('check_interval', period),
    checkTimeoutMs: line.typed('check_timeout', period),
    failThreshold: line.typed('fail_threshold', threshold),
    check: line.typed('check', checkMethod),
    roleQuery: line.text('role_query'),
    lagSource: line.typed('lag_source', lagSource),
    recoverLagMs: line.typed('recover_lag', duration),
    lsnIntervalMs: line.typed('lsn_interval', period),
    slowStartMs: line.typed('slow_start', duration),
    warmupQuery: line.text('warmup_query'),
    banTimeMs: line.typed('ban_time', duration),
    at,
  };
}

/** A line of [clusters]. */
export function readCluster(
  name: string,
  value: string,
  place: Place,
  diagnostics: Diagnostic[],
  env: Environment,
): ClusterEntry | null {
  const line = new EntryLine('clusters', value, env);
  checkName(line, 'cluster', name);
  const entry = clusterEntry(line, name, position(place));
  return line.good(name, value, place, diagnostics) ? Object.freeze(entry) : null;
}

/** The cluster of a host list with `route=`: as the settings say, but for the lag that its database allows. */
export function unnamedCluster(
  name: string,
  lag: Pick<RoutingKeys, 'maxLagMs' | 'maxLagBytes'>,
  at: string,
): ClusterEntry {
  const { maxLagMs, maxLagBytes } = lag;
  return Object.freeze({ ...clusterEntry(new EntryLine('clusters', ''), name, at), maxLagMs, maxLagBytes });
}

const MAX_WEIGHT = 1_000_000;
const weight: ValueType<number, ''> = {
  label: `a number, 0..${MAX_WEIGHT}, fractions allowed`,
  suffix: '',
  empty: 1,
  parse: (text) => (/^\d+(?:\.\d+)?$/.test(text) && Number(text) <= MAX_WEIGHT ? Number(text) : undefined),
  format: String,
};

const nodeCheck: ValueType<string, ''> = {
  label: 'patroni:http://host:8008 or http://host:8008',
  suffix: '',
  empty: '',
  parse: (text) => {
    if (isWebAddress(text)) return text;
    const method = checkMethod.parse(text);
    return method === 'sql' ? undefined : method;
  },
  format: (value) => value,
};

/** A line of [nodes]. */
export function readNode(
  name: string,
  value: string,
  place: Place,
  diagnostics: Diagnostic[],
  env: Environment,
): NodeEntry | null {
  const line = new EntryLine('nodes', value, env);
  checkName(line, 'node', name);
  if (!line.has('cluster'))
    line.problem(`node ${name} has no cluster`, 'add cluster=NAME, an entry of [clusters]');
  const [host = '', another] = line.hosts();
  if (another !== undefined)
    line.problem(`node ${name} has several hosts`, 'a node is one PostgreSQL instance');
  const entry: NodeEntry = {
    name,
    cluster: line.text('cluster') ?? '',
    host,
    port: line.number('port', 1, 65535) ?? 5432,
    weight: line.typed('weight', weight) ?? 1,
    zone: line.text('zone') ?? '',
    check: line.typed('check', nodeCheck),
    at: position(place),
  };
  return line.good(name, value, place, diagnostics) ? Object.freeze(entry) : null;
}

const regexp: ValueType<RegExp, ''> = {
  label: 'a regular expression',
  suffix: '',
  empty: /(?:)/,
  parse: (text) => {
    try {
      return new RegExp(text);
    } catch {
      return undefined;
    }
  },
  format: (value) => value.source,
};

/** A line of [routes]. */
export function readRoute(
  name: string,
  value: string,
  place: Place,
  diagnostics: Diagnostic[],
  env: Environment,
): RouteRule | null {
  const line = new EntryLine('routes', value, env);
  for (const key of ['application_name', 'route']) {
    if (!line.has(key))
      line.problem(`route ${name} has no ${key}`, "write application_name='^report' route=replica");
  }
  const rule: RouteRule = {
    name,
    applicationName: Object.freeze(line.typed('application_name', regexp) ?? regexp.empty),
    route: line.typed('route', route) ?? 'auto',
    at: position(place),
  };
  return line.good(name, value, place, diagnostics) ? Object.freeze(rule) : null;
}
