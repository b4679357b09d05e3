/**
 * Attacks on the byte stream, with a scripted server: replies cut in the middle, replies that nobody expects, input at
 * moments when nobody listens. A client may lose its connection; it must never be told something that is not so.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Daemon } from '../support/daemon.ts';
import {
  commandComplete,
  type FakeConnection,
  FakeServer,
  type FakeServerOptions,
  readyForQuery,
  rowDescription,
} from '../support/fake-server.ts';
import { RawClient } from '../support/raw-client.ts';
import * as wire from '../support/raw-messages.ts';
import { until } from '../support/until.ts';

const who = { user: 'app', database: 'd' };

interface Stage {
  readonly fake: FakeServer;
  readonly daemon: Daemon;
  login(): Promise<RawClient>;
  console(): Promise<RawClient>;
}

async function stage(
  t: TestContext,
  options: FakeServerOptions,
  settings: Readonly<Record<string, string | number>> = {},
): Promise<Stage> {
  const fake = await FakeServer.start(options);
  t.after(() => fake.close());
  const daemon = await Daemon.start({
    databases: { d: `host=127.0.0.1 port=${fake.port}` },
    settings: {
      auth_type: 'trust',
      server_tls_sslmode: 'disable',
      pool_mode: 'transaction',
      server_login_retry: 0.1,
      ...settings,
    },
  });
  t.after(() => daemon.destroy());
  const open = async (login: { user: string; database: string }): Promise<RawClient> => {
    const client = await RawClient.login({ port: daemon.port }, login);
    t.after(() => client.destroy());
    return client;
  };
  return {
    fake,
    daemon,
    login: () => open(who),
    console: () => open({ user: 'postgres', database: 'pgbouncer' }),
  };
}

/** A DataRow of one column with `n` letters. */
const wideRow = (n: number): Buffer => wire.encode('D', wire.int16(1), wire.int32(n), Buffer.alloc(n, 'x'));

/** Answers everything but the queries that `script` knows. */
const scripted =
  (script: Readonly<Record<string, (connection: FakeConnection) => void>>) =>
  (connection: FakeConnection, message: wire.RawMessage): void => {
    const act =
      message.type === 'Q' ? script[message.body.toString('utf8', 0, message.body.length - 1)] : undefined;
    if (act === undefined) connection.answer(message);
    else act(connection);
  };

test('a server that dies inside a row: the client gets no made-up end of that row', async (t) => {
  const row = wideRow(100);
  const { login } = await stage(t, {
    onMessage: scripted({
      cut: (connection) => {
        connection.socket.end(Buffer.concat([rowDescription(['a']), row.subarray(0, 60)]));
      },
    }),
  });
  const client = await login();
  const before = client.bytesReceived;
  client.send(wire.query('cut'));
  await client.closed();
  assert.equal(wire.typesOf(client.pending), 'T');
  assert.equal(client.bytesReceived - before, rowDescription(['a']).length + 60);
});

test('an unexpected reply in the same packet as the end of a good one: the good one arrives, then the error', async (t) => {
  const row = wideRow(100);
  let connection: FakeConnection | null = null;
  const { login } = await stage(t, {
    onMessage: scripted({
      two: (one) => {
        connection = one;
        one.send(rowDescription(['a']), row.subarray(0, 60));
      },
    }),
  });
  const client = await login();
  const start = client.bytesReceived;
  client.send(wire.query('two'));
  await until(() => client.bytesReceived - start === rowDescription(['a']).length + 60, {
    what: 'the first half of the row',
  });
  // FunctionCallResponse: nobody has called a function
  (connection as FakeConnection | null)?.send(row.subarray(60), wire.encode('V', wire.int32(-1)));
  await client.closed();
  assert.equal(wire.typesOf(client.pending), 'TDE');
  assert.deepEqual(wire.rowsOf(client.pending), [['x'.repeat(100)]]);
  const [error] = client.pending.filter(({ type }) => type === 'E');
  assert.match(wire.errorFields(error as wire.RawMessage).message, /unexpected response from server/);
});

test('bytes of the server right behind its login are read as replies', async (t) => {
  const half = wire.encode('S', wire.cstr('TimeZone'), wire.cstr('Asia/Tokyo'));
  const { login, fake } = await stage(t, {
    onStartup: (connection) => {
      const send = connection.send.bind(connection);
      connection.send = (...bytes) => send(...bytes, half.subarray(0, 9));
      connection.acceptLogin();
      connection.send = send;
    },
    onMessage: (connection, message) => {
      if (message.type === 'Q')
        connection.send(half.subarray(9), commandComplete('SELECT 0'), readyForQuery());
    },
  });
  const client = await login();
  assert.equal(wire.typesOf(await client.query('select 1')), 'SCZ');
  assert.equal(fake.connections.length, 1);
});

