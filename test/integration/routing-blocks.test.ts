/**
 * BEGIN that waits for its first statement (ROUTING.md "Unit of routing"), in every form: no server is taken for it, the
 * client is told what PostgreSQL would tell it, and the block is the one that was asked for. What comes out is compared
 * with a session straight on the primary.
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { before, describe, test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { Daemon } from '../support/daemon.ts';
import { withCluster } from '../support/postgres.ts';
import { RawClient } from '../support/raw-client.ts';
import * as raw from '../support/raw-messages.ts';
import { nodeAt, type RoutedOptions, routedDaemon, whereAmI } from '../support/routed.ts';
import {
  brief,
  nodeOf,
  outcome,
  PROTOCOLS,
  type Protocol,
  routedLogin,
  rows,
  send,
  statement,
  untilNodes,
} from '../support/routed-client.ts';
import { Admin } from '../support/scenario.ts';
import { until } from '../support/until.ts';

let cluster: PostgresCluster;

before(async () => {
  cluster = await withCluster(2);
  await cluster.sql(cluster.primary, 'CREATE TABLE foo (bar integer UNIQUE DEFERRABLE INITIALLY DEFERRED)');
  await cluster.waitCaughtUp();
});

async function start(t: TestContext, options: RoutedOptions = {}): Promise<{ daemon: Daemon; admin: Admin }> {
  const daemon = await routedDaemon(t, cluster, options);
  const admin = await Admin.login(t, daemon);
  await untilNodes(admin, 'pg1 primary, pg2 replica, pg3 replica');
  return { daemon, admin };
}

/** Straight to the primary. */
async function direct(t: TestContext): Promise<RawClient> {
  const client = await RawClient.login(cluster.primary, { user: 'postgres' });
  t.after(() => client.destroy());
  return client;
}

/** Servers that have a client, in all pools. */
async function linked(admin: Admin): Promise<number> {
  return (await admin.show('POOLS'))
    .filter((row) => row.text('database') !== 'pgbouncer')
    .reduce((sum, row) => sum + row.int('sv_active'), 0);
}

/** Types, tags, errors, notices and statuses: all that a client sees but the rows' content. */
function seen(client: RawClient, messages: readonly raw.RawMessage[]): string {
  const parts = messages.map((message) => {
    if (message.type === 'C') return `C(${raw.tagsOf([message]).join('')})`;
    if (message.type === 'E' || message.type === 'N') {
      const { code, message: text } = raw.errorFields(message);
      return `${message.type}(${code} ${text})`;
    }
    return message.type;
  });
  return `${parts.join(' ')} ${client.transactionStatus}`;
}

