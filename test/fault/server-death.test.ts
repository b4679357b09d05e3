/**
 * PostgreSQL dies: one backend by pg_terminate_backend or SIGKILL, or the whole server at once, while a client is idle,
 * in a transaction, in the middle of a large reply, in COPY in, or while the pool logs in. The client that was in the
 * middle is told and closed, nobody else is, and the pool serves again.
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { signalProcess } from '../../src/demo/processes.ts';
import { withDaemon } from '../support/daemon.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { type Proxied, withProxied } from '../support/proxied.ts';
import { RawClient } from '../support/raw-client.ts';
import * as wire from '../support/raw-messages.ts';
import { until } from '../support/until.ts';

let house: Proxied;

before(async () => {
  house = await withProxied({ poolSize: 2, settings: { query_wait_timeout: 60 } });
  await house.postgres.sql('create table t (a text); alter table t owner to app', 'app');
});

const login = (database: 'one' | 'tx' | 'sess' = 'one'): Promise<RawClient> =>
  RawClient.login(house.daemon, house.address(database));

/** PostgreSQL has got over the last backend that was killed. */
let recovered: Promise<unknown> = Promise.resolve();

async function untilServed(database: 'one' | 'tx' | 'sess'): Promise<void> {
  await until(
    async () => {
      const client = await login(database);
      try {
        return (await client.rows('select 1', 10_000))[0]?.[0] === '1';
      } finally {
        client.destroy();
      }
    },
    { timeoutMs: 30_000, everyMs: 100, what: `database ${database} serves` },
  );
}

/** After a crash PostgreSQL needs a moment; a client that asks meanwhile waits or is refused, and then served. */
async function assertServes(clients: number, database: 'one' | 'tx' | 'sess' = 'one'): Promise<void> {
  await untilServed(database);
  // the postmaster may hear of a killed backend after that, and only then it ends all others
  await recovered;
  await untilServed(database);
  await house.assertQuiet(database, clients);
}

type Death = 'pg_terminate_backend' | 'kill -9' | 'immediate stop';

async function die(how: Death, pid: number): Promise<void> {
  const { instance } = house.postgres;
  if (how === 'pg_terminate_backend') {
    // waits until it has ended
    assert.deepEqual(await house.rows(`select pg_terminate_backend(${pid}, 10000)`), [['t']]);
  } else if (how === 'kill -9') {
    const from = instance.log.mark();
    signalProcess(pid, 'SIGKILL');
    recovered = instance.log.waitFor(/database system is ready to accept connections/, {
      from,
      timeoutMs: 30_000,
    });
    recovered.catch(() => {}); // awaited later
  } else await instance.stop('immediate');
}

async function revive(how: Death): Promise<void> {
  if (how === 'immediate stop') await house.postgres.instance.start();
}

async function backend(client: RawClient): Promise<number> {
  return Number((await client.rows('select pg_backend_pid()'))[0]?.[0]);
}

interface State {
  readonly name: string;
  /** Brings the client there; its backend's pid is known before. */
  enter(client: RawClient): Promise<void>;
  /** Nothing of the client's is lost: it stays connected. */
  readonly survives?: true;
}

const STATES: readonly State[] = [
  { name: 'idle in the pool', enter: async () => {}, survives: true },
  {
    name: 'idle in a transaction',
    enter: async (client) => {
      await client.query('begin');
    },
  },
  {
    name: 'running a query',
    enter: async (client) => {
      client.send(wire.query('select pg_sleep(600)'));
      await until(
        async () =>
          (await house.rows("select 1 from pg_stat_activity where query ~ '^select pg_sleep'")).length > 0,
      );
    },
  },
  {
    name: 'in the middle of a large reply that nobody reads',
    enter: async (client) => {
      client.send(wire.query("select repeat('x', 100000) from generate_series(1, 2000)"));
      await until(() => client.bytesReceived > 500_000);
      client.pause();
      await client.next();
    },
  },
  {
    name: 'in COPY in',
    enter: async (client) => {
      client.send(wire.query('copy t from stdin'));
      await client.until('G');
      client.send(wire.copyData(Buffer.from('a\n')));
    },
  },
  {
    name: 'in an unfinished batch',
    enter: async (client) => {
      client.send(wire.parse('s', 'select 1'), wire.bind('', 's'), wire.execute(''), wire.flush());
      await client.until('C');
    },
  },
];

