/** `npm start` as a newcomer meets it: starts, says what to type, works, and leaves nothing behind at Ctrl-C. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { guardProcess, unguardProcess } from '../../src/demo/guard.ts';
import { LogLines } from '../../src/demo/log-lines.ts';
import { freePorts } from '../support/ports.ts';
import { RawClient } from '../support/raw-client.ts';
import { until } from '../support/until.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));

function startDemo(t: TestContext, args: readonly string[]) {
  const child = spawn(process.execPath, [MAIN, 'demo', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
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

test('the demo starts, serves the primary and the replicas, carries traffic, and cleans up at Ctrl-C', async (t) => {
  const [port = 0, httpPort = 0] = await freePorts(2);
  const { child, log } = startDemo(t, ['--traffic', '--port', String(port), '--http-port', String(httpPort)]);
  const exited = once(child, 'close');
  await log.waitFor(/Ctrl-C ends everything/, { timeoutMs: 30_000 });

  for (const [database, replica] of [
    ['app', 'f'],
    ['app_r1', 't'],
    ['app_r2', 't'],
  ] as const) {
    const client = await RawClient.login({ port }, { user: 'app', password: 'app', database });
    assert.deepEqual(await client.rows('SELECT count(*), pg_is_in_recovery() FROM accounts'), [
      ['1000', replica],
    ]);
    await client.end();
  }
  const adminLine = await log.waitFor(/psql postgresql:\/\/postgres:/);
  const password = /postgres:([0-9a-f]+)@/.exec(adminLine)?.[1] ?? '';
  const admin = await RawClient.login({ port }, { user: 'postgres', password, database: 'pgbouncer' });
  assert.ok((await admin.rows('SHOW DATABASES')).some(([name]) => name === 'app_r2'));
  await admin.end();
  for (const path of ['health', 'metrics']) {
    const response = await fetch(`http://127.0.0.1:${httpPort}/${path}`);
    assert.equal(response.status, 200, path);
    await response.arrayBuffer();
  }

  await log.waitFor(/tps [1-9]\d* {2}reads [1-9]\d* {2}writes [1-9]\d* {2}errors 0 /);
  const iniLine = await log.waitFor(/Its configuration: /);
  const dir = dirname(iniLine.replace('Its configuration: ', ''));
  assert.ok(existsSync(dir));

  child.kill('SIGINT');
  assert.deepEqual(await exited, [0, null], log.tail());
  assert.equal(existsSync(dir), false);
  await assert.rejects(RawClient.connect({ port }), /ECONNREFUSED/);
});

test('a port that is taken is told, and the next one is used; a killed demo leaves nothing either', async (t) => {
  const [port = 0, httpPort = 0] = await freePorts(2);
  const first = startDemo(t, ['--port', String(port), '--http-port', String(httpPort)]);
  await first.log.waitFor(/Ctrl-C ends everything/, { timeoutMs: 30_000 });
  const second = startDemo(t, ['--port', String(port), '--http-port', String(httpPort)]);
  const said = await second.log.waitFor(new RegExp(`port ${port} is in use, so the proxy listens on \\d+`), {
    timeoutMs: 30_000,
  });
  const other = Number(/\d+$/.exec(said)?.[0]);
  await second.log.waitFor(/Ctrl-C ends everything/, { timeoutMs: 30_000 });
  await (await RawClient.login({ port: other }, { user: 'app', password: 'app', database: 'app' })).end();

  const dirs: string[] = [];
  for (const { child, log } of [first, second]) {
    dirs.push(dirname((await log.waitFor(/Its configuration: /)).replace('Its configuration: ', '')));
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
    const { child, log } = startDemo(t, args);
    const [code] = await once(child, 'close');
    assert.equal(code, 1);
    assert.match(log.tail(), words);
    assert.doesNotMatch(log.tail(), /\n\s+at /, 'no stack');
  }
});