test('a query that is sent before the welcome is answered after it', async (t) => {
  const { fake, daemon, console } = await stage(t, { onStartup: () => {} });
  const client = await RawClient.connect({ port: daemon.port });
  t.after(() => client.destroy());
  client.startup(who);
  const server = await fake.waitConnections(1);
  client.send(wire.query('early'));
  const admin = await console();
  await admin.query('SHOW VERSION');
  server.acceptLogin();
  assert.match(wire.typesOf(await client.until('Z')), /^RS+KZ$/);
  assert.equal(wire.typesOf(await client.until('Z')), 'CZ');
  assert.deepEqual(server.queries, ['early']);
});

test('console: a command in the same packet as the startup packet is answered', async (t) => {
  const { daemon } = await stage(t, {});
  const client = await RawClient.connect({ port: daemon.port });
  t.after(() => client.destroy());
  client.send(
    wire.startupMessage({ user: 'postgres', database: 'pgbouncer' }),
    wire.query('SHOW VERSION'),
    wire.query('SHOW VERSION'),
  );
  assert.match(wire.typesOf(await client.until('Z')), /^R.*Z$/);
  assert.equal(wire.typesOf(await client.until('Z')), 'TDCZ');
  assert.equal(wire.typesOf(await client.until('Z')), 'TDCZ');
});

test('a client gone after Flush, without Sync: its open work is not inherited by the next client', async (t) => {
  const { fake, login } = await stage(t, {}, { default_pool_size: 1 });
  const first = await login();
  first.send(wire.parse('', 'insert'), wire.bind('', ''), wire.execute(''), wire.flush());
  assert.equal(wire.typesOf(await first.until('C')), '12C');
  await first.end();
  const second = await login();
  await second.query('select 1');
  assert.equal(fake.connections.length, 2, 'a fresh server');
  assert.deepEqual(fake.connections[0]?.queries, []);
  assert.deepEqual(fake.connections[1]?.queries, ['select 1']);
});

test('idle_transaction_timeout also ends a client that keeps a server with Flush', async (t) => {
  const { login } = await stage(t, {}, { idle_transaction_timeout: 0.2 });
  const client = await login();
  client.send(wire.parse('', 'select 1'), wire.flush());
  const [, error] = await client.until('E');
  assert.equal(wire.errorFields(error as wire.RawMessage).message, 'idle transaction timeout');
});

test('a canceled function call in the queue is answered by ReadyForQuery, as PostgreSQL does', async (t) => {
  const { login, console } = await stage(
    t,
    {
      onMessage: scripted({
        hold: (connection) => connection.send(commandComplete('BEGIN'), readyForQuery('T')),
      }),
    },
    { default_pool_size: 1 },
  );
  const holder = await login();
  await holder.query('hold');
  const client = await login();
  client.send(wire.encode('F', wire.int32(1), wire.int16(0), wire.int16(0), wire.int16(0)));
  const admin = await console();
  await until(async () => (await admin.rows('SHOW POOLS')).some((row) => row[0] === 'd' && row[3] === '1'), {
    what: 'the call in the queue',
  });
  await client.cancel();
  const answer = await client.until('Z');
  assert.equal(wire.typesOf(answer), 'EZ');
  assert.equal(wire.errorFields(answer[0] as wire.RawMessage).code, '57014');
});

test('two COPY in one query: the second one is in copy mode too, also for a Sync inside of it', async (t) => {
  const copyIn = wire.encode('G', Buffer.from([0]), wire.int16(0));
  let ended = 0;
  const { login, fake } = await stage(t, {
    onMessage: (connection, message) => {
      if (message.type === 'Q') {
        if (connection.queries.at(-1) === 'two copies') connection.send(copyIn);
        else connection.answer(message);
      } else if (message.type === 'c') {
        ended += 1;
        if (ended === 1) connection.send(commandComplete('COPY 1'), copyIn);
        else connection.send(commandComplete('COPY 1'), readyForQuery());
      }
    },
  });
  const client = await login();
  client.send(wire.query('two copies'));
  await client.until('G');
  client.send(wire.copyData(Buffer.from('1\n')), wire.copyDone());
  assert.equal(wire.typesOf(await client.until('G')), 'CG');
  client.send(wire.sync(), wire.copyData(Buffer.from('2\n')), wire.copyDone());
  assert.equal(wire.typesOf(await client.until('Z')), 'CZ');
  assert.equal(wire.typesOf(await client.query('select 1')), 'CZ');
  assert.equal(fake.connections.length, 1);
});

test('a client that sends Syncs and reads nothing for a while: all of them are answered in the end', async (t) => {
  const { login, console } = await stage(t, {});
  const client = await login();
  await client.query('select 1');
  const count = 3_000_000;
  let received = 0;
  client.socket.removeAllListeners('data');
  client.pause();
  client.socket.write(Buffer.alloc(count * 5, wire.sync()));
  const admin = await console();
  for (let i = 0; i < 5; i++) await admin.query('SHOW VERSION');
  client.socket.on('data', (chunk: Buffer) => {
    received += chunk.length;
  });
  client.resume();
  await until(() => received === count * 6, { timeoutMs: 30_000, what: 'all answers' });
});
