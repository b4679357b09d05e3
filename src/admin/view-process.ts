/** SHOW CONFIG, LISTS, VERSION, STATE, MEM, DNS_HOSTS, DNS_ZONES: the process itself. And FDS, which is gone. */
import type { ConfigRow, DnsHostRow, ListsRow } from '../control/port.ts';
import type { Environment } from './outcome.ts';
import type { View } from './view.ts';
import { field, view } from './view.ts';

export const CONFIG = view<ConfigRow>({
  name: 'CONFIG',
  doc: 'One row for each setting of [pgbouncer].',
  source: (env) => env.port.config(),
  fields: [
    field('key', 'text', 'Name of the setting.', (c) => c.key),
    field('value', 'text', 'Value in force.', (c) => c.value),
    field('default', 'text', 'Value when the file says nothing.', (c) => c.default),
    field('changeable', 'text', 'Whether SET and RELOAD change it.', (c) => (c.changeable ? 'yes' : 'no'), {
      yes: 'SET and RELOAD take effect at once',
      no: 'only a restart changes it',
    }),
  ],
});

interface Item {
  readonly key: string;
  readonly value: number;
}

const LIST_NAMES: readonly (readonly [string, keyof ListsRow, string])[] = [
  ['databases', 'databases', 'databases known'],
  ['users', 'users', 'users known'],
  ['peers', 'peers', 'peers configured'],
  ['pools', 'pools', 'pools'],
  ['peer_pools', 'peerPools', 'pools of peers'],
  ['free_clients', 'freeClients', 'unused client records'],
  ['used_clients', 'usedClients', 'client connections'],
  ['login_clients', 'loginClients', 'clients that are logging in'],
  ['free_servers', 'freeServers', 'unused server records'],
  ['used_servers', 'usedServers', 'server connections'],
  ['dns_names', 'dnsNames', 'names in the DNS cache'],
  ['dns_zones', 'dnsZones', 'DNS zones watched'],
  ['dns_queries', 'dnsQueries', 'DNS queries under way'],
  ['dns_pending', 'dnsPending', 'DNS queries not sent yet'],
];

export const LISTS = view<Item>({
  name: 'LISTS',
  doc: 'How many there are of everything.',
  source: (env) => {
    const lists = env.port.lists();
    return LIST_NAMES.map(([key, of]) => ({ key, value: lists[of] }));
  },
  fields: [
    field(
      'list',
      'text',
      'What is counted.',
      (i) => i.key,
      Object.fromEntries(LIST_NAMES.map(([key, , doc]) => [key, doc])),
    ),
    field('items', 'int4', 'How many.', (i) => i.value),
  ],
});

export const VERSION = view<string>({
  name: 'VERSION',
  doc: 'Versions: the PgBouncer that this pooler is compatible with, and its own.',
  source: (env) => [env.version],
  fields: [field('version', 'text', 'Version text.', (v) => v)],
});

const STATES = {
  active: 'clients are served',
  paused: 'PAUSE without a database is in force',
  suspended: 'SUSPEND is in force',
};

export const STATE = view<{ readonly key: string; readonly on: boolean }>({
  name: 'STATE',
  doc: 'State of the pooler as a whole.',
  source: (env) => {
    const s = env.port.state();
    return [
      { key: 'active', on: s.active },
      { key: 'paused', on: s.paused },
      { key: 'suspended', on: s.suspended },
    ];
  },
  fields: [
    field('key', 'text', 'State.', (s) => s.key, STATES),
    field('value', 'text', 'Whether it holds.', (s) => (s.on ? 'yes' : 'no'), {
      yes: 'it does',
      no: 'it does not',
    }),
  ],
});

interface Memory {
  readonly name: string;
  readonly size: number;
  readonly used: number;
  readonly free: number;
}

const KIB = 1024;

function memory(env: Environment): Memory[] {
  const lists = env.port.lists();
  const m = process.memoryUsage();
  // PgBouncer's caches by their names; what one of our objects takes is not known to us, hence size 0
  const cache = (name: string, used: number, free = 0): Memory => ({ name, size: 0, used, free });
  const kib = (name: string, used: number, total = used): Memory => ({
    name,
    size: KIB,
    used: Math.ceil(used / KIB),
    free: Math.max(0, Math.floor((total - used) / KIB)),
  });
  return [
    cache('user_cache', lists.users),
    cache('db_cache', lists.databases),
    cache('peer_cache', lists.peers),
    cache('pool_cache', lists.pools),
    cache('peer_pool_cache', lists.peerPools),
    cache('server_cache', lists.usedServers, lists.freeServers),
    cache('client_cache', lists.usedClients, lists.freeClients),
    kib('heap', m.heapUsed, m.heapTotal),
    kib('external', m.external),
    kib('process', m.rss),
  ];
}

export const MEM = view<Memory>({
  name: 'MEM',
  doc: 'Memory: counts of objects, then the memory of the process in units of 1 KiB.',
  source: memory,
  fields: [
    field('name', 'text', 'What is measured.', (m) => m.name, {
      user_cache: 'users',
      db_cache: 'databases',
      peer_cache: 'peers',
      pool_cache: 'pools',
      peer_pool_cache: 'pools of peers',
      server_cache: 'server connections',
      client_cache: 'client connections',
      heap: 'the heap of the JavaScript engine',
      external: 'buffers outside of the heap',
      process: 'all memory of the process',
    }),
    field('size', 'int4', 'Bytes of one item; 0 = not known.', (m) => m.size),
    field('used', 'int4', 'Items in use.', (m) => m.used),
    field('free', 'int4', 'Items allocated and unused.', (m) => m.free),
    field('memtotal', 'int4', 'size * (used + free).', (m) => m.size * (m.used + m.free)),
  ],
});

export const DNS_HOSTS = view<DnsHostRow>({
  name: 'DNS_HOSTS',
  doc: 'The DNS cache.',
  source: (env) => env.port.dnsHosts(),
  fields: [
    field('hostname', 'text', 'Name.', (h) => h.hostname),
    field('ttl', 'int8', 'Seconds until it is asked again.', (h) => h.ttlSeconds),
    field('addrs', 'text', 'Addresses, separated by commas.', (h) => h.addrs.join(',')),
  ],
});

export const DNS_ZONES = view<never>({
  name: 'DNS_ZONES',
  doc: 'DNS zones whose serial is watched. Always empty: names are asked again after their time to live.',
  source: () => [],
  fields: [
    field('zonename', 'text', 'Zone.', () => null),
    field('serial', 'int8', 'Serial number of the zone.', () => null),
    field('count', 'int4', 'Names in it.', () => null),
  ],
});

export const FDS: View = {
  name: 'FDS',
  doc: 'Not served: it handed sockets over to a new process at an online restart (`-R`), which PgBouncer 1.26 has removed.',
  columns: [],
  rows: () => [],
  unavailable:
    'SHOW FDS is not supported: online restart (-R) was removed in PgBouncer 1.26, use SHOW SOCKETS',
};
