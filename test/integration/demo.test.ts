/** `npm start` as a newcomer meets it: starts, says what to type, works, and leaves nothing behind at Ctrl-C. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { guardProcess, unguardProcess } from '../../src/demo/guard.ts';
import { LogLines } from '../../src/demo/log-lines.ts';
import { freePorts } from '../support/ports.ts';
import { testBinaries } from '../support/postgres.ts';
import { RawClient } from '../support/raw-client.ts';
import { until } from '../support/until.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));

async function startDemo(t: TestContext, args: readonly string[]) {
  const { binDir } = await testBinaries();
  const child = spawn(process.execPath, [MAIN, 'demo', ...args], {
    env: { ...process.env, PG_BIN: binDir },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const pid = child.pid ?? 0;
  guardProcess(pid);
  child.once('exit', () => unguardProcess(pid));
  // a failed test must not leave one behind: it would keep this process alive
  t.after(() => {
    child.kill('SIGKILL');
  });
  const log = new LogLines('demo');
  log.follow(child.stdout);
  log.follow(child.stderr);
  child.once('close', (code, signal) => log.ended(`ended (${signal ?? `exit code ${code}`})`));
  return { child, log };
}

async function iniOf(log: LogLines): Promise<string> {
  return (await log.waitFor(/^Its configuration: /)).replace('Its configuration: ', '');
}

/** The console, with the password that the guide names. */
async function adminOf(log: LogLines, port: number): Promise<RawClient> {
  const adminLine = await log.waitFor(/psql postgresql:\/\/postgres:/);
  const password = /postgres:([0-9a-f]+)@/.exec(adminLine)?.[1] ?? '';
  return RawClient.login({ port }, { user: 'postgres', password, database: 'pgbouncer' });
}

/** The time and a row of numbers as --traffic prints them: fallback, stale, errors, and of each node four columns. */
const TRAFFIC_LINE =
  /^\d\d:\d\d:\d\d +(\d+) +(\d+) +(\d+)((?: \| +\d+ +(?:\d+%|-) +\d+ +(?:-|\d+ k?M?B)){3})$/;

interface TrafficRow {
  readonly fallback: number;
  readonly stale: number;
  readonly errors: number;
  readonly nodes: readonly { readonly reads: number; readonly writes: number }[];
}

function trafficRow(line: string): TrafficRow | null {
  const found = TRAFFIC_LINE.exec(line);
  if (found === null) return null;
  const [, fallback, stale, errors, cells = ''] = found;
  const nodes = cells
    .split(' |')
    .slice(1)
    .map((cell) => {
      const [reads, , writes] = cell.trim().split(/\s+/);
      return { reads: Number(reads), writes: Number(writes) };
    });
  return { fallback: Number(fallback), stale: Number(stale), errors: Number(errors), nodes };
}