describe('as on a server of its own', () => {
  const clean = 'DELETE FROM foo';
  const scripts: readonly (readonly string[])[] = [
    // ends without a statement
    ['BEGIN', 'COMMIT'],
    ['BEGIN', 'ROLLBACK'],
    ['BEGIN', 'END'],
    ['BEGIN', 'ABORT'],
    ['START TRANSACTION READ ONLY', 'COMMIT WORK'],
    ['BEGIN', 'COMMIT', 'COMMIT'],
    ['COMMIT'],
    ['ROLLBACK'],
    // work
    ['BEGIN', 'INSERT INTO foo VALUES (1)', 'COMMIT', 'SELECT bar FROM foo', clean],
    ['BEGIN', 'INSERT INTO foo VALUES (1)', 'ROLLBACK', 'SELECT bar FROM foo'],
    ['BEGIN', 'SELECT 1', 'INSERT INTO foo VALUES (1)', 'COMMIT', 'SELECT bar FROM foo', clean],
    // chains
    ['BEGIN', 'COMMIT AND CHAIN', 'INSERT INTO foo VALUES (1)', 'ROLLBACK', 'SELECT bar FROM foo'],
    ['BEGIN', 'ROLLBACK AND CHAIN', 'INSERT INTO foo VALUES (1)', 'COMMIT', 'SELECT bar FROM foo', clean],
    ['BEGIN', 'INSERT INTO foo VALUES (1)', 'COMMIT AND CHAIN', 'DELETE FROM foo', 'ROLLBACK', clean],
    ['BEGIN', 'SELECT 1 / 0', 'ROLLBACK AND CHAIN', 'SELECT 1', 'COMMIT'],
    ['BEGIN', 'SELECT 1 / 0', 'COMMIT AND CHAIN', 'SELECT 1', 'COMMIT'],
    ['BEGIN ISOLATION LEVEL REPEATABLE READ', 'COMMIT AND CHAIN', 'SHOW transaction_isolation', 'COMMIT'],
    ['COMMIT AND CHAIN'],
    // read only
    ['BEGIN READ ONLY', 'SHOW transaction_read_only', 'COMMIT', 'INSERT INTO foo VALUES (1)', clean],
    ['BEGIN', 'SET TRANSACTION READ ONLY', 'SHOW transaction_read_only', 'COMMIT'],
    ['BEGIN READ ONLY', 'SET TRANSACTION READ WRITE', 'INSERT INTO foo VALUES (1)', 'COMMIT', clean],
    ['BEGIN', 'SET TRANSACTION READ ONLY', 'INSERT INTO foo VALUES (1)', 'COMMIT'],
    ['BEGIN', 'SELECT 1', 'SET TRANSACTION READ ONLY', 'DELETE FROM foo', 'ROLLBACK'],
    ['BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY', 'SHOW transaction_isolation', 'COMMIT'],
    ['BEGIN', 'SET TRANSACTION ISOLATION LEVEL SERIALIZABLE', 'SHOW transaction_isolation', 'COMMIT'],
    // its first statement fails
    ['BEGIN', 'SELECT 1 / 0', 'SELECT 1', 'COMMIT', 'SELECT 1'],
    ['BEGIN', 'nonsense', 'SELECT 1', 'ROLLBACK', 'SELECT 1'],
    ['BEGIN READ ONLY', 'DELETE FROM foo', 'SELECT 1', 'ROLLBACK', 'SELECT 1'],
    ['BEGIN', 'INSERT INTO foo VALUES (2)', 'INSERT INTO foo VALUES (2)', 'COMMIT', 'SELECT bar FROM foo'],
    // a BEGIN too many
    ['BEGIN', 'BEGIN', 'INSERT INTO foo VALUES (1)', 'COMMIT', clean],
    ['BEGIN', 'BEGIN READ ONLY', 'SHOW transaction_read_only', 'COMMIT'],
    ['BEGIN', 'SELECT 1', 'BEGIN', 'COMMIT'],
    ['BEGIN nonsense', 'SELECT 1'],
    // savepoints
    ['BEGIN', 'SAVEPOINT a', 'SELECT 1 / 0', 'ROLLBACK TO a', 'INSERT INTO foo VALUES (1)', 'COMMIT', clean],
    ['BEGIN', 'ROLLBACK TO a', 'SELECT 1', 'COMMIT'],
    ['SAVEPOINT a'],
    // empty, and several at once
    ['BEGIN', '', 'COMMIT'],
    ['BEGIN', 'DISCARD ALL', 'SELECT 1', 'ROLLBACK'],
    ['BEGIN', 'VACUUM foo', 'ROLLBACK'],
    ['BEGIN', "SET LOCAL work_mem = '1MB'", 'SHOW work_mem', 'COMMIT', 'SHOW work_mem'],
    ['BEGIN', '/* nothing */', 'INSERT INTO foo VALUES (1)', 'COMMIT', clean],
  ];
  const simpleOnly: readonly (readonly string[])[] = [
    ['BEGIN', 'INSERT INTO foo VALUES (1); COMMIT', 'SELECT bar FROM foo', clean],
    ['BEGIN; INSERT INTO foo VALUES (1)', 'SELECT bar FROM foo', 'ROLLBACK', 'SELECT bar FROM foo'],
    ['BEGIN; COMMIT; BEGIN', 'COMMIT'],
    ['BEGIN', 'COMMIT; BEGIN', 'SELECT 1', 'COMMIT'],
    ['BEGIN', 'ROLLBACK; SELECT 1', 'SELECT 1'],
  ];
  for (const protocol of PROTOCOLS) {
    test(protocol, async (t) => {
      const { daemon, admin } = await start(t);
      for (const script of protocol === 'simple' ? [...scripts, ...simpleOnly] : scripts) {
        const ours = await routedLogin(t, daemon);
        const theirs = await direct(t);
        const got = await play(ours, protocol, script);
        await cluster.sql(cluster.primary, clean);
        const wanted = await play(theirs, protocol, script);
        await cluster.sql(cluster.primary, clean);
        assert.deepEqual(got, wanted);
        // both ends of the wire agree that it is over
        assert.equal(await linked(admin), 0, script.join('; '));
        ours.destroy();
        theirs.destroy();
      }
    });
  }
});

/** What each statement of a script was answered with. */
async function play(client: RawClient, protocol: Protocol, script: readonly string[]): Promise<string[]> {
  const said: string[] = [];
  for (const sql of script) {
    const reply = await send(client, protocol, sql);
    said.push(`${sql}: ${seen(client, reply)} ${JSON.stringify(raw.rowsOf(reply))}`);
  }
  assert.equal(client.pending.length, 0);
  return said;
}

