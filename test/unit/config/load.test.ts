/** Whole files: sections, entries, every error text, nothing by halves. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { databaseFor, isConsoleDatabase } from '../../../src/config/config.ts';
import { formatDiagnostic, loadConfig } from '../../../src/config/load.ts';
import { files, load, loaded } from './fixture.ts';

test('a file of all sections', (t) => {
  const config = loaded(
    t,
    `[databases]
plain =
app = host=10.0.0.1,10.0.0.2 port=5433 dbname=real user=u password='p w' pool_size=5 min_pool_size=1 reserve_pool=2 pool_mode=Transaction connect_query='SELECT ''x''' query_wait_timeout=1.5 load_balance_hosts=disable max_db_connections=7 max_db_client_connections=8 server_lifetime=60 auth_user=au auth_query='SELECT 1, 2' auth_dbname=adb client_encoding=utf8 datestyle=ISO timezone=UTC application_name=x
sock = host=/run/postgresql
unset = query_wait_timeout=-1 pool_size=-1
* = host=127.0.0.1
[users]
report = pool_mode=session pool_size=3 reserve_pool_size=1 max_user_connections=5 max_user_client_connections=6 query_timeout=1 query_wait_timeout=2 idle_transaction_timeout=3 transaction_timeout=4 client_idle_timeout=5
[peers]
1 = host=a
2 = host=b port=6433 pool_size=4
[pgbouncer]
`,
  );
  const app = config.databases.get('app');
  assert.ok(app);
  const { startupParameters, at, ...rest } = app;
  assert.match(at, /f\.ini:3$/);
  assert.deepEqual(
    [...startupParameters],
    [
      ['client_encoding', 'utf8'],
      ['DateStyle', 'ISO'],
      ['TimeZone', 'UTC'],
      ['application_name', 'x'],
    ],
  );
  assert.deepEqual(rest, {
    name: 'app',
    cluster: null,
    route: null,
    readConsistency: null,
    staleRead: null,
    staleReadWaitMs: null,
    balance: null,
    readFromPrimary: null,
    writeFunctions: null,
    readFunctions: null,
    maxLagMs: null,
    maxLagBytes: null,
    routeShadow: null,
    primaryWaitTimeoutMs: null,
    hosts: ['10.0.0.1', '10.0.0.2'],
    port: 5433,
    dbname: 'real',
    user: 'u',
    password: 'p w',
    authUser: 'au',
    authQuery: 'SELECT 1, 2',
    authDbname: 'adb',
    poolSize: 5,
    minPoolSize: 1,
    reservePoolSize: 2,
    poolMode: 'transaction',
    connectQuery: "SELECT 'x'",
    queryWaitTimeoutMs: 1500,
    loadBalanceHosts: 'disable',
    maxDbConnections: 7,
    maxDbClientConnections: 8,
    serverLifetimeMs: 60000,
  });
  const plain = config.databases.get('plain');
  assert.deepEqual(
    [plain?.hosts, plain?.port, plain?.dbname, plain?.user, plain?.poolSize],
    [[], 5432, 'plain', null, null],
  );
  assert.deepEqual(config.databases.get('sock')?.hosts, ['/run/postgresql']);
  assert.deepEqual(
    [config.databases.get('unset')?.queryWaitTimeoutMs, config.databases.get('unset')?.poolSize],
    [null, null],
  );
  const { at: userAt, ...report } = config.users.get('report') ?? { at: '' };
  assert.match(userAt, /f\.ini:8$/);
  assert.deepEqual(report, {
    name: 'report',
    route: null,
    poolMode: 'session',
    poolSize: 3,
    reservePoolSize: 1,
    maxUserConnections: 5,
    maxUserClientConnections: 6,
    queryTimeoutMs: 1000,
    queryWaitTimeoutMs: 2000,
    idleTransactionTimeoutMs: 3000,
    transactionTimeoutMs: 4000,
    clientIdleTimeoutMs: 5000,
  });
  assert.deepEqual(
    [config.peers.get(1)?.port, config.peers.get(2)?.port, config.peers.get(2)?.poolSize],
    [6432, 6433, 4],
  );
});

test('the fallback entry', (t) => {
  const config = loaded(
    t,
    '[databases]\nreal = host=r\n* = host=h pool_size=2\n[pgbouncer]\nadmin_database = console\n',
  );
  assert.equal(config.databases.has('*'), false);
  assert.equal(databaseFor(config, 'real')?.hosts[0], 'r');
  const auto = databaseFor(config, 'other');
  assert.deepEqual([auto?.name, auto?.dbname, auto?.hosts, auto?.poolSize], ['other', 'other', ['h'], 2]);
  assert.equal(databaseFor(config, 'x'.repeat(63))?.name.length, 63);
  assert.equal(databaseFor(config, 'x'.repeat(64)), null);
  for (const name of ['pgbouncer', 'pgconcierge', 'console']) {
    assert.ok(isConsoleDatabase(config, name));
    assert.equal(databaseFor(config, name), null);
  }
  assert.equal(isConsoleDatabase(config, ''), false);
  const named = loaded(t, '[databases]\n* = dbname=one\n[pgbouncer]\n');
  assert.equal(databaseFor(named, 'other')?.dbname, 'one');
  assert.equal(databaseFor(loaded(t, '[pgbouncer]\n'), 'other'), null);
});

const BAD: readonly (readonly [string, ...string[]])[] = [
  [
    '[pgbouncer]\nfoo = 1',
    'unknown parameter: pgbouncer/foo',
    'invalid value "1" for parameter foo in configuration (f.ini:2)',
  ],
  ['[pgbouncer]\npool_mode = xx', 'invalid value "xx" for parameter pool_mode in configuration (f.ini:2)'],
  [
    '[pgbouncer]\nlisten_port = 70000',
    'invalid value "70000" for parameter listen_port in configuration (f.ini:2)',
  ],
  [
    '[pgbouncer]\nserver_lifetime = -1',
    'invalid value "-1" for parameter server_lifetime in configuration (f.ini:2)',
  ],
  ['[pgbouncer]\nsyslog = yes', 'invalid value "yes" for parameter syslog in configuration (f.ini:2)'],
  ['[pgbouncer]\npeer_id = 16384', 'invalid value "16384" for parameter peer_id in configuration (f.ini:2)'],
  [
    '[pgbouncer]\nauth_dbname = pgbouncer',
    'invalid value "pgbouncer" for parameter auth_dbname in configuration (f.ini:2)',
  ],
  [
    '[pgbouncer]\nmy_password = s3cret',
    'unknown parameter: pgbouncer/my_password',
    'invalid value "********" for parameter my_password in configuration (f.ini:2)',
  ],
  ['[pgbouncer]\n[x]\nanything = 1', 'invalid section "x" in configuration (f.ini:2)'],
  ['[pgbouncer]\nbad line', 'syntax error in configuration (f.ini:2), stopping loading'],
  ['[databases]\na =', 'load_init_file: main section missing from config file'],
  ['', 'load_init_file: main section missing from config file'],
  [
    '[pgbouncer]\n[databases]\na = hots=x password=s3cret',
    'unrecognized connection parameter: hots',
    'invalid value "hots=x password=********" for parameter a in configuration (f.ini:3)',
  ],
  [
    '[pgbouncer]\n[databases]\na = host=',
    'syntax error in connection string',
    'invalid value "host=" for parameter a in configuration (f.ini:3)',
  ],
  [
    '[pgbouncer]\n[databases]\na = port=0',
    'invalid port: 0',
    'invalid value "port=0" for parameter a in configuration (f.ini:3)',
  ],
  [
    '[pgbouncer]\n[databases]\na = pool_mode=x',
    'invalid pool mode: x',
    'invalid value "pool_mode=x" for parameter a in configuration (f.ini:3)',
  ],
  [
    '[pgbouncer]\n[databases]\na = host=x,,y',
    'invalid host: x,,y',
    'invalid value "host=x,,y" for parameter a in configuration (f.ini:3)',
  ],
  [
    '[pgbouncer]\n[databases]\na = load_balance_hosts=x',
    'invalid load_balance_hosts: x',
    'invalid value "load_balance_hosts=x" for parameter a in configuration (f.ini:3)',
  ],
  [
    '[pgbouncer]\n[databases]\na = pool_size=x',
    'invalid pool_size: x',
    'invalid value "pool_size=x" for parameter a in configuration (f.ini:3)',
  ],
  [
    '[pgbouncer]\n[databases]\na = server_lifetime=x',
    'invalid server_lifetime: x',
    'invalid value "server_lifetime=x" for parameter a in configuration (f.ini:3)',
  ],
  [
    '[pgbouncer]\n[databases]\na = auth_dbname=pgbouncer',
    'cannot use the reserved "pgbouncer" database as an auth_dbname',
    'invalid value "auth_dbname=pgbouncer" for parameter a in configuration (f.ini:3)',
  ],
  [
    '[pgbouncer]\n[databases]\npgbouncer = host=x',
    'database name "pgbouncer" is reserved',
    'invalid value "host=x" for parameter pgbouncer in configuration (f.ini:3)',
  ],
  [
    '[pgbouncer]\n[databases]\npgconcierge =',
    'database name "pgconcierge" is reserved',
    'invalid value "" for parameter pgconcierge in configuration (f.ini:3)',
  ],
  ['[pgbouncer]\nadmin_database = a\n[databases]\na = host=x', 'database name "a" is reserved'],
  [
    `[pgbouncer]\n[databases]\n${'x'.repeat(64)} =`,
    `too long db name: ${'x'.repeat(64)}`,
    `invalid value "" for parameter ${'x'.repeat(64)} in configuration (f.ini:3)`,
  ],
  [
    `[pgbouncer]\n[users]\n${'x'.repeat(128)} =`,
    `too long user name: ${'x'.repeat(128)}`,
    `invalid value "" for parameter ${'x'.repeat(128)} in configuration (f.ini:3)`,
  ],
  [
    '[pgbouncer]\n[users]\na = host=x',
    'unrecognized connection parameter: host',
    'invalid value "host=x" for parameter a in configuration (f.ini:3)',
  ],
  [
    '[pgbouncer]\n[peers]\n0 = host=x',
    'invalid peer id: 0',
    'invalid value "host=x" for parameter 0 in configuration (f.ini:3)',
  ],
  [
    '[pgbouncer]\n[peers]\n16384 = host=x',
    'invalid peer id: 16384',
    'invalid value "host=x" for parameter 16384 in configuration (f.ini:3)',
  ],
];

for (const [content, ...expected] of BAD) {
  test(`refused: ${JSON.stringify(content.slice(0, 60))}`, (t) => {
    const { config, errors } = load(t, content);
    assert.deepEqual(errors, expected);
    assert.equal(config, null);
  });
}

test('all errors are told at once, with places and hints', (t) => {
  const { config, found } = load(
    t,
    '[pgbouncer]\nlisten_prot = 1\npool_mode = transactoin\n[databses]\n[databases]\na = hots=x\nb = prot=1\n[users]\nu = pool_mod=session\n',
  );
  assert.equal(config, null);
  assert.deepEqual(
    found.filter((d) => d.hint !== undefined).map((d) => [d.line, d.hint]),
    [
      [2, 'did you mean "listen_port"?'],
      [3, 'pool_mode is one of session, transaction, statement'],
      [4, 'did you mean "databases"?'],
      [6, 'did you mean "host"?'],
      [7, 'did you mean "port"?'],
      [9, 'did you mean "pool_mode"?'],
    ],
  );
});

test('formatDiagnostic names the place once', () => {
  const base = { level: 'error', file: 'f', line: 2 } as const;
  assert.equal(formatDiagnostic({ ...base, message: 'bad (f:2)' }), 'bad (f:2)');
  assert.equal(formatDiagnostic({ ...base, message: 'bad', hint: 'so' }), 'bad (f:2) [so]');
  assert.equal(formatDiagnostic({ ...base, line: 0, message: 'bad' }), 'bad');
});

test('a missing file', (t) => {
  const path = files(t).path('nope.ini');
  const { config, diagnostics } = loadConfig(path);
  assert.equal(config, null);
  assert.deepEqual(
    diagnostics.map((d) => d.message),
    [`could not load file "${path}": No such file or directory`],
  );
});

test('a second [pgbouncer] header resets, [pgconcierge] does not', (t) => {
  const { config, found } = load(
    t,
    '[pgbouncer]\nlisten_port = 1\nadmin_users = a\n[databases]\nd =\n[pgbouncer]\nmax_client_conn = 5\n',
  );
  assert.deepEqual(
    [config?.settings.listenPort, config?.settings.adminUsers, config?.settings.maxClientConn],
    [6432, [], 5],
  );
  assert.ok(config?.databases.has('d'));
  assert.equal(config?.listTexts.size, 0);
  assert.deepEqual(
    found.map((d) => [d.level, d.line]),
    [['warning', 6]],
  );
  const both = loaded(t, '[pgbouncer]\nlisten_port = 1\n[pgconcierge]\nhttp_addr = ::1\n');
  assert.deepEqual([both.settings.listenPort, both.settings.httpAddr], [1, '::1']);
  assert.equal(loaded(t, '[pgconcierge]\nlisten_port = 2\n').settings.listenPort, 2);
});

test('of duplicates the later counts, and it is said', (t) => {
  const { config, found } = load(
    t,
    '[pgbouncer]\nlisten_port = 1\nlisten_port = 2\n[databases]\na = host=x\na = port=7\n',
  );
  assert.equal(config?.settings.listenPort, 2);
  assert.deepEqual([config?.databases.get('a')?.hosts, config?.databases.get('a')?.port], [[], 7]);
  assert.deepEqual(
    found.map((d) => [d.level, d.line]),
    [
      ['info', 3],
      ['info', 6],
    ],
  );
});

test('a bad value counts even when a later line would replace it', (t) => {
  assert.equal(load(t, '[pgbouncer]\nlisten_port = x\nlisten_port = 2\n').config, null);
});

test('auth_file: read, broken lines only warned of, missing at RELOAD keeps the users', (t) => {
  const at = files(t);
  const list = at.write('users.txt', '"alice" "a"\nbroken\n"bob" ""\n');
  const content = `[pgbouncer]\nauth_file = ${list}\n`;
  const { config, found } = load(t, content);
  assert.ok(config);
  assert.deepEqual(
    [...config.userlist],
    [
      ['alice', 'a'],
      ['bob', ''],
    ],
  );
  assert.deepEqual(
    found.map((d) => [d.level, d.file, d.line]),
    [['warning', list, 2]],
  );

  const gone = `[pgbouncer]\nauth_file = ${list}.gone\n`;
  assert.equal(loaded(t, gone).userlist.size, 0);
  const kept = load(t, gone, { previous: config });
  assert.deepEqual(
    [...(kept.config?.userlist ?? [])],
    [
      ['alice', 'a'],
      ['bob', ''],
    ],
  );
  assert.match(kept.found[0]?.message ?? '', /^could not open auth_file .*: No such file or directory$/);
});

test('features that are decided at start are parsed', (t) => {
  const { settings } = loaded(
    t,
    '[pgbouncer]\nauth_type = hba\nclient_tls_sslmode = require\nauth_user = x\n',
  );
  assert.deepEqual(
    [settings.authType, settings.clientTlsSslmode, settings.authUser],
    ['hba', 'require', 'x'],
  );
  for (const type of ['any', 'trust', 'plain', 'md5', 'scram-sha-256', 'cert', 'hba', 'ldap', 'pam']) {
    assert.equal(loaded(t, `[pgbouncer]\nauth_type = ${type}\n`).settings.authType, type);
  }
});

test('everything is frozen', (t) => {
  const config = loaded(
    t,
    '[databases]\na = host=x timezone=UTC\n[users]\nu =\n[pgbouncer]\nlisten_addr = *\n',
  );
  const entry = config.databases.get('a');
  assert.ok(entry);
  for (const thing of [
    config,
    config.settings,
    config.settings.listenAddr,
    entry,
    entry.hosts,
    config.users.get('u'),
  ]) {
    assert.ok(Object.isFrozen(thing));
  }
  for (const map of [
    config.databases,
    config.users,
    config.peers,
    config.userlist,
    config.listTexts,
    entry.startupParameters,
  ]) {
    const writable = map as Map<unknown, unknown>;
    assert.throws(() => writable.set('x', 'y'), TypeError);
    assert.throws(() => writable.delete('a'), TypeError);
    assert.throws(() => writable.clear(), TypeError);
  }
  assert.deepEqual([...structuredClone(config.databases).keys()], ['a'], 'and can cross a process boundary');
});

test('a peer without host and text that is no UTF-8 are warned of', (t) => {
  const { config, found } = load(t, '[pgbouncer]\nlogin_notify_message = \uFFFD\n[peers]\n3 = port=1\n');
  assert.equal(config?.peers.get(3)?.host, '');
  assert.deepEqual(
    found.map((d) => [d.level, d.line]),
    [
      ['warning', 2],
      ['warning', 4],
    ],
  );
});
