/** The daemon as a process: doors, signals, pidfile, background, end. What clients see is tested elsewhere. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, renameSync, statSync } from 'node:fs';
import { connect, type NetConnectOpts } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Daemon } from '../support/daemon.ts';
import { until } from '../support/until.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));
const databases = { d: 'host=127.0.0.1 port=1' };

const socketFile = (daemon: Daemon): string => path.join(daemon.dir, `.s.PGSQL.${daemon.port}`);

/** A daemon of one test. Its unix socket goes into its own directory, which is its cwd. */
async function start(t: TestContext, settings: Record<string, string | number> = {}): Promise<Daemon> {
  const all = { unix_socket_dir: '.', pidfile: 'x.pid', ...settings };
  const daemon = await Daemon.start({ databases, settings: all });
  t.after(() => daemon.destroy());
  return daemon;
}

const canConnect = (where: NetConnectOpts): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(where);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });

test('up: doors, pidfile, start lines; QUIT: gone at once with all of it', async (t) => {
  const daemon = await start(t);
  const log = daemon.log.lines().join('\n');
  const order = [
    / LOG kernel file descriptor limit: /,
    new RegExp(` LOG listening on 127\\.0\\.0\\.1:${daemon.port}\n`),
    new RegExp(` LOG listening on unix:\\./\\.s\\.PGSQL\\.${daemon.port}\n`),
    / LOG process up: PgBouncer 1\.26\.0 \(pgconcierge /,
  ].map((line) => log.search(line));
  assert.ok(
    order.every((at, i) => at >= 0 && (i === 0 || at > (order[i - 1] ?? 0))),
    log,
  );
  const pidfile = path.join(daemon.dir, 'x.pid');
  assert.equal(readFileSync(pidfile, 'utf8'), `${daemon.pid}\n`);
  assert.equal(statSync(socketFile(daemon)).mode & 0o777, 0o777);
  assert.equal(await canConnect({ path: socketFile(daemon) }), true);
  daemon.kill('SIGQUIT');
  assert.deepEqual(await daemon.waitExit(), { code: 0, signal: null });
  assert.equal(existsSync(pidfile), false);
  assert.equal(existsSync(socketFile(daemon)), false);
});

test('a killed daemon leaves its files; the next start replaces them', async (t) => {
  const daemon = await start(t);
  daemon.kill('SIGKILL');
  await daemon.waitExit();
  assert.equal(existsSync(socketFile(daemon)), true);
  const from = daemon.log.mark();
  await daemon.run();
  assert.match(daemon.log.lines(from).join('\n'), / LOG stale pidfile, removing/);
  assert.equal(await canConnect({ path: socketFile(daemon) }), true);
});

test('HUP reads the file again; a bad file changes nothing and the daemon lives', async (t) => {
  const daemon = await start(t);
  await daemon.reload({ extra: 'this is no configuration line' });
  await daemon.log.waitFor(/ WARNING config file loading failed/);
  assert.equal(await canConnect({ host: '127.0.0.1', port: daemon.port }), true);
});

test('HUP opens the log file anew', async (t) => {
  const daemon = await start(t, { logfile: 'x.log' });
  const file = path.join(daemon.dir, 'x.log');
  renameSync(file, `${file}.1`);
  await daemon.reload();
  await until(() => existsSync(file));
});

test('USR1 and USR2', async (t) => {
  const daemon = await start(t);
  const steps: [NodeJS.Signals, RegExp][] = [
    ['SIGUSR2', / LOG got SIGUSR2, but not paused\/suspended$/],
    ['SIGUSR1', / LOG got SIGUSR1, pausing all activity$/],
    ['SIGUSR1', / LOG got SIGUSR1, but already paused\/suspended$/],
    ['SIGUSR2', / LOG got SIGUSR2, continuing from PAUSE$/],
  ];
  for (const [signal, line] of steps) {
    const from = daemon.log.mark();
    daemon.kill(signal);
    await daemon.log.waitFor(line, { from });
  }
});

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal} without clients ends the process with 0 and removes its files`, async (t) => {
    const daemon = await start(t);
    daemon.kill(signal);
    assert.deepEqual(await daemon.waitExit(), { code: 0, signal: null });
    await daemon.log.waitFor(/ LOG got SIG(TERM|INT), shutting down, waiting for all /);
    assert.equal(existsSync(path.join(daemon.dir, 'x.pid')), false);
    assert.equal(existsSync(socketFile(daemon)), false);
  });
}

test('TERM waits for a client and closes the TCP door; again: at once', async (t) => {
  const daemon = await start(t, { auth_type: 'any', client_login_timeout: 60 });
  const client = connect({ path: socketFile(daemon) });
  client.on('error', () => {});
  const startup = Buffer.from('\0\0\0\0\0\x03\0\0user\0x\0database\0pgbouncer\0\0', 'latin1');
  startup.writeInt32BE(startup.length, 0);
  client.write(startup);
  await new Promise((resolve) => client.once('data', resolve));
  daemon.kill('SIGTERM');
  await daemon.log.waitFor(/waiting for all clients disconnect/);
  await until(async () => !(await canConnect({ host: '127.0.0.1', port: daemon.port })));
  if (daemon.running) {
    daemon.kill('SIGTERM');
    await daemon.log.waitFor(/ LOG got SIGTERM while shutting down, fast exit$/);
  }
  assert.deepEqual(await daemon.waitExit(), { code: 0, signal: null });
  client.destroy();
});

test('the port is taken: exit code 1 and the reason, in the foreground and with -d', async (t) => {
  const daemon = await start(t);
  const port = daemon.port;
  const taken = `WARNING cannot listen on 127.0.0.1:${port}: bind(): Address already in use`;
  const fatal = 'FATAL failed to listen on any address in listen_addr list: 127.0.0.1';
  const ini = (place: { dir: string }): string =>
    [
      '[pgbouncer]',
      'listen_addr = 127.0.0.1',
      `listen_port = ${port}`,
      'unix_socket_dir =',
      'pidfile = y.pid',
      `logfile = ${place.dir}/y.log`,
      ...(daemon.runAs === null ? [] : [`user = ${daemon.runAs.name}`]),
    ].join('\n');
  const second = await Daemon.start({ databases }, { ini, waitUp: false });
  try {
    assert.equal((await second.waitExit()).code, 1);
    const log = second.log.lines().join('\n');
    assert.ok(log.includes(taken) && log.endsWith(fatal), log);
    const args = [MAIN, '-d', second.iniPath];
    const background = spawnSync(process.execPath, args, { cwd: second.dir, encoding: 'utf8' });
    assert.equal(background.status, 1);
    assert.ok(background.stderr.trimEnd().endsWith(fatal), background.stderr);
    assert.equal(existsSync(path.join(second.dir, 'y.pid')), false);
  } finally {
    await second.destroy();
  }
});
