import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ControlPort } from '../../../src/control/port.ts';
import { query } from '../../../src/wire/frontend.ts';
import { CLIENT, counters, FakeConsole, fieldsOf, line, SERVER, textsOf, VERSION } from './fake-console.ts';

const ask = (text: string, options: ConstructorParameters<typeof FakeConsole>[0] = {}): string[] =>
  new FakeConsole(options).ask(query(text));

test('SHOW VERSION, any case, quoted words, SELECT instead of SHOW, comments', () => {
  const expected = ['T version', `D ${VERSION}`, 'C SHOW', 'Z I'];
  for (const text of [
    'SHOW VERSION',
    'show version;',
    ' Show  "version" ; ',
    'SELECT version',
    '/* a /* b */ */ SHOW -- c\nVERSION',
  ]) {
    assert.deepEqual(ask(text), expected, text);
  }
});

test('SHOW CLIENTS and SHOW SERVERS rows', () => {
  const c = new FakeConsole();
  const rowOf = (text: string): (string | null)[] => {
    c.send(query(text));
    const row = c.take().find((r) => r.type === 'D');
    assert.ok(row !== undefined);
    return textsOf(row);
  };
  const client = rowOf('SHOW CLIENTS');
  const d = new Date(CLIENT.connectedAt);
  const two = (n: number): string => String(n).padStart(2, '0');
  const time = `${d.getFullYear()}-11-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:05 `;
  assert.ok(
    client[9]?.startsWith(time) && /^[A-Z]+$|^[+-]\d\d/.test(client[9].slice(time.length)),
    String(client[9]),
  );
  assert.deepEqual(client.toSpliced(9, 1), [
    'C',
    'alice',
    'app',
    'none',
    'waiting',
    '127.0.0.1',
    '40001',
    '127.0.0.1',
    '6432',
    '',
    '2',
    '500001',
    '0',
    CLIENT.ptr,
    '',
    '0',
    '',
    'psql',
    '3',
    '7',
  ]);
  const server = rowOf('SHOW SERVERS');
  assert.deepEqual([server[0], server[4], server[13], server[20], server[21]], ['S', 'new', '1', '8', 'pg1']);
  const socket = rowOf('SHOW SOCKETS');
  assert.deepEqual(socket.slice(21), ['11', '0', '0', '0', '22', '11', '22']);
  assert.equal(socket[4], 'cl_waiting');
});

test('SHOW ACTIVE_SOCKETS leaves out idle ones', () => {
  const quiet = { recvPending: 0, sendPending: 0 };
  const port: Partial<ControlPort> = {
    clients: () => [
      { ...CLIENT, ...quiet, state: 'idle' },
      { ...CLIENT, state: 'idle' },
      { ...CLIENT, ...quiet, state: 'active' },
    ],
    servers: () => [
      { ...SERVER, ...quiet, state: 'idle' },
      { ...SERVER, ...quiet, state: 'tested' },
    ],
  };
  const states = (text: string): string[] =>
    ask(text, { port })
      .filter((l) => l.startsWith('D'))
      .map((l) => l.split('|')[4] ?? '');
  assert.deepEqual(states('SHOW ACTIVE_SOCKETS'), ['cl_active', 'cl_active', 'sv_tested']);
  assert.deepEqual(states('SHOW SOCKETS'), ['cl_active', 'cl_active', 'cl_active', 'sv_idle', 'sv_tested']);
});

test('SHOW DATABASES is sorted and prints seconds', () => {
  assert.deepEqual(ask('SHOW DATABASES').slice(1, 3), [
    'D a|127.0.0.1|5432|a|NULL|20|0|0|3600|NULL|NULL|0|0|0|0|0|0',
    'D b|127.0.0.1|5432|b|NULL|20|0|0|3600|NULL|NULL|0|0|0|0|0|0',
  ]);
});