for (const how of ['pg_terminate_backend', 'kill -9', 'immediate stop'] as const) {
  for (const state of STATES) {
    test(`${how} while ${state.name}`, async (t) => {
      const client = await login();
      const other = await login();
      t.after(() => {
        client.destroy();
        other.destroy();
      });
      const pid = await backend(client);
      await state.enter(client);
      const large = client.socket.isPaused();
      const mark = client.pending.length;
      await die(how, pid);
      client.resume();
      if (state.survives !== true) {
        await client.closed(15_000);
        const after = client.pending.slice(mark);
        const readies = after.filter(({ type }) => type === 'Z');
        assert.deepEqual(readies, [], `it went on: ${wire.typesOf(after).slice(-50)}`);
        const last = after.at(-1);
        // a reply that broke off in the middle of a row has no room for an error
        if (!large) {
          assert.equal(last?.type, 'E', `${wire.typesOf(after)}`);
          const { severity, code } = wire.errorFields(last);
          assert.equal(severity, 'FATAL');
          assert.match(code, /^(57P0[123]|08006)$/);
        }
      }
      await revive(how);
      await assertServes(state.survives === true ? 2 : 1);
      // a client that had no server has not noticed
      assert.equal(other.ended, false);
      assert.deepEqual(await other.rows('select 2', 20_000), [['2']]);
      if (state.survives === true) assert.deepEqual(await client.rows('select 3', 20_000), [['3']]);
      await other.end();
      client.destroy();
      await assertServes(0);
    });
  }
}

test('session mode: the session is over with its server, the next one has a new one', async () => {
  const client = await login('sess');
  const pid = await backend(client);
  await die('pg_terminate_backend', pid);
  await client.closed();
  const last = client.pending.at(-1);
  assert.equal(last?.type, 'E');
  const next = await login('sess');
  assert.notEqual(await backend(next), pid);
  await next.end();
  await house.assertQuiet('sess');
});

test('a server that is lost while others wait: they get the next one, in order', async () => {
  const holder = await login();
  await holder.query('begin');
  const pid = await backend(holder);
  const waiters = await Promise.all([login(), login(), login()]);
  const answers: Promise<(string | null)[][]>[] = [];
  for (const [i, client] of waiters.entries()) {
    // one after the other: sockets written together may be read in any order
    answers.push(client.rows(`select ${i}, clock_timestamp()::timestamp(6)::text`, 20_000));
    await until(async () => (await pool('one'))['cl_waiting'] === String(i + 1));
  }
  await die('pg_terminate_backend', pid);
  const rows = (await Promise.all(answers)).map((answer) => answer[0] ?? []);
  assert.deepEqual(
    rows.map((row) => row[0]),
    ['0', '1', '2'],
  );
  // the order in which PostgreSQL ran them; our own sockets could be read in another one
  const times = rows.map((row) => String(row[1]));
  assert.deepEqual([...times].sort(), times);
  await holder.closed();
  for (const one of waiters) await one.end();
  await house.assertQuiet('one');
});

async function pool(database: string): Promise<Readonly<Record<string, string | null>>> {
  const rows = await house.console('SHOW POOLS');
  return rows.find((row) => row['database'] === database) ?? {};
}

test('the network dies at every byte of the login: clients wait, and are served when it is back', async () => {
  const proxy = await FaultProxy.start({ port: house.postgres.port });
  try {
    const daemon = await withDaemon({
      databases: { d: `host=127.0.0.1 port=${proxy.port} dbname=app` },
      settings: {
        pool_mode: 'transaction',
        default_pool_size: 1,
        server_login_retry: 0.05,
        query_wait_timeout: 60,
        log_connections: 0,
      },
    });
    const at = { user: 'app', password: 'app', database: 'd' };
    const first = await RawClient.login(daemon, at);
    const size = proxy.bytes.down;
    await first.end();
    for (let bytes = 1; bytes < size; bytes += 13) {
      const from = daemon.log.mark();
      proxy.cut('rst');
      await daemon.log.waitFor(/ S-.*closing because: /, { from });
      proxy.cutAfter(bytes, 'down');
      const accepted = proxy.accepted;
      const client = await RawClient.login(daemon, at);
      assert.deepEqual(await client.rows('select 1'), [['1']], `cut after ${bytes} bytes`);
      assert.equal(proxy.down.cutAfterBytes, null, 'it was cut');
      assert.ok(proxy.accepted >= accepted + 2, 'it was tried again');
      await client.end();
    }
    proxy.heal();
    const client = await RawClient.login(daemon, at);
    assert.deepEqual(await client.rows('select 1'), [['1']]);
    await client.end();
    await daemon.destroy();
  } finally {
    await proxy.close();
  }
});

test('a server that accepts and says nothing: server_connect_timeout ends it, waiting clients are not ended', async () => {
  const proxy = await FaultProxy.start({ port: house.postgres.port });
  try {
    const daemon = await withDaemon({
      databases: { d: `host=127.0.0.1 port=${proxy.port} dbname=app` },
      settings: {
        pool_mode: 'transaction',
        server_connect_timeout: 0.3,
        server_login_retry: 0.1,
        query_wait_timeout: 60,
        client_login_timeout: 60,
      },
    });
    proxy.blackhole();
    const pending = RawClient.login(daemon, { user: 'app', password: 'app', database: 'd' });
    await daemon.log.waitFor(/closing because: connect timeout/);
    await daemon.log.waitFor(/closing because: connect timeout/, { from: daemon.log.mark() });
    proxy.heal();
    const client = await pending;
    assert.deepEqual(await client.rows('select 1'), [['1']]);
    await client.end();
    await daemon.destroy();
  } finally {
    await proxy.close();
  }
});
