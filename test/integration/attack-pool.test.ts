/**
 * Attacks on what pools keep and pass on: session state behind a cancel, clients forgotten in a queue, servers of a
 * configuration that is gone, limits passed by.
 */
import assert from 'node:assert/strict';
import { createServer, type Server, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import {
  commandComplete,
  errorResponse,
  type FakeConnection,
  FakeServer,
  type FakeServerOptions,
  readyForQuery,
} from '../support/fake-server.ts';
import { freePort } from '../support/ports.ts';
import { RawClient } from '../support/raw-client.ts';
import * as wire from '../support/raw-messages.ts';
import { Admin, login, scenarioDaemon, target } from '../support/scenario.ts';
import { until } from '../support/until.ts';

const quiet = { server_tls_sslmode: 'disable' };

async function fakeServer(t: TestContext, options: FakeServerOptions = {}): Promise<FakeServer> {
  const fake = await FakeServer.start(options);
  t.after(() => fake.close());
  return fake;
}

/** Answers `begin` with status T, everything else plainly. */
const transactions = (connection: FakeConnection, message: wire.RawMessage): void => {
  if (message.type === 'Q' && connection.queries.at(-1) === 'begin') {
    connection.send(commandComplete('BEGIN'), readyForQuery('T'));
  } else connection.answer(message);
};

/** A door before a fake server that lets logins through and keeps cancel requests until told. */
async function cancelKeeper(
  t: TestContext,
  fake: FakeServer,
): Promise<{ readonly port: number; readonly kept: Socket[] }> {
  const kept: Socket[] = [];
  const open = new Set<Socket>();
  const { connect } = await import('node:net');
  const server: Server = createServer({ noDelay: true }, (socket) => {
    open.add(socket);
    socket.on('error', () => {});
    socket.once('data', (first: Buffer) => {
      if (first.length === 16 && first.readInt32BE(4) === 80_877_102) {
        kept.push(socket);
        return;
      }
      const inner = connect({ port: fake.port, host: fake.host, noDelay: true });
      inner.on('error', () => socket.destroy());
      inner.write(first);
      socket.pipe(inner).pipe(socket);
    });
  });
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return { port, kept };
}

test('session mode: a client gone while a cancel request is on its way: its server is reset all the same', async (t) => {
  let busy: FakeConnection | null = null;
  const fake = await fakeServer(t, {
    onMessage: (connection, message) => {
      if (message.type === 'Q' && connection.queries.at(-1) === 'slow') busy = connection;
      else connection.answer(message);
    },
  });
  const { port, kept } = await cancelKeeper(t, fake);
  const daemon = await scenarioDaemon(t, {
    databases: { d: target({ port }) },
    settings: { ...quiet, pool_mode: 'session', default_pool_size: 1 },
  });
  const first = await login(t, daemon, 'd');
  first.send(wire.query('slow'));
  await until(() => busy, { what: 'the slow query' });
  const asker = await RawClient.connect({ port: daemon.port });
  t.after(() => asker.destroy());
  const key = first.backendKey;
  assert.ok(key !== null);
  asker.send(wire.cancelRequest(key.pid, key.secret));
  await until(() => kept.length === 1, { what: 'the cancel request' });
  (busy as FakeConnection | null)?.send(errorResponse('57014', 'canceled'), readyForQuery());
  await first.until('Z');
  await first.end();
  const admin = await Admin.login(t, daemon);
  await until(
    async () => (await admin.client.rows('SHOW SERVERS')).some((row) => row.includes('being_canceled')),
    {
      what: 'the server kept back',
    },
  );
  kept[0]?.end();
  const second = await login(t, daemon, 'd');
  await second.query('mine');
  const queries = fake.connections.flatMap((connection) => connection.queries);
  assert.ok(queries.includes('DISCARD ALL'), `no reset between the sessions: ${queries.join(' | ')}`);
  assert.ok(queries.indexOf('DISCARD ALL') < queries.indexOf('mine'), queries.join(' | '));
});

test('a server that dies in connect_query does not leave the clients of the login behind', async (t) => {
  let logins = 0;
  const fake = await fakeServer(t, {
    onStartup: (connection) => {
      logins += 1;
      connection.acceptLogin();
    },
    onMessage: (connection, message) => {
      if (message.type === 'Q' && connection.queries.at(-1) === 'hello' && logins === 1)
        connection.cut('fin');
      else connection.answer(message);
    },
  });
  const daemon = await scenarioDaemon(t, {
    databases: { d: target(fake, "connect_query='hello'") },
    settings: quiet,
  });
  const client = await login(t, daemon, 'd');
  assert.equal(wire.typesOf(await client.query('select 1')), 'CZ');
});

test('server_fast_close leaves a transaction alone, and ends a session that is idle', async (t) => {
  const fake = await fakeServer(t, { onMessage: transactions });
  const daemon = await scenarioDaemon(t, {
    databases: { d: target(fake) },
    settings: { ...quiet, pool_mode: 'session', server_fast_close: 1 },
  });
  const busy = await login(t, daemon, 'd');
  const idle = await login(t, daemon, 'd');
  await busy.query('begin');
  await idle.query('select 1');
  const admin = await Admin.login(t, daemon);
  await admin.run('RECONNECT d');
  const [told] = await idle.until('E');
  assert.equal(wire.errorFields(told as wire.RawMessage).message, 'database configuration changed');
  busy.send(wire.query('begin'));
  assert.equal(wire.typesOf(await busy.until('Z')), 'CZ');
  busy.send(wire.query('commit'));
  assert.match(wire.typesOf(await busy.until('E')), /^CZE$/);
});

test('a database of the * entry that gets its own entry keeps its clients and leaves the * entry for good', async (t) => {
  const first = await fakeServer(t);
  const second = await fakeServer(t);
  const daemon = await scenarioDaemon(t, { databases: { '*': target(first, '') }, settings: quiet });
  const client = await login(t, daemon, 'd');
  await client.query('select 1');
  await daemon.reload({ databases: { d: target(second, '') } });
  const admin = await Admin.login(t, daemon);
  await until(
    async () =>
      (await admin.client.rows('SHOW DATABASES')).some(
        (row) => row[0] === 'd' && row[2] === String(second.port),
      ),
    {
      what: 'the new entry',
    },
  );
  assert.equal(wire.typesOf(await client.query('select 2')), 'CZ');
  assert.deepEqual(second.connections.at(-1)?.queries, ['select 2']);
  const other = await login(t, daemon, 'd');
  assert.equal(wire.typesOf(await other.query('select 3')), 'CZ');
});

test('RELOAD from session to transaction mode: what a session has left on its server is not passed on', async (t) => {
  const fake = await fakeServer(t);
  const daemon = await scenarioDaemon(t, {
    databases: { d: target(fake) },
    settings: { ...quiet, pool_mode: 'session' },
  });
  const session = await login(t, daemon, 'd');
  await session.query('create temporary table t');
  await daemon.reload({ settings: { ...quiet, auth_type: 'trust', pool_mode: 'transaction' } });
  const admin = await Admin.login(t, daemon);
  await until(
    async () =>
      (await admin.client.rows('SHOW CONFIG')).some(
        (row) => row[0] === 'pool_mode' && row[1] === 'transaction',
      ),
    {
      what: 'the new mode',
    },
  );
  await session.query('select 1');
  const other = await login(t, daemon, 'd');
  await other.query('other');
  const [first, second] = fake.connections;
  assert.ok(first !== undefined && second !== undefined, 'a fresh server');
  assert.ok(!first.queries.includes('other'), first.queries.join(' | '));
});
