import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CommandError } from '../../../src/control/port.ts';
import { bind, execute, parse, query, sync } from '../../../src/wire/frontend.ts';
import { FakeConsole, line, tick } from './fake-console.ts';

const unnamed = { portal: '', statement: '', values: [] };

test('PAUSE answers when it is done', async () => {
  const c = new FakeConsole();
  assert.deepEqual(c.ask(query('PAUSE app')), []);
  assert.deepEqual(c.calls, ['pause app 0']);
  await tick();
  assert.deepEqual(c.take(), []);
  c.pendings[0]?.resolve();
  await tick();
  assert.deepEqual(c.take().map(line), ['C PAUSE', 'Z I']);
});

test('the forms of PAUSE and WAIT_CLOSE', async () => {
  const c = new FakeConsole();
  for (const [text, call] of [
    ['PAUSE', 'pause  0'],
    ['PAUSE timeout', 'pause timeout 0'],
    ['PAUSE "timeout" TIMEOUT 2', 'pause timeout 2000'],
    ['PAUSE TIMEOUT 5', 'pause  5000'],
    ['PAUSE app TIMEOUT 0.25', 'pause app 250'],
    ['WAIT_CLOSE', 'waitClose '],
    ['WAIT_CLOSE app', 'waitClose app'],
    ['SUSPEND', 'suspend'],
  ] as const) {
    c.send(query(text));
    assert.equal(c.calls.at(-1), call, text);
    c.pendings.at(-1)?.resolve();
    await tick();
    assert.deepEqual(c.take().map(line), [`C ${text.split(' ')[0]}`, 'Z I'], text);
  }
});

test('later messages of the client wait, in order', async () => {
  const c = new FakeConsole();
  const body = Buffer.from('RESUME app\0');
  c.send(query('PAUSE'));
  c.session.onMessage(0x51, body);
  body.fill(0x78); // the caller may use its buffer again
  c.send(query('WAIT_CLOSE'), query('SHOW STATE'));
  assert.deepEqual(c.calls, ['pause  0']);
  c.pendings[0]?.resolve();
  await tick();
  assert.deepEqual(c.take().map(line), ['C PAUSE', 'Z I', 'C RESUME', 'Z I']);
  assert.deepEqual(c.calls, ['pause  0', 'resume app', 'waitClose ']);
  c.pendings[1]?.resolve();
  await tick();
  assert.deepEqual(c.take().map(line).slice(0, 3), ['C WAIT_CLOSE', 'Z I', 'T key value']);
});

test('other clients do not wait', () => {
  const waiting = new FakeConsole();
  waiting.send(query('PAUSE'));
  assert.equal(new FakeConsole().ask(query('SHOW STATE')).at(-1), 'Z I');
});

test('a query of several commands goes on after the wait', async () => {
  const c = new FakeConsole();
  assert.deepEqual(c.ask(query('SHOW LISTS; PAUSE; RESUME; WAIT_CLOSE; FOO; RESUME')).at(-1), 'C SHOW');
  c.pendings[0]?.resolve();
  await tick();
  assert.deepEqual(c.take().map(line), ['C PAUSE', 'C RESUME']);
  c.pendings[1]?.resolve();
  await tick();
  assert.match(
    c.take().map(line).join('\n'),
    /^C WAIT_CLOSE\nE ERROR 08P01 invalid command 'FOO', use SHOW HELP;\nZ I$/,
  );
  assert.deepEqual(c.calls, ['pause  0', 'resume ', 'waitClose ']);
});

test('a wait that fails', async () => {
  const c = new FakeConsole();
  c.send(query('PAUSE app TIMEOUT 1; RESUME'));
  c.pendings[0]?.reject(new CommandError('PAUSE gave up: client 7 is in a transaction', '57014'));
  await tick();
  assert.deepEqual(c.take().map(line), ['E ERROR 57014 PAUSE gave up: client 7 is in a transaction', 'Z I']);
  c.send(query('PAUSE'));
  c.pendings[1]?.reject(new TypeError('bug'));
  await tick();
  assert.deepEqual(c.take().map(line), ['E ERROR XX000 internal error, see logs for details', 'Z I']);
});

