/** A person changes a cluster while it is used: DETACH, ATTACH, DRAIN, SET WEIGHT, RELOAD with other nodes and databases. */
import assert from 'node:assert/strict';
import { before, type TestContext, test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { PostgresInstance } from '../../src/demo/postgres-instance.ts';
import { prepareLoad } from '../support/cluster-load.ts';
import {
  clusterRow,
  nodeRow,
  nodeStates,
  untilHeld,
  untilNodes,
  untilPrimary,
} from '../support/cluster-views.ts';
import type { DaemonConfig } from '../support/daemon.ts';
import { withCluster } from '../support/postgres.ts';
import { RawClient } from '../support/raw-client.ts';
import { errorFields, tagsOf } from '../support/raw-messages.ts';
import { nodeAt, routedConfig, routedDaemon, whereAmI } from '../support/routed.ts';
import { Admin, answer, ask, login, refusal } from '../support/scenario.ts';
import { until } from '../support/until.ts';

let cluster: PostgresCluster;
let pg1: PostgresInstance;
let pg2: PostgresInstance;
let pg3: PostgresInstance;

// nothing here changes the cluster itself
before(async () => {
  cluster = await withCluster(2);
  await prepareLoad(cluster);
  [pg1, pg2, pg3] = [cluster.node('pg1'), cluster.node('pg2'), cluster.node('pg3')];
});

const INSERT = 'INSERT INTO w (client, n) VALUES (1, 1) RETURNING inet_server_port()';

/** Names of the nodes that answered `count` reads, e.g. `pg2 50, pg3 50`. */
async function reads(client: RawClient, count = 100): Promise<string> {
  const counts = new Map<string, number>();
  for (let i = 0; i < count; i++) {
    const name = nodeAt(cluster, (await client.rows(whereAmI))[0]?.[0]);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts]
    .map(([name, n]) => `${name} ${n}`)
    .sort()
    .join(', ');
}

/** What the console says at a login. */
async function warnings(daemon: { readonly port: number }): Promise<string[]> {
  const client = await RawClient.connect(daemon);
  const seen = await client.login({ user: 'postgres', database: 'pgbouncer', password: 'postgres' });
  client.destroy();
  return seen.filter(({ type }) => type === 'N').map((message) => errorFields(message).message);
}

/** Only these nodes, each with an address of one's choice. */
function config(nodes: Readonly<Record<string, number>>, more: Partial<DaemonConfig> = {}): DaemonConfig {
  const lines = Object.entries(nodes).map(
    ([name, port]) => `${name} = cluster=main host=127.0.0.1 port=${port}`,
  );
  const all = routedConfig(cluster, { settings: { primary_wait_timeout: 30 } });
  return {
    ...all,
    extra: ['[clusters]', 'main = check_user=postgres', '[nodes]', ...lines].join('\n'),
    ...more,
  };
}

test('DETACH, ATTACH: what runs there ends in peace, nothing new comes; RELOAD and a restart remember it', async (t) => {
  const daemon = await routedDaemon(t, cluster, { settings: { state_file: 'state.json' } });
  const admin = await Admin.login(t, daemon);
  const client = await login(t, daemon, 'app');
  assert.equal(await reads(client), 'pg2 50, pg3 50');
  const blocks = [await login(t, daemon, 'app'), await login(t, daemon, 'app')];
  for (const block of blocks) {
    await block.query('BEGIN READ ONLY');
    await block.rows('SELECT 1');
  }
  const there = [];
  for (const block of blocks) there.push(nodeAt(cluster, (await block.rows(whereAmI))[0]?.[0]));
  const onPg2 = blocks[there.indexOf('pg2')];
  assert.ok(onPg2);

  assert.equal(await admin.run('DETACH pg2'), 'DETACH');
  assert.equal(await reads(client), 'pg3 100');
  assert.deepEqual(await onPg2.rows(whereAmI), [[String(pg2.port)]]);
  assert.deepEqual(tagsOf(await onPg2.query('COMMIT')), ['COMMIT']);
  assert.deepEqual(await onPg2.rows(whereAmI), [[String(pg3.port)]]);
  await until(async () => (await admin.of('SERVERS', 'app')).every((row) => row.text('node') !== 'pg2'));
  const row = await nodeRow(admin, 'pg2');
  assert.deepEqual([row.text('state'), row.text('override')], ['detached', 'detached']);
  assert.match((await warnings(daemon)).join(), /^node "pg2" of cluster "main" is detached by hand/);

  await admin.run('RELOAD');
  assert.equal(await reads(client), 'pg3 100');
  await daemon.stop();
  const from = daemon.log.mark();
  await daemon.run();
  await daemon.log.waitFor(/cluster main: primary pg1/, { from });
  const again = await Admin.login(t, daemon);
  assert.equal(await nodeStates(again), 'pg1 primary, pg2 detached, pg3 replica');
  const later = await login(t, daemon, 'app');
  assert.equal(await reads(later), 'pg3 100');
  assert.equal(await again.run('ATTACH pg2'), 'ATTACH');
  await untilNodes(again, 'pg1 primary, pg2 replica, pg3 replica');
  assert.equal(await reads(later), 'pg2 50, pg3 50');
  assert.deepEqual(await warnings(daemon), []);
});

test('DETACH of the primary: a warning, writes wait, ATTACH serves them; an open transaction is not torn', async (t) => {
  const daemon = await routedDaemon(t, cluster);
  const admin = await Admin.login(t, daemon);
  const [open, writer] = [await login(t, daemon, 'app'), await login(t, daemon, 'app')];
  await open.rows('BEGIN');
  await open.rows(INSERT);
  const messages = await admin.messages('DETACH pg1');
  const notice = messages.find(({ type }) => type === 'N');
  assert.ok(notice);
  assert.match(errorFields(notice).message, /"pg1" is the primary of cluster "main": writes wait/);
  ask(writer, INSERT);
  await untilHeld(admin, 1);
  assert.match(
    (await warnings(daemon)).join('\n'),
    /cluster "main" has no primary since .*, 1 client waits for one/,
  );
  assert.deepEqual(await open.rows(INSERT), [[String(pg1.port)]]);
  assert.deepEqual(tagsOf(await open.query('COMMIT')), ['COMMIT']);
  ask(open, INSERT);
  await untilHeld(admin, 2);
  await admin.run('ATTACH pg1');
  assert.deepEqual(await answer(writer), [[String(pg1.port)]]);
  assert.deepEqual(await answer(open), [[String(pg1.port)]]);
});

test('DRAIN answers when the last unit on the node is over', async (t) => {
  const daemon = await routedDaemon(t, cluster, { nodes: { pg3: 'weight=0' } });
  const [admin, watcher] = [await Admin.login(t, daemon), await Admin.login(t, daemon)];
  const [block, running] = [await login(t, daemon, 'app'), await login(t, daemon, 'app')];
  await block.query('BEGIN READ ONLY');
  assert.deepEqual(await block.rows(whereAmI), [[String(pg2.port)]]);
  const locker = await RawClient.login({ port: pg2.port }, { user: 'app', database: 'postgres' });
  t.after(() => locker.destroy());
  await locker.rows('SELECT pg_advisory_lock(7)');
  // a statement that waits on the replica, sent there by a hint
  ask(running, '/* pgconcierge: node=pg2 */ SELECT pg_advisory_lock(7)');
  await until(async () => (await nodeRow(watcher, 'pg2')).int('in_flight') === 2);
  let drained = false;
  const draining = admin.run('DRAIN pg2').then((tag) => {
    drained = true;
    return tag;
  });
  await untilNodes(watcher, 'pg1 primary, pg2 detached, pg3 replica');
  await block.query('COMMIT');
  await until(async () => (await nodeRow(watcher, 'pg2')).int('in_flight') === 1);
  assert.equal(drained, false);
  locker.destroy();
  assert.equal((await answer(running)).length, 1);
  assert.equal(await draining, 'DRAIN');
  assert.equal((await nodeRow(watcher, 'pg2')).int('in_flight'), 0);
});

test('SET WEIGHT takes effect on the next read; RELOAD and a restart remember it', async (t) => {
  const daemon = await routedDaemon(t, cluster, { settings: { state_file: 'state.json' } });
  const admin = await Admin.login(t, daemon);
  const client = await login(t, daemon, 'app');
  assert.equal(await admin.run('SET WEIGHT pg3 3'), 'SET WEIGHT');
  assert.equal(await reads(client, 200), 'pg2 50, pg3 150');
  await admin.run('RELOAD');
  assert.equal(await reads(client, 200), 'pg2 50, pg3 150');
  await admin.run('SET WEIGHT pg2 0');
  assert.equal(await reads(client), 'pg3 100');
  assert.deepEqual(await warnings(daemon), [
    'node "pg2" of cluster "main" has weight 0 by hand (SET WEIGHT)',
    'node "pg3" of cluster "main" has weight 3 by hand (SET WEIGHT)',
  ]);
  await daemon.stop();
  const from = daemon.log.mark();
  await daemon.run();
  await daemon.log.waitFor(/cluster main: primary pg1/, { from });
  const [again, later] = [await Admin.login(t, daemon), await login(t, daemon, 'app')];
  assert.equal(await reads(later), 'pg3 100');
  assert.deepEqual(
    [(await nodeRow(again, 'pg3')).text('weight'), (await nodeRow(again, 'pg3')).text('override')],
    ['3', 'weight'],
  );
  await again.run('SET WEIGHT pg2 1');
  await again.run('SET WEIGHT pg3 1');
  assert.equal(await reads(later), 'pg2 50, pg3 50');
  assert.equal((await nodeRow(again, 'pg3')).text('override'), '', 'as configured is no override');
});

test('RELOAD adds a node, moves one and takes one away; what runs there ends in peace', async (t) => {
  const daemon = await routedDaemon(t, cluster);
  const admin = await Admin.login(t, daemon);
  const apply = async (nodes: Readonly<Record<string, number>>, states: string) => {
    await daemon.reload(config(nodes));
    await untilNodes(admin, states);
  };
  await apply({ pg1: pg1.port, pg2: pg2.port }, 'pg1 primary, pg2 replica');
  const [client, block] = [await login(t, daemon, 'app'), await login(t, daemon, 'app')];
  assert.equal(await reads(client), 'pg2 100');
  await apply({ pg1: pg1.port, pg2: pg2.port, new3: pg3.port }, 'pg1 primary, pg2 replica, new3 replica');
  assert.equal(await reads(client), 'pg2 50, pg3 50');
  await apply({ pg1: pg1.port, pg2: pg2.port }, 'pg1 primary, pg2 replica');
  assert.equal(await reads(client), 'pg2 100');
  await block.query('BEGIN READ ONLY');
  assert.deepEqual(await block.rows(whereAmI), [[String(pg2.port)]]);
  // the same name at another address
  await apply({ pg1: pg1.port, pg2: pg3.port }, 'pg1 primary, pg2 replica');
  assert.equal(await reads(client), 'pg3 100');
  assert.deepEqual(await block.rows(whereAmI), [[String(pg2.port)]], 'the block stays where it is');
  await block.query('COMMIT');
  assert.deepEqual(await block.rows(whereAmI), [[String(pg3.port)]]);
  // the primary itself
  const from = daemon.log.mark();
  await apply({ pg2: pg3.port }, 'pg2 replica');
  await daemon.log.waitFor(
    /primary pg1 of cluster main is down: it is no node of the configuration any more/,
    { from },
  );
  ask(block, INSERT);
  await untilHeld(admin, 1);
  assert.equal((await clusterRow(admin)).text('primary'), null);
  await daemon.reload(config({ pg2: pg3.port, first: pg1.port }));
  assert.deepEqual(await answer(block), [[String(pg1.port)]]);
  await untilPrimary(admin, 'first');
  await until(async () =>
    (await admin.of('SERVERS', 'app')).every((row) => ['pg2', 'first'].includes(row.text('node') ?? '')),
  );
});

test('a database that moves into a cluster and out of it: nobody is served by the wrong server', async (t: TestContext) => {
  const all = { pg1: pg1.port, pg2: pg2.port, pg3: pg3.port };
  const inside = config(all);
  const outside = config(all, {
    databases: { ...inside.databases, app: `host=127.0.0.1 port=${pg3.port} dbname=postgres` },
  });
  const daemon = await routedDaemon(t, cluster);
  await daemon.reload(outside);
  const admin = await Admin.login(t, daemon);
  await until(async () =>
    (await admin.show('DATABASES')).some((row) => row.text('name') === 'app' && row.int('port') === pg3.port),
  );
  const plain = [await login(t, daemon, 'app'), await login(t, daemon, 'app')];
  const [idle, open] = plain;
  assert.ok(idle && open);
  assert.deepEqual(await idle.rows(whereAmI), [[String(pg3.port)]]);
  await open.rows('BEGIN');
  assert.deepEqual(await open.rows(whereAmI), [[String(pg3.port)]]);

  await daemon.reload(inside);
  for (const client of plain) {
    // whoever is disconnected is told why
    const error = (await client.until('E')).at(-1);
    assert.ok(error);
    assert.match(errorFields(error).message, /database configuration changed/);
    await client.closed();
  }
  const routed = await login(t, daemon, 'app');
  assert.deepEqual(await routed.rows(INSERT), [[String(pg1.port)]]);
  assert.deepEqual(await routed.rows('BEGIN').then(() => routed.rows(INSERT)), [[String(pg1.port)]]);
  const deferred = await login(t, daemon, 'app');
  await deferred.query('BEGIN');

  await daemon.reload(outside);
  for (const client of [routed, deferred]) {
    assert.match((await refusal(client)).message, /database configuration changed/);
    await client.closed();
  }
  const again = await login(t, daemon, 'app');
  for (let i = 0; i < 5; i++) assert.deepEqual(await again.rows(whereAmI), [[String(pg3.port)]]);
  assert.equal((await admin.of('SERVERS', 'app')).length, 1);
});
