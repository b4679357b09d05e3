/** Single stories of routed clients, byte by byte: what the random ones of routed-pipelines.test.ts would seldom tell. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { errorResponse } from '../support/fake-server.ts';
import * as wire from '../support/raw-messages.ts';
import { show } from './compare.ts';
import { RoutedSim, type SimClient, type SimServer } from './routed-sim.ts';

const ALL = 65_536;

async function start(
  t: TestContext,
  settings: Readonly<Record<string, string | number>> = {},
): Promise<RoutedSim> {
  const routed = await RoutedSim.start({ pool_mode: 'transaction', default_pool_size: 1, ...settings });
  t.after(() => routed.sim.end());
  return routed;
}

/** Everything that moves until nothing does, a login's steps among them. */
async function settle({ sim }: RoutedSim, ...clients: SimClient[]): Promise<void> {
  for (let i = 0; i < 10; i++) {
    sim.settle(clients, ALL);
    await new Promise(setImmediate);
  }
}

/** Sends, and returns all that comes back. */
async function ask(routed: RoutedSim, client: SimClient, ...bytes: Buffer[]): Promise<string> {
  client.received = Buffer.alloc(0);
  client.transport.arrive(Buffer.concat(bytes));
  await settle(routed, client);
  return brief(client.received);
}

/** `T D(a) C(SELECT 1) Z(I)`: codes of errors, values of rows. */
function brief(bytes: Buffer): string {
  const { messages, rest } = wire.splitMessages(bytes);
  assert.equal(rest.length, 0, show(bytes));
  const words = messages.map((message) => {
    const { type, body } = message;
    if (type === 'E') return `E(${wire.errorFields(message).code})`;
    if (type === 'D') return `D(${wire.rowFields(message).join()})`;
    return type === 'Z' || type === 'C' ? `${type}(${body.toString().replaceAll('\0', '')})` : type;
  });
  return words.join(' ');
}

/** What reached this node from clients: types, with the texts of queries. */
function heard({ sim }: RoutedSim, name: string): string[] {
  const port = 5001 + ['pg1', 'pg2', 'pg3'].indexOf(name);
  return sim.servers
    .filter((one) => one.port === port)
    .flatMap(({ postgres }) => postgres.messages)
    .map(({ type, body }) => (type === 'Q' ? `Q ${wire.readCstrs(body)[0]}` : type));
}

/** Only this replica may take reads. */
function onlyReplica(routed: RoutedSim): void {
  // pg3 goes down: `which` picks the second replica
  routed.happen('node', 1);
}

/** Delivers to the servers what the proxy has written, and nothing back. */
function toServers({ sim }: RoutedSim, client: SimClient): void {
  while (client.transport.deliver(ALL)) {
    // until all is read
  }
  for (const { transport, postgres } of sim.servers) {
    postgres.receive(transport.take());
    transport.arrive(postgres.take());
  }
}

const extended = (name: string, sql: string): Buffer =>
  Buffer.concat([wire.parse(name, sql), wire.bind('', name), wire.execute(''), wire.sync()]);
const again = (name: string): Buffer => Buffer.concat([wire.bind('', name), wire.execute(''), wire.sync()]);

/** The only connection of a node. */
function only(routed: RoutedSim, name: string): SimServer {
  const [server] = routed.serversOf(name);
  assert.ok(server, `no server of ${name}`);
  return server;
}

test('half of a message that belongs to no COPY, behind a read that the replica refuses, spoils no server', async (t) => {
  const routed = await start(t);
  onlyReplica(routed);
  const bad = await routed.sim.login();
  const other = await routed.sim.login();
  await ask(routed, other, wire.query('select a'));
  const stray = wire.copyData(Buffer.alloc(500, 0x51));
  bad.received = Buffer.alloc(0);
  bad.transport.arrive(Buffer.concat([wire.query("select lie('c0', 1)"), stray.subarray(0, 100)]));
  await settle(routed, bad);
  assert.equal(brief(bad.received), 'T D(1) C(SELECT 1) Z(I)');
  assert.equal(await ask(routed, other, wire.query('select b')), 'T D(b) C(SELECT 1) Z(I)');
  bad.transport.arrive(stray.subarray(100));
  await settle(routed, bad);
  assert.equal(await ask(routed, bad, wire.query('select c')), 'T D(c) C(SELECT 1) Z(I)');
  assert.ok(!heard(routed, 'pg2').includes('d'));
  assert.deepEqual(routed.cluster.counts(), { 1: 1 });
});

