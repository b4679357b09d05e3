/** Patroni's REST API as its documentation shows it, from a scripted HTTP server; and everything it may say wrongly. */
import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { httpGet } from '../../../src/cluster/http-get.ts';
import { CheckError, type CheckErrorKind } from '../../../src/cluster/monitor-connection.ts';
import { httpSaysPrimary, memberOf, PatroniSource, readCluster } from '../../../src/cluster/patroni.ts';

async function serve(t: TestContext, answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const json =
  (status: number, body: unknown): RequestListener =>
  (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  };

/** GET /cluster of the documentation. */
const DOCUMENTED = {
  members: [
    {
      name: 'patroni1',
      role: 'leader',
      state: 'running',
      api_url: 'http://10.89.0.4:8008/patroni',
      host: '10.89.0.4',
      port: 5432,
      timeline: 5,
      tags: { clonefrom: true },
    },
    {
      name: 'patroni2',
      role: 'replica',
      state: 'streaming',
      api_url: 'http://10.89.0.6:8008/patroni',
      host: '10.89.0.6',
      port: 5433,
      timeline: 5,
      tags: { clonefrom: true },
      receive_lag: 0,
      receive_lsn: '0/4000060',
      replay_lag: 0,
      replay_lsn: '0/4000060',
      lag: 0,
      lsn: '0/4000060',
    },
    {
      name: 'patroni3',
      role: 'sync_standby',
      state: 'running',
      host: '10.89.0.7',
      port: 5432,
      timeline: 5,
      lag: 'unknown',
    },
    { name: 'patroni4', role: 'replica', state: 'stopped', host: '10.89.0.8', port: 5432, lag: 'unknown' },
  ],
  scope: 'demo',
};

async function rejects(work: Promise<unknown>, kind: CheckErrorKind, text: RegExp): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(error instanceof CheckError, String(error));
    assert.equal(error.kind, kind);
    assert.match(error.message, text);
    return true;
  });
}

test('/cluster: roles, states, timelines, lag', async (t) => {
  const source = new PatroniSource(`${await serve(t, json(200, DOCUMENTED))}/`);
  const members = await source.members(5_000);
  assert.deepEqual(
    members.map(({ name, primary, state, timeline, lagBytes }) => [name, primary, state, timeline, lagBytes]),
    [
      ['patroni1', true, 'running', 5, null],
      ['patroni2', false, 'streaming', 5, 0],
      ['patroni3', false, 'running', 5, null],
      ['patroni4', false, 'stopped', 0, null],
    ],
  );
  assert.equal(memberOf(members, { name: 'pg1', host: '10.89.0.6', port: 5433 }).name, 'patroni2');
  assert.equal(memberOf(members, { name: 'patroni3', host: 'db3.example', port: 5432 }).name, 'patroni3');
  assert.throws(
    () => memberOf(members, { name: 'pg9', host: '10.0.0.9', port: 5432 }),
    /lists no member pg9/,
  );
  assert.throws(
    () => memberOf(members, { name: 'patroni4', host: '', port: 0 }),
    /Patroni says that it is stopped/,
  );
});

test('a leader of old (master), of a standby cluster, and none at all', () => {
  const roles = (role: string): boolean[] =>
    readCluster(JSON.stringify({ members: [{ name: 'a', role, state: 'running' }] }), 'u').members.map(
      (member) => member.primary,
    );
  assert.deepEqual(roles('master'), [true]);
  assert.deepEqual(roles('leader'), [true]);
  assert.deepEqual(roles('standby_leader'), [false]);
  assert.deepEqual(roles('replica'), [false]);
  assert.deepEqual(readCluster('{"members": []}', 'u').members, []);
});

test('who asks while an answer is under way gets that answer', async (t) => {
  let asked = 0;
  const url = await serve(t, (request, response) => {
    asked += 1;
    json(200, DOCUMENTED)(request, response);
  });
  const source = new PatroniSource(url);
  await Promise.all([source.members(5_000), source.members(5_000), source.members(5_000)]);
  assert.equal(asked, 1);
});

