/** /ready, /primary, /replica and /redetect over a real socket. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RedetectDoor } from '../../../src/http/clusters.ts';
import { startHttp } from '../../../src/http/server.ts';
import { createMetrics } from '../../../src/observe/metrics.ts';
import { SILENT } from '../../../src/util/log.ts';
import { clusterRow, nodeRow } from '../../support/fake-clusters.ts';
import { until } from '../../support/until.ts';
import { FakeControl } from '../observe/fake-control.ts';

interface House {
  readonly control: FakeControl;
  /** Status and JSON (or text) of the answer. */
  ask(path: string, method?: string): Promise<[status: number, body: unknown]>;
}

async function inHouse(work: (house: House) => Promise<void>): Promise<void> {
  const control = new FakeControl();
  control.clusterRows = [clusterRow('main')];
  control.nodeRows = [
    nodeRow('pg1', { state: 'primary', timeline: 3 }),
    nodeRow('pg2', { host: '10.0.0.2', lagBytes: 1024 * 1024, lagMs: 1500 }),
  ];
  const metrics = createMetrics({ source: control, version: '1', processMetrics: false });
  const server = await startHttp({ host: '127.0.0.1', port: 0, control, metrics, log: SILENT });
  try {
    await work({
      control,
      async ask(path, method = 'GET') {
        const answer = await fetch(`http://127.0.0.1:${server.port}${path}`, { method });
        const text = await answer.text();
        const isJson = answer.headers.get('content-type')?.startsWith('application/json') === true;
        return [answer.status, isJson ? JSON.parse(text) : text];
      },
    });
  } finally {
    await server.close();
  }
}

test('/ready: a usable primary is known, when there are clusters', () =>
  inHouse(async ({ ask, control }) => {
    const base = { paused: false, suspended: false };
    assert.deepEqual(await ask('/ready'), [200, { status: 'ready', ...base, primaries: { main: 'pg1' } }]);
    control.clusterRows = [clusterRow('main', { primary: null })];
    assert.deepEqual(await ask('/ready'), [
      503,
      { status: 'no primary', ...base, primaries: { main: null } },
    ]);
    assert.equal((await ask('/health'))[0], 200);
    control.clusterRows = [clusterRow('main', { primary: null }), clusterRow('other')];
    assert.equal((await ask('/ready'))[0], 200, 'the clients of the other one are served');
    control.shuttingDown = true;
    control.serving = false;
    assert.equal((await ask('/ready'))[0], 503);
  }));

test('/primary: the cluster may be left out when there is one', () =>
  inHouse(async ({ ask, control }) => {
    const primary = {
      status: 'primary',
      cluster: 'main',
      primary: 'pg1',
      host: '10.0.0.1',
      port: 5432,
      timeline: 3,
    };
    for (const path of ['/primary', '/primary?cluster=main', '/primary?cluster=main&node=pg1#x']) {
      assert.deepEqual(await ask(path), [200, primary], path);
    }
    assert.deepEqual(await ask('/primary?node=pg2'), [
      503,
      { status: 'not primary', cluster: 'main', primary: 'pg1' },
    ]);
    assert.deepEqual(await ask('/primary?node=pg9'), [404, { error: 'no such node: pg9 (known: pg1, pg2)' }]);
    assert.deepEqual(await ask('/primary?cluster=x'), [404, { error: 'no such cluster: x (known: main)' }]);
    control.clusterRows = [clusterRow('main', { primary: null }), clusterRow('other')];
    assert.deepEqual(await ask('/primary'), [
      400,
      { error: 'say which cluster, with ?cluster= (known: main, other)' },
    ]);
    assert.deepEqual(await ask('/primary?cluster=main'), [
      503,
      { status: 'no primary', cluster: 'main', primary: null },
    ]);
    control.clusterRows = [];
    assert.deepEqual(await ask('/primary'), [404, { error: 'no cluster is configured' }]);
  }));

