/** Nobody reads what the daemon writes: its pipe is full, its memory stays bounded, and it serves on. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { guardProcess, unguardProcess } from '../../src/demo/guard.ts';
import { signalProcess } from '../../src/demo/processes.ts';
import { spawnIds } from '../../src/demo/run-as.ts';
import { Daemon } from '../support/daemon.ts';
import { FakeServer, oneColumn } from '../support/fake-server.ts';
import { RawClient, RawError } from '../support/raw-client.ts';
import { until } from '../support/until.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));
const MB = 1024 * 1024;

function memory(pid: number): number {
  if (process.platform !== 'linux') return 0;
  return Number(/VmRSS:\s*(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

for (const format of ['pgbouncer', 'json']) {
  test(`log_format = ${format}, a pipe that is never read`, async (t) => {
    const fake = await FakeServer.start({
      onMessage: (connection, message) => {
        if (message.type === 'Q') connection.send(oneColumn('x', ['good']));
        else connection.answer(message);
      },
    });
    t.after(() => fake.close());
    // the files and the port come from a daemon of the usual kind, which makes room for ours
    const files = await Daemon.start(
      {
        databases: { d: `host=127.0.0.1 port=${fake.port}` },
        settings: {
          pool_mode: 'transaction',
          auth_type: 'trust',
          verbose: 2,
          server_tls_sslmode: 'disable',
          log_format: format,
        },
      },
      { waitUp: false },
    );
    t.after(() => files.destroy());
    const settingsText = files.iniText();
    await files.log.waitFor(/process up: /);
    await files.stop();
    const child: ChildProcess = spawn(process.execPath, [MAIN, files.iniPath], {
      cwd: files.dir,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(settingsText.includes('\nuser = ') ? {} : spawnIds(files.runAs)),
    });
    const pid = child.pid;
    assert.ok(pid !== undefined);
    guardProcess(pid);
    t.after(async () => {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      if (child.exitCode === null && signalProcess(pid, 'SIGKILL')) await gone;
      unguardProcess(pid);
    });
    const at = { user: 'app', database: 'd' };
    const keeper = await until(() => RawClient.login(files, at), { timeoutMs: 15_000, everyMs: 50 });
    t.after(() => keeper.destroy());
    const before = memory(pid);
    // about 300 bytes of log each: several times what a pipe holds
    for (let i = 0; i < 1500; i++) {
      if (i % 3 === 0) {
        await assert.rejects(
          RawClient.login(files, { user: 'app', database: 'no such' }),
          (error) => error instanceof RawError,
        );
      } else {
        const client = await RawClient.login(files, at);
        if (i % 10 === 1) assert.deepEqual(await client.rows('select 1'), [['good']]);
        client.destroy();
      }
    }
    assert.deepEqual(await keeper.rows('select 1'), [['good']]);
    assert.ok(memory(pid) - before < 64 * MB, `grew by ${(memory(pid) - before) / MB} MB`);
    assert.equal(child.exitCode, null);
    // it ends when it is told to, with its pipe still full
    signalProcess(pid, 'SIGTERM');
    keeper.destroy();
    await until(() => child.exitCode !== null || child.signalCode !== null, {
      timeoutMs: 20_000,
      what: 'the daemon ends',
    });
    assert.equal(child.exitCode, 0);
  });
}
