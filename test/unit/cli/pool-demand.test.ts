/** How many servers pools may open: per instance, within the limits of databases and users. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { poolDemands, serversOn, usersOf } from '../../../src/cli/pool-demand.ts';
import { files, loaded } from '../config/fixture.ts';

test('the sum over pools of one instance', (t) => {
  const list = files(t).write('users', '"a" "x"\n"b" "x"\n');
  const sum = (main: string, databases: string, users = ''): number => {
    const config = loaded(
      t,
      `[pgbouncer]\nauth_file = ${list}\n${main}\n[users]\n${users}\n[databases]\n${databases}\n`,
    );
    return serversOn(config, [...config.databases.values()]);
  };
  assert.equal(sum('', 'd = host=h'), 40, 'two users, twenty each');
  assert.equal(sum('reserve_pool_size = 5', 'd = host=h pool_size=10'), 30);
  assert.equal(sum('', 'd = host=h user=f'), 20, 'a forced user is one pool');
  assert.equal(sum('', 'd = host=h\ne = host=h pool_size=1'), 42);
  assert.equal(sum('', 'd = host=h max_db_connections=7\ne = host=h pool_size=1'), 9);
  assert.equal(sum('max_user_connections = 3', 'd = host=h\ne = host=h'), 6, 'per user, over all databases');
  assert.equal(sum('', 'd = host=h', 'a = max_user_connections=1\nc = pool_size=2'), 1 + 20 + 2);
});

test('users that nobody knows by name count as one; a cluster has pools on each node', (t) => {
  const config = loaded(
    t,
    '[pgbouncer]\n[clusters]\nc =\n[nodes]\nm = cluster=c host=m\nn = cluster=c host=n\n[databases]\nd = cluster=c pool_size=3\ne = host=x user=u\n',
  );
  assert.equal(usersOf(config), 0);
  assert.equal(serversOn(config, [...config.databases.values()]), 23);
  assert.deepEqual(poolDemands(config), [
    { poolSize: 6, forcedUser: false },
    { poolSize: 20, forcedUser: true },
  ]);
});
