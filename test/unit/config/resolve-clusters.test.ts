/** Who wins where a setting of clusters or routing stands in several places. */
import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { test } from 'node:test';
import type { Config } from '../../../src/config/config.ts';
import {
  clusterSettings,
  routeForApplication,
  routeOf,
  routingSettings,
} from '../../../src/config/resolve-clusters.ts';
import { setOption } from '../../../src/config/show.ts';
import type { DatabaseEntry } from '../../../src/config/types.ts';
import { files, loaded } from './fixture.ts';

function db(config: Config, name: string): DatabaseEntry {
  const entry = config.databases.get(name);
  assert.ok(entry);
  return entry;
}

test('a cluster without any word has the defaults', (t) => {
  const config = loaded(t, '[pgbouncer]\n[clusters]\nc =\n[nodes]\nn = cluster=c host=h\n');
  const settings = clusterSettings(config, 'c');
  assert.deepEqual(settings, {
    name: 'c',
    checkUser: 'postgres',
    checkPassword: null,
    checkDbname: 'postgres',
    checkIntervalMs: 1000,
    checkTimeoutMs: 5000,
    failThreshold: 3,
    patroniUrl: '',
    roleQuery: '',
    lagSource: 'wal',
    maxLagMs: 10_000,
    maxLagBytes: 0,
    recoverLagMs: 5000,
    lsnIntervalMs: 100,
    slowStartMs: 0,
    warmupQuery: '',
    banTimeMs: 5000,
    nodes: [{ name: 'n', host: 'h', port: 5432, weight: 1, zone: '', check: '' }],
  });
  assert.ok(
    Object.isFrozen(settings) && Object.isFrozen(settings.nodes) && Object.isFrozen(settings.nodes[0]),
  );
  assert.throws(() => clusterSettings(config, 'x'), /no cluster "x" is configured/);
});

test('the cluster wins over the settings', (t) => {
  const config = loaded(
    t,
    `[pgbouncer]
check_user = gu
check_password = gp
check_dbname = gd
check_interval = 2
check_timeout = 3
fail_threshold = 4
check = patroni:http://g:1/
role_query = SELECT g()
lag_source = heartbeat
max_lag = 20
max_lag_bytes = 1MB
recover_lag = 7
lsn_interval = 200ms
slow_start = 8
warmup_query = SELECT w()
ban_time = 9
[clusters]
global =
own = check_user=ou check_password=op check_dbname=od check_interval=1 check_timeout=1 fail_threshold=1 check=sql role_query=q lag_source=wal max_lag=0 max_lag_bytes=0 recover_lag=0 lsn_interval=1 slow_start=0 warmup_query=w ban_time=0
lag = max_lag=4
[nodes]
g1 = cluster=global host=g1
o1 = cluster=own host=o1 check=patroni:http://o:2
l1 = cluster=lag host=l1
`,
  );
  const global = clusterSettings(config, 'global');
  assert.deepEqual(global, {
    name: 'global',
    checkUser: 'gu',
    checkPassword: 'gp',
    checkDbname: 'gd',
    checkIntervalMs: 2000,
    checkTimeoutMs: 3000,
    failThreshold: 4,
    patroniUrl: 'http://g:1',
    roleQuery: 'SELECT g()',
    lagSource: 'heartbeat',
    maxLagMs: 20_000,
    maxLagBytes: 2 ** 20,
    recoverLagMs: 7000,
    lsnIntervalMs: 200,
    slowStartMs: 8000,
    warmupQuery: 'SELECT w()',
    banTimeMs: 9000,
    nodes: [{ name: 'g1', host: 'g1', port: 5432, weight: 1, zone: '', check: '' }],
  });
  assert.deepEqual(clusterSettings(config, 'own'), {
    name: 'own',
    checkUser: 'ou',
    checkPassword: 'op',
    checkDbname: 'od',
    checkIntervalMs: 1000,
    checkTimeoutMs: 1000,
    failThreshold: 1,
    patroniUrl: '',
    roleQuery: 'q',
    lagSource: 'wal',
    maxLagMs: 0,
    maxLagBytes: 0,
    recoverLagMs: 0,
    lsnIntervalMs: 1000,
    slowStartMs: 0,
    warmupQuery: 'w',
    banTimeMs: 0,
    nodes: [{ name: 'o1', host: 'o1', port: 5432, weight: 1, zone: '', check: 'patroni:http://o:2' }],
  });
  const lag = clusterSettings(config, 'lag');
  assert.deepEqual([lag.maxLagMs, lag.recoverLagMs], [4000, 4000], 'never back above where it went out');
});

