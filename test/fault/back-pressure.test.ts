/**
 * Someone does not read: a client with 200 MB coming, a server with 200 MB of COPY going to it. The proxy keeps a bounded
 * part of it and stops reading on the other side; nothing is lost when reading goes on; KILL_CLIENT frees the server.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Proxied, withProxied } from '../support/proxied.ts';
import { RawClient } from '../support/raw-client.ts';
import * as wire from '../support/raw-messages.ts';
import { until } from '../support/until.ts';

const MB = 1024 * 1024;
const BOUND = 64 * MB;
const TOTAL_MB = 200;
const skip = process.platform === 'linux' ? false : 'reads /proc';

let house: Proxied;

before(async () => {
  house = await withProxied({ settings: { query_wait_timeout: 60 } });
  await house.postgres.sql('create unlogged table t (a text); alter table t owner to app', 'app');
});

const login = (database: 'one' | 'tx' = 'one'): Promise<RawClient> =>
  RawClient.login(house.daemon, house.address(database));

function memory(): number {
  const status = readFileSync(`/proc/${house.daemon.pid}/status`, 'utf8');
  return Number(/VmRSS:\s*(\d+) kB/.exec(status)?.[1]) * 1024;
}

/** The proxy has done some work, so that what it needs anyhow is not counted. */
async function base(): Promise<number> {
  const client = await login();
  for (let i = 0; i < 5; i++) await client.rows("select repeat('x', 1000) from generate_series(1, 5000)");
  await client.end();
  return memory();
}

/** Waits until `value` has stopped changing. */
async function stable(value: () => number): Promise<number> {
  let last = -1;
  let same = 0;
  await until(
    () => {
      const now = value();
      same = now === last ? same + 1 : 0;
      last = now;
      return same >= 10;
    },
    { everyMs: 50, timeoutMs: 60_000, what: 'it stops moving' },
  );
  return last;
}

const large = wire.query(`select repeat('x', ${MB}) from generate_series(1, ${TOTAL_MB})`);

async function assertServerStopped(): Promise<void> {
  await until(
    async () => {
      const rows = await house.rows(
        "select wait_event from pg_stat_activity where usename = 'app' and state = 'active' and query like 'select repeat%'",
      );
      return rows.length === 1 && rows[0]?.[0] === 'ClientWrite';
    },
    { timeoutMs: 20_000, what: 'PostgreSQL waits for its client to read' },
  );
}

test('a client that stops reading: memory is bounded, the server stops, all arrives later', {
  skip,
}, async (t) => {
  const before = await base();
  const client = await login();
  t.after(() => client.destroy());
  client.send(large);
  await client.next();
  client.pause();
  await assertServerStopped();
  await stable(() => client.bytesReceived);
  const grown = memory() - before;
  assert.ok(grown < BOUND, `grew by ${grown / MB} MB`);
  assert.ok(client.bytesReceived < TOTAL_MB * MB * 0.5, `${client.bytesReceived} bytes came`);

  client.resume();
  let peak = 0;
  let rows = 0;
  for (;;) {
    const message = await client.next(60_000);
    peak = Math.max(peak, memory());
    if (message.type === 'D') {
      rows += 1;
      assert.equal(message.body.length, 2 + 4 + MB);
    }
    if (message.type === 'Z') break;
  }
  assert.equal(rows, TOTAL_MB);
  assert.ok(peak - before < BOUND, `grew by ${(peak - before) / MB} MB`);
  await client.end();
  await house.assertQuiet('one');
});

test('KILL_CLIENT of a client that does not read frees its server at once', { skip }, async (t) => {
  const client = await login();
  t.after(() => client.destroy());
  client.send(large);
  await client.next();
  client.pause();
  await assertServerStopped();
  const next = await login();
  t.after(() => next.destroy());
  next.send(wire.query('select 1'));
  const [found] = (await house.console('SHOW CLIENTS')).filter(
    (row) => row['database'] === 'one' && row['state'] === 'active',
  );
  assert.ok(found !== undefined);
  await house.console(`KILL_CLIENT ${found['id']}`);
  assert.deepEqual(wire.rowsOf(await next.until('Z', 20_000)), [['1']]);
  client.resume();
  await client.closed(20_000);
  // what had been on its way may still come; an end of the query may not
  assert.ok(!client.pending.some(({ type }) => type === 'Z' || type === 'C'));
  await next.end();
  await until(
    async () =>
      (await house.rows("select 1 from pg_stat_activity where usename = 'app' and state = 'active'"))
        .length === 0,
  );
  await house.assertQuiet('one');
});

