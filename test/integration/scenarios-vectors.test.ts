/** The byte vectors of requirements.md S-90 end to end: exact bytes in, exact bytes out, whatever the packets. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FakeConnection } from '../support/fake-server.ts';
import { FakeServer } from '../support/fake-server.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { type TestPostgres, withPostgres } from '../support/postgres.ts';
import type { RawClient } from '../support/raw-client.ts';
import { encode, query, type RawMessage } from '../support/raw-messages.ts';
import { login, scenarioDaemon, target } from '../support/scenario.ts';

const ASK = Buffer.from(`51${'0000000e'}${Buffer.from('SELECT 1;\0').toString('hex')}`, 'hex');
const LONG = query("select 'This is a very long query to view.';");
const ROW_DESCRIPTION = Buffer.from(
  `54${'00000021'}${'0001'}${Buffer.from('?column?\0').toString('hex')}${'00000000'}${'0000'}${'00000017'}${'0004'}${'ffffffff'}${'0000'}`,
  'hex',
);
const REPLY = Buffer.concat([
  ROW_DESCRIPTION,
  Buffer.from('440000000b00010000000131', 'hex'),
  Buffer.from('430000000d53454c454354203100', 'hex'),
  Buffer.from('5a0000000549', 'hex'),
]);

let server: TestPostgres;

before(async () => {
  server = await withPostgres({ setup: ['CREATE ROLE app LOGIN'] });
});

/** The messages as the bytes that they came in. */
const bytesOf = (messages: readonly RawMessage[]): Buffer =>
  Buffer.concat(messages.map((message) => encode(message.type, message.body)));

/** The bytes of the next whole answer. */
async function reply(client: RawClient): Promise<Buffer> {
  return bytesOf(await client.until('Z'));
}

/** Sends `bytes` as two packets, as far as the kernel lets us say. */
async function inTwo(send: (part: Buffer) => void, bytes: Buffer, at: number): Promise<void> {
  send(bytes.subarray(0, at));
  await sleep(2);
  send(bytes.subarray(at));
}

test('S-90: the vectors themselves', () => {
  assert.equal(ASK.length, 15);
  assert.deepEqual(query('SELECT 1;'), ASK);
  assert.equal(LONG.length, 50);
  assert.equal(LONG.readUInt32BE(1), 0x31);
  assert.equal(ROW_DESCRIPTION.length, 34);
  assert.equal(REPLY.length, 66);
});

for (const mode of ['session', 'transaction']) {
  test(`S-90: through the proxy, ${mode} mode: the 66 bytes of PostgreSQL come back untouched`, async (t) => {
    const daemon = await scenarioDaemon(t, {
      databases: { app: target(server) },
      settings: { pool_mode: mode },
    });
    const client = await login(t, daemon, 'app');
    client.send(ASK);
    assert.deepEqual(await reply(client), REPLY);
    for (const vector of [ASK, LONG]) {
      client.send(vector);
      const whole = await reply(client);
      for (let at = 1; at < vector.length; at++) {
        await inTwo((part) => client.send(part), vector, at);
        assert.deepEqual(await reply(client), whole, `split at ${at}`);
      }
    }
    // both in one packet, and the second begun in the packet of the first
    client.send(ASK, LONG.subarray(0, 20));
    assert.deepEqual(await reply(client), REPLY);
    client.send(LONG.subarray(20));
    assert.equal((await reply(client)).includes('This is a very long query to view.'), true);
  });
}

test('S-90: what reaches the server is what the client sent, whole and at every split', async (t) => {
  const fake = await FakeServer.start();
  t.after(() => fake.close());
  const daemon = await scenarioDaemon(t, { databases: { app: target(fake, 'dbname=x') } });
  const client = await login(t, daemon, 'app');
  for (const vector of [ASK, LONG]) {
    for (let at = 1; at < vector.length; at++) {
      await inTwo((part) => client.send(part), vector, at);
      await reply(client);
      const last = fake.connections[0]?.messages.at(-1);
      assert.ok(last);
      assert.deepEqual(bytesOf([last]), vector, `split at ${at}`);
    }
  }
  assert.equal(fake.connections.length, 1);
});

test('S-90: the reply cut at every offset is the same reply', async (t) => {
  let at = 0;
  const send = async (connection: FakeConnection): Promise<void> =>
    inTwo((part) => connection.send(part), REPLY, at);
  const fake = await FakeServer.start({
    onMessage: (connection, message) => {
      if (message.type === 'Q') void send(connection);
      else connection.answer(message);
    },
  });
  t.after(() => fake.close());
  const daemon = await scenarioDaemon(t, { databases: { app: target(fake, 'dbname=x') } });
  const client = await login(t, daemon, 'app');
  for (at = 1; at < REPLY.length; at++) {
    client.send(ASK);
    assert.deepEqual(await reply(client), REPLY, `cut at ${at}`);
    assert.equal(client.pending.length, 0);
  }
  assert.equal(fake.connections.length, 1);
});

test('S-90: byte by byte on both sides of the proxy', async (t) => {
  const behind = await FaultProxy.start(server);
  t.after(() => behind.close());
  const daemon = await scenarioDaemon(t, { databases: { app: target(behind) } });
  const before = await FaultProxy.start(daemon);
  t.after(() => before.close());
  const client = await login(t, before, 'app');
  behind.trickle(1);
  before.trickle(1);
  for (let i = 0; i < 3; i++) {
    client.send(ASK);
    assert.deepEqual(await reply(client), REPLY);
  }
  client.send(LONG);
  assert.equal((await reply(client)).includes('This is a very long query to view.'), true);
});
