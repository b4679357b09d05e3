/** [clusters], [nodes], [routes], and host lists that become clusters: what loads, and every refusal. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { databaseFor } from '../../../src/config/config.ts';
import { load, loaded } from './fixture.ts';

const MAIN = '[pgbouncer]\n';
const brace = '$' + '{';

/** CONFIG.md's example (its comments behind values are for the reader of the document). */
const EXAMPLE = `[pgbouncer]                     ; [pgconcierge] is accepted as another name of this section
listen_addr = *
listen_port = 6432
auth_type = scram-sha-256
auth_file = /nonexistent/userlist.txt
admin_users = postgres
pool_mode = transaction
http_addr = 127.0.0.1
http_port = 9127
workers = auto

[clusters]                      ; name = settings of the cluster
main = check_user=monitor check_password='it''s' check_dbname=postgres max_lag=10 read_consistency=session

[nodes]                         ; name = one PostgreSQL instance; roles are observed, never written here
pg1 = cluster=main host=10.0.0.1 port=5432 weight=1 zone=a
pg2 = cluster=main host=10.0.0.2 weight=2 zone=b
pg3 = cluster=main host=10.0.0.3 weight=1 zone=b

[databases]
app     = cluster=main
app_rw  = cluster=main dbname=app route=primary
app_ro  = cluster=main dbname=app route=replica
legacy  = host=10.0.0.9 port=5433 dbname=old
quick   = host=pg1,pg2,pg3 route=auto
*       = cluster=main

[users]
report = pool_mode=session max_user_connections=5
[peers]
2 = host=10.0.0.22 port=6432
`;

test('the example of the design loads', (t) => {
  const { config, found } = load(t, EXAMPLE);
  assert.ok(config);
  assert.deepEqual(
    found.map((d) => [d.level, d.line]),
    [
      ['info', 10],
      ['warning', 0],
      ['warning', 29],
    ],
    'workers has no effect; auth_file is not there; report pools by session',
  );
  assert.deepEqual([...config.clusters.keys()], ['main', 'quick']);
  const main = config.clusters.get('main');
  assert.deepEqual(
    [
      main?.checkUser,
      main?.checkPassword,
      main?.maxLagMs,
      main?.readConsistency,
      main?.checkIntervalMs,
      main?.route,
    ],
    ['monitor', "it's", 10_000, 'session', null, null],
  );
  assert.deepEqual(
    [...config.nodes.values()].map((node) => [
      node.name,
      node.cluster,
      node.host,
      node.port,
      node.weight,
      node.zone,
    ]),
    [
      ['pg1', 'main', '10.0.0.1', 5432, 1, 'a'],
      ['pg2', 'main', '10.0.0.2', 5432, 2, 'b'],
      ['pg3', 'main', '10.0.0.3', 5432, 1, 'b'],
      ['pg1:5432', 'quick', 'pg1', 5432, 1, ''],
      ['pg2:5432', 'quick', 'pg2', 5432, 1, ''],
      ['pg3:5432', 'quick', 'pg3', 5432, 1, ''],
    ],
  );
  assert.deepEqual(
    [...config.databases.values()].map((db) => [db.name, db.cluster, db.route, db.dbname]),
    [
      ['app', 'main', null, 'app'],
      ['app_rw', 'main', 'primary', 'app'],
      ['app_ro', 'main', 'replica', 'app'],
      ['legacy', null, null, 'old'],
      ['quick', 'quick', 'auto', 'quick'],
    ],
  );
  const other = databaseFor(config, 'other');
  assert.deepEqual([other?.cluster, other?.dbname], ['main', 'other']);
});

