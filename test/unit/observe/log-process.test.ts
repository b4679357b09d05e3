/** The log against readers that stop, and at the end of a process: real processes, real pipes. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const CHILD = fileURLToPath(new URL('./log-child.js', import.meta.url));

interface Flood {
  readonly worstStallMs: number;
  readonly dropped: number;
  readonly heapMb: number;
}

function start(args: readonly string[], stderr: 'pipe' | 'ignore' | number): ChildProcess {
  return spawn(process.execPath, [CHILD, ...args], { stdio: ['ignore', 'ignore', stderr, 'pipe', 'ipc'] });
}

async function result(child: ChildProcess): Promise<Flood> {
  const channel = child.stdio[3];
  assert.ok(channel !== null && channel !== undefined && 'setEncoding' in channel);
  channel.setEncoding('utf8');
  let text = '';
  for await (const chunk of channel) {
    text += chunk;
    if (text.includes('\n')) break;
  }
  return JSON.parse(text) as Flood;
}

/** Exit code; fails when the process does not end. */
async function ended(child: ChildProcess, withinMs: number): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const late = setTimeout(() => child.kill('SIGKILL'), withinMs);
  await once(child, 'exit');
  clearTimeout(late);
  assert.notEqual(child.signalCode, 'SIGKILL', `the process did not end within ${withinMs} ms`);
  return child.exitCode;
}

function lineNumbers(text: string): number[] {
  const lines = text.split('\n').slice(0, -1);
  return lines.map((line) => Number(/LOG line (\d+)$/.exec(line)?.[1]));
}
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** A FIFO that nobody reads from until told; opened without blocking. */
function fifo(directory: string): { reader: number; writer: number } {
  const path = join(directory, 'pipe');
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return { reader, writer: openSync(path, constants.O_WRONLY) };
}

function checkFlood(flood: Flood): void {
  // a write that blocks stands until somebody reads, which nobody does
  assert.ok(flood.worstStallMs < 2500, `the event loop stood for ${flood.worstStallMs} ms`);
  assert.ok(flood.dropped > 1000, `only ${flood.dropped} lines were dropped`);
  assert.ok(flood.heapMb < 60, `heap of ${flood.heapMb} MB`);
}

test('a stderr socket that nobody reads: the loop goes on, lines are dropped, the process can end', async () => {
  const child = start(['flood-exit'], 'pipe');
  checkFlood(await result(child));
  assert.equal(await ended(child, 4000), 7);
});

test('a stderr pipe that nobody reads: the loop goes on, lines are dropped, the process can end', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'log-'));
  try {
    const pipe = fifo(directory);
    const child = start(['flood-exit'], pipe.writer);
    checkFlood(await result(child));
    assert.equal(await ended(child, 4000), 7);
    closeSync(pipe.writer);
    closeSync(pipe.reader);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('a reader that comes back gets whole lines, and is told what it missed', async () => {
  const child = start(['flood'], 'pipe');
  const flood = await result(child);
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const told = Date.now() + 5000;
  while (!/were dropped/.test(text) && Date.now() < told) await new Promise((done) => setTimeout(done, 20));
  child.send('go on');
  assert.equal(await ended(child, 5000), 0);
  const lines = text.split('\n').slice(0, -1);
  const form = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ \[\d+\] (LOG|WARNING) /;
  for (const line of lines) assert.match(line, form);
  const missed = /WARNING (\d+) log lines were dropped/.exec(text)?.[1];
  assert.equal(Number(missed), flood.dropped);
  assert.match(lines.at(-1) ?? '', /LOG after the flood$/);
});

for (const [scenario, count] of [
  ['exit', 3000],
  ['exit-later', 3200],
] as const) {
  test(`${scenario}: all lines arrive, in order, in a pipe that is read`, async () => {
    const child = start([scenario], 'pipe');
    let text = '';
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    const closed = once(child, 'close');
    assert.equal(await ended(child, 5000), 3);
    await closed;
    assert.deepEqual(lineNumbers(text), upTo(count));
  });

  test(`${scenario}: all lines arrive, in order, in the file`, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'log-'));
    try {
      const path = join(directory, 'p.log');
      const child = start([scenario, path], 'ignore');
      assert.equal(await ended(child, 5000), 3);
      assert.deepEqual(lineNumbers(readFileSync(path, 'utf8')), upTo(count));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
}

test('an uncaught error does not lose what was logged before it', async () => {
  const child = start(['throw'], 'pipe');
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const closed = once(child, 'close');
  assert.equal(await ended(child, 5000), 1);
  await closed;
  assert.match(text, /LOG before the bug\n/);
});

test('FATAL is written at once, whatever comes next', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'log-'));
  try {
    const path = join(directory, 'p.log');
    const child = start(['fatal-kill', path], 'ignore');
    await once(child, 'exit');
    assert.match(readFileSync(path, 'utf8'), /LOG first\n.*FATAL cannot go on\n$/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