test('a write behind a read that only the primary could take leaves its mark', async (t) => {
  const routed = await start(t);
  routed.happen('node', 0);
  routed.happen('node', 1);
  const client = await routed.sim.login();
  const both = await ask(routed, client, wire.query('select a'), wire.query('insert into c0 values (7)'));
  assert.equal(both, 'T D(a) C(SELECT 1) Z(I) C(INSERT 0 1) Z(I)');
  // the replicas are back, and have not replayed it
  routed.happen('node', 0);
  routed.happen('node', 1);
  routed.happen('sample', 0);
  const read = wire.query('select max(v) from c0');
  assert.equal(await ask(routed, client, read), 'T D(7) C(SELECT 1) Z(I)');
  assert.deepEqual([...heard(routed, 'pg2'), ...heard(routed, 'pg3')], []);
});

for (const [how, begin] of [
  ['beside a read', [wire.query('begin;select a')]],
  ['behind a read', [wire.query('select a;begin')]],
  ['in a batch', [extended('', 'select a').subarray(0, -5), extended('', 'begin')]],
] as const) {
  test(`a write in a block that was begun ${how} leaves its mark`, async (t) => {
    const routed = await start(t);
    const client = await routed.sim.login();
    assert.match(await ask(routed, client, ...begin), /Z\(T\)$/);
    assert.equal(await ask(routed, client, wire.query('insert into c0 values (7)')), 'C(INSERT 0 1) Z(T)');
    assert.equal(await ask(routed, client, wire.query('commit')), 'C(COMMIT) Z(I)');
    routed.happen('sample', 0);
    const read = wire.query('select max(v) from c0');
    assert.equal(await ask(routed, client, read), 'T D(7) C(SELECT 1) Z(I)');
  });
}

test('the primary is lost from sight while a client is in the middle of a pipeline: it goes on', async (t) => {
  const routed = await start(t);
  const client = await routed.sim.login();
  await ask(routed, client, wire.query('begin'), wire.query('insert into c0 values (1)'));
  client.received = Buffer.alloc(0);
  client.transport.arrive(Buffer.concat([wire.query('select a'), wire.parse('', 'select b')]));
  while (client.transport.deliver(ALL)) {
    // the proxy has read it, nobody has answered
  }
  routed.happen('primary', 0);
  client.transport.arrive(
    Buffer.concat([wire.bind('', ''), wire.execute(''), wire.sync(), wire.query('commit')]),
  );
  await settle(routed, client);
  assert.equal(brief(client.received), 'T D(a) C(SELECT 1) Z(T) 1 2 D(b) C(SELECT 1) Z(T) C(COMMIT) Z(I)');
});

test('a replica that becomes the primary while it reads: what comes behind the read waits for its answer', async (t) => {
  const routed = await start(t);
  onlyReplica(routed);
  const client = await routed.sim.login();
  await ask(routed, client, wire.query('select a'));
  client.received = Buffer.alloc(0);
  client.transport.arrive(wire.query("select lie('c0', 1)"));
  while (client.transport.deliver(ALL)) {
    // on its way to pg2
  }
  routed.happen('swap', 0);
  assert.equal(routed.cluster.primary, 'pg2');
  client.transport.arrive(wire.query('insert into c0 values (2)'));
  toServers(routed, client);
  assert.deepEqual(routed.cluster.counts(), { 1: 1 });
  routed.end(only(routed, 'pg2'));
  await settle(routed, client);
  // the function has written there after all: the read is not run again, and the write behind it is
  assert.equal(brief(client.received), 'E(08006) Z(I) C(INSERT 0 1) Z(I)');
  assert.deepEqual(routed.cluster.counts(), { 1: 1, 2: 1 });
});

test('what may write is not run again when its node is lost, although a replica was meant to refuse it', async (t) => {
  const routed = await start(t);
  onlyReplica(routed);
  const client = await routed.sim.login('app_ro');
  await ask(routed, client, wire.query('select a'));
  // promoted, and the monitors do not know yet
  routed.cluster.primary = 'pg2';
  client.received = Buffer.alloc(0);
  client.transport.arrive(wire.query('insert into c0 values (1)'));
  toServers(routed, client);
  assert.deepEqual(routed.cluster.counts(), { 1: 1 });
  routed.end(only(routed, 'pg2'));
  await settle(routed, client);
  assert.equal(brief(client.received), 'E(08006) Z(I)');
  assert.deepEqual(routed.cluster.counts(), { 1: 1 });
});