test('/replica: one that takes reads and is not too far behind', () =>
  inHouse(async ({ ask, control }) => {
    const pg2 = { node: 'pg2', host: '10.0.0.2', port: 5432, lag_bytes: 1048576, lag_seconds: 1.5 };
    for (const path of [
      '',
      '?lag=1MB',
      '?lag=1024kb',
      '?lag=1048576',
      '?lag=1048576B&cluster=main',
      '?lag=1GB&node=pg2',
    ]) {
      assert.deepEqual(
        await ask(`/replica${path}`),
        [200, { status: 'replica', cluster: 'main', replicas: [pg2] }],
        path,
      );
    }
    for (const path of ['?lag=1023kB', '?lag=0', '?node=pg1']) {
      assert.deepEqual(
        await ask(`/replica${path}`),
        [503, { status: 'no replica', cluster: 'main', replicas: [] }],
        path,
      );
    }
    for (const lag of ['', 'x', '-1', '1.5MB', '10s', '1PB', '10%20MB']) {
      assert.equal((await ask(`/replica?lag=${lag}`))[0], 400, lag);
    }
    for (const bad of ['?lagg=1MB', '?lag=1MB&lag=2MB', '?cluster']) {
      assert.ok([400, 404].includes((await ask(`/replica${bad}`))[0]), bad);
    }
    for (const changes of [
      { state: 'lagging' },
      { banned: true },
      { weight: 0 },
      { streaming: false },
      { cluster: 'other' },
    ] as const) {
      control.nodeRows = [nodeRow('pg2', changes)];
      assert.equal((await ask('/replica'))[0], 503, JSON.stringify(changes));
    }
    control.nodeRows = [nodeRow('pg2', { lagBytes: null })];
    assert.deepEqual(
      [(await ask('/replica'))[0], (await ask('/replica?lag=1TB'))[0]],
      [200, 503],
      'unknown lag',
    );
  }));

test('POST /redetect answers when the checks are in, each time anew', () =>
  inHouse(async ({ ask, control }) => {
    for (const primary of ['pg2', 'pg1']) {
      const asked = control.redetected.length;
      const answer = ask('/redetect?cluster=main', 'POST');
      await until(() => control.redetected.length > asked);
      control.clusterRows = [clusterRow('main', { primary })];
      control.finish();
      assert.deepEqual(await answer, [200, { status: 'done', primaries: { main: primary } }]);
    }
    assert.deepEqual(control.redetected, ['main', 'main']);
  }));

test('who asks for a redetection while one is under way waits for the same one', async () => {
  const control = new FakeControl();
  control.clusterRows = [clusterRow('main'), clusterRow('other', { primary: null })];
  const door = new RedetectDoor(control);
  const all = Array.from({ length: 5 }, () => door.answer(new URLSearchParams()));
  const one = door.answer(new URLSearchParams('cluster=other'));
  control.finish();
  for (const answer of await Promise.all(all)) {
    assert.equal(answer.body, '{"status":"done","primaries":{"main":"pg1","other":null}}\n');
  }
  assert.equal((await one).body, '{"status":"done","primaries":{"other":null}}\n');
  assert.deepEqual(control.redetected, [null, 'other']);
  await assert.rejects(door.answer(new URLSearchParams('cluster=x')), { status: 404 });
});

test('POST /redetect of an unknown cluster or without any, and other methods', () =>
  inHouse(async ({ ask, control }) => {
    assert.deepEqual(await ask('/redetect?cluster=x', 'POST'), [
      404,
      { error: 'no such cluster: x (known: main)' },
    ]);
    assert.equal((await ask('/redetect?node=pg1', 'POST'))[0], 400);
    assert.equal((await ask('/redetect'))[0], 405);
    assert.equal((await ask('/primary', 'POST'))[0], 405);
    control.clusterRows = [];
    assert.deepEqual(await ask('/redetect', 'POST'), [404, { error: 'no cluster is configured' }]);
    assert.deepEqual(control.redetected, []);
  }));

test('/ lists the doors', () =>
  inHouse(async ({ ask }) => {
    const [, body] = await ask('/');
    for (const path of ['/primary', '/replica', '/redetect'])
      assert.ok(String(body).includes(`\n${path} `), path);
  }));