test('SHOW POOLS, PEERS, PEER_POOLS put each value into its column', () => {
  const pool = {
    database: 'app',
    user: 'alice',
    clActive: 1,
    clWaiting: 2,
    clActiveCancelReq: 3,
    clWaitingCancelReq: 4,
    svActive: 5,
    svActiveCancel: 6,
    svBeingCanceled: 7,
    svIdle: 8,
    svUsed: 9,
    svTested: 10,
    svLogin: 11,
    maxwaitUs: 12_000_013,
    poolMode: 'transaction',
    loadBalanceHosts: null,
    node: 'pg2',
  };
  assert.equal(
    ask('SHOW POOLS', { port: { pools: () => [pool] } })[1],
    'D app|alice|1|2|3|4|5|6|7|8|9|10|11|12|13|transaction|NULL|pg2',
  );
  const peers = () => [{ peerId: 2, host: 'h', port: 6432, poolSize: 5 }];
  assert.equal(ask('SHOW PEERS', { port: { peers } })[1], 'D 2|h|6432|5');
  const peerPools = () => [
    { peerId: 2, clActiveCancelReq: 1, clWaitingCancelReq: 3, svActiveCancel: 4, svLogin: 5 },
  ];
  assert.equal(ask('SHOW PEER_POOLS', { port: { peerPools } })[1], 'D 2|1|3|4|5');
});

test('SHOW USERS pads sizes as PgBouncer', () => {
  const user = {
    name: 'u',
    poolSize: 5,
    reservePoolSize: null,
    poolMode: null,
    maxUserConnections: 1,
    currentConnections: 2,
    maxUserClientConnections: 3,
    currentClientConnections: 4,
  };
  assert.equal(ask('SHOW USERS', { port: { users: () => [user] } })[1], 'D u|        5||NULL|1|2|3|4');
});

test('SHOW STATS and its relatives put each counter into its column', () => {
  const port = { stats: () => [{ database: 'app', totals: counters(100), averages: counters(0) }] };
  const totals = '101|102|103|104|105|106|107|108|109|110|111|112';
  const averages = '1|2|3|4|5|6|7|8|9|10|11|12';
  assert.equal(ask('SHOW STATS', { port })[1], `D app|${totals}|${averages}`);
  assert.equal(ask('SHOW STATS_TOTALS', { port })[1], `D app|${totals}`);
  assert.equal(ask('SHOW STATS_AVERAGES', { port })[1], `D app|${averages}`);
});

test('SHOW TOTALS: rates add up, means are weighed', () => {
  const port = {
    stats: () => [
      { database: 'a', totals: counters(100), averages: { ...counters(0), xacts: 3, xactTimeUs: 100 } },
      { database: 'b', totals: counters(200), averages: { ...counters(0), xacts: 1, xactTimeUs: 500 } },
    ],
  };
  const rows = ask('SHOW TOTALS', { port }).filter((l) => l.startsWith('D'));
  const names = [
    'server_assignment_count',
    'xact_count',
    'query_count',
    'client_bytes',
    'server_bytes',
    'xact_time',
    'query_time',
    'wait_time',
    'ps_client_parse_count',
    'ps_server_parse_count',
    'ps_bind_count',
    'client_login_count',
  ];
  assert.deepEqual(
    rows.map((r) => r.slice(2).split('|')[0]),
    [...names.map((n) => `total_${n}`), ...names.map((n) => `avg_${n}`)],
  );
  assert.ok(rows.includes('D total_xact_count|304'));
  assert.ok(rows.includes('D avg_xact_count|4'));
  assert.ok(rows.includes('D avg_xact_time|200'));
  assert.ok(rows.includes('D avg_query_time|7'));
});

test('SHOW LISTS, STATE, CONFIG, DNS_HOSTS, DNS_ZONES', () => {
  const lists = ask('SHOW LISTS').filter((l) => l.startsWith('D'));
  assert.equal(
    lists.map((l) => l.slice(2)).join(' '),
    'databases|1 users|2 peers|3 pools|4 peer_pools|5 free_clients|6 used_clients|7 login_clients|8 free_servers|9 ' +
      'used_servers|10 dns_names|11 dns_zones|12 dns_queries|13 dns_pending|14',
  );
  assert.deepEqual(ask('SHOW STATE').slice(1, 4), ['D active|yes', 'D paused|no', 'D suspended|no']);
  assert.equal(ask('SHOW CONFIG')[1], 'D pool_mode|transaction|session|yes');
  assert.equal(ask('SHOW DNS_HOSTS')[1], 'D db1|15|10.0.0.1,10.0.0.2');
  assert.deepEqual(ask('SHOW DNS_ZONES').slice(1), ['C SHOW', 'Z I']);
});

