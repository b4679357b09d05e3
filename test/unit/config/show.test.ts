/** SET, and what a RELOAD changes. */
import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { test } from 'node:test';
import type { Config } from '../../../src/config/config.ts';
import {
  databaseNeedsReconnect,
  diffConfig,
  mergeReload,
  setOption,
  showConfig,
} from '../../../src/config/show.ts';
import { files, loaded } from './fixture.ts';

const value = (config: Config, key: string): string | null | undefined =>
  showConfig(config).find((row) => row.key === key)?.value;

function set(config: Config, key: string, text: string): Config {
  const result = setOption(config, key, text);
  assert.equal(result.error, undefined);
  return result.config ?? config;
}

test('SET changes a copy', (t) => {
  const config = loaded(t, '[pgbouncer]\nadmin_users = a, b\ndefault_pool_size = 7\n');
  const next = set(set(config, 'query_timeout', '0.5'), 'admin_users', 'c,  d');
  assert.equal(next.settings.queryTimeoutMs, 500);
  assert.equal(next.settings.defaultPoolSize, 7);
  assert.equal(value(next, 'query_timeout'), '0.5');
  assert.equal(value(next, 'admin_users'), 'c,  d');
  assert.equal(config.settings.queryTimeoutMs, 0);
  assert.equal(value(config, 'admin_users'), 'a, b');
  assert.ok(Object.isFrozen(next) && Object.isFrozen(next.settings));
});

test('SET of restart-only keys is accepted without effect', (t) => {
  const config = loaded(t, '[pgbouncer]\n');
  for (const [key, text] of [
    ['listen_port', '1'],
    ['conffile', 'x'],
    ['unix_socket_dir', '/x'],
    ['http_port', '1'],
  ] as const) {
    assert.equal(set(config, key, text), config, key);
  }
});

test('SET refuses', (t) => {
  const config = loaded(t, '[databases]\na =\n[pgbouncer]\n');
  for (const [key, text] of [
    ['nope', '1'],
    ['pool_mode', 'x'],
    ['listen_port', 'x'],
    ['auth_dbname', 'pgbouncer'],
    ['admin_database', 'a'],
  ] as const) {
    assert.ok(setOption(config, key, text).error, key);
  }
});

test('RELOAD keeps restart-only values and takes the rest', (t) => {
  const old = loaded(
    t,
    '[pgbouncer]\nlisten_addr = 127.0.0.1, ::1\nlisten_port = 1\nmax_client_conn = 10\nadmin_users = a\n',
  );
  const next = loaded(
    t,
    '[databases]\nd =\n[pgbouncer]\nlisten_addr = *\nlisten_port = 1\nunix_socket_mode = 0700\nadmin_users = b, c\n',
  );
  const { config, kept } = mergeReload(old, next);
  assert.deepEqual(kept, ['listen_addr', 'unix_socket_mode']);
  assert.deepEqual(config.settings.listenAddr, ['127.0.0.1', '::1']);
  assert.equal(value(config, 'listen_addr'), '127.0.0.1, ::1');
  assert.equal(value(config, 'unix_socket_mode'), '511');
  assert.equal(value(config, 'admin_users'), 'b, c');
  assert.equal(config.settings.maxClientConn, 100, 'back to the default');
  assert.ok(config.databases.has('d'));
  assert.equal(mergeReload(next, old).config.settings.listenAddr[0], '*');
  assert.deepEqual(mergeReload(old, old).kept, []);
});

test('the difference of two configurations', (t) => {
  const old = loaded(
    t,
    '[databases]\nsame = host=x\nmoved = host=x\nresized = host=x pool_size=1\ngone =\n* = host=f\n[users]\nu =\nv = pool_size=1\n[peers]\n1 = host=a\n[pgbouncer]\nlisten_port = 1\nquery_timeout = 1\n',
  );
  const next = loaded(
    t,
    '[pgbouncer]\nlisten_port = 2\nquery_timeout = 2\n\n[databases]\nsame = host=x\nmoved = host=y\nresized = host=x pool_size=2\nnew =\n* = host=g\n[users]\nv = pool_size=2\nw =\n[peers]\n2 = host=a\n',
  );
  const diff = diffConfig(old, next);
  assert.deepEqual(
    diff.settings.filter((name) => name !== 'conffile'),
    ['listen_port', 'query_timeout'],
  );
  assert.deepEqual(diff.restartOnly, ['listen_port']);
  assert.deepEqual(diff.databases, { added: ['new'], removed: ['gone'], changed: ['moved', 'resized', '*'] });
  assert.deepEqual(diff.reconnect, ['moved', '*']);
  assert.deepEqual(diff.users, { added: ['w'], removed: ['u'], changed: ['v'] });
  assert.deepEqual(diff.peers, { added: ['2'], removed: ['1'], changed: [] });
  assert.deepEqual(diffConfig(next, next).databases, { added: [], removed: [], changed: [] });
});

const CLUSTERS = `[pgbouncer]
[clusters]
same =
tuned = max_lag=1
gone =
[nodes]
n = cluster=same host=a
m = cluster=tuned host=a
g = cluster=gone host=a
`;

