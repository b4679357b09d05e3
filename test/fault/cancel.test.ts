/**
 * Cancel requests: they come late, with a wrong key, for queries that are over, for clients that wait. Whatever happens,
 * only a query of the client that asked may ever fail with 57014.
 */
import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import { before, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { withDaemon } from '../support/daemon.ts';
import { freePort } from '../support/ports.ts';
import { type Proxied, withProxied } from '../support/proxied.ts';
import { RawClient } from '../support/raw-client.ts';
import * as wire from '../support/raw-messages.ts';
import { until } from '../support/until.ts';

let house: Proxied;

before(async () => {
  house = await withProxied({ settings: { query_wait_timeout: 60 } });
});

const login = (database: 'one' | 'tx' | 'sess' = 'one'): Promise<RawClient> =>
  RawClient.login(house.daemon, house.address(database));

async function poolColumn(column: string): Promise<string | null | undefined> {
  return (await house.console('SHOW POOLS')).find((row) => row['database'] === 'one')?.[column];
}

/** Whoever asks PostgreSQL for advisory lock 7 waits from now on, until what this returns is called. */
async function locked(t: TestContext): Promise<() => Promise<void>> {
  const holder = await RawClient.login(house.postgres, { user: 'postgres', database: 'app' });
  t.after(() => holder.destroy());
  await holder.rows('select pg_advisory_lock(7)');
  return async () => {
    await holder.rows('select pg_advisory_unlock(7)');
  };
}

async function untilSomeoneWaits(): Promise<void> {
  const waiting = "select 1 from pg_locks where locktype = 'advisory' and not granted";
  await until(async () => (await house.rows(waiting)).length === 1);
}

const codeOf = (messages: readonly wire.RawMessage[]): string => {
  const error = messages.find(({ type }) => type === 'E');
  return error === undefined ? '' : wire.errorFields(error).code;
};

/** A door before PostgreSQL behind which cancel requests, and nothing else, wait for `arrival`. */
async function slowCancels(t: TestContext, target: number, arrival: () => Promise<void>): Promise<number> {
  const open = new Set<Socket>();
  const server = createServer({ noDelay: true }, (client) => {
    open.add(client);
    client.on('error', () => {});
    client.once('data', async (first: Buffer) => {
      client.pause();
      if (first.length === 16 && first.readInt32BE(4) === 80_877_102) await arrival();
      const inner = connect({ port: target, host: '127.0.0.1', noDelay: true });
      open.add(inner);
      inner.on('error', () => client.destroy());
      client.on('close', () => inner.destroy());
      inner.write(first);
      client.pipe(inner).pipe(client);
    });
  });
  t.after(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return port;
}

for (const poolSize of [1, 2]) {
  test(`stress: eight clients on ${poolSize} servers, late cancels of four of them`, async (t) => {
    const port = await slowCancels(t, house.postgres.port, () => sleep(Math.random() * 40));
    const daemon = await withDaemon({
      databases: { d: `host=127.0.0.1 port=${port} dbname=app` },
      settings: {
        pool_mode: 'transaction',
        default_pool_size: poolSize,
        server_tls_sslmode: 'disable',
        query_wait_timeout: 60,
        log_connections: 0,
        log_disconnections: 0,
      },
    });
    const clients: RawClient[] = [];
    t.after(() => {
      for (const one of clients) one.destroy();
    });
    for (let i = 0; i < 8; i++) {
      clients.push(await RawClient.login(daemon, { user: 'app', password: 'app', database: 'd' }));
    }
    let canceled = 0;
    const lives = clients.map(async (client, i) => {
      let asked = 0;
      let failed = 0;
      for (let n = 0; n < 25; n++) {
        const sql = `select pg_sleep(${(Math.random() * 0.02).toFixed(3)}), '${i}/${n}'`;
        if (n % 2 === 0) client.send(wire.query(sql));
        else client.send(wire.parse('', sql), wire.bind('', ''), wire.execute(''), wire.sync());
        const cancels: Promise<void>[] = [];
        if (i < 4) {
          for (let c = 0; c < 2; c++) {
            asked += 1;
            cancels.push(sleep(Math.random() * 30).then(() => client.cancel()));
          }
        }
        const messages = await client.until('Z', 60_000);
        const code = codeOf(messages);
        if (code === '') assert.equal(wire.rowsOf(messages)[0]?.[1], `${i}/${n}`);
        else {
          assert.equal(code, '57014');
          failed += 1;
        }
        assert.ok(failed <= asked, `client ${i} was canceled ${failed} times and asked ${asked} times`);
        if (n % 3 === 0) await Promise.all(cancels);
        else for (const one of cancels) one.catch(() => {});
      }
      if (i >= 4) assert.equal(failed, 0);
      canceled += failed;
    });
    await Promise.all(lives);
    assert.ok(canceled > 0, 'no cancel ever hit');
    const admin = await RawClient.login(daemon, {
      user: 'postgres',
      password: 'postgres',
      database: 'pgbouncer',
    });
    await until(async () => {
      const messages = await admin.query('SHOW POOLS');
      const names = wire.columnNames(messages[0] ?? { type: 'T', body: Buffer.alloc(2) });
      const row = wire.rowsOf(messages).find((one) => one[0] === 'd');
      const busy = names.filter((name, at) => /cancel|active|waiting/.test(name) && row?.[at] !== '0');
      return row !== undefined && busy.length === 0;
    });
    await admin.end();
    await daemon.destroy();
  });
}

test('waiting in the queue: 57014, and the client goes on', async (t) => {
  const holder = await login();
  const waiter = await login();
  t.after(() => {
    holder.destroy();
    waiter.destroy();
  });
  await holder.query('begin');
  waiter.send(wire.query('select 1'), wire.query('select 2'));
  await until(async () => (await poolColumn('cl_waiting')) === '1');
  await waiter.cancel();
  const first = await waiter.until('Z');
  assert.equal(codeOf(first), '57014');
  assert.equal(wire.typesOf(first), 'EZ');
  await holder.query('commit');
  assert.deepEqual(wire.rowsOf(await waiter.until('Z')), [['2']]);

  await holder.query('begin');
  waiter.send(
    wire.parse('s', 'select 3'),
    wire.bind('', 's'),
    wire.execute(''),
    wire.sync(),
    wire.query('select 4'),
  );
  await until(async () => (await poolColumn('cl_waiting')) === '1');
  await waiter.cancel();
  const second = await waiter.until('Z');
  assert.equal(codeOf(second), '57014');
  assert.equal(wire.typesOf(second), 'EZ');
  await holder.query('commit');
  assert.deepEqual(wire.rowsOf(await waiter.until('Z')), [['4']]);
  assert.deepEqual(await waiter.rows('select 5'), [['5']]);
  await holder.end();
  await waiter.end();
  await house.assertQuiet('one');
});

test('canceled in the queue with only half of the message sent: the rest is not taken for a message', async (t) => {
  const holder = await login();
  const waiter = await login();
  t.after(() => {
    holder.destroy();
    waiter.destroy();
  });
  await holder.query('begin');
  const long = wire.query(`select '${'Q'.repeat(100_000)}'`);
  waiter.send(long.subarray(0, 5000));
  await until(async () => (await poolColumn('cl_waiting')) === '1');
  await waiter.cancel();
  assert.equal(codeOf(await waiter.until('Z')), '57014');
  waiter.send(long.subarray(5000), wire.query('select 6'));
  await holder.query('commit');
  assert.deepEqual(wire.rowsOf(await waiter.until('Z')), [['6']]);
  await holder.end();
  await waiter.end();
  await house.assertQuiet('one');
});

test('a wrong key, a key that is too short, and garbage cancel nothing and are answered by closing', async (t) => {
  const client = await login();
  t.after(() => client.destroy());
  const key = client.backendKey;
  assert.ok(key !== null);
  const release = await locked(t);
  client.send(wire.query("select pg_advisory_xact_lock(7), 'mine'"));
  await untilSomeoneWaits();
  const wrong = Buffer.from(key.secret);
  wrong[0] = (wrong[0] ?? 0) ^ 1;
  for (const request of [
    wire.cancelRequest(key.pid, wrong),
    wire.cancelRequest(key.pid ^ 1, key.secret),
    wire.cancelRequest(0, Buffer.alloc(4)),
    wire.cancelRequest(key.pid, Buffer.alloc(0)),
    wire.cancelRequest(key.pid, Buffer.alloc(256)),
    wire.cancelRequest(key.pid, Buffer.concat([key.secret, Buffer.from('x')])),
  ]) {
    const asker = await RawClient.connect(house.daemon);
    asker.send(request);
    await asker.closed();
    assert.equal(asker.bytesReceived, 0, request.toString('hex'));
    asker.destroy();
  }
  await release();
  assert.equal(wire.rowsOf(await client.until('Z'))[0]?.[1], 'mine');
  await client.end();
  await house.assertQuiet('one');
});

test('the right key: 57014, the transaction is failed and not lost', async (t) => {
  const client = await login();
  t.after(() => client.destroy());
  await client.query('begin');
  client.send(wire.query('select pg_sleep(600)'));
  await until(
    async () =>
      (await house.rows("select 1 from pg_stat_activity where query ~ '^select pg_sleep'")).length > 0,
  );
  await client.cancel();
  const messages = await client.until('Z');
  assert.equal(codeOf(messages), '57014');
  assert.equal(client.transactionStatus, 'E');
  await client.query('rollback');
  assert.deepEqual(await client.rows('select 1'), [['1']]);
  // for a client that does nothing a cancel does nothing, whoever has the server now
  const other = await login();
  t.after(() => other.destroy());
  const release = await locked(t);
  other.send(wire.query("select pg_advisory_xact_lock(7), 'other'"));
  await untilSomeoneWaits();
  for (let i = 0; i < 5; i++) await client.cancel();
  await release();
  assert.equal(wire.rowsOf(await other.until('Z'))[0]?.[1], 'other');
  await other.end();
  await client.end();
  await house.assertQuiet('one');
});

test('the client goes while its cancel is on the way: the server is kept back until it has arrived', async (t) => {
  let onItsWay: () => void = () => {};
  const held = new Promise<void>((resolve) => {
    onItsWay = resolve;
  });
  let arrive: () => void = () => {};
  const arrival = new Promise<void>((resolve) => {
    arrive = resolve;
  });
  const port = await slowCancels(t, house.postgres.port, () => {
    onItsWay();
    return arrival;
  });
  const daemon = await withDaemon({
    databases: { d: `host=127.0.0.1 port=${port} dbname=app` },
    settings: {
      pool_mode: 'transaction',
      default_pool_size: 1,
      server_tls_sslmode: 'disable',
      query_wait_timeout: 60,
    },
  });
  const at = { user: 'app', password: 'app', database: 'd' };
  const client = await RawClient.login(daemon, at);
  const next = await RawClient.login(daemon, at);
  const admin = await RawClient.login(daemon, {
    user: 'postgres',
    password: 'postgres',
    database: 'pgbouncer',
  });
  t.after(() => {
    for (const one of [client, next, admin]) one.destroy();
  });
  const release = await locked(t);
  client.send(wire.query('select pg_advisory_xact_lock(7)'));
  await untilSomeoneWaits();
  client.cancel().catch(() => {});
  await held;
  await release();
  await client.until('Z');
  client.destroy();
  next.send(wire.query("select pg_sleep(0.5), 'next'"));
  await until(async () => (await admin.rows('SHOW SERVERS')).some((row) => row.includes('being_canceled')));
  assert.equal(next.pending.length, 0);
  arrive();
  assert.equal(wire.rowsOf(await next.until('Z', 20_000))[0]?.[1], 'next');
  await next.end();
  await daemon.destroy();
});
