/** Precedence: user > database > global; the forced user's entry counts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Config } from '../../../src/config/config.ts';
import * as effective from '../../../src/config/effective.ts';
import type { DatabaseEntry } from '../../../src/config/types.ts';
import { loaded } from './fixture.ts';

const FILE = `[databases]
bare =
own = pool_size=5 min_pool_size=3 reserve_pool_size=4 pool_mode=transaction query_wait_timeout=0 server_lifetime=60 max_db_connections=9 max_db_client_connections=8 auth_user=au auth_query=q auth_dbname=ad
zero = reserve_pool_size=0 server_lifetime=0 max_db_connections=0 max_db_client_connections=0 min_pool_size=0
forced = user=special pool_size=5 min_pool_size=9
[users]
alice = pool_size=2 reserve_pool_size=0 pool_mode=statement query_wait_timeout=7 max_user_connections=1 max_user_client_connections=2 query_timeout=1 idle_transaction_timeout=2 transaction_timeout=3 client_idle_timeout=4
zeros = max_user_connections=0 max_user_client_connections=0 query_timeout=0 client_idle_timeout=0
special = pool_size=11 pool_mode=session max_user_connections=6
[pgbouncer]
default_pool_size = 20
min_pool_size = 1
reserve_pool_size = 10
max_db_connections = 100
max_db_client_connections = 101
max_user_connections = 102
max_user_client_connections = 103
query_timeout = 30
idle_transaction_timeout = 31
transaction_timeout = 32
client_idle_timeout = 33
query_wait_timeout = 34
server_lifetime = 35
auth_user = ga
`;

function db(config: Config, name: string): DatabaseEntry {
  const entry = config.databases.get(name);
  assert.ok(entry);
  return entry;
}

test('pool settings', (t) => {
  const config = loaded(t, FILE);
  const all = (name: string, user: string): unknown[] => [
    effective.effectivePoolSize(config, db(config, name), user),
    effective.effectiveReservePoolSize(config, db(config, name), user),
    effective.effectivePoolMode(config, db(config, name), user),
    effective.effectiveQueryWaitTimeoutMs(config, db(config, name), user),
    effective.effectiveMinPoolSize(config, db(config, name), user),
  ];
  assert.deepEqual(all('bare', 'nobody'), [20, 10, 'session', 34000, 1]);
  assert.deepEqual(all('own', 'nobody'), [5, 4, 'transaction', 0, 3]);
  assert.deepEqual(
    all('own', 'alice'),
    [2, 0, 'statement', 7000, 1],
    'the minimum is capped by max_user_connections',
  );
  assert.deepEqual(all('bare', 'alice'), [2, 0, 'statement', 7000, 1]);
  assert.deepEqual(all('zero', 'nobody'), [20, 0, 'session', 34000, 0]);
  assert.deepEqual(
    all('forced', 'alice'),
    [11, 10, 'session', 34000, 6],
    "the forced user's entry, not alice's",
  );
});

test('limits: own value above 0, else global', (t) => {
  const config = loaded(t, FILE);
  const limits = (name: string): number[] => [
    effective.maxDbConnections(config, db(config, name)),
    effective.maxDbClientConnections(config, db(config, name)),
    effective.effectiveServerLifetimeMs(config, db(config, name)),
  ];
  assert.deepEqual(limits('bare'), [100, 101, 35000]);
  assert.deepEqual(limits('own'), [9, 8, 60000]);
  assert.deepEqual(limits('zero'), [100, 101, 35000]);
  const user = (name: string): number[] => [
    effective.maxUserConnections(config, name),
    effective.maxUserClientConnections(config, name),
  ];
  assert.deepEqual(user('nobody'), [102, 103]);
  assert.deepEqual(user('alice'), [1, 2]);
  assert.deepEqual(user('zeros'), [102, 103]);
});

test('timeouts of a user', (t) => {
  const config = loaded(t, FILE);
  const general = { queryMs: 30000, idleTransactionMs: 31000, transactionMs: 32000, clientIdleMs: 33000 };
  assert.deepEqual(effective.effectiveTimeouts(config, 'nobody'), general);
  assert.deepEqual(effective.effectiveTimeouts(config, 'zeros'), general);
  assert.deepEqual(effective.effectiveTimeouts(config, 'alice'), {
    queryMs: 1000,
    idleTransactionMs: 2000,
    transactionMs: 3000,
    clientIdleMs: 4000,
  });
});

test('auth_query', (t) => {
  const config = loaded(t, FILE);
  assert.deepEqual(effective.effectiveAuthLookup(config, db(config, 'own')), {
    user: 'au',
    query: 'q',
    dbname: 'ad',
  });
  const general = effective.effectiveAuthLookup(config, db(config, 'bare'));
  assert.deepEqual([general.user, general.dbname], ['ga', null]);
  assert.match(general.query, /pg_authid/);
});

test('pool_mode: databases of a cluster pool by transaction unless somebody says otherwise', (t) => {
  const mode = (main: string, entry: string, user = 'nobody'): string => {
    const config = loaded(
      t,
      `[pgbouncer]\n${main}\n[clusters]\nc =\n[nodes]\nn = cluster=c\n[databases]\nd = ${entry}\n[users]\nalice = pool_mode=statement\n`,
    );
    return effective.effectivePoolMode(config, db(config, 'd'), user);
  };
  assert.equal(mode('', 'host=x'), 'session');
  assert.equal(mode('', 'cluster=c'), 'transaction');
  assert.equal(mode('', 'host=x,y route=auto'), 'transaction');
  assert.equal(mode('pool_mode = session', 'cluster=c'), 'session', 'written is more than the default');
  assert.equal(mode('pool_mode = statement', 'cluster=c'), 'statement');
  assert.equal(mode('', 'cluster=c pool_mode=session'), 'session');
  assert.equal(mode('pool_mode = session', 'cluster=c', 'alice'), 'statement');
  assert.equal(mode('[pgbouncer]', 'cluster=c'), 'transaction');
  assert.equal(
    mode('pool_mode = session\n[pgbouncer]', 'cluster=c'),
    'transaction',
    'a second header resets',
  );
});