test('the extended protocol waits as well, and an error skips to Sync', async () => {
  const c = new FakeConsole();
  c.send(parse('', 'PAUSE'), bind(unnamed), execute(''), sync());
  assert.deepEqual(c.take().map(line), ['1', '2']);
  c.pendings[0]?.resolve();
  await tick();
  assert.deepEqual(c.take().map(line), ['C PAUSE', 'Z I']);
  c.send(
    parse('', 'WAIT_CLOSE'),
    bind(unnamed),
    execute(''),
    parse('', 'RESUME'),
    bind(unnamed),
    execute(''),
    sync(),
  );
  c.pendings[1]?.reject(new CommandError('no'));
  await tick();
  assert.deepEqual(c.take().map(line), ['1', '2', 'E ERROR 08P01 no', 'Z I']);
  assert.deepEqual(c.calls, ['pause  0', 'waitClose ']);
});

test('a cancel request ends the wait and nothing else', async () => {
  const c = new FakeConsole();
  c.session.onCancel(); // nothing waits
  c.send(query('PAUSE'), query('SHOW STATE'));
  c.session.onCancel();
  assert.deepEqual(c.take().map(line).slice(0, 3), [
    'E ERROR 57014 canceling statement due to user request',
    'Z I',
    'T key value',
  ]);
  assert.equal(c.pendings[0]?.cancelled, 1);
  c.pendings[0]?.resolve();
  await tick();
  assert.deepEqual(c.take(), []);
  assert.deepEqual(c.calls, ['pause  0'], 'the pause stays');
});

test('SUSPEND given up is resumed', () => {
  const cancelled = new FakeConsole();
  cancelled.send(query('SUSPEND'));
  cancelled.session.onCancel();
  assert.deepEqual(cancelled.calls, ['suspend', 'resume ']);
  const gone = new FakeConsole();
  gone.send(query('SUSPEND'));
  gone.session.onClose();
  assert.deepEqual(gone.calls, ['suspend', 'resume ']);
});

test('a client that goes away gives up its wait', async () => {
  const c = new FakeConsole();
  c.send(query('PAUSE'), query('RESUME'));
  c.session.onClose();
  assert.equal(c.pendings[0]?.cancelled, 1);
  c.pendings[0]?.reject(new CommandError('late'));
  await tick();
  c.send(query('RESUME'));
  assert.deepEqual(c.take(), []);
  assert.deepEqual(c.calls, ['pause  0']);
  assert.deepEqual(c.closed, []);
});

test('Terminate does not wait', () => {
  const c = new FakeConsole();
  c.send(query('PAUSE'));
  c.session.onMessage(0x58, Buffer.alloc(0));
  assert.equal(c.pendings[0]?.cancelled, 1);
  assert.deepEqual(c.closed, ['client close request']);
});

test('what queues up behind a wait is bounded', () => {
  const c = new FakeConsole();
  c.send(query('PAUSE'));
  for (let i = 0; i < 20_000 && c.closed.length === 0; i += 1) c.send(sync());
  assert.deepEqual(c.take().map(line), ['E FATAL 53400 too many messages behind a command that waits']);
  assert.equal(c.closed.length, 1);
  assert.equal(c.pendings[0]?.cancelled, 1);
});

test('a wait that cannot be given up does not throw', () => {
  const cancel = (): void => {
    throw new Error('bug');
  };
  const c = new FakeConsole({ port: { pause: () => ({ done: new Promise(() => {}), cancel }) } });
  c.send(query('PAUSE'));
  c.session.onCancel();
  assert.deepEqual(c.take().map(line), ['E ERROR 57014 canceling statement due to user request', 'Z I']);
});

test('KILL_CLIENT of oneself', () => {
  let close = (): void => {};
  const c = new FakeConsole({ port: { killClient: () => close() } });
  close = () => c.session.onClose();
  assert.deepEqual(c.ask(query('KILL_CLIENT 1; RESUME')), []);
});
