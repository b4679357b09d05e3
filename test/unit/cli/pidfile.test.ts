import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { checkPidfile, writePidfile } from '../../../src/cli/pidfile.ts';
import { FatalError } from '../../../src/util/fatal-error.ts';
import { type Log, SILENT } from '../../../src/util/log.ts';

let dir = '';
let file = '';
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'pgc-pid-'));
  file = path.join(dir, 'x.pid');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const refused = (text: string) => (error: unknown) => error instanceof FatalError && error.message === text;

function recording(): { lines: string[]; log: Log } {
  const lines: string[] = [];
  return { lines, log: { ...SILENT, log: (text) => void lines.push(text) } };
}

/** A pid that has been and is no more. */
function deadPid(): number {
  return spawnSync(process.execPath, ['-e', '0']).pid;
}

test('no file: nothing to say; then it holds our pid and a newline', () => {
  checkPidfile(file, SILENT);
  writePidfile(file, SILENT);
  assert.equal(readFileSync(file, 'utf8'), `${process.pid}\n`);
});

test('a living process keeps the file', async (t) => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  t.after(async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  writeFileSync(file, `${child.pid}\n`);
  const text = `pidfile '${file}' exists, another instance running?`;
  assert.throws(() => checkPidfile(file, SILENT), refused(text));
  assert.throws(() => writePidfile(file, SILENT), refused(text));
  assert.equal(readFileSync(file, 'utf8'), `${child.pid}\n`);
});

test('a stale file is removed, with a log line', () => {
  for (const content of [`${deadPid()}\n`, '', `${process.pid}\n`]) {
    writeFileSync(file, content);
    const { lines, log } = recording();
    checkPidfile(file, log);
    assert.deepEqual(lines, ['stale pidfile, removing']);
    assert.equal(existsSync(file), false);
  }
});

test('a file that holds something else is never removed', () => {
  for (const content of ['root:x:0:0', '-1', '12 13', '123456789012']) {
    writeFileSync(file, content);
    assert.throws(() => writePidfile(file, SILENT), refused(`pidfile '${file}' does not contain a pid`));
    assert.equal(readFileSync(file, 'utf8'), content);
  }
});

test('a directory that is not there is named', () => {
  const missing = path.join(dir, 'no', 'x.pid');
  const text = `could not write pidfile '${missing}': No such file or directory`;
  assert.throws(() => writePidfile(missing, SILENT), refused(text));
});

/** Runs a script that may use `writePidfile`, to its end. */
function inChild(script: string): void {
  const module = new URL('../../../src/cli/pidfile.js', import.meta.url).href;
  const code = `import { writePidfile } from ${JSON.stringify(module)};
    import { writeFileSync } from 'node:fs';
    const log = { log() {} };
    ${script}`;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
}

test('removed at exit', () => {
  inChild(`writePidfile(${JSON.stringify(file)}, log); process.exit(0);`);
  assert.equal(existsSync(file), false);
});

test('not removed at exit when another process has taken it over', () => {
  inChild(`writePidfile(${JSON.stringify(file)}, log); writeFileSync(${JSON.stringify(file)}, '1\\n');`);
  assert.equal(readFileSync(file, 'utf8'), '1\n');
});