test('twenty clients that do not read, at once', { skip }, async (t) => {
  const before = await base();
  const clients: RawClient[] = [];
  t.after(() => {
    for (const one of clients) one.destroy();
  });
  // one after the other: each takes its part into the buffers of its socket, and gives its server back or keeps it
  for (let i = 0; i < 20; i++) {
    const client = await login();
    clients.push(client);
    client.send(wire.query(`select repeat('y', ${MB}) from generate_series(1, 30)`));
    client.pause();
  }
  await until(async () => {
    const pool = (await house.console('SHOW POOLS')).find((row) => row['database'] === 'one');
    return pool?.['cl_waiting'] === '19';
  });
  const grown = memory() - before;
  assert.ok(grown < BOUND, `grew by ${grown / MB} MB`);
  for (const client of clients) {
    client.resume();
    const messages = await client.until('Z', 60_000);
    assert.equal(wire.rowsOf(messages).length, 30);
    await client.end();
  }
  await house.assertQuiet('one');
});

test('COPY in to a server that stops reading: memory is bounded, the client is held, all arrives later', {
  skip,
}, async (t) => {
  const before = await base();
  const client = await login();
  t.after(() => {
    house.postgres.instance.resume();
    client.destroy();
  });
  client.send(wire.query('copy t from stdin'));
  await client.until('G');
  house.postgres.instance.pause();
  const line = `${'z'.repeat(1023)}\n`;
  const piece = wire.copyData(Buffer.from(line.repeat(1024)));
  let sent = 0;
  let done = false;
  const sending = (async () => {
    for (; sent < TOTAL_MB; sent++) {
      if (!client.socket.write(piece)) {
        await new Promise<void>((resolve) => {
          client.socket.once('drain', resolve);
          client.socket.once('close', () => resolve());
        });
      }
    }
    done = true;
  })();
  await stable(() => client.socket.bytesWritten - client.socket.writableLength);
  assert.equal(done, false, 'the proxy took all of it');
  const grown = memory() - before;
  assert.ok(grown < BOUND, `grew by ${grown / MB} MB`);
  assert.ok(sent < TOTAL_MB / 2, `the proxy took ${sent} MB`);

  house.postgres.instance.resume();
  let peak = 0;
  while (!done) {
    peak = Math.max(peak, memory());
    await sleep(5);
  }
  await sending;
  assert.ok(peak - before < BOUND, `grew by ${(peak - before) / MB} MB`);
  client.send(wire.copyDone());
  assert.deepEqual(wire.tagsOf(await client.until('Z', 60_000)), [`COPY ${TOTAL_MB * 1024}`]);
  assert.deepEqual(await client.rows('select count(*), sum(length(a)), count(distinct a) from t'), [
    [String(TOTAL_MB * 1024), String(TOTAL_MB * 1024 * 1023), '1'],
  ]);
  await client.end();
  await house.assertQuiet('one');
});

test('a client that sends queries without end and never reads is stopped', { skip }, async (t) => {
  const before = await base();
  const client = await login();
  t.after(() => client.destroy());
  client.pause();
  const piece = Buffer.concat(Array.from({ length: 2000 }, () => wire.query("select repeat('q', 1000)")));
  let stopped = 0;
  let sent = 0;
  while (stopped < 10 && sent < 300) {
    if (client.socket.writableLength === 0) {
      client.socket.write(piece);
      sent += 1;
      stopped = 0;
    } else {
      await sleep(50);
      stopped += 1;
    }
  }
  assert.equal(stopped, 10, 'it took everything');
  const grown = memory() - before;
  assert.ok(grown < BOUND, `grew by ${grown / MB} MB after ${sent} pieces`);
  client.destroy();
  await house.assertQuiet('one');
});