test('every key of a cluster, a node, a rule, and of routing in [databases]', (t) => {
  const routing =
    'read_consistency=database stale_read=wait stale_read_wait=50ms balance=fastest read_from_primary=never write_functions=\'f, "^a,b"\' read_functions=g max_lag=1min max_lag_bytes=10MB route_shadow=1 primary_wait_timeout=2';
  const config = loaded(
    t,
    `${MAIN}[clusters]
c = route=primary ${routing} check_user=u check_password=p check_dbname=d check_interval=100ms check_timeout=2 fail_threshold=5 check=patroni:http://h:8008 role_query='SELECT r()' lag_source=heartbeat recover_lag=30s lsn_interval=0.05 slow_start=1min warmup_query='SELECT 1' ban_time=7
[nodes]
n = cluster=c host=h port=6000 weight=0.5 zone=z check=http://h:8009
m = cluster=c
[databases]
d = cluster=c route=replica ${routing}
[users]
u = route=primary
[routes]
r = application_name='^rep' route=replica
`,
  );
  const routes = {
    readConsistency: 'database',
    staleRead: 'wait',
    staleReadWaitMs: 50,
    balance: 'fastest',
    readFromPrimary: 'never',
    writeFunctions: ['f', '^a,b'],
    readFunctions: ['g'],
    maxLagMs: 60_000,
    maxLagBytes: 10 * 2 ** 20,
    routeShadow: true,
    primaryWaitTimeoutMs: 2000,
  };
  const { at, ...cluster } = config.clusters.get('c') ?? { at: '' };
  assert.match(at, /f\.ini:3$/);
  assert.deepEqual(cluster, {
    name: 'c',
    route: 'primary',
    ...routes,
    checkUser: 'u',
    checkPassword: 'p',
    passfile: null,
    checkDbname: 'd',
    checkIntervalMs: 100,
    checkTimeoutMs: 2000,
    failThreshold: 5,
    check: 'patroni:http://h:8008',
    roleQuery: 'SELECT r()',
    lagSource: 'heartbeat',
    recoverLagMs: 30_000,
    lsnIntervalMs: 50,
    slowStartMs: 60_000,
    warmupQuery: 'SELECT 1',
    banTimeMs: 7000,
  });
  const { at: _, ...node } = config.nodes.get('n') ?? { at: '' };
  assert.deepEqual(node, {
    name: 'n',
    cluster: 'c',
    host: 'h',
    port: 6000,
    weight: 0.5,
    zone: 'z',
    check: 'http://h:8009',
  });
  assert.deepEqual([config.nodes.get('m')?.host, config.nodes.get('m')?.port], ['', 5432]);
  const database = config.databases.get('d');
  assert.ok(database);
  assert.deepEqual({ ...database, ...routes }, { ...database }, 'the same keys in [databases]');
  assert.equal(database.route, 'replica');
  assert.equal(config.users.get('u')?.route, 'primary');
  const [rule] = config.routes;
  assert.deepEqual([rule?.name, String(rule?.applicationName), rule?.route], ['r', '/^rep/', 'replica']);
  for (const thing of [
    config.routes,
    rule,
    rule?.applicationName,
    config.clusters.get('c'),
    config.nodes.get('n'),
    database.writeFunctions,
  ]) {
    assert.ok(Object.isFrozen(thing));
  }
  assert.equal(rule?.applicationName.test('report'), true, 'a frozen regexp still works');
});

const LISTS: readonly (readonly [string, readonly string[]])[] = [
  ['host=a,b route=auto', ['a a:5432', 'b b:5432']],
  ['host=a,b port=6000 route=primary', ['a a:6000', 'b b:6000']],
  ['host=a,b port=6000,6001 route=auto', ['a a:6000', 'b b:6001']],
  ['host=a,a,b port=1,2,3 route=auto', ['a:1 a:1', 'a:2 a:2', 'b b:3']],
  ['host=a route=replica', ['a a:5432']],
  ['route=auto', ['unix :5432']],
  ['host=/run/x route=auto', ['/run/x /run/x:5432']],
];

for (const [text, expected] of LISTS) {
  test(`a host list with a route is a cluster: ${text}`, (t) => {
    const config = loaded(t, `${MAIN}[databases]\nd = ${text}\n`);
    assert.deepEqual([...config.clusters.keys()], ['d']);
    assert.equal(config.databases.get('d')?.cluster, 'd');
    assert.deepEqual(
      [...config.nodes.values()].map((node) => `${node.name} ${node.host}:${node.port}`),
      expected,
    );
  });
}

