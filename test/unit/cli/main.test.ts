/** The program itself, where it ends before it serves anybody: texts, streams and exit codes. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makeScratchDir, unprivilegedUser } from '../../../src/demo/run-as.ts';

const MAIN = fileURLToPath(new URL('../../../src/main.js', import.meta.url));
const user = unprivilegedUser();
/** As root the program is told whom to become; else it stays who it is. */
const AS_USER = user === null ? [] : ['-u', user.name];

let dir = '';
beforeEach(() => {
  dir = makeScratchDir('pgc-main', user);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function ini(text: string): string {
  const file = path.join(dir, 'x.ini');
  writeFileSync(file, text);
  return file;
}

/** Runs the program to its end; log lines come without time and pid. */
function pgconcierge(...args: string[]): { code: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: 'utf8',
    cwd: dir,
    timeout: 20_000,
  });
  const plain = stderr.replace(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ \[\d+\] /gm, '');
  return { code: status, stdout, stderr: plain };
}

const fails = (stderr: string) => ({ code: 1, stdout: '', stderr });

test('usage errors', () => {
  const tryHelp = 'Try "pgconcierge --help" for more information.\n';
  assert.deepEqual(pgconcierge(), fails(`pgconcierge: no configuration file specified\n${tryHelp}`));
  assert.deepEqual(pgconcierge('-x'), fails(`pgconcierge: invalid option -- 'x'\n${tryHelp}`));
  assert.equal(pgconcierge('-R', 'x.ini').code, 1);
});

test('--help and --version', () => {
  const help = pgconcierge('--help');
  assert.deepEqual([help.code, help.stderr], [0, '']);
  assert.match(help.stdout, /^pgconcierge is a connection pooler for PostgreSQL\.\n/);
  const version = pgconcierge('-V');
  assert.equal(version.code, 0);
  assert.match(
    version.stdout,
    /^PgBouncer 1\.26\.0 \(pgconcierge \d+\.\d+\.\d+\)\nnode 2\d.*\n.*\ntls: OpenSSL .*\n$/,
  );
});

test('a configuration that cannot be loaded', () => {
  const missing = pgconcierge(...AS_USER, 'no.ini');
  const sentence =
    'ERROR could not load file "no.ini": No such file or directory\nFATAL cannot load config file\n';
  assert.deepEqual(missing, fails(sentence));
  const bad = pgconcierge(...AS_USER, ini('[pgbouncer]\npool_mode = xx\n'));
  assert.equal(bad.code, 1);
  assert.match(
    bad.stderr,
    /^ERROR invalid value "xx" for parameter pool_mode in configuration \(.*x\.ini:2\)/,
  );
  assert.match(bad.stderr, /\nFATAL cannot load config file\n$/);
  const quiet = pgconcierge('-q', ...AS_USER, ini('nonsense'));
  assert.deepEqual(quiet, fails(''), '-q: nothing on stderr');
});

test('--check', () => {
  const good = ini('[pgbouncer]\nlisten_addr = 127.0.0.1\n');
  assert.deepEqual(pgconcierge('--check', good), {
    code: 0,
    stdout: `${good}: configuration is valid\n`,
    stderr: '',
  });
  const bad = pgconcierge('--check', ini('[pgbouncer]\npool_mod = session\n'));
  assert.equal(bad.code, 1);
  assert.match(bad.stdout, /ERROR unknown parameter: pgbouncer\/pool_mod .*pool_mode/);
  assert.match(bad.stdout, /: \d errors?\n$/);
});

const AS_ROOT = 'FATAL pgconcierge should not run as root: name a user with -u or the setting user\n';

test('never as root', { skip: process.getuid?.() === 0 ? false : 'not root' }, () => {
  const file = ini('[pgbouncer]\nlisten_addr = 127.0.0.1\nunix_socket_dir =\n');
  assert.deepEqual(pgconcierge(file), fails(AS_ROOT));
  assert.deepEqual(pgconcierge('-u', 'root', file), fails(AS_ROOT));
  assert.deepEqual(pgconcierge('-u', 'no-such-user', file), fails('FATAL no such user: no-such-user\n'));
});

test('another user needs root', { skip: process.getuid?.() === 0 ? 'root' : false }, () => {
  const file = ini('[pgbouncer]\nlisten_addr = 127.0.0.1\nunix_socket_dir =\n');
  const { code, stderr } = pgconcierge('-u', 'root', file);
  assert.deepEqual(
    [code, stderr],
    [1, "FATAL failed to assume identity of user 'root': Operation not permitted\n"],
  );
});

test('-d needs a pidfile and a log', () => {
  const nothing = ini('[pgbouncer]\nunix_socket_dir =\nlisten_addr = 127.0.0.1\n');
  assert.deepEqual(pgconcierge('-d', ...AS_USER, nothing), fails('FATAL daemon needs pidfile configured\n'));
  const noLog = ini('[pgbouncer]\nunix_socket_dir =\npidfile = x.pid\nlisten_addr = 127.0.0.1\n');
  assert.deepEqual(
    pgconcierge('-d', ...AS_USER, noLog),
    fails('FATAL daemon needs logfile or syslog configured\n'),
  );
});

test('a pidfile whose process lives', () => {
  const pidfile = path.join(dir, 'x.pid');
  writeFileSync(pidfile, `${process.pid}\n`);
  const file = ini(`[pgbouncer]\nunix_socket_dir =\nlisten_addr = 127.0.0.1\npidfile = ${pidfile}\n`);
  const { code, stderr } = pgconcierge(...AS_USER, file);
  assert.equal(code, 1);
  assert.ok(stderr.endsWith(`FATAL pidfile '${pidfile}' exists, another instance running?\n`), stderr);
});

test('a log file that cannot be opened', () => {
  const folder = path.join(dir, 'folder');
  mkdirSync(folder);
  const { code, stderr } = pgconcierge(
    ...AS_USER,
    ini(`[pgbouncer]\nlisten_addr = 127.0.0.1\nlogfile = ${folder}\n`),
  );
  assert.equal(code, 1);
  assert.match(stderr, /^FATAL cannot open logfile: /m);
});

test('another pooler on the unix socket', async (t) => {
  const server = createServer().listen(path.join(dir, '.s.PGSQL.7007'));
  t.after(() => server.close());
  const { code, stderr } = pgconcierge(
    ...AS_USER,
    ini(`[pgbouncer]\nunix_socket_dir = ${dir}\nlisten_port = 7007\n`),
  );
  assert.equal(code, 1);
  assert.ok(stderr.endsWith('FATAL unix socket is in use, cannot continue\n'), stderr);
});
