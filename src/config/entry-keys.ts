/**
 * The keys of the connect strings in [databases], [users], [peers], [clusters], [nodes] and [routes]: which exist, and
 * what the documentation says. Keys of clusters and routing that are settings too come from their table.
 */
import { CLUSTER_OPTIONS } from './options-clusters.ts';

export type EntrySection = 'databases' | 'users' | 'peers' | 'clusters' | 'nodes' | 'routes';

interface EntryKey {
  readonly name: string;
  readonly sections: readonly EntrySection[];
  readonly defaultText: string;
  readonly doc: string;
}

const key = (
  name: string,
  sections: readonly EntrySection[],
  defaultText: string,
  doc: string,
): EntryKey => ({
  name,
  sections,
  defaultText,
  doc,
});
const SECTION_OF: ReadonlyMap<string, readonly EntrySection[]> = new Map([
  ['cluster', ['clusters']],
  ['database', ['databases']],
  ['user', ['users']],
]);
const D = ['databases'] as const;
const U = ['users'] as const;
const DU = ['databases', 'users'] as const;
const setting = (name: string): string => `setting ${name}`;

export const ENTRY_KEYS: readonly EntryKey[] = [
  key(
    'host',
    ['databases', 'peers'],
    'unix socket',
    'Host name, address, directory of a unix socket (`/…`) or abstract socket (`@…`). In [databases] also several, separated by commas: see load_balance_hosts. IPv6 without brackets.',
  ),
  key(
    'port',
    ['databases', 'peers'],
    '5432; 6432 for peers',
    'Port of the server, the same for all hosts of a list.',
  ),
  key('dbname', D, 'name of the entry', 'Name of the database on the server.'),
  key(
    'user',
    D,
    'the user of the client',
    'Forced user: all clients share one pool that is logged in as this user.',
  ),
  key('password', D, 'from auth_file', 'Password of the forced user.'),
  key('auth_user', D, setting('auth_user'), 'User as whom auth_query runs for this database.'),
  key('auth_query', D, setting('auth_query'), 'Query that gives name and secret of a user; quote it.'),
  key('auth_dbname', D, setting('auth_dbname'), 'Database in which auth_query runs.'),
  key(
    'pool_size',
    ['databases', 'users', 'peers'],
    setting('default_pool_size'),
    'Servers per pool (peers: connections for cancel requests).',
  ),
  key(
    'min_pool_size',
    D,
    setting('min_pool_size'),
    'Servers that are kept open in each pool of the database.',
  ),
  key(
    'reserve_pool_size',
    DU,
    setting('reserve_pool_size'),
    'Servers beyond pool_size after reserve_pool_timeout. `reserve_pool` is the same in [databases].',
  ),
  key('reserve_pool', D, setting('reserve_pool_size'), 'Old name of reserve_pool_size.'),
  key('pool_mode', DU, setting('pool_mode'), '`session`, `transaction` or `statement`.'),
  key('connect_query', D, 'none', 'Run once after login to a server. Errors are only logged.'),
  key(
    'load_balance_hosts',
    D,
    'round-robin',
    'With several hosts: `round-robin` spreads new connections over them, `disable` stays on one until it fails.',
  ),
  key(
    'max_db_connections',
    D,
    setting('max_db_connections'),
    'Servers of the database, all users together; 0 = the setting.',
  ),
  key(
    'max_db_client_connections',
    D,
    setting('max_db_client_connections'),
    'Clients of the database; 0 = the setting.',
  ),
  key(
    'server_lifetime',
    D,
    setting('server_lifetime'),
    'Age at which servers of the database are closed when not in use; 0 = the setting.',
  ),
  key(
    'client_encoding',
    D,
    'from the client',
    'Asked for when connecting to the server, and the base for clients that ask for none.',
  ),
  key('datestyle', D, 'from the client', 'As client_encoding, for DateStyle.'),
  key('timezone', D, 'from the client', 'As client_encoding, for TimeZone.'),
  key('application_name', D, 'from the client', 'As client_encoding, for application_name.'),
  key(
    'query_wait_timeout',
    DU,
    setting('query_wait_timeout'),
    'Seconds that a client may wait for a server; 0 = for ever, -1 = the setting.',
  ),
  key(
    'max_user_connections',
    U,
    setting('max_user_connections'),
    'Servers of the user, all databases together; 0 = the setting.',
  ),
  key(
    'max_user_client_connections',
    U,
    setting('max_user_client_connections'),
    'Clients of the user; 0 = the setting.',
  ),
  key('query_timeout', U, setting('query_timeout'), 'Seconds; 0 = the setting.'),
  key('idle_transaction_timeout', U, setting('idle_transaction_timeout'), 'Seconds; 0 = the setting.'),
  key('transaction_timeout', U, setting('transaction_timeout'), 'Seconds; 0 = the setting.'),
  key('client_idle_timeout', U, setting('client_idle_timeout'), 'Seconds; 0 = the setting.'),
  key(
    'cluster',
    ['databases', 'nodes'],
    'none; [nodes] need one',
    'Name of an entry of [clusters]. In [databases] it stands instead of host and port.',
  ),
  key('host', ['nodes'], 'unix socket', 'One host name, address, or directory of a unix socket.'),
  key('port', ['nodes'], '5432', 'Port of the node.'),
  key(
    'weight',
    ['nodes'],
    '1',
    'Share in reads, relative to the other nodes; fractions allowed, 0 = no reads. The primary takes part in reads only as read_from_primary says.',
  ),
  key('zone', ['nodes'], 'none', 'Nodes of the zone of the proxy (setting zone) are preferred for reads.'),
  key(
    'check',
    ['nodes'],
    'check of the cluster',
    '`patroni:http://host:8008`, or `http://host:8008`: `/primary` answers 200 on the primary.',
  ),
  key(
    'application_name',
    ['routes'],
    'must be set',
    'Regexp (case counts, matches anywhere unless it has ^ or $) over the application_name that a client logs in with.',
  ),
  key('route', ['routes'], 'must be set', '`auto`, `primary` or `replica`.'),
  ...CLUSTER_OPTIONS.flatMap(({ name, scopes, doc }) => {
    const sections = scopes.flatMap((scope) => SECTION_OF.get(scope) ?? []);
    return sections.length === 0 ? [] : [key(name, sections, setting(name), doc)];
  }),
];

/** Names of the keys that a section knows. */
export function entryKeyNames(section: EntrySection): readonly string[] {
  return ENTRY_KEYS.filter((row) => row.sections.includes(section)).map((row) => row.name);
}