test('a host list without a route stays what it is in PgBouncer', (t) => {
  const config = loaded(
    t,
    `[pgbouncer]\nroute = primary\n[databases]\nd = host=a,b load_balance_hosts=disable\n`,
  );
  assert.deepEqual([config.clusters.size, config.nodes.size], [0, 0]);
  assert.deepEqual(
    [config.databases.get('d')?.cluster, config.databases.get('d')?.hosts],
    [null, ['a', 'b']],
  );
});

test('databases with the same list share its cluster, with another lag they do not', (t) => {
  const config = loaded(
    t,
    `${MAIN}[databases]
app = host=a,b route=auto read_consistency=eventual
app_ro = host=b,a dbname=app route=replica
slow = host=a,b dbname=app route=replica max_lag=60
* = host=a,b route=auto
`,
  );
  assert.deepEqual(
    [...config.databases.values()].map((db) => [db.name, db.cluster, db.readConsistency]),
    [
      ['app', 'app', 'eventual'],
      ['app_ro', 'app', null],
      ['slow', 'slow', null],
    ],
  );
  assert.equal(config.fallback?.cluster, 'app');
  assert.equal(databaseFor(config, 'x')?.cluster, 'app');
  assert.deepEqual(
    [config.clusters.get('app')?.maxLagMs, config.clusters.get('slow')?.maxLagMs],
    [null, 60_000],
  );
  assert.deepEqual([...config.nodes.keys()], ['a', 'b', 'a:5432', 'b:5432']);
  assert.equal(
    config.clusters.get('app')?.readConsistency,
    null,
    "one database's routing is not the other's",
  );
});

test('names of nodes give way to those of [nodes], twice if need be', (t) => {
  const config = loaded(
    t,
    `${MAIN}[databases]\nq = host=a,b route=auto\n[clusters]\nc =\n[nodes]\na = cluster=c host=x\na:5432 = cluster=c host=y\n`.replace(
      'a:5432 =',
      "'a:5432' =",
    ),
  );
  assert.deepEqual([...config.nodes.keys()], ['a', 'a:5432', 'q/a:5432', 'b']);
});

test('values of the new sections may come from the environment, others not', (t) => {
  const config = loaded(
    t,
    `${MAIN}[clusters]
c = check_password=${brace}PW} check_user='mon_${brace}ID}'
[nodes]
n = cluster=c host=${brace}HOST}
[routes]
r = application_name='^${brace}APP}$' route=replica
[databases]
d = host=h password=${brace}PW}
`,
    { env: { PW: "s ecret='", ID: '7', HOST: 'pg1', APP: 'a.b' } },
  );
  const cluster = config.clusters.get('c');
  assert.deepEqual([cluster?.checkPassword, cluster?.checkUser], ["s ecret='", 'mon_7']);
  assert.equal(config.nodes.get('n')?.host, 'pg1');
  assert.equal(String(config.routes[0]?.applicationName), '/^a.b$/');
  assert.equal(config.databases.get('d')?.password, `${brace}PW}`);
});

test('of two rules of one name the later counts, in its place', (t) => {
  const config = loaded(
    t,
    `${MAIN}[routes]\na = application_name=x route=replica\nb = application_name=y route=primary\na = application_name=z route=auto\n`,
  );
  assert.deepEqual(
    config.routes.map((rule) => `${rule.name} ${rule.applicationName.source}`),
    ['b y', 'a z'],
  );
});

