/**
 * A server that breaks the protocol, through the real daemon: its connection is closed, the client gets an error of the
 * proxy's and none of the wrong bytes, and the next client is served by another connection.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Daemon } from '../support/daemon.ts';
import {
  commandComplete,
  dataRow,
  errorResponse,
  type FakeConnection,
  FakeServer,
  oneColumn,
  readyForQuery,
  rowDescription,
} from '../support/fake-server.ts';
import { RawClient } from '../support/raw-client.ts';
import * as wire from '../support/raw-messages.ts';
import { until } from '../support/until.ts';

const SECRET = 'do not show this';

interface House {
  readonly fake: FakeServer;
  readonly daemon: Daemon;
  login(): Promise<RawClient>;
}

/** `answer` is what the server says to the query `bad`; everything else it does well. */
async function house(
  t: TestContext,
  answer: (connection: FakeConnection) => void,
  settings: Readonly<Record<string, string | number>> = {},
): Promise<House> {
  const fake = await FakeServer.start({
    onMessage: (connection, message) => {
      if (message.type === 'Q' && connection.queries.at(-1) === 'bad') answer(connection);
      else if (message.type === 'Q') connection.send(oneColumn('x', ['good']));
      else connection.answer(message);
    },
  });
  t.after(() => fake.close());
  const daemon = await Daemon.start({
    databases: { d: `host=127.0.0.1 port=${fake.port}` },
    settings: {
      pool_mode: 'transaction',
      default_pool_size: 1,
      server_tls_sslmode: 'disable',
      server_login_retry: 0.1,
      ...settings,
    },
  });
  t.after(() => daemon.destroy());
  return {
    fake,
    daemon,
    login: async () => {
      const client = await RawClient.login(daemon, { user: 'app', password: 'app', database: 'd' });
      t.after(() => client.destroy());
      return client;
    },
  };
}

const secretRow = dataRow([SECRET]);

for (const [what, bytes] of [
  ['ParseComplete that nobody asked for', Buffer.concat([wire.encode('1'), secretRow])],
  ['an unknown type', wire.encode('!', Buffer.from(SECRET))],
  ['a length of 2', Buffer.concat([Buffer.from([0x44, 0, 0, 0, 2]), Buffer.from(SECRET)])],
  ['a length of 2 GB', Buffer.concat([Buffer.from([0x44, 0x80, 0, 0, 0]), Buffer.from(SECRET)])],
  ['a length of 4 GB', Buffer.concat([Buffer.from([0x44, 0xff, 0xff, 0xff, 0xff]), Buffer.from(SECRET)])],
  [
    'a ReadyForQuery of 1 MB and more',
    Buffer.concat([Buffer.from([0x5a, 0, 0x20, 0, 0]), Buffer.from(SECRET)]),
  ],
  ['HTTP', Buffer.from(`HTTP/1.1 400 Bad Request\r\n\r\n${SECRET}`)],
  ['an authentication request', Buffer.concat([wire.encode('R', wire.int32(3)), secretRow])],
] as const) {
  for (const split of [false, true]) {
    test(`${what}${split ? ', byte by byte' : ''}: closed, nothing of it reaches the client`, async (t) => {
      const { fake, login } = await house(t, (connection) => {
        if (!split) connection.send(bytes);
        else for (const byte of bytes) connection.send(Buffer.from([byte]));
      });
      const client = await login();
      const other = await login();
      client.send(wire.query('bad'));
      await client.closed();
      const [message, ...more] = [...client.pending];
      assert.deepEqual(more, []);
      assert.ok(message !== undefined);
      assert.equal(message.type, 'E');
      const { severity, code } = wire.errorFields(message);
      assert.deepEqual([severity, code], ['FATAL', '08P01']);
      assert.ok(!message.body.includes(SECRET));
      await until(() => fake.connections[0]?.closed === true);
      assert.deepEqual(await other.rows('select 1'), [['good']]);
      assert.equal(fake.live.length, 1);
    });
  }
}

test('an extra ReadyForQuery after the answer: the server goes, the client keeps its answer and its session', async (t) => {
  const { fake, login } = await house(t, (connection) =>
    connection.send(oneColumn('x', ['right']), readyForQuery(), oneColumn('x', [SECRET])),
  );
  const client = await login();
  assert.deepEqual(wire.rowsOf(await client.query('bad')), [['right']]);
  await until(() => fake.connections[0]?.closed === true);
  assert.deepEqual(await client.rows('select 1'), [['good']]);
  assert.deepEqual(client.pending, []);
});