test('the demo starts, routes, carries traffic through a switchover, and cleans up at Ctrl-C', async (t) => {
  const [port = 0, httpPort = 0] = await freePorts(2);
  const { child, log } = await startDemo(t, [
    '--traffic',
    '--port',
    String(port),
    '--http-port',
    String(httpPort),
  ]);
  const exited = once(child, 'close');
  await log.waitFor(/Ctrl-C ends everything/, { timeoutMs: 30_000 });

  // what the guide says of the nodes is so
  const nodesLine = await log.waitFor(
    /Behind it: pg1 primary on \d+, pg2 replica on \d+, pg3 replica on \d+\.$/,
  );
  const [primary = '', ...replicas] = [...nodesLine.matchAll(/(?:primary|replica) on (\d+)/g)].map(
    ([, at]) => at ?? '',
  );
  for (const [database, recovery] of [
    ['app', ['f', 't']],
    ['app_rw', ['f']],
    ['app_ro', ['t']],
  ] as const) {
    const client = await RawClient.login({ port }, { user: 'app', password: 'app', database });
    const [[count, inRecovery, at] = []] = await client.rows(
      'SELECT count(*), pg_is_in_recovery(), inet_server_port() FROM accounts',
    );
    assert.equal(count, '1000');
    assert.ok(
      (recovery as readonly (string | null | undefined)[]).includes(inRecovery),
      `${database}: ${inRecovery}`,
    );
    assert.ok((inRecovery === 't' ? replicas : [primary]).includes(at ?? ''), `${database}: ${at}`);
    await client.end();
  }
  const admin = await adminOf(log, port);
  const explain = () => log.tail(40);
  const states = async () => (await admin.rows('SHOW NODES')).map((row) => `${row[10]} ${row[12]}`);
  assert.deepEqual(await states(), ['pg1 primary', 'pg2 replica', 'pg3 replica']);
  // the monitors are no superusers
  const ini = readFileSync(await iniOf(log), 'utf8');
  assert.match(ini, /^main = check_user=monitor check_password=\S+$/m);
  for (const path of ['health', 'metrics', 'primary', 'replica']) {
    const response = await fetch(`http://127.0.0.1:${httpPort}/${path}`);
    assert.equal(response.status, 200, path);
    await response.arrayBuffer();
  }

  // reads on both replicas, writes on the primary alone
  await log.waitFor(/^ +\|pg1 primary +\|pg2 replica +\|pg3 replica$/);
  const row = trafficRow(await log.waitFor(TRAFFIC_LINE));
  assert.ok(row !== null);
  const [pg1, pg2, pg3] = row.nodes;
  assert.ok(pg1 !== undefined && pg1.writes > 0, log.tail());
  for (const replica of [pg2, pg3]) {
    assert.ok(replica !== undefined && replica.reads > 0, log.tail());
    assert.equal(replica.writes, 0);
  }

  // the switchover of the guide
  const from = log.mark();
  child.stdin.write('promote pg9\npromote pg1\n');
  await log.waitFor(/promote which node\? There are pg1, pg2, pg3/, { from });
  await log.waitFor(/pg1 is the primary already/, { from });
  await admin.rows('PAUSE app');
  child.stdin.write('promote pg2\n');
  await log.waitFor(/pg1 is back as a replica of pg2/, { from, timeoutMs: 30_000 });
  await admin.rows('RESUME app');
  await until(async () => (await states()).join() === 'pg1 replica,pg2 primary,pg3 replica', {
    timeoutMs: 20_000,
    what: 'the new roles',
    explain,
  });
  const after = log.mark();
  await log.waitFor(/^ +\|pg1 replica +\|pg2 primary +\|pg3 replica$/, { from });
  await until(
    () => log.lines(after).some((line) => (trafficRow(line)?.nodes ?? []).every(({ reads }) => reads > 0)),
    { timeoutMs: 15_000, what: 'reads on all nodes', explain },
  );
  const rows = log
    .lines()
    .map(trafficRow)
    .filter((one) => one !== null);
  assert.equal(
    rows.reduce((sum, { errors, stale }) => sum + errors + stale, 0),
    0,
    log.tail(60),
  );

  // a crash of the primary: reads go on, writes wait for the next one
  child.stdin.write('kill pg2\n');
  await until(async () => (await states()).join() === 'pg1 replica,pg2 down,pg3 replica', {
    timeoutMs: 20_000,
    what: 'pg2 down',
    explain,
  });
  const alone = log.mark();
  await until(
    () =>
      log.lines(alone).some((line) => {
        const [first, second, third] = trafficRow(line)?.nodes ?? [];
        return (first?.reads ?? 0) > 0 && second?.reads === 0 && (third?.reads ?? 0) > 0;
      }),
    { timeoutMs: 15_000, what: 'reads without a primary', explain },
  );
  child.stdin.write('promote pg3\nstart pg2;\n');
  await until(async () => (await states()).join() === 'pg1 replica,pg2 replica,pg3 primary', {
    timeoutMs: 30_000,
    what: 'all three back',
    explain,
  });
  await admin.end();

  const dir = dirname(await iniOf(log));
  assert.ok(existsSync(dir));
  child.kill('SIGINT');
  assert.deepEqual(await exited, [0, null], log.tail());
  assert.equal(existsSync(dir), false);
  await assert.rejects(RawClient.connect({ port }), /ECONNREFUSED/);
});

test('a port that is taken is told, and the next one is used; a killed demo leaves nothing either', async (t) => {
  const [port = 0, httpPort = 0] = await freePorts(2);
  const first = await startDemo(t, ['--port', String(port), '--http-port', String(httpPort)]);
  await first.log.waitFor(/Ctrl-C ends everything/, { timeoutMs: 30_000 });
  const second = await startDemo(t, ['--port', String(port), '--http-port', String(httpPort)]);
  const said = await second.log.waitFor(new RegExp(`port ${port} is in use, so the proxy listens on \\d+`), {
    timeoutMs: 30_000,
  });
  const other = Number(/\d+$/.exec(said)?.[0]);
  await second.log.waitFor(/Ctrl-C ends everything/, { timeoutMs: 30_000 });
  await (await RawClient.login({ port: other }, { user: 'app', password: 'app', database: 'app' })).end();

  const dirs: string[] = [];
  for (const { child, log } of [first, second]) {
    dirs.push(dirname(await iniOf(log)));
    child.kill('SIGKILL');
  }
  await until(() => dirs.every((dir) => !existsSync(dir)), {
    timeoutMs: 10_000,
    what: 'the removal of the files',
  });
  for (const one of [port, other]) await assert.rejects(RawClient.connect({ port: one }), /ECONNREFUSED/);
});

test('a wrong option ends with a sentence and exit code 1', async (t) => {
  for (const [args, words] of [
    [['--port', 'x'], /demo: --port: not a port number: x/],
    [['--nope'], /demo: Unknown option '--nope'/],
  ] as const) {
    const { child, log } = await startDemo(t, args);
    const [code] = await once(child, 'close');
    assert.equal(code, 1);
    assert.match(log.tail(), words);
    assert.doesNotMatch(log.tail(), /\n\s+at /, 'no stack');
  }
});