const C = '[clusters]\nc =\n[nodes]\nn = cluster=c host=h\n';
/** What stands behind [pgbouncer] in line 1; the first error, its line, its hint. */
const BAD: readonly (readonly [string, string, number, string | undefined])[] = [
  [
    '[clusters]\nc = chck_user=x',
    'unrecognized connection parameter: chck_user',
    3,
    'did you mean "check_user"?',
  ],
  [
    '[clusters]\nc = read_consistency=strong',
    'invalid read_consistency: strong',
    3,
    'read_consistency is one of session, database, eventual',
  ],
  [
    '[clusters]\nc = max_lag=10x',
    'invalid max_lag: 10x',
    3,
    'max_lag is time (seconds, fractions allowed; or with unit: 100ms, 5s, 2min, 1h)',
  ],
  [
    '[clusters]\nc = max_lag_bytes=10XB',
    'invalid max_lag_bytes: 10XB',
    3,
    'max_lag_bytes is size (bytes, or with unit: 64kB, 16MB, 1GB)',
  ],
  [
    '[clusters]\nc = check_interval=0',
    'invalid check_interval: 0',
    3,
    'check_interval is time (0.01 seconds to 24 days, fractions allowed; or with unit: 100ms, 5s, 2min, 1h)',
  ],
  [
    '[clusters]\nc = check_timeout=25d',
    'invalid check_timeout: 25d',
    3,
    'check_timeout is time (0.01 seconds to 24 days, fractions allowed; or with unit: 100ms, 5s, 2min, 1h)',
  ],
  ['[clusters]\nc = fail_threshold=0', 'invalid fail_threshold: 0', 3, 'fail_threshold is integer (1..1000)'],
  [
    '[clusters]\nc = check=http://h',
    'invalid check: http://h',
    3,
    'check is `sql` or `patroni:http://host:8008`',
  ],
  ['[clusters]\nc = lag_source=x', 'invalid lag_source: x', 3, 'lag_source is one of wal, heartbeat'],
  [
    '[clusters]\nc = write_functions=f(',
    'invalid write_functions: f(',
    3,
    'write_functions is list of function names (schema.name or name) and regexps, comma separated; a regexp with commas or blanks in "double quotes"',
  ],
  [
    '[clusters]\nc = check_user=',
    'syntax error in connection string',
    3,
    'check_user has no value; leave it out instead',
  ],
  [
    '[clusters]\nc = check_user=u',
    'cluster "c" has no nodes (f.ini:3)',
    3,
    'write a line in [nodes] with cluster=c for each PostgreSQL instance',
  ],
  [
    '[clusters]\n* = check_user=u',
    '* is no name of a cluster',
    3,
    'defaults of all clusters stand in [pgbouncer]',
  ],
  [`[clusters]\n${'x'.repeat(64)} =`, `too long cluster name: ${'x'.repeat(64)}`, 3, 'at most 63 bytes'],
  [
    `[clusters]\nc = check_password=${brace}NOPE}`,
    'invalid check_password: environment variable NOPE is not set',
    3,
    `${brace}NAME} is a variable of the environment, $${brace} a plain ${brace}`,
  ],
  [
    `[clusters]\nc =\n[nodes]\nn = cluster=${brace}EMPTY} host=h`,
    'invalid cluster: environment variable EMPTY is empty',
    5,
    `${brace}NAME} is a variable of the environment, $${brace} a plain ${brace}`,
  ],
  ['[nodes]\nn = host=h', 'node n has no cluster', 3, 'add cluster=NAME, an entry of [clusters]'],
  [
    '[nodes]\nn = host=h cluster=c',
    'unknown cluster "c" of node n (f.ini:3)',
    3,
    'there is no [clusters] section',
  ],
  [`${C}m = cluster=d host=h`, 'unknown cluster "d" of node m (f.ini:6)', 6, 'did you mean "c"?'],
  [`${C}m = cluster=somewhere host=h`, 'unknown cluster "somewhere" of node m (f.ini:6)', 6, 'known are c'],
  [`${C}m = cluster=c host=a,b`, 'node m has several hosts', 6, 'a node is one PostgreSQL instance'],
  [
    `${C}m = cluster=c host=h port=5432`,
    'nodes n and m are the same instance, h:5432 (f.ini:6)',
    6,
    undefined,
  ],
  [`${C}m = cluster=c host=x port=0`, 'invalid port: 0', 6, 'port is an integer, 1..65535'],
  [
    `${C}m = cluster=c host=x weight=-1`,
    'invalid weight: -1',
    6,
    'weight is a number, 0..1000000, fractions allowed',
  ],
  [
    `${C}m = cluster=c host=x check=sql`,
    'invalid check: sql',
    6,
    'check is patroni:http://host:8008 or http://host:8008',
  ],
  [
    `${C}m = cluster=c host=x role=primary`,
    'unrecognized connection parameter: role',
    6,
    'did you mean "zone"?',
  ],
  [`${C}* = cluster=c host=x`, '* is no name of a node', 6, 'defaults of all clusters stand in [pgbouncer]'],
  [`${C}[databases]\nd = cluster=cc`, 'unknown cluster "cc" of database d (f.ini:7)', 7, 'did you mean "c"?'],
  [
    `${C}[databases]\n* = cluster=nowhere`,
    'unknown cluster "nowhere" of database * (f.ini:7)',
    7,
    'known are c',
  ],
  [
    `${C}[databases]\nd = cluster=c host=x`,
    'host and cluster cannot stand together',
    7,
    '[nodes] says where a cluster is',
  ],
  [
    `${C}[databases]\nd = cluster=c port=1`,
    'port and cluster cannot stand together',
    7,
    '[nodes] says where a cluster is',
  ],
  [
    `${C}[databases]\nd = cluster=c load_balance_hosts=disable`,
    'load_balance_hosts and cluster cannot stand together',
    7,
    '[nodes] says where a cluster is',
  ],
  [
    `${C}[databases]\nd = cluster=c route=write`,
    'invalid route: write',
    7,
    'route is one of auto, primary, replica',
  ],
  [
    `${C}[databases]\nc = host=a,b route=auto`,
    'the host list of database c makes a cluster of that name, which [clusters] has already (f.ini:7)',
    7,
    'write cluster=c instead of the hosts, or rename one of them',
  ],
  ['[databases]\nd = host=a,b,a route=auto', 'node a:5432 is listed twice', 3, undefined],
  ['[databases]\nd = host=a,b port=1,2,3 route=auto', 'invalid port: 1,2,3', 3, '3 ports do not fit 2 hosts'],
  [
    '[databases]\nd = host=a,b port=1,x route=auto',
    'invalid port: 1,x',
    3,
    'port is an integer, 1..65535, or a list of them',
  ],
  ['[databases]\nd = host=a,b port=1,2', 'invalid port: 1,2', 3, 'port is an integer, 1..65535'],
  ['[users]\nu = route=x', 'invalid route: x', 3, 'route is one of auto, primary, replica'],
  ['[users]\nu = cluster=c', 'unrecognized connection parameter: cluster', 3, undefined],
  [
    '[routes]\nr = application_name=( route=auto',
    'invalid application_name: (',
    3,
    'application_name is a regular expression',
  ],
  [
    '[routes]\nr = route=auto',
    'route r has no application_name',
    3,
    "write application_name='^report' route=replica",
  ],
  [
    '[routes]\nr = application_name=x',
    'route r has no route',
    3,
    "write application_name='^report' route=replica",
  ],
  ['[triggers]\nprimary_up = /x', 'invalid section "triggers" in configuration (f.ini:2)', 2, undefined],
  [
    '[pgbouncer]\nmax_lag = soon',
    'invalid value "soon" for parameter max_lag in configuration (f.ini:3)',
    3,
    'max_lag is time (seconds, fractions allowed; or with unit: 100ms, 5s, 2min, 1h)',
  ],
  [
    '[pgbouncer]\npassfile = /nonexistent/pass',
    'could not open passfile "/nonexistent/pass": No such file or directory',
    0,
    undefined,
  ],
  [
    `[clusters]\nc = passfile=/nonexistent/pass\n[nodes]\nn = cluster=c`,
    'could not open passfile "/nonexistent/pass": No such file or directory',
    0,
    undefined,
  ],
];