test('garbage, errors, silence', async (t) => {
  const asked = async (answer: RequestListener, timeoutMs = 5_000): Promise<unknown> =>
    new PatroniSource(await serve(t, answer)).members(timeoutMs);
  await rejects(asked(json(200, '<html>')), 'login', /no JSON/);
  await rejects(asked(json(200, '[]')), 'login', /no Patroni/);
  await rejects(asked(json(200, '{"members": 7}')), 'login', /no Patroni/);
  await rejects(asked(json(503, 'unavailable')), 'login', /status 503/);
  await rejects(
    asked((request) => request.socket.destroy()),
    'refused',
    /./,
  );
  await rejects(
    asked(() => {}, 50),
    'timeout',
    /no answer within/,
  );
  await rejects(asked(json(200, 'x'.repeat(2 * 1024 * 1024))), 'lost', /too long/);
  assert.deepEqual(readCluster('{"members": [7, null, {}, {"name": 1, "role": "leader"}]}', 'u').members, []);
  await rejects(httpGet('http://127.0.0.1:1/', 1_000), 'refused', /Connection refused/);
});

test('another member is asked when the one that is configured does not answer', async (t) => {
  const other = await serve(t, json(200, { members: [{ name: 'b', role: 'leader', state: 'running' }] }));
  let alive = true;
  const first = await serve(t, (request, response) => {
    if (!alive) request.socket.destroy();
    else
      json(200, { members: [{ name: 'b', role: 'replica', state: 'running', api_url: `${other}/patroni` }] })(
        request,
        response,
      );
  });
  const source = new PatroniSource(first);
  assert.equal((await source.members(5_000))[0]?.primary, false);
  alive = false;
  assert.equal((await source.members(5_000))[0]?.primary, true);
});

test('members that are silent are asked at once, not one after the other; who answered is asked first', async (t) => {
  const cluster = (role: string, urls: readonly string[] = []): RequestListener =>
    json(200, {
      members: [
        { name: 'b', role, state: 'running' },
        ...urls.map((api_url) => ({ name: 'x', role: 'replica', state: 'running', api_url })),
      ],
    });
  let bothAsked = (): void => {};
  const both = new Promise<void>((resolve) => {
    bothAsked = resolve;
  });
  // it answers only when the one behind it has been asked too
  const second = await serve(t, (request, response) => {
    void both.then(() => cluster('leader')(request, response));
  });
  const third = await serve(t, () => bothAsked());
  let asked = 0;
  const first = await serve(t, (request, response) => {
    if (asked++ === 0) cluster('replica', [second, third, 'http://[nowhere'])(request, response);
    else request.socket.destroy();
  });
  const source = new PatroniSource(first);
  assert.equal((await source.members(5_000))[0]?.primary, false);
  assert.equal((await source.members(5_000))[0]?.primary, true);
  assert.equal(asked, 2);
  assert.equal((await source.members(5_000))[0]?.primary, true);
  assert.equal(asked, 2, 'not again while the other one answers');
});

test('S-6A: 200 on /primary is primary, 503 is not, all else is a failure', async (t) => {
  const paths: string[] = [];
  let status = 200;
  const url = await serve(t, (request, response) => {
    paths.push(request.url ?? '');
    json(status, {})(request, response);
  });
  assert.equal(await httpSaysPrimary(url, 5_000), true);
  status = 503;
  assert.equal(await httpSaysPrimary(`patroni:${url}/`, 5_000), false);
  assert.equal(await httpSaysPrimary(`${url}/is-writable`, 5_000), false);
  assert.deepEqual(paths, ['/primary', '/primary', '/is-writable']);
  status = 404;
  await rejects(httpSaysPrimary(url, 5_000), 'login', /status 404/);
});