for (const [how, rollback, first] of [
  ['by a simple query', wire.query('rollback'), 'C(ROLLBACK) Z(I)'],
  ['by an unnamed statement', extended('', 'rollback'), '1 2 C(ROLLBACK) Z(I)'],
  ['by a named statement (JDBC)', extended('S_2', 'rollback'), '1 2 C(ROLLBACK) Z(I)'],
] as const) {
  test(`a READ ONLY block whose replica is lost is ended ${how}`, async (t) => {
    const routed = await start(t);
    onlyReplica(routed);
    const client = await routed.sim.login();
    for (let i = 0; i < 2; i++) {
      await ask(routed, client, wire.query('begin read only'), wire.query('select a'));
      routed.end(only(routed, 'pg2'));
      routed.heal();
      onlyReplica(routed);
      await settle(routed, client);
      assert.equal(await ask(routed, client, wire.query('select b')), 'E(08006) Z(E)');
      assert.equal(await ask(routed, client, wire.query('select b')), 'E(25P02) Z(E)');
      // the second time a prepared statement is run again, or another one is made
      const named = i === 1 && how.includes('named statement (');
      const ended = await ask(routed, client, named ? again('S_2') : rollback);
      assert.equal(ended, named ? '2 C(ROLLBACK) Z(I)' : first);
    }
    assert.equal(await ask(routed, client, wire.query('select c')), 'T D(c) C(SELECT 1) Z(I)');
    assert.ok(!heard(routed, 'pg1').some((text) => text === 'Q rollback'));
  });
}

test('BEGIN and COMMIT as named statements need no server, prepared in their own batch or not', async (t) => {
  const routed = await start(t);
  const client = await routed.sim.login();
  assert.equal(await ask(routed, client, extended('b', 'begin')), '1 2 C(BEGIN) Z(T)');
  const prepare = Buffer.concat([wire.parse('c', 'commit'), wire.describe('S', 'c'), wire.sync()]);
  assert.equal(await ask(routed, client, prepare), '1 t n Z(T)');
  assert.equal(await ask(routed, client, again('c')), '2 C(COMMIT) Z(I)');
  assert.equal(await ask(routed, client, again('b')), '2 C(BEGIN) Z(T)');
  assert.deepEqual(heard(routed, 'pg1'), []);
  // and where there is something to do, they do it
  assert.equal(await ask(routed, client, wire.query('insert into c0 values (5)')), 'C(INSERT 0 1) Z(T)');
  assert.equal(await ask(routed, client, again('c')), '2 C(COMMIT) Z(I)');
  assert.deepEqual(routed.cluster.counts(), { 5: 1 });
  assert.equal(await ask(routed, client, wire.parse('c', 'commit'), wire.sync()), 'E(42P05) Z(I)');
});

test('settings of the proxy are prepared with a Flush and run with the Sync', async (t) => {
  const routed = await start(t);
  const client = await routed.sim.login();
  const route = "set pgconcierge.route = 'primary'";
  for (const [name, first] of [
    ['', '1 t n'],
    ['s1', '1 t n'],
  ] as const) {
    const prepare = [wire.parse(name, route), wire.describe('S', name), wire.flush()];
    assert.equal(await ask(routed, client, ...prepare), first);
    const run = [wire.bind('', name), wire.execute(''), wire.sync()];
    assert.equal(await ask(routed, client, ...run), '2 C(SET) Z(I)');
  }
  const show = [wire.parse('s2', 'show pgconcierge.route'), wire.describe('S', 's2'), wire.flush()];
  assert.equal(await ask(routed, client, ...show), '1 t T');
  assert.equal(await ask(routed, client, again('s2')), '2 D(primary) C(SHOW) Z(I)');
  const wrong = [wire.parse('s3', 'show pgconcierge.x'), wire.flush()];
  assert.equal(await ask(routed, client, ...wrong), '1');
  assert.equal(
    await ask(routed, client, wire.bind('', 's3'), wire.execute(''), wire.sync()),
    'E(42704) Z(I)',
  );
  assert.deepEqual([...heard(routed, 'pg1'), ...heard(routed, 'pg2'), ...heard(routed, 'pg3')], []);
});

/** What replicas have taught. */
const learned = ({ sim }: RoutedSim): string[] =>
  sim.desk.runtimes
    .get('main')
    ?.learned.rows()
    .map((row) => row.text) ?? [];

test('of a batch the statement that was run is learned, not another one that was only prepared', async (t) => {
  const routed = await start(t);
  const client = await routed.sim.login();
  const lie = "select lie('c0', 1)";
  const both = [wire.parse('s1', 'select a'), extended('s2', lie)];
  assert.equal(await ask(routed, client, ...both), '1 1 2 D(1) C(SELECT 1) Z(I)');
  assert.deepEqual(learned(routed), ["select lie('?', ?)"]);
});