test('changes of clusters, nodes and rules', (t) => {
  const rules = (text: string): string => `[routes]\n${text}`;
  const old = loaded(
    t,
    `${CLUSTERS}${rules('a = application_name=a route=auto\nb = application_name=b route=auto\nc = application_name=c route=auto\n')}`,
  );
  const next = loaded(
    t,
    `[pgbouncer]
[clusters]
same =
tuned = max_lag=2
new =
[nodes]
n = cluster=same host=b
m = cluster=tuned host=a
o = cluster=new host=a
${rules('b = application_name=b route=auto\na = application_name=a route=auto\nc = application_name=C route=auto\n')}`,
  );
  const diff = diffConfig(old, next);
  assert.deepEqual(diff.clusters, { added: ['new'], removed: ['gone'], changed: ['tuned'] });
  assert.deepEqual(diff.nodes, { added: ['o'], removed: ['g'], changed: ['n'] });
  assert.deepEqual(diff.routes, { added: [], removed: [], changed: ['b', 'a', 'c'] });
  const nothing = { added: [], removed: [], changed: [] };
  const same = diffConfig(next, next);
  assert.deepEqual([same.clusters, same.nodes, same.routes], [nothing, nothing, nothing]);
});

test('the password of the check user is never shown', (t) => {
  const config = loaded(t, '[pgbouncer]\ncheck_password = s3cret\n');
  assert.equal(config.settings.checkPassword, 's3cret');
  assert.equal(value(config, 'check_password'), '********');
  assert.equal(value(loaded(t, '[pgbouncer]\n'), 'check_password'), null);
  const next = set(config, 'check_password', 'other');
  assert.equal(next.settings.checkPassword, 'other');
  assert.doesNotMatch(JSON.stringify(showConfig(next)), /s3cret|other/);
});

test('SET of pool_mode counts as written, for clusters too; SET of a passfile reads it', (t) => {
  const config = loaded(t, '[pgbouncer]\n');
  assert.equal(config.hasPoolMode, false);
  assert.equal(set(config, 'max_lag', '1').hasPoolMode, false);
  assert.equal(set(config, 'pool_mode', 'session').hasPoolMode, true);
  assert.match(setOption(config, 'passfile', '/nonexistent/x').error ?? '', /^could not open passfile/);
  const path = files(t).write('pass', '*:*:*:u:p\n');
  chmodSync(path, 0o600);
  assert.equal(set(config, 'passfile', path).passfiles.get(path)?.[0]?.password, 'p');
  assert.equal(set(config, 'passfile', '').passfiles.size, 0);
});

test('units and lists are shown in one form, lists of functions as written', (t) => {
  const config = loaded(
    t,
    '[pgbouncer]\nmax_lag = 2min\nmax_lag_bytes = 2048kB\nwrite_functions = a,  "^b,c"\n',
  );
  assert.equal(value(config, 'max_lag'), '120');
  assert.equal(value(config, 'max_lag_bytes'), '2MB');
  assert.equal(value(config, 'write_functions'), 'a,  "^b,c"');
});

test('changed secrets are found, an empty one too', (t) => {
  const old = loaded(t, '[pgbouncer]\n');
  const before = {
    ...old,
    userlist: new Map([
      ['a', ''],
      ['b', 'x'],
      ['c', 'x'],
    ]),
  };
  const after = {
    ...old,
    userlist: new Map([
      ['a', 'y'],
      ['b', 'x'],
      ['d', ''],
    ]),
  };
  assert.deepEqual(diffConfig(before, after).secrets, { added: ['d'], removed: ['c'], changed: ['a'] });
});

test('which changes of a database need new servers', (t) => {
  const entry = (text: string) => {
    const found = loaded(t, `[pgbouncer]\n[databases]\nd = ${text}\n`).databases.get('d');
    assert.ok(found);
    return found;
  };
  const base = entry('host=a');
  for (const text of [
    'host=b',
    'host=a,b',
    'host=a port=1',
    'host=a dbname=x',
    'host=a user=u',
    'host=a user=u password=p',
    'host=a connect_query=x',
    'host=a timezone=UTC',
  ]) {
    assert.equal(databaseNeedsReconnect(base, entry(text)), true, text);
  }
  for (const text of [
    'host=a',
    'host=a port=5432',
    'host=a dbname=d',
    'host=a pool_size=1',
    'host=a pool_mode=transaction',
    'host=a server_lifetime=1',
    'host=a auth_user=x',
  ]) {
    assert.equal(databaseNeedsReconnect(base, entry(text)), false, text);
  }
  assert.equal(
    databaseNeedsReconnect(entry('user=u password=p'), entry('user=u password=q')),
    true,
    'a new password must be proven by a login',
  );
});

test('of a database of a cluster only the cluster is its place', (t) => {
  const entry = (text: string) => {
    const found = loaded(t, `${CLUSTERS}[databases]\nd = ${text}\n`).databases.get('d');
    assert.ok(found);
    return found;
  };
  const base = entry('cluster=same');
  for (const text of ['cluster=tuned', 'host=a', 'host=a route=auto', 'cluster=same dbname=x']) {
    assert.equal(databaseNeedsReconnect(base, entry(text)), true, text);
  }
  for (const text of [
    'cluster=same',
    'cluster=same route=replica',
    'cluster=same balance=fastest max_lag=3',
  ]) {
    assert.equal(databaseNeedsReconnect(base, entry(text)), false, text);
  }
  assert.equal(
    databaseNeedsReconnect(entry('host=a route=auto'), entry('host=a,b route=auto port=1')),
    false,
    'the pools follow its nodes',
  );
  assert.equal(databaseNeedsReconnect(entry('host=a'), entry('host=a route=auto')), true);
});