for (const [content, message, line, hint] of BAD) {
  test(`refused: ${JSON.stringify(content.slice(0, 70))}`, (t) => {
    const { config, found } = load(t, `[pgbouncer]\n${content}\n`, { env: { EMPTY: '' } });
    assert.equal(config, null);
    const first = found.find((d) => d.level === 'error');
    assert.deepEqual([first?.message, first?.line, first?.hint], [message, line, hint]);
  });
}

test('one mistake gives no second message about what hangs on it', (t) => {
  const errors = (content: string): string[] =>
    load(t, `[pgbouncer]\n${content}\n`).errors.filter((message) => !message.startsWith('invalid value'));
  assert.deepEqual(
    errors('[clusters]\nc = max_lag=x\n[nodes]\nn = cluster=c\n[databases]\nd = cluster=c'),
    ['invalid max_lag: x'],
    'the cluster is known by name',
  );
  assert.deepEqual(
    errors('[clusters]\nc =\n[nodes]\nn = cluster=c port=0'),
    ['invalid port: 0'],
    'nobody can tell whether it has nodes',
  );
  assert.deepEqual(errors(`[clusters]\nc =\n[nodes]\nn = cluster=c\nm = cluster=${brace}NOPE}`), [
    'invalid cluster: environment variable NOPE is not set',
  ]);
});