test('a read that recovery cut off and whose backend was ended then is not learned as a write', async (t) => {
  const routed = await start(t);
  onlyReplica(routed);
  const client = await routed.sim.login();
  await ask(routed, client, wire.query('select a'));
  client.received = Buffer.alloc(0);
  client.transport.arrive(wire.query('select b'));
  while (client.transport.deliver(ALL)) {
    // on its way to pg2
  }
  const { transport, postgres } = only(routed, 'pg2');
  transport.take();
  postgres.dead = true;
  transport.arrive(errorResponse('40001', 'conflict with recovery'));
  transport.arrive(errorResponse('57P01', 'terminating connection', 'FATAL', 'ProcessInterrupts'));
  await settle(routed, client);
  assert.equal(brief(client.received), 'T D(b) C(SELECT 1) Z(I)');
  assert.deepEqual(learned(routed), []);
});

test('a refusal behind rows is the client’s, once', async (t) => {
  const routed = await start(t);
  const client = await routed.sim.login();
  const lie = wire.query("select a;select lie('c0', 1)");
  assert.equal(await ask(routed, client, lie), 'T D(a) C(SELECT 1) T E(25006) Z(I)');
  assert.equal(await ask(routed, client, lie), 'T D(a) C(SELECT 1) T D(1) C(SELECT 1) Z(I)');
  // in a READ ONLY block it says nothing of the text
  const block = [wire.query('begin read only'), wire.query("select lie('c0', 2)"), wire.query('rollback')];
  assert.match(await ask(routed, client, ...block), /E\(25006\)/);
  assert.equal(learned(routed).length, 1);
});

test('a Parse that was lost with its replica has not happened', async (t) => {
  const routed = await start(t);
  onlyReplica(routed);
  const client = await routed.sim.login();
  await ask(routed, client, wire.query('begin read only'), wire.query('select a'));
  client.received = Buffer.alloc(0);
  client.transport.arrive(Buffer.concat([wire.parse('s1', 'select b'), wire.bind('', 's1'), wire.sync()]));
  while (client.transport.deliver(ALL)) {
    // on its way to pg2
  }
  routed.end(only(routed, 'pg2'));
  await settle(routed, client);
  assert.equal(brief(client.received), 'E(08006) Z(E)');
  await ask(routed, client, wire.query('rollback'));
  routed.heal();
  assert.equal(await ask(routed, client, extended('s1', 'select c')), '1 2 D(c) C(SELECT 1) Z(I)');
});

test('a Close that was lost with its replica has not happened', async (t) => {
  const routed = await start(t);
  onlyReplica(routed);
  const client = await routed.sim.login();
  await ask(routed, client, extended('s1', 'select a'));
  await ask(routed, client, wire.query('begin read only'), wire.query('select a'));
  client.received = Buffer.alloc(0);
  client.transport.arrive(Buffer.concat([wire.bind('', 's1'), wire.close('S', 's1'), wire.sync()]));
  while (client.transport.deliver(ALL)) {
    // on its way to pg2
  }
  routed.end(only(routed, 'pg2'));
  await settle(routed, client);
  assert.equal(brief(client.received), 'E(08006) Z(E)');
  await ask(routed, client, wire.query('rollback'));
  routed.heal();
  assert.equal(await ask(routed, client, again('s1')), '2 D(a) C(SELECT 1) Z(I)');
});

test('copies of units that may be sent again are freed', async (t) => {
  const routed = await start(t);
  const clients: SimClient[] = [];
  for (let i = 0; i < 20; i++) clients.push(await routed.sim.login());
  const long = `select a -- ${'x'.repeat(50_000)}`;
  for (const client of clients)
    assert.equal(await ask(routed, client, wire.query(long)), 'T D(a) C(SELECT 1) Z(I)');
  const kept = [...routed.sim.clients.clients].map((one) => one.routing?.unit.buffer.length ?? 0);
  assert.ok(Math.max(...kept) <= 4096, `kept: ${kept.join()}`);
  for (const pool of routed.sim.pools.pools())
    for (const { replies } of pool.servers) assert.equal(replies.guard.back.buffer.length, 0);
});