test('a block that has begun and does nothing holds no server', async (t) => {
  const { daemon, admin } = await start(t, { settings: { default_pool_size: 1 } });
  const clients: RawClient[] = [];
  for (const protocol of PROTOCOLS) {
    for (const begin of ['BEGIN', 'START TRANSACTION READ ONLY', 'BEGIN ISOLATION LEVEL SERIALIZABLE']) {
      const client = await routedLogin(t, daemon);
      assert.match(await outcome(client, protocol, begin), / T$/);
      clients.push(client);
    }
  }
  assert.equal(await linked(admin), 0);
  // more of them than servers: none waits for another
  for (const client of clients) {
    assert.match(await outcome(client, 'simple', 'SELECT 1'), /^SELECT 1 T$/);
    assert.equal(await linked(admin), 1);
    assert.equal(await outcome(client, 'simple', 'COMMIT'), 'COMMIT I');
    assert.equal(await linked(admin), 0);
  }
});

describe('BEGIN and its first statement in one batch, as JDBC sends them', () => {
  const begun = (begin: string, named: string): Buffer =>
    Buffer.concat([raw.parse(named, begin), raw.bind('', named), raw.execute('')]);

  for (const named of ['', 'S_1']) {
    for (const [begin, nodes] of [
      ['BEGIN', /^pg1$/],
      ['BEGIN READ ONLY', /^pg[23]$/],
      ['BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY', /^pg[23]$/],
      ['BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY', /^pg1$/],
      ['START TRANSACTION', /^pg1$/],
    ] as const) {
      test(`${begin}, statement ${named === '' ? 'unnamed' : named}`, async (t) => {
        const { daemon } = await start(t);
        const client = await routedLogin(t, daemon);
        const other = await direct(t);
        for (let i = 0; i < 2; i++) {
          const batch = Buffer.concat([
            // the second time its name is known
            i === 0 || named === '' ? begun(begin, named) : begun(begin, named).subarray(0, 0),
            ...(i === 0 || named === '' ? [] : [raw.bind('', named), raw.execute('')]),
            statement(whereAmI),
            raw.sync(),
          ]);
          client.send(batch);
          other.send(batch);
          const reply = await client.until('Z');
          assert.equal(seen(client, reply), seen(other, await other.until('Z')));
          const node = nodeAt(cluster, raw.rowsOf(reply)[0]?.[0]);
          assert.match(node, nodes);
          assert.equal(await nodeOf(cluster, client), node);
          // the end alone, and with a last statement
          client.send(...(i === 0 ? [] : [statement('SELECT 1')]), statement('COMMIT'), raw.sync());
          assert.match(brief(client, await client.until('Z')), /COMMIT I$/);
          await outcome(other, 'simple', 'COMMIT');
        }
      });
    }
  }

  test('a deferred BEGIN, then a batch with everything else', async (t) => {
    const { daemon, admin } = await start(t);
    const client = await routedLogin(t, daemon);
    await outcome(client, 'extended', 'BEGIN');
    client.send(
      statement('INSERT INTO foo VALUES ($1)', ['7']),
      statement('SELECT bar FROM foo'),
      statement('COMMIT'),
      raw.sync(),
    );
    const reply = await client.until('Z');
    assert.equal(brief(client, reply), 'INSERT 0 1 SELECT 1 COMMIT I');
    assert.deepEqual(raw.rowsOf(reply), [['7']]);
    assert.equal(await linked(admin), 0);
    await outcome(client, 'simple', 'DELETE FROM foo');
  });

  test('without waiting for any answer: BEGIN, work and COMMIT, each with its Sync', async (t) => {
    const { daemon } = await start(t);
    const client = await routedLogin(t, daemon);
    for (const begin of ['BEGIN', 'BEGIN READ ONLY']) {
      const batches = [begin, whereAmI, 'SHOW transaction_read_only', 'COMMIT', 'SELECT 1'];
      client.send(...batches.flatMap((sql) => [statement(sql), raw.sync()]));
      const replies: string[] = [];
      for (const _ of batches) replies.push(brief(client, await client.until('Z')));
      assert.deepEqual(replies, ['BEGIN T', 'SELECT 1 T', 'SHOW T', 'COMMIT I', 'SELECT 1 I']);
      client.send(...batches.map((sql) => raw.query(sql)));
      replies.length = 0;
      for (const _ of batches) replies.push(brief(client, await client.until('Z')));
      assert.deepEqual(replies, ['BEGIN T', 'SELECT 1 T', 'SHOW T', 'COMMIT I', 'SELECT 1 I']);
    }
  });
});