test('replies of an idle server reach nobody: the server is closed', async (t) => {
  const { fake, login } = await house(t, () => {});
  const client = await login();
  await client.rows('select 1');
  const [first] = fake.connections;
  first?.send(oneColumn('x', [SECRET]));
  await until(() => first?.closed === true);
  assert.deepEqual(await client.rows('select 1'), [['good']]);
  assert.deepEqual(client.pending, []);
});

test('a notice and a parameter of an idle server: no client sees them', async (t) => {
  const { fake, login } = await house(t, () => {});
  const client = await login();
  await client.rows('select 1');
  const [first] = fake.connections;
  first?.send(wire.encode('S', wire.cstr('TimeZone'), wire.cstr('Mars')));
  assert.deepEqual(await client.rows('select 1'), [['good']]);
  first?.send(wire.encode('N', wire.cstr('SNOTICE'), wire.cstr(`M${SECRET}`), Buffer.from([0])));
  await until(() => first?.closed === true);
  assert.deepEqual(await client.rows('select 1'), [['good']]);
  assert.ok(!client.pending.some(({ body }) => body.includes(SECRET)));
});

test('a row that never ends and then the end of the connection', async (t) => {
  const { login } = await house(t, (connection) => {
    connection.send(rowDescription(['x']), secretRow.subarray(0, 12));
    connection.socket.end();
  });
  const client = await login();
  client.send(wire.query('bad'));
  await client.closed();
  // the half row was the server's own; after it nothing more can be said
  assert.equal(wire.typesOf(client.pending), 'T');
  const next = await login();
  assert.deepEqual(await next.rows('select 1'), [['good']]);
});

test('an ErrorResponse whose fields have no end, and a ParameterStatus without a value', async (t) => {
  const bad = wire.encode('E', Buffer.from('SERROR'));
  const first = await house(t, (connection) => connection.send(bad, readyForQuery()));
  const client = await first.login();
  // the bytes are PostgreSQL's own business; only the framing is ours
  assert.equal(wire.typesOf(await client.query('bad')), 'EZ');
  assert.deepEqual(await client.rows('select 1'), [['good']]);
  const second = await house(t, (connection) =>
    connection.send(wire.encode('S', Buffer.from('TimeZone\0x'))),
  );
  const other = await second.login();
  other.send(wire.query('bad'));
  await other.closed();
  assert.equal(wire.typesOf(other.pending), 'E');
});

for (const [what, onStartup] of [
  ['an unknown type', (c: FakeConnection) => c.send(wire.encode('!', Buffer.from(SECRET)))],
  ['a length of 4 GB', (c: FakeConnection) => c.send(Buffer.from([0x52, 0xff, 0xff, 0xff, 0xff]))],
  ['HTTP', (c: FakeConnection) => c.send(Buffer.from(`HTTP/1.1 400 Bad Request\r\n\r\n${SECRET}`))],
  ['ReadyForQuery before it has authenticated us', (c: FakeConnection) => c.send(readyForQuery())],
  ['silence and FIN', (c: FakeConnection) => c.socket.end()],
  ['RST', (c: FakeConnection) => c.cut('rst')],
  ['an error', (c: FakeConnection) => c.send(errorResponse('53300', SECRET, 'FATAL'))],
] as const) {
  test(`at login: ${what}; the pool recovers when the server does`, async (t) => {
    const { fake, daemon, login } = await house(t, () => {}, { client_login_timeout: 60 });
    fake.options = { ...fake.options, onStartup };
    const from = daemon.log.mark();
    const early = RawClient.login(daemon, { user: 'app', password: 'app', database: 'd' }).then(
      (client) => client.destroy(),
      () => {},
    );
    await daemon.log.waitFor(/ S-.*closing because: /, { from });
    const { onMessage } = fake.options;
    fake.options = onMessage === undefined ? {} : { onMessage };
    await early;
    const client = await until(() => login(), { timeoutMs: 10_000, everyMs: 100 });
    assert.deepEqual(await client.rows('select 1'), [['good']]);
  });
}

test('CommandComplete of another kind is not taken for DISCARD ALL', async (t) => {
  const { login } = await house(t, (connection) =>
    connection.send(commandComplete('DISCARD ALLS'), readyForQuery()),
  );
  const client = await login();
  client.send(wire.parse('s', 'select 1'), wire.sync());
  await client.until('Z');
  await client.query('bad');
  client.send(wire.bind('', 's'), wire.execute(''), wire.sync());
  assert.equal(wire.typesOf(await client.until('Z')), '2CZ');
});