describe('a backend of a replica is ended on command, and only the monitor can tell whether its node was meant', () => {
  const FATAL = errorResponse('57P01', 'terminating connection', 'FATAL', 'ProcessInterrupts');

  /** `bytes` are with pg2, nothing of the reply is back, and the backend has ended. */
  async function ended(
    t: TestContext,
    ...bytes: Buffer[]
  ): Promise<{ routed: RoutedSim; client: SimClient }> {
    const routed = await start(t);
    onlyReplica(routed);
    const client = await routed.sim.login();
    await ask(routed, client, extended('s1', 'select a'));
    client.received = Buffer.alloc(0);
    client.transport.arrive(Buffer.concat(bytes));
    while (client.transport.deliver(ALL)) {
      // on its way to pg2
    }
    const { transport, postgres } = only(routed, 'pg2');
    transport.take();
    postgres.dead = true;
    transport.arrive(FATAL);
    await settle(routed, client);
    assert.equal(brief(client.received), '', 'nobody knows yet');
    return { routed, client };
  }

  async function sweep(routed: RoutedSim, client: SimClient): Promise<string> {
    routed.sim.clients.sweep(routed.sim.nowMs);
    await settle(routed, client);
    return brief(client.received);
  }

  async function atRest({ sim, cluster }: RoutedSim): Promise<void> {
    for (const pool of sim.pools.pools()) assert.equal(pool.waiters.count, 0);
    for (const { inFlight } of sim.desk.runtimes.get('main')?.nodes.values() ?? []) assert.equal(inFlight, 0);
    assert.deepEqual(cluster.counts(), {});
  }

  const READS = [
    ['a query', wire.query('select b'), 'T D(b) C(SELECT 1) Z(I)'],
    ['a prepared read', again('s1'), '2 D(a) C(SELECT 1) Z(I)'],
    ['a batch', extended('s2', 'select b'), '1 2 D(b) C(SELECT 1) Z(I)'],
  ] as const;
  for (const [what, bytes, answer] of READS) {
    for (const said of ['lastErrorAt', 'connectedAt'] as const)
      test(`${said === 'lastErrorAt' ? 'its next check fails' : 'it was restarted'}: ${what} goes elsewhere, once, and what came behind it follows`, async (t) => {
        const { routed, client } = await ended(t, bytes, wire.query('select c'));
        routed.sim.nowMs += 100;
        routed.checks[said] = routed.sim.nowMs;
        routed.checks.answeredFrom = said === 'connectedAt' ? routed.sim.nowMs : 0;
        routed.tell();
        assert.equal(await sweep(routed, client), `${answer} T D(c) C(SELECT 1) Z(I)`);
        assert.ok(heard(routed, 'pg1').length > 0);
        await atRest(routed);
      });

    test(`its next check is answered: the client of ${what} is told, and goes on`, async (t) => {
      const { routed, client } = await ended(t, bytes, wire.query('select c'));
      // one that had begun before says nothing
      routed.checks.answeredFrom = routed.sim.nowMs;
      routed.tell();
      assert.equal(await sweep(routed, client), '');
      routed.checks.answeredFrom += 1;
      routed.tell();
      assert.equal(await sweep(routed, client), 'E(57P01) Z(I) T D(c) C(SELECT 1) Z(I)');
      assert.equal(await ask(routed, client, again('s1')), '2 D(a) C(SELECT 1) Z(I)');
      await atRest(routed);
    });
  }

  test('the node is known as down: nothing is waited for', async (t) => {
    const { routed, client } = await ended(t, wire.query('select b'));
    routed.happen('node', 0);
    await settle(routed, client);
    assert.equal(brief(client.received), 'T D(b) C(SELECT 1) Z(I)');
  });

  test('the monitor says nothing: the client is told after check_timeout', async (t) => {
    const { routed, client } = await ended(t, again('s1'));
    routed.sim.nowMs += 4900;
    assert.equal(await sweep(routed, client), '');
    routed.sim.nowMs += 200;
    assert.equal(await sweep(routed, client), 'E(57P01) Z(I)');
    await atRest(routed);
  });

  test('a client that leaves meanwhile is forgotten', async (t) => {
    const { routed, client } = await ended(t, again('s1'));
    client.transport.closed = true;
    client.transport.handler.onGone('');
    routed.checks.lastErrorAt = routed.sim.nowMs + 1;
    routed.tell();
    await sweep(routed, client);
    await atRest(routed);
  });

  test('in a READ ONLY block with work done there is no doubt: the block is lost', async (t) => {
    const routed = await start(t);
    onlyReplica(routed);
    const client = await routed.sim.login();
    await ask(routed, client, wire.query('begin read only'), wire.query('select a'));
    client.received = Buffer.alloc(0);
    client.transport.arrive(wire.query('select b'));
    while (client.transport.deliver(ALL)) {
      // on its way to pg2
    }
    const { transport, postgres } = only(routed, 'pg2');
    transport.take();
    postgres.dead = true;
    transport.arrive(FATAL);
    await settle(routed, client);
    assert.equal(brief(client.received), 'E(57P01) Z(E)');
    assert.equal(await ask(routed, client, wire.query('rollback')), 'C(ROLLBACK) Z(I)');
  });
});