test('COPY, a cursor and a prepared statement as the first of a block', async (t) => {
  const { daemon } = await start(t);
  const client = await routedLogin(t, daemon);
  await outcome(client, 'simple', 'BEGIN');
  client.send(raw.query('COPY foo FROM STDIN'));
  await client.until('G');
  client.send(raw.copyData(Buffer.from('1\n2\n')), raw.copyDone());
  assert.equal(brief(client, await client.until('Z')), 'COPY 2 T');
  assert.equal(await outcome(client, 'simple', 'ROLLBACK'), 'ROLLBACK I');
  assert.deepEqual(await rows(client, 'simple', 'SELECT count(*) FROM foo'), [['0']]);

  await outcome(client, 'simple', 'BEGIN READ ONLY');
  await outcome(
    client,
    'simple',
    'DECLARE c CURSOR FOR SELECT inet_server_port() FROM generate_series(1, 3)',
  );
  const node = await nodeOf(cluster, client, 'FETCH 1 FROM c');
  assert.match(node, /^pg[23]$/);
  assert.equal(await nodeOf(cluster, client, 'FETCH 1 FROM c', 'extended'), node);
  assert.equal(await outcome(client, 'simple', 'COMMIT'), 'COMMIT I');

  for (const [begin, expected] of [
    ['BEGIN', /^pg1$/],
    ['BEGIN READ ONLY', /^pg[23]$/],
  ] as const) {
    // a new one each time: after a block that might have written, reads are for the primary for a while
    const other = await routedLogin(t, daemon);
    other.send(raw.parse('where', whereAmI), raw.sync());
    await other.until('Z');
    await outcome(other, 'extended', begin);
    other.send(raw.bind('', 'where'), raw.execute(''), raw.sync());
    const [row] = raw.rowsOf(await other.until('Z'));
    assert.match(nodeAt(cluster, row?.[0]), expected);
    assert.equal(await outcome(other, 'extended', 'COMMIT'), 'COMMIT I');
  }
});

test('a client that goes away in a deferred block leaves nothing behind', async (t) => {
  const { daemon, admin } = await start(t);
  const client = await routedLogin(t, daemon);
  await outcome(client, 'simple', 'BEGIN');
  client.destroy();
  await until(async () => (await admin.of('CLIENTS', 'app')).length === 0);
  assert.equal(await linked(admin), 0);
  const next = await routedLogin(t, daemon);
  assert.equal(await outcome(next, 'simple', 'INSERT INTO foo VALUES (1)'), 'INSERT 0 1 I');
  assert.equal(await outcome(next, 'simple', 'DELETE FROM foo'), 'DELETE 1 I');
});

for (const protocol of PROTOCOLS) {
  test(`a session route that is set in a deferred block counts for it (${protocol})`, async (t) => {
    const { daemon } = await start(t);
    const client = await routedLogin(t, daemon);
    await outcome(client, protocol, 'BEGIN');
    assert.equal(await outcome(client, protocol, "SET pgconcierge.route = 'replica'"), 'SET T');
    assert.deepEqual(await rows(client, protocol, 'SHOW pgconcierge.route'), [['replica']]);
    assert.match(await nodeOf(cluster, client, whereAmI, protocol), /^pg[23]$/);
    assert.equal(await outcome(client, protocol, 'COMMIT'), 'COMMIT I');
    // a mistake in it fails the block, as any error does
    await outcome(client, protocol, 'BEGIN');
    assert.equal(await outcome(client, protocol, "SET pgconcierge.route = 'nowhere'"), '22023 E');
    assert.equal(await outcome(client, protocol, 'SELECT 1'), '25P02 E');
    assert.equal(await outcome(client, protocol, 'ROLLBACK'), 'ROLLBACK I');
    assert.match(await nodeOf(cluster, client, whereAmI, protocol), /^pg[23]$/);
  });

  test(`ROLLBACK AND CHAIN of a block that failed before it had a server begins another (${protocol})`, async (t) => {
    const { daemon, admin } = await start(t);
    const client = await routedLogin(t, daemon);
    for (const begin of ['BEGIN', 'BEGIN READ ONLY']) {
      await outcome(client, protocol, begin);
      assert.equal(await outcome(client, protocol, "SET pgconcierge.route = 'nowhere'"), '22023 E');
      assert.equal(await outcome(client, protocol, 'ROLLBACK AND CHAIN'), 'ROLLBACK T');
      assert.equal(await linked(admin), 0);
      const readOnly = begin === 'BEGIN' ? 'off' : 'on';
      assert.deepEqual(await rows(client, protocol, 'SHOW transaction_read_only'), [[readOnly]]);
      assert.equal(await outcome(client, protocol, 'COMMIT'), 'COMMIT I');
    }
  });
}
