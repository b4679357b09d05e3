/**
 * psql on the console: over TCP with a password, and over the unix socket as user `pgbouncer` without one, which only
 * the system user of the daemon may do.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { before, describe, test } from 'node:test';
import { makeScratchDir, unprivilegedUser } from '../../src/demo/run-as.ts';
import { peerCredentialsAvailable } from '../../src/net/peer-credentials.ts';
import { atEndOfFile } from '../support/file-cleanup.ts';
import { type Proxied, withProxied } from '../support/proxied.ts';
import { psql, runProgram, skipWithout, startProgram } from '../support/psql.ts';
import { until } from '../support/until.ts';

const skip = skipWithout('psql');
/** As root the daemon runs as this user, and so does a psql that it shall know. */
const daemonUser = unprivilegedUser();
let proxied: Proxied;
let socketDir = '';

before(async () => {
  if (skip !== false) return;
  socketDir = makeScratchDir('pgconcierge-socket', daemonUser);
  atEndOfFile(async () => rmSync(socketDir, { recursive: true, force: true }));
  proxied = await withProxied({ settings: { unix_socket_dir: socketDir, stats_users: 'app' } });
});

describe('psql on the console over TCP', { skip }, () => {
  test('SHOW POOLS as a table, with psql deciding on names and alignment', async () => {
    const args = ['-X', '-c', 'SHOW POOLS', '-c', 'SHOW DATABASES'];
    const { code, stdout, stderr } = await runProgram('psql', args, proxied.address('pgbouncer'));
    assert.equal(code, 0, stderr);
    assert.match(stdout, /database\s+\|\s+user\s+\|\s+cl_active/);
    assert.match(stdout, /^ pgbouncer \| pgbouncer \|/m);
    assert.match(stdout, /^ tx +\| 127\.0\.0\.1/m);
  });

  test('a script of commands, \\gx, errors', async () => {
    const input = `SHOW VERSION;
PAUSE tx;
SHOW STATE;
RESUME tx;
SHOW LISTS \\gx
NONSENSE;
SHOW VERSION;
`;
    const result = await runProgram('psql', ['-X', '-A', '-t'], { ...proxied.address('pgbouncer'), input });
    assert.equal(result.stdout.match(/^PgBouncer /gm)?.length, 2);
    assert.match(result.stdout, /^PAUSE$/m);
    assert.match(result.stdout, /^list\|databases$/m);
    assert.match(result.stderr, /invalid command 'NONSENSE;', use SHOW HELP;/);
  });

  test('SHOW HELP is a notice', async () => {
    const { code, stderr } = await runProgram(
      'psql',
      ['-X', '-c', 'SHOW HELP'],
      proxied.address('pgbouncer'),
    );
    assert.equal(code, 0);
    assert.match(stderr, /NOTICE: {2}Console usage\nDETAIL: {2}\n\tSHOW HELP/);
  });

  test('stats_users may look and not act; others may not come in', async () => {
    const stats = { ...proxied.address('pgbouncer'), user: 'app', password: 'app' };
    assert.equal((await psql('SHOW STATE', stats)).length, 3);
    await assert.rejects(psql('PAUSE tx', stats), /admin access needed/);
    await assert.rejects(psql('SHOW STATE', { ...stats, user: 'nobody' }), /FATAL: {2}not allowed/);
  });

  test('Ctrl-C ends a PAUSE that waits', async () => {
    const held = startProgram('psql', ['-X', '-c', "SELECT 'held' FROM pg_sleep(60)"], proxied.address('tx'));
    await until(async () => (await proxied.console('SHOW SERVERS')).some((row) => row['state'] === 'active'));
    const pause = startProgram('psql', ['-X', '-c', 'PAUSE tx'], proxied.address('pgbouncer'));
    const paused = async () =>
      (await proxied.console('SHOW DATABASES')).find((row) => row['name'] === 'tx')?.['paused'];
    await until(async () => (await paused()) === '1');
    pause.child.kill('SIGINT');
    const ended = await pause.done;
    assert.equal(ended.code, 1);
    assert.match(ended.stderr, /canceling statement due to user request/);
    if ((await paused()) === '1') await proxied.console('RESUME tx');
    held.child.kill('SIGINT');
    await held.done;
    await proxied.assertQuiet('tx');
  });
});

describe('psql over the unix socket', { skip: skip !== false ? skip : noCredentials() }, () => {
  test('user pgbouncer of the same system user is admin without a password', async () => {
    const target = {
      host: socketDir,
      port: proxied.daemon.port,
      user: 'pgbouncer',
      database: 'pgbouncer',
      runAs: proxied.daemon.runAs,
    };
    assert.match((await psql('SHOW VERSION', target)).join(), /^PgBouncer /);
    assert.deepEqual(await psql('PAUSE tx', target), ['PAUSE']);
    assert.deepEqual(await psql('RESUME tx', target), ['RESUME']);
    const mine = (await psql('SHOW CLIENTS', target)).filter((line) => line.includes('|unix|'));
    assert.equal(mine.length, 1);
  });

  test('user pgbouncer of another system user is refused', { skip: notRoot() }, async () => {
    const target = { host: socketDir, port: proxied.daemon.port, user: 'pgbouncer', database: 'pgbouncer' };
    await assert.rejects(psql('SHOW VERSION', target), /password|authentication failed|not allowed/);
  });

  test('user pgbouncer over TCP is refused', async () => {
    const target = { ...proxied.address('pgbouncer'), user: 'pgbouncer', password: '' };
    await assert.rejects(psql('SHOW VERSION', target), /password|authentication failed|not allowed/);
  });

  test('applications use it too, with their password', async () => {
    for (const database of ['tx', 'sess'] as const) {
      const target = { ...proxied.address(database), host: socketDir };
      assert.deepEqual(await psql('SELECT current_user', target), ['app']);
      await assert.rejects(psql('SELECT 1', { ...target, password: 'wrong' }), /authentication failed/);
      await proxied.assertQuiet(database);
    }
  });
});

function noCredentials(): false | string {
  const why = peerCredentialsAvailable();
  if (why === null) return false;
  process.stderr.write(`\n*** SKIPPED TESTS: peer credentials cannot be read: ${why} ***\n\n`);
  return why;
}

function notRoot(): false | string {
  return daemonUser === null ? 'needs two system users: run as root' : false;
}
