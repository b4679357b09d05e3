/** Roles from Patroni and HTTP checks beside real nodes, restarts with a state file, persons' overrides, bad logins. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ClusterCommandError } from '../../src/cluster/clusters.ts';
import { FakeServer } from '../support/fake-server.ts';
import { withCluster } from '../support/postgres.ts';
import { until } from '../support/until.ts';
import { WatchedCluster, type WatchedNode, type WatchOptions } from '../support/watched-cluster.ts';

function watch(t: TestContext, nodes: readonly WatchedNode[], options: WatchOptions = {}): WatchedCluster {
  const watched = new WatchedCluster(nodes, options);
  t.after(() => watched.stop());
  return watched;
}

interface Api {
  readonly url: string;
  status: number;
  body: string;
  close(): void;
}

async function api(t: TestContext): Promise<Api> {
  const server = createServer((_request, response) => {
    response.writeHead(found.status);
    response.end(found.body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = (): void => {
    server.closeAllConnections();
    server.close();
  };
  const found: Api = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    status: 200,
    body: '',
    close,
  };
  t.after(close);
  return found;
}

test('Patroni has the word: its leader leads, what it does not run is down, without it the nodes are asked', async (t) => {
  const cluster = await withCluster(1);
  const [pg1, pg2] = cluster.nodes;
  assert.ok(pg1 && pg2);
  const patroni = await api(t);
  const members = (role1: string, state2: string): string =>
    JSON.stringify({
      members: [
        { name: 'pg1', role: role1, state: 'running', host: pg1.host, port: pg1.port, timeline: 1 },
        {
          name: 'pg2',
          role: 'replica',
          state: state2,
          host: pg2.host,
          port: pg2.port,
          timeline: 1,
          lag: 'unknown',
        },
      ],
    });
  patroni.body = members('leader', 'streaming');
  const watched = watch(t, cluster.nodes, { keys: `check=patroni:${patroni.url} check_interval=0.1` });
  await watched.untilStates('pg1 primary, pg2 replica');
  patroni.body = members('leader', 'stopped');
  await watched.untilStates('pg1 primary, pg2 down');
  assert.match(watched.node('pg2').lastError, /Patroni says that it is stopped/);
  // demoted by Patroni, still writable: nobody writes there any more
  patroni.body = members('replica', 'streaming');
  await watched.untilStates('pg1 lagging, pg2 replica');
  assert.equal(watched.view.primary, null);
  patroni.body = members('leader', 'streaming');
  await watched.untilStates('pg1 primary, pg2 replica');
  patroni.close();
  await until(() => watched.lines.find((line) => line.includes('Patroni does not answer')));
  await watched.clusters.redetect(null).done;
  assert.equal(watched.states, 'pg1 primary, pg2 replica');
  assert.equal(watched.lines.filter((line) => line.includes('Patroni does not answer')).length, 1);
});

test("Patroni's word is enough where the check user may not log in", async (t) => {
  const cluster = await withCluster(1, { hba: ['host all nobody 127.0.0.1/32 reject'] });
  const [pg1, pg2] = cluster.nodes;
  assert.ok(pg1 && pg2);
  const patroni = await api(t);
  patroni.body = JSON.stringify({
    members: [
      { name: 'pg1', role: 'leader', state: 'running', timeline: 1 },
      { name: 'pg2', role: 'replica', state: 'streaming', timeline: 1, lag: 0 },
    ],
  });
  const watched = watch(t, cluster.nodes, { keys: `check=patroni:${patroni.url} check_user=nobody` });
  await watched.untilStates('pg1 primary, pg2 replica');
});

test('S-6A: 200/503 of a node itself', async (t) => {
  const cluster = await withCluster(1);
  const [pg1, pg2] = cluster.nodes;
  assert.ok(pg1 && pg2);
  const door = await api(t);
  const watched = watch(
    t,
    [{ name: 'pg1', host: pg1.host, port: pg1.port, keys: `check=${door.url}` }, pg2],
    { keys: 'check_interval=0.1' },
  );
  await watched.untilStates('pg1 primary, pg2 replica');
  door.status = 503;
  await watched.untilStates('pg1 lagging, pg2 replica');
  door.status = 200;
  await watched.untilStates('pg1 primary, pg2 replica');
  door.close();
  await watched.untilStates('pg1 down, pg2 replica');
});

test('a state file: a change while we were away is told once, as missed; overrides are kept', async (t) => {
  const cluster = await withCluster(2);
  const [pg1, pg2, pg3] = cluster.nodes;
  assert.ok(pg1 && pg2 && pg3);
  const dir = mkdtempSync(join(tmpdir(), 'pgconcierge-state-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const options = { settings: [`state_file = ${join(dir, 'state.json')}`] };

  const first = watch(t, cluster.nodes, options);
  await first.untilStates('pg1 primary, pg2 replica, pg3 replica');
  first.clusters.detach('pg3');
  first.clusters.setWeight('main.pg2', 7);
  assert.equal(first.states, 'pg1 primary, pg2 replica, pg3 detached');
  // RELOAD changes nothing of it
  first.clusters.reconfigure(first.load(cluster.nodes, options));
  assert.equal(first.states, 'pg1 primary, pg2 replica, pg3 detached');
  assert.equal(first.node('pg2').weight, 7);
  assert.deepEqual(first.told, []);
  first.clusters.stop();

  await cluster.waitCaughtUp();
  await pg1.stop();
  await cluster.promote(pg2);

  const second = watch(t, cluster.nodes, options);
  await second.untilStates('pg1 down, pg2 primary, pg3 detached');
  assert.equal(second.node('pg2').weight, 7);
  assert.deepEqual(
    second.events.map(({ event, node, missed }) => [event, node, missed]),
    [
      ['primary_down', 'pg1', true],
      ['primary_up', 'pg2', true],
    ],
  );
  second.clusters.stop();

  // the old one alone: it is not believed, although nobody else is there
  await pg2.stop();
  await pg1.start();
  const third = watch(t, cluster.nodes, options);
  await third.untilStates('pg1 conflict, pg2 down, pg3 detached');
  assert.equal(third.view.primary, null);
});

test('commands that name no node', async (t) => {
  const cluster = await withCluster(0);
  const watched = watch(t, cluster.nodes);
  const { clusters } = watched;
  assert.throws(() => clusters.detach('pg9'), new ClusterCommandError('no such node: pg9'));
  assert.throws(() => clusters.redetect('other'), new ClusterCommandError('no such cluster: other'));
  assert.throws(() => clusters.setWeight('pg1', -1), ClusterCommandError);
  assert.throws(() => clusters.settings('other'), ClusterCommandError);
  const pending = clusters.redetect(null);
  pending.cancel();
  await pending.done;
});

test('a login that is refused says so once; a name that is none, a port where nobody listens', async (t) => {
  const cluster = await withCluster(1, { hba: ['host all nobody 127.0.0.1/32 reject'] });
  const [pg1] = cluster.nodes;
  assert.ok(pg1);
  const watched = watch(
    t,
    [
      pg1,
      { name: 'pg8', host: 'no-such-host.invalid', port: 5432 },
      { name: 'pg9', host: '127.0.0.1', port: 1 },
    ],
    {
      keys: 'check_user=nobody check_interval=0.05',
    },
  );
  await watched.untilStates('pg1 down, pg8 down, pg9 down');
  assert.match(watched.node('pg1').lastError, /rejects connection/);
  assert.match(watched.node('pg8').lastError, /no-such-host.invalid/);
  assert.match(watched.node('pg9').lastError, /refused/);
  for (let i = 0; i < 5; i++) await watched.clusters.redetect(null).done;
  assert.equal(
    watched.lines.filter((line) => line.includes('rejects connection') && line.includes('check failed'))
      .length,
    1,
  );
});

test('a server that says nothing, or garbage, is a failure with a sentence', async (t) => {
  const silent = await FakeServer.start({ onMessage: () => {} });
  const odd = await FakeServer.start();
  t.after(() => Promise.all([silent.close(), odd.close()]));
  const watched = watch(
    t,
    [
      { name: 'pg1', host: silent.host, port: silent.port },
      { name: 'pg2', host: odd.host, port: odd.port },
    ],
    { keys: 'check_timeout=0.1 fail_threshold=2' },
  );
  await watched.untilStates('pg1 down, pg2 down');
  assert.match(watched.node('pg1').lastError, /no answer within 0.1 s/);
  assert.match(watched.node('pg2').lastError, /not that of a PostgreSQL/);
  // what did not answer was closed: no connections pile up
  await until(() => silent.live.length <= 1);
});

test('hints are coalesced: a thousand of them cause a few checks', async (t) => {
  const cluster = await withCluster(0);
  const watched = watch(t, cluster.nodes, { keys: 'check_interval=60' });
  await watched.untilStates('pg1 primary');
  const before = watched.sink.views.length;
  for (let i = 0; i < 1_000; i++) watched.clusters.trouble('main', 'pg1', 'lost');
  watched.clusters.trouble('nosuch', 'pg1', 'lost');
  await until(() => watched.sink.views.length > before);
  await watched.clusters.redetect(null).done;
  assert.ok(watched.sink.views.length - before <= 5);
});

test('everything ends with stop(): no connection is left', async (t) => {
  const cluster = await withCluster(0);
  const [pg1] = cluster.nodes;
  assert.ok(pg1);
  const watched = watch(t, cluster.nodes, { keys: 'lag_source=heartbeat' });
  await watched.untilStates('pg1 primary');
  watched.clusters.wantSamples('main');
  watched.clusters.wantCatalog('main', 'postgres', false);
  await until(() => watched.sink.samples.some((one) => one.what === 'in'));
  watched.clusters.stop();
  await until(async () => {
    const query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgconcierge monitor'";
    return (await cluster.sql(pg1, query)).rows[0]?.[0] === '0';
  });
});

test('RELOAD: another check user, a node more, a node less, without an event', async (t) => {
  const cluster = await withCluster(2);
  const [pg1, pg2, pg3] = cluster.nodes;
  assert.ok(pg1 && pg2 && pg3);
  await cluster.sql(pg1, 'CREATE ROLE mon LOGIN IN ROLE pg_monitor');
  await cluster.waitCaughtUp();
  const watched = watch(t, [pg1, pg2]);
  await watched.untilStates('pg1 primary, pg2 replica');
  watched.clusters.reconfigure(watched.load([pg1, pg3], { keys: 'check_user=mon check_interval=60' }));
  assert.equal(watched.view.primary, 'pg1', 'what is known of it stays known');
  await watched.untilStates('pg1 primary, pg3 replica');
  await until(async () => {
    const query =
      "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name = 'pgconcierge monitor'";
    const { rows } = await cluster.sql(pg1, query);
    return rows.length === 1 && rows[0]?.[0] === 'mon';
  });
  watched.clusters.reconfigure(watched.load([pg3]));
  await watched.untilStates('pg3 replica');
  assert.equal(watched.view.primary, null);
  assert.deepEqual(watched.told, ['primary_down pg1']);
});