test('the password of the check user: cluster, its passfile, global, its passfile, auth_file', (t) => {
  const at = files(t);
  const pass = (name: string, content: string): string => {
    const path = at.write(name, content);
    chmodSync(path, 0o600);
    return path;
  };
  const own = pass('own', 'h1:*:*:mon:own1\nh2:*:*:mon:own2\n');
  const all = pass('all', '*:*:postgres:mon:all\n');
  const list = at.write(
    'users',
    '"mon" "plain"\n"md" "md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"\n"scram" "SCRAM-SHA-256$1:x$y:z"\n"none" ""\n',
  );
  const nodes = 'n1 = cluster=c host=h1\nn2 = cluster=c host=h2\nn3 = cluster=c host=h3\n';
  const passwords = (cluster: string, global: string): (string | null)[] => {
    const config = loaded(
      t,
      `[pgbouncer]\nauth_file = ${list}\n${global}\n[clusters]\nc = ${cluster}\n[nodes]\n${nodes}`,
    );
    const settings = clusterSettings(config, 'c');
    return settings.nodes.map((node) => node.checkPassword ?? settings.checkPassword);
  };
  const same = (password: string | null): (string | null)[] => [password, password, password];
  const globals = `check_user = mon\ncheck_password = glob\npassfile = ${all}`;
  assert.deepEqual(passwords(`check_password=x passfile=${own}`, globals), same('x'));
  assert.deepEqual(passwords(`passfile=${own}`, globals), ['own1', 'own2', 'glob']);
  assert.deepEqual(passwords('', globals), same('glob'));
  assert.deepEqual(passwords('', `check_user = mon\npassfile = ${all}`), same('all'));
  assert.deepEqual(passwords('check_dbname=other', `check_user = mon\npassfile = ${all}`), same('plain'));
  assert.deepEqual(passwords('', 'check_user = mon'), same('plain'));
  assert.deepEqual(passwords('check_user=md', ''), same('md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'));
  for (const user of ['scram', 'none', 'nobody'])
    assert.deepEqual(passwords(`check_user=${user}`, ''), same(null));
});

const ROUTING = `[pgbouncer]
route = replica
read_consistency = eventual
stale_read = wait
stale_read_wait = 1
balance = fastest
read_from_primary = never
write_functions = gw
read_functions = gr
max_lag = 1
max_lag_bytes = 1
route_shadow = 1
primary_wait_timeout = 1
zone = z
[clusters]
bare =
full = route=primary read_consistency=session stale_read=primary stale_read_wait=2 balance=weighted read_from_primary=weighted write_functions=cw read_functions=cr max_lag=2 max_lag_bytes=2 route_shadow=0 primary_wait_timeout=2
[nodes]
b = cluster=bare host=b
f = cluster=full host=f
[databases]
global = cluster=bare
cluster = cluster=full
own = cluster=full route=auto read_consistency=database stale_read=wait stale_read_wait=3 balance=least_busy read_from_primary=fallback write_functions=dw read_functions=dr max_lag=3 max_lag_bytes=3 route_shadow=1 primary_wait_timeout=3
`;

