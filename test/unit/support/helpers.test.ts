/** The demo's and the tests' helpers that need no PostgreSQL. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { readCounts } from '../../../src/demo/cluster-metrics.ts';
import { repairSymlinks } from '../../../src/demo/embedded-postgres.ts';
import { freePortFrom } from '../../../src/demo/free-port.ts';
import { LogLines } from '../../../src/demo/log-lines.ts';
import { isReachable } from '../../../src/demo/run-as.ts';
import { ScramExchange } from '../../../src/demo/scram-exchange.ts';
import { newTraffic, runTraffic } from '../../../src/demo/traffic.ts';
import { trafficHeader, trafficLine } from '../../../src/demo/traffic-report.ts';
import { errorResponse, FakeServer, oneColumn } from '../../support/fake-server.ts';
import { freePorts } from '../../support/ports.ts';
import { RawClient } from '../../support/raw-client.ts';
import {
  bind,
  close,
  describe as describeMessage,
  errorFields,
  execute,
  flush,
  parse,
  sync,
  typesOf,
} from '../../support/raw-messages.ts';
import { until } from '../../support/until.ts';

test('missing library symlinks of the embedded package are made again', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'pgconcierge-links-'));
  t.after(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'native', 'lib'), { recursive: true });
  writeFileSync(join(root, 'native', 'lib', 'libx.so.1.2'), '');
  const links = ['libx.so', 'libx.so.1'].map((name) => ({
    source: 'native/lib/libx.so.1.2',
    target: `native/lib/${name}`,
  }));
  writeFileSync(join(root, 'native', 'pg-symlinks.json'), JSON.stringify(links));
  symlinkSync('libx.so.1.2', join(root, 'native', 'lib', 'libx.so'));
  assert.equal(repairSymlinks(join(root, 'native')), 1);
  assert.ok(existsSync(join(root, 'native', 'lib', 'libx.so.1')));
  assert.equal(repairSymlinks(join(root, 'native')), 0);
});

test('what another user can reach is judged by every folder above it', (t) => {
  const user = { name: 'stranger', uid: 65533, gid: 65533 };
  const root = mkdtempSync(join(tmpdir(), 'pgconcierge-reach-')); // mode 0700
  t.after(() => rmSync(root, { recursive: true }));
  writeFileSync(join(root, 'file'), '', { mode: 0o644 });
  assert.equal(isReachable(join(root, 'file'), user), false);
  assert.equal(isReachable(join(root, 'file'), null), true);
  assert.equal(isReachable('/', user), true);
});

test('the SCRAM exchange reproduces the vector of RFC 7677', async () => {
  const exchange = new ScramExchange('pencil', 'rOprNGfwEbeRWgbNEkqO', 'user');
  const nonce = 'rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0';
  const final = await exchange.clientFinal(`r=${nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`);
  assert.equal(final, `c=biws,r=${nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`);
  exchange.verifyServer('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=');
  assert.throws(() => exchange.verifyServer('v=AAAA'), /does not know the password/);
  await assert.rejects(new ScramExchange('x', 'abc').clientFinal('r=other,s=QQ==,i=1'), /bad server nonce/);
});

test('a log that ends without the line says so at once', async () => {
  const log = new LogLines('thing');
  const waiting = assert.rejects(log.waitFor(/ready/), /thing: died before a log line matched \/ready\//);
  log.ended('died');
  await waiting;
  await assert.rejects(log.waitFor(/ready/, { timeoutMs: 5 }), /within 5 ms/);
});

test('until reports the last error when the deadline passes', async () => {
  let looks = 0;
  assert.equal(await until(() => ++looks >= 3 && 'there', { everyMs: 1 }), 'there');
  const failing = until(() => Promise.reject(new Error('no such row')), {
    timeoutMs: 5,
    everyMs: 1,
    what: 'the row',
  });
  await assert.rejects(failing, (error: Error) => {
    assert.match(error.message, /^the row: not within 5 ms/);
    assert.equal((error.cause as Error).message, 'no such row');
    return true;
  });
});

test('the fake server records startup, queries and cancels, and answers as scripted', async (t) => {
  const server = await FakeServer.start({
    onMessage: (connection, message) => {
      if (message.type === 'Q') connection.send(oneColumn('n', ['1', null]));
      else connection.answer(message);
    },
  });
  t.after(() => server.close());
  const client = await RawClient.login(server, {
    user: 'u',
    database: 'd',
    parameters: { application_name: 'a' },
  });
  assert.deepEqual(await client.rows('SELECT n'), [['1'], [null]]);
  client.send(parse('', 'SELECT 1'), bind('', ''), execute(''), sync());
  assert.equal(typesOf(await client.until('Z')), '12CZ');
  await client.cancel();
  client.send(describeMessage('P', ''), flush());
  assert.equal(typesOf(await client.until('n')), 'n');
  client.send(close('S', 's'), sync());
  assert.equal(typesOf(await client.until('Z')), '3Z');
  const connection = await server.waitConnections(1);
  assert.deepEqual(connection.queries, ['SELECT n']);
  assert.deepEqual(Object.fromEntries(connection.startup), {
    user: 'u',
    database: 'd',
    application_name: 'a',
  });
  assert.deepEqual(server.cancels, [client.backendKey]);
  connection.send(errorResponse('57P01', 'terminating connection', 'FATAL'));
  const [fatal] = await client.until('E');
  assert.ok(fatal);
  const { severity, code, message } = errorFields(fatal);
  assert.deepEqual([severity, code, message], ['FATAL', '57P01', 'terminating connection']);
  connection.cut();
  await client.closed();
});

test('free ports are different from one another and can be bound', async () => {
  const ports = await freePorts(20);
  assert.equal(new Set(ports).size, 20);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(ports[0], '127.0.0.1', resolve));
  const taken = ports[0] ?? 0;
  assert.ok((await freePortFrom(taken)) > taken);
  await new Promise((resolve) => server.close(resolve));
});

test('a log is read by line however it is cut, and is bounded', async () => {
  const log = new LogLines('thing');
  const stream = new PassThrough();
  log.follow(stream);
  const seen = log.waitFor(/^two words$/);
  for (const piece of ['one\ntwo ', 'words\r', '\nlast']) stream.write(piece);
  assert.equal(await seen, 'two words');
  stream.end();
  await log.waitFor(/^last$/);
  assert.deepEqual(log.lines(), ['one', 'two words', 'last']);
  const mark = log.mark();
  const more = new PassThrough();
  log.follow(more);
  more.end(Array.from({ length: 25_000 }, (_, i) => `line ${i}\n`).join(''));
  await log.waitFor(/^line 24999$/, { from: mark });
  assert.ok(log.lines().length <= 20_000);
  assert.equal(log.mark(), mark + 25_000);
  assert.deepEqual(log.lines(log.mark() - 2), ['line 24998', 'line 24999']);
});

test('the sample traffic counts what does not work and what is stale, and ends although an answer is owed', async (t) => {
  let silent = false;
  let counter = 7;
  const server = await FakeServer.start({
    onMessage: (connection, message) => {
      if (silent && message.type !== 'X') return;
      const sql = message.type === 'Q' ? message.body.toString() : '';
      // each read of the counter is one behind what was written
      if (sql.includes('UPDATE counters')) connection.send(oneColumn('n', [String(++counter)]));
      else if (sql.includes('FROM counters')) connection.send(oneColumn('n', [String(counter - 1)]));
      else connection.answer(message);
    },
  });
  t.after(() => server.close());
  const seen = newTraffic();
  const stop = new AbortController();
  const running = runTraffic({
    login: { host: server.host, port: server.port, user: 'app', database: 'app' },
    seen,
    signal: stop.signal,
  });
  await until(() => seen.stale > 1, { what: 'stale reads' });
  assert.equal(seen.errors, 0, seen.lastError);
  for (const connection of server.connections) connection.cut();
  await until(() => seen.errors > 0, { what: 'errors' });
  assert.notEqual(seen.lastError, '');
  silent = true;
  stop.abort();
  await running;
});

const METRICS = (reads: number, state: string): string => `# HELP pgconcierge_node_state x
pgconcierge_node_state{cluster="main",node="pg1",state="primary"} 1
pgconcierge_node_state{cluster="main",node="pg1",state="replica"} 0
pgconcierge_node_state{cluster="main",node="pg2",state="${state}"} 1
pgconcierge_node_reads_total{cluster="main",node="pg1"} ${reads}
pgconcierge_node_reads_total{cluster="main",node="pg2"} ${3 * reads}
pgconcierge_node_writes_total{cluster="main",node="pg1"} 40
pgconcierge_node_lag_bytes{cluster="main",node="pg2"} 2048
pgconcierge_route_decisions_total{cluster="main",class="read",reason="not fresh",node="pg1"} ${reads}
pgconcierge_route_decisions_total{cluster="main",class="read",reason="balanced",node="pg2"} 9
`;

test('the report of the traffic: what has happened between two looks at the metrics, per second', () => {
  const before = readCounts(METRICS(10, 'replica'));
  const now = readCounts(METRICS(30, 'lagging'));
  assert.deepEqual(now.nodes, [
    { name: 'pg1', state: 'primary', reads: 30, writes: 40, lagBytes: null },
    { name: 'pg2', state: 'lagging', reads: 90, writes: 0, lagBytes: 2048 },
  ]);
  const [roles = '', columns = ''] = trafficHeader(now);
  const line = trafficLine(before, now, { stale: 1, errors: 2, lastError: 'x' }, 2);
  assert.match(roles, /^ +\|pg1 primary +\|pg2 lagging$/);
  assert.match(line, /^\d\d:\d\d:\d\d +10 +1 +2 \| +10 +25% +0 +- \| +30 +75% +0 +2 kB$/);
  // the columns stand under their names, and three nodes fit into 110
  for (const text of [roles, columns, line]) assert.equal(text.indexOf('|'), line.indexOf('|'));
  assert.equal(columns.length, line.length);
  assert.ok(line.length + (line.length - line.lastIndexOf(' |')) <= 110, `${line.length}`);
});