test('SHOW MEM', () => {
  const rows = ask('SHOW MEM')
    .filter((l) => l.startsWith('D'))
    .map((l) => l.slice(2).split('|'));
  assert.deepEqual(
    rows.find((r) => r[0] === 'client_cache'),
    ['client_cache', '0', '7', '6', '0'],
  );
  const used = Number(rows.find((r) => r[0] === 'process')?.[2]);
  assert.ok(used > 10_000 && used < 10_000_000, 'the process, in KiB');
});

test('SHOW HELP is a notice', () => {
  const c = new FakeConsole();
  c.send(query('SHOW HELP'));
  const [notice, ...rest] = c.take();
  assert.ok(notice !== undefined);
  assert.deepEqual(rest.map(line), ['C SHOW', 'Z I']);
  assert.equal(line(notice), 'N NOTICE 00000 Console usage');
  assert.equal(
    fieldsOf(notice)['D'],
    '\n\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION' +
      '\n\tSHOW PEERS|PEER_POOLS' +
      '\n\tSHOW SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE' +
      '\n\tSHOW DNS_HOSTS|DNS_ZONES' +
      '\n\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS' +
      '\n\tSHOW NODES|POOL_NODES|CLUSTERS|CLUSTER|ROUTES|LEARNED|SHADOW' +
      '\n\tSET key = arg' +
      '\n\tRELOAD' +
      '\n\tPAUSE [<db>]' +
      '\n\tRESUME [<db>]' +
      '\n\tDISABLE <db>' +
      '\n\tENABLE <db>' +
      '\n\tRECONNECT [<db>]' +
      '\n\tKILL [<db>]' +
      '\n\tKILL_CLIENT <client_id>' +
      '\n\tSHUTDOWN' +
      '\n\tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS' +
      '\n\tWAIT_CLOSE [<db>]' +
      '\n\tPAUSE [<db>] TIMEOUT <seconds>' +
      '\n\tDETACH <node>' +
      '\n\tATTACH <node>' +
      '\n\tDRAIN <node>' +
      '\n\tREDETECT [<cluster>]' +
      '\n\tSET WEIGHT <node> <weight>' +
      '\n\tEXPLAIN ROUTE [FOR <db>] <sql>' +
      '\n\tSHOW HELP <view>',
  );
});

test('SHOW HELP <view> documents columns and states', () => {
  const lines = ask('SHOW HELP clients');
  assert.equal(lines[0], 'T column type description');
  assert.ok(lines.some((l) => l.startsWith('D port|integer|Port')));
  for (const state of ['login', 'active', 'idle', 'waiting', 'active_cancel_req', 'waiting_cancel_req']) {
    assert.ok(
      lines.some((l) => l.startsWith(`D state = ${state}|value|`)),
      state,
    );
  }
  assert.deepEqual(ask('SHOW HELP nothing'), [
    "E ERROR 08P01 invalid command 'SHOW HELP nothing', use SHOW HELP;",
    'Z I',
  ]);
});

test('SHOW FDS says why not', () => {
  assert.match(ask('SHOW FDS')[0] ?? '', /^E ERROR 0A000 SHOW FDS is not supported/);
});

test('fake SHOWs', () => {
  const fakes = {
    client_encoding: 'UTF-8',
    default_transaction_isolation: 'read committed',
    standard_conforming_strings: 'on',
    DateStyle: 'ISO',
    timezone: 'GMT',
    server_version: '1.26.0/bouncer',
    'transaction isolation level': 'read committed',
  };
  for (const [name, value] of Object.entries(fakes)) {
    const lines = ask(`SHOW ${name}`);
    assert.deepEqual(lines.slice(1), [`D ${value}`, 'C SHOW', 'Z I'], name);
  }
  assert.equal(ask('SHOW DateStyle')[0], 'T datestyle');
});
