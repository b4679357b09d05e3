/**
 * Rows of the options table: clusters and routing. Each is the default of the key of the same name in [clusters]
 * and, where it says so, in [databases]. The types stand here once for all three scopes.
 */
import { option } from './option.ts';
import {
  byteSize,
  checkMethod,
  duration,
  functionList,
  nullableDuration,
  period,
  secretText,
} from './unit-types.ts';
import { boolean, integer, lookup, nullableText, text } from './value-types.ts';

export const route = lookup('auto', 'primary', 'replica');
export const readConsistency = lookup('session', 'database', 'eventual');
export const staleRead = lookup('primary', 'wait');
export const balance = lookup('weighted', 'least_busy', 'fastest');
export const readFromPrimary = lookup('fallback', 'weighted', 'never');
export const lagSource = lookup('wal', 'heartbeat');
export const threshold = integer(1, 1000);

const C = { own: true, also: ['cluster'] } as const;
const CD = { own: true, also: ['cluster', 'database'] } as const;

export const CLUSTER_OPTIONS = [
  option(
    'route',
    route,
    'auto',
    'Where the statements of databases of a cluster go: `auto` = writes to the primary, reads spread over the replicas; `primary` or `replica` = all of them. A host list in [databases] becomes a cluster only by a `route` of its own.',
    { own: true, also: ['cluster', 'database', 'user'] },
  ),
  option(
    'read_consistency',
    readConsistency,
    'session',
    'What a read on a replica must see: `session` = what the same client has written, `database` = what any client of this proxy has written to the database, `eventual` = whatever the replica has.',
    CD,
  ),
  option(
    'stale_read',
    staleRead,
    'primary',
    'A read for which no replica is fresh enough: `primary` sends it there at once, `wait` waits up to stale_read_wait for a replica first.',
    CD,
  ),
  option('stale_read_wait', duration, '0.5', 'How long `stale_read = wait` waits for a fresh replica.', CD),
  option(
    'balance',
    balance,
    'weighted',
    'How reads are spread over replicas: `weighted` = exactly by weight, in turn; `least_busy` = fewest statements in flight per weight; `fastest` = shortest measured service time.',
    CD,
  ),
  option(
    'read_from_primary',
    readFromPrimary,
    'fallback',
    'The share of the primary in reads: `fallback` = only when no replica can take them, `weighted` = by its weight, `never` = none but of its own writes.',
    CD,
  ),
  option(
    'write_functions',
    functionList,
    '',
    'Functions that write although the catalog says otherwise: names (`name` or `schema.name`) or regexps, separated by commas. A word that is no plain name is a regexp; one with commas, blanks or double quotes in it stands in double quotes: `audit, ^log_, "^f[a,b]$"`.',
    CD,
  ),
  option(
    'read_functions',
    functionList,
    '',
    'Functions that only read although the catalog calls them VOLATILE; written like write_functions, over which it wins.',
    CD,
  ),
  option(
    'max_lag',
    duration,
    '10',
    'A replica that lags further behind takes no reads until it is down to recover_lag. 0 = no limit.',
    CD,
  ),
  option(
    'max_lag_bytes',
    byteSize,
    '0',
    'The same in bytes of WAL, `16MB` or `1GB` for instance. 0 = no limit.',
    CD,
  ),
  option(
    'recover_lag',
    nullableDuration,
    null,
    'A lagging replica takes reads again at this lag or below. Not set = half of max_lag.',
    C,
  ),
  option(
    'route_shadow',
    boolean,
    '0',
    'Send everything to the primary and only count where it would have gone (SHOW SHADOW).',
    CD,
  ),
  option(
    'primary_wait_timeout',
    duration,
    '30',
    'How long a write waits for a primary when the cluster has none; then it fails with 57P03 and the client stays connected.',
    CD,
  ),

  option(
    'check_user',
    text,
    'postgres',
    'User as whom the monitors log in to the nodes; needs the right to connect and, for all of SHOW NODES, pg_monitor.',
    C,
  ),
  option(
    'check_password',
    secretText,
    null,
    'Password of check_user. Not set = from passfile, else from auth_file if it stands there in clear or as md5.',
    C,
  ),
  option(
    'passfile',
    nullableText,
    null,
    "File with passwords of check_user, in the form of libpq's .pgpass (`host:port:database:user:password`). Refused when group or others have any right on it.",
    C,
  ),
  option('check_dbname', text, 'postgres', 'Database to which the monitors log in.', C),
  option('check_interval', period, '1', 'How often each node is looked at.', C),
  option('check_timeout', period, '5', 'A check without an answer after this time has failed.', C),
  option('fail_threshold', threshold, '3', 'Failed checks in a row that make a node down.', C),
  option(
    'check',
    checkMethod,
    'sql',
    "Who knows the roles: `sql` asks the nodes themselves, `patroni:http://host:8008` asks Patroni's REST API. In [nodes] also `http://host:8008`: a node of which `/primary` answers 200 is the primary.",
    C,
  ),
  option(
    'role_query',
    text,
    '',
    'Query that replaces `SELECT pg_is_in_recovery()`: one boolean, true = replica.',
    C,
  ),
  option(
    'lag_source',
    lagSource,
    'wal',
    'How lag is measured: `wal` compares positions and times of replay; `heartbeat` writes a timestamp on the primary and reads it on the replicas, for replication of any kind.',
    C,
  ),
  option(
    'lsn_interval',
    period,
    '0.1',
    'How often WAL positions are read while there are clients who need them for fresh reads.',
    C,
  ),
  option(
    'slow_start',
    duration,
    '0',
    'A replica that comes back takes its full share of reads only after this time. 0 = at once.',
    C,
  ),
  option(
    'warmup_query',
    text,
    '',
    'Run by check_user in check_dbname on a replica that was down, before it takes reads again; to load its caches (`SELECT pg_prewarm(…)`). Errors are only logged; after 5 minutes it is given up.',
    C,
  ),
  option(
    'ban_time',
    duration,
    '5',
    'A replica to which a connection could not be opened takes no reads for this time; then one read tries it.',
    C,
  ),

  option(
    'zone',
    text,
    '',
    'Zone of this proxy: reads go to nodes of the same `zone` while one of them can take them.',
    { own: true },
  ),
  option(
    'state_file',
    text,
    '',
    'File that keeps the last known roles over a restart, so that a change meanwhile is noticed. Empty = none.',
    { own: true },
  ),
  option(
    'route_cache_size',
    byteSize,
    '16MB',
    'Memory for what is known about the texts of statements, per process.',
    { own: true },
  ),
  option(
    'learned_statements',
    integer(),
    '1000',
    'How many statements that a replica refused are remembered as writes (SHOW LEARNED). 0 = none.',
    { own: true },
  ),
] as const;