test('no message tells a password, whether from the file or from the environment', (t) => {
  const content = `[pgbouncer]
check_password = s3cret
[clusters]
c = check_password=s3cret max_lag=x
d = check_password=${brace}PW} max_lag=${brace}PW}
[nodes]
n = cluster=c port=${brace}PW}
`;
  const { found } = load(t, content, { env: { PW: 's3cret' } });
  assert.ok(found.length >= 6);
  for (const one of found) assert.doesNotMatch(`${one.message} ${one.hint}`, /s3cret/);
});

/** Files that load, with the messages of their warnings. */
const WARNED: readonly (readonly [string, ...string[]])[] = [
  [`${C}[databases]\nd = cluster=c`],
  [
    `${C}[databases]\nd = cluster=c pool_mode=session`,
    'database d: with pool_mode=session, route=auto means the primary (f.ini:7)',
  ],
  [
    `pool_mode = session\n${C}[databases]\nd = cluster=c\n* = cluster=c`,
    'database d: with pool_mode=session, route=auto means the primary (f.ini:8)',
    'database *: with pool_mode=session, route=auto means the primary (f.ini:9)',
  ],
  [
    `pool_mode = session\n${C}[databases]\nd = cluster=c route=primary\ne = cluster=c pool_mode=statement\nf = host=x`,
  ],
  [
    `${C}[databases]\nd = cluster=c\n[users]\nu = pool_mode=session`,
    'user u: with pool_mode=session, route=auto means the primary (f.ini:9)',
  ],
  [`${C}[databases]\nd = cluster=c\n[users]\nu = pool_mode=session route=replica`],
  [`${C}[databases]\nd = cluster=c route=primary\n[users]\nu = pool_mode=session`],
  ['[databases]\nd = host=x\n[users]\nu = pool_mode=session'],
  [
    '[databases]\nd = host=x balance=fastest max_lag=1',
    'balance, max_lag of database d has no meaning here (f.ini:3)',
  ],
  [
    '[databases]\nd = host=x,y route=auto load_balance_hosts=disable',
    'load_balance_hosts of database d has no meaning here (f.ini:3)',
  ],
  [
    '[clusters]\nc = recover_lag=11\n[nodes]\nn = cluster=c',
    'cluster c: recover_lag is above max_lag, which counts for both (f.ini:3)',
  ],
  ['[clusters]\nc = recover_lag=11 max_lag=12\n[nodes]\nn = cluster=c'],
];

for (const [content, ...messages] of WARNED) {
  test(`loads${messages.length > 0 ? ' with a warning' : ''}: ${JSON.stringify(content.slice(-70))}`, (t) => {
    const { config, found } = load(t, `[pgbouncer]\n${content}\n`);
    assert.ok(config);
    assert.deepEqual(
      found.map((d) => d.message),
      messages,
    );
    for (const one of found) {
      assert.equal(one.level, 'warning');
      if (one.message.includes('pool_mode')) assert.match(one.hint ?? '', /route=replica/);
    }
  });
}