test('routing: database over cluster over global', (t) => {
  const config = loaded(t, ROUTING);
  const settings = (name: string) => routingSettings(config, db(config, name), 'u');
  assert.deepEqual(settings('global'), {
    route: 'replica',
    readConsistency: 'eventual',
    staleRead: 'wait',
    staleReadWaitMs: 1000,
    balance: 'fastest',
    readFromPrimary: 'never',
    writeFunctions: ['gw'],
    readFunctions: ['gr'],
    maxLagMs: 1000,
    maxLagBytes: 1,
    routeShadow: true,
    primaryWaitTimeoutMs: 1000,
    zone: 'z',
  });
  assert.deepEqual(settings('cluster'), {
    route: 'primary',
    readConsistency: 'session',
    staleRead: 'primary',
    staleReadWaitMs: 2000,
    balance: 'weighted',
    readFromPrimary: 'weighted',
    writeFunctions: ['cw'],
    readFunctions: ['cr'],
    maxLagMs: 2000,
    maxLagBytes: 2,
    routeShadow: false,
    primaryWaitTimeoutMs: 2000,
    zone: 'z',
  });
  assert.deepEqual(settings('own'), {
    route: 'auto',
    readConsistency: 'database',
    staleRead: 'wait',
    staleReadWaitMs: 3000,
    balance: 'least_busy',
    readFromPrimary: 'fallback',
    writeFunctions: ['dw'],
    readFunctions: ['dr'],
    maxLagMs: 3000,
    maxLagBytes: 3,
    routeShadow: true,
    primaryWaitTimeoutMs: 3000,
    zone: 'z',
  });
  assert.ok(Object.isFrozen(settings('own')));
});

test('the route: user, then rules for auto databases, then the database', (t) => {
  const config = loaded(
    t,
    `[pgbouncer]
[clusters]
c =
[nodes]
n = cluster=c host=h
[databases]
app = cluster=c
rw = cluster=c route=primary
forced = cluster=c user=reader
[users]
reader = route=replica
writer = route=primary
plain = pool_size=1
[routes]
late = application_name='^report' route=replica
psql = application_name='psql' route=primary
all_reports = application_name='report' route=primary
nameless = application_name='^$' route=primary
`,
  );
  const route = (name: string, user: string, application: string | null = null): string =>
    routeOf(config, db(config, name), user, application);
  assert.equal(route('app', 'x'), 'auto');
  assert.equal(route('app', 'plain'), 'auto');
  assert.equal(route('app', 'reader'), 'replica');
  assert.equal(route('rw', 'reader'), 'replica');
  assert.equal(route('forced', 'x'), 'auto', "the client's user counts, not the forced one");
  assert.equal(route('app', 'x', 'report 7'), 'replica', 'the first rule that fits');
  assert.equal(route('app', 'x', 'my report'), 'primary');
  assert.equal(route('app', 'x', ''), 'primary');
  assert.equal(route('app', 'x', 'Report'), 'auto', 'case counts');
  assert.equal(route('app', 'writer', 'report'), 'primary', 'the user wins over rules');
  assert.equal(route('rw', 'x', 'report'), 'primary', 'an alias stays what it says');
  assert.equal(routeForApplication(config, 'x'), null);
  assert.equal(
    routeForApplication(config, `${'x'.repeat(63)}psql`),
    null,
    'what PostgreSQL cuts off does not count',
  );
  assert.equal(routingSettings(config, db(config, 'app'), 'x', 'report').route, 'replica');
  assert.equal(routingSettings(config, db(config, 'app'), 'x').route, 'auto');
});

test('SET of a default reaches clusters that say nothing', (t) => {
  const changed = setOption(loaded(t, ROUTING), 'max_lag', '5min');
  assert.ok(changed.error === undefined);
  assert.equal(clusterSettings(changed.config, 'bare').maxLagMs, 300_000);
  assert.equal(clusterSettings(changed.config, 'full').maxLagMs, 2000);
});
