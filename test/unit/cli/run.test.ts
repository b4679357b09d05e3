/** The life of the process around a pooler that is a stand-in: start failures, crashes, background, systemd. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { makeScratchDir, unprivilegedUser } from '../../../src/demo/run-as.ts';
import { until } from '../../support/until.ts';

const user = unprivilegedUser();
const AS_USER = user === null ? [] : ['-u', user.name];
const url = (module: string): string =>
  JSON.stringify(new URL(`../../../src/${module}`, import.meta.url).href);

let dir = '';
let iniFile = '';
let pidfile = '';
let logfile = '';

beforeEach(() => {
  dir = makeScratchDir('pgc-run', user);
  pidfile = path.join(dir, 'x.pid');
  logfile = path.join(dir, 'x.log');
  iniFile = path.join(dir, 'x.ini');
  writeFileSync(iniFile, `[pgbouncer]\nunix_socket_dir =\npidfile = ${pidfile}\nlogfile = ${logfile}\n`);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A program like main.ts whose pooler is `supervisor`, the body of startSupervisor({ log, exit }). */
function program(supervisor: string): string {
  const file = path.join(dir, 'program.mjs');
  writeFileSync(
    file,
    `import { parseCommandLine } from ${url('cli/args.js')};
    import { POOLER_SIGNALS } from ${url('cli/signals.js')};
    import { run } from ${url('cli/run.js')};
    import { FatalError } from ${url('util/fatal-error.js')};
    const pooler = { reload() {}, pauseAll() {}, resumeAll() {}, shutdown() { this.down = true; },
      isShuttingDown() { return this.down === true; }, isPaused() { return false; } };
    await run(parseCommandLine(process.argv.slice(2), 'x'), {
      startSupervisor: async ({ log, exit, overrides }) => { ${supervisor} },
      exit: (code) => process.exit(code),
      onSignal: (handler) => { for (const signal of POOLER_SIGNALS) process.on(signal, () => handler(signal)); },
    });`,
  );
  return file;
}

function runToEnd(supervisor: string, ...options: string[]): { code: number | null; stderr: string } {
  const args = [program(supervisor), ...options, ...AS_USER, iniFile];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 20_000 });
  return { code: status, stderr };
}

const KEEP_ALIVE = 'setInterval(() => {}, 1000); return pooler;';

test('a start that fails with a sentence', () => {
  const { code, stderr } = runToEnd("throw new FatalError('nowhere to listen on');");
  assert.equal(code, 1);
  assert.match(stderr, / FATAL nowhere to listen on\n$/);
  assert.doesNotMatch(stderr, / at /);
  assert.match(readFileSync(logfile, 'utf8'), / FATAL nowhere to listen on\n$/);
  assert.equal(existsSync(pidfile), false, 'the pidfile is removed');
});

test('bugs end the process with a stack: while starting, in a callback, in a promise', () => {
  for (const bug of [
    "throw new TypeError('oops');",
    `setTimeout(() => { throw new TypeError('oops'); }, 10); ${KEEP_ALIVE}`,
    `setTimeout(() => { void Promise.reject(new TypeError('oops')); }, 10); ${KEEP_ALIVE}`,
  ]) {
    const { code, stderr } = runToEnd(bug);
    assert.equal(code, 1, bug);
    assert.match(stderr, / FATAL unexpected error, going down: TypeError: oops.*program\.mjs/, bug);
    assert.equal(existsSync(pidfile), false, bug);
  }
});

test('the pidfile is there while it runs, the log says that it is up, QUIT ends it', async () => {
  const child = spawn(process.execPath, [program(KEEP_ALIVE), ...AS_USER, iniFile], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  await until(
    () => existsSync(logfile) && readFileSync(logfile, 'utf8').includes(' LOG process up: PgBouncer 1.26.0 '),
  );
  assert.match(
    readFileSync(logfile, 'utf8'),
    / LOG kernel file descriptor limit: \d+ \(hard: \d+\); max_client_conn: 100, max expected fd use: 112\n/,
  );
  assert.equal(readFileSync(pidfile, 'utf8'), `${child.pid}\n`);
  if (process.platform === 'linux') {
    assert.match(
      readFileSync(`/proc/${child.pid}/cmdline`, 'latin1'),
      /^pgconcierge .*x\.ini/,
      'process title',
    );
  }
  child.kill('SIGQUIT');
  assert.deepEqual(await ended, [0, null]);
  assert.match(readFileSync(logfile, 'utf8'), / LOG got SIGQUIT, fast exit\n$/);
  assert.equal(existsSync(pidfile), false);
});

test('-v and -q reach the supervisor', () => {
  const { code } = runToEnd('exit(overrides.verbose === 2 && overrides.quiet ? 7 : 8);', '-qvv');
  assert.equal(code, 7);
});

test('-d: the caller goes when the daemon is up, and the daemon stays', async () => {
  const { code, stderr } = runToEnd(KEEP_ALIVE, '-d');
  assert.deepEqual([code, stderr], [0, '']);
  const pid = Number(readFileSync(pidfile, 'utf8'));
  try {
    assert.match(readFileSync(logfile, 'utf8'), / LOG process up: /);
    process.kill(pid, 0);
    const second = runToEnd(KEEP_ALIVE, '-d');
    assert.equal(second.code, 1);
    assert.match(second.stderr, / FATAL pidfile '.*' exists, another instance running\?\n$/);
  } finally {
    process.kill(pid, 'SIGQUIT');
  }
  await until(() => !existsSync(pidfile));
});

test('-d: the caller learns why the daemon could not start', () => {
  const fatal = runToEnd("throw new FatalError('nowhere to listen on');", '-d');
  assert.equal(fatal.code, 1);
  assert.match(fatal.stderr, / FATAL nowhere to listen on\n$/);
  const bug = runToEnd('process.abort();', '-d');
  assert.equal(bug.code, 1);
  assert.match(bug.stderr, / FATAL the daemon ended during its start \(SIGABRT\)\n$/);
});

test('systemd is told through its helper, when there is somebody to tell', async () => {
  const helper = path.join(dir, 'systemd-notify');
  const told = path.join(dir, 'told');
  writeFileSync(helper, `#!/bin/sh\necho "$@" >> ${told}\n`);
  chmodSync(helper, 0o755);
  writeFileSync(told, '');
  if (user !== null) chownSync(told, user.uid, user.gid);
  const env = { ...process.env, PATH: `${dir}:${process.env['PATH']}`, NOTIFY_SOCKET: '/nowhere' };
  const child = spawn(process.execPath, [program(KEEP_ALIVE), ...AS_USER, iniFile], { stdio: 'ignore', env });
  const ended = once(child, 'exit');
  await until(() =>
    readFileSync(told, 'utf8').includes(`READY=1 STATUS=serving ${iniFile} MAINPID=${child.pid}\n`),
  );
  child.kill('SIGTERM');
  await until(() => readFileSync(told, 'utf8').includes(`STOPPING=1 MAINPID=${child.pid}\n`));
  child.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null]);
});
