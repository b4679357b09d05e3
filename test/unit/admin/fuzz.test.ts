/** Any messages in any order: the console never throws, never writes broken messages, and answers each Sync. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bind, close, describe, execute, flush, parse, query, sync } from '../../../src/wire/frontend.ts';
import { FakeConsole, line, tick } from './fake-console.ts';

const TEXTS = [
  '',
  ';',
  '-- x',
  'SHOW STATE',
  'SHOW CLIENTS; SHOW MEM',
  'SHOW HELP',
  'SHOW HELP pools',
  'SHOW $1',
  'SELECT 1',
  'SELECT version()',
  'KILL_CLIENT $1',
  'KILL_CLIENT 404',
  'RESUME $1',
  'PAUSE',
  'PAUSE a TIMEOUT $2',
  'WAIT_CLOSE; SHOW STATE',
  'SUSPEND',
  'SET a = $1',
  'SET x',
  'BEGIN',
  'COMMIT',
  'DISCARD ALL',
  'DEALLOCATE a',
  'RELOAD',
  'FOO',
  "'",
  '"a" b',
  'SHOW DateStyle',
  'SHOW NODES',
  'DRAIN pg1',
  'DRAIN $1; SHOW CLUSTER',
  'SET WEIGHT pg1 $1',
  'REDETECT',
  'EXPLAIN ROUTE $1',
  "EXPLAIN ROUTE FOR app SELECT $$a'; $1",
];
const text = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...TEXTS) },
  fc.string().map((s) => s.replaceAll('\0', '')),
);
const name = fc.constantFrom('', 'a', 'b');
const kind = fc.constantFrom('statement' as const, 'portal' as const);
const format = fc.array(fc.constantFrom(0, 1, 2), { maxLength: 2 });
const value = fc.oneof(
  fc.constantFrom(null, '1', 'app', '404'),
  fc.uint8Array({ maxLength: 9 }).map((b) => Buffer.from(b)),
);

const message = fc.oneof(
  text.map(query),
  fc
    .tuple(name, text, fc.array(fc.constantFrom(0, 20, 23, 25, 701, 1700), { maxLength: 2 }))
    .map(([n, t, o]) => parse(n, t, o)),
  fc
    .record({
      portal: name,
      statement: name,
      values: fc.array(value, { maxLength: 2 }),
      valueFormats: format,
      resultFormats: format,
    })
    .map(bind),
  fc.tuple(kind, name).map(([k, n]) => describe(k, n)),
  fc.tuple(name, fc.integer({ min: -1, max: 3 })).map(([n, l]) => execute(n, l)),
  fc.tuple(kind, name).map(([k, n]) => close(k, n)),
  fc.constantFrom(sync(), flush()),
);

/** Known messages with a body of noise. */
const noise = fc
  .tuple(fc.constantFrom(...'QPBDECSHFdcf'), fc.uint8Array({ maxLength: 40 }))
  .map(([type, body]) => {
    const out = Buffer.alloc(5 + body.length);
    out.write(type, 0, 'latin1');
    out.writeUInt32BE(body.length + 4, 1);
    out.set(body, 5);
    return out;
  });

const step = fc.oneof(
  { weight: 8, arbitrary: message },
  { weight: 2, arbitrary: noise },
  { weight: 1, arbitrary: fc.constantFrom('cancel' as const, 'resolve' as const) },
);

test('every Sync has its ReadyForQuery', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), fc.boolean(), async (steps, admin) => {
      const c = new FakeConsole({ admin });
      let syncs = 0;
      for (const s of steps) {
        if (s === 'cancel') c.session.onCancel();
        else if (s === 'resolve') c.pendings.at(-1)?.resolve();
        else {
          if (s[0] === 0x53) syncs += 1;
          c.send(s);
        }
      }
      c.send(sync());
      syncs += 1;
      // all that still waits comes to its end
      for (let round = 0; round < 30; round += 1) {
        for (const p of c.pendings) p.resolve();
        await tick();
      }
      const lines = c.take().map(line);
      assert.deepEqual(c.closed, []);
      assert.match(lines.at(-1) ?? '', /^Z [IT]$/);
      assert.ok(lines.filter((l) => l.startsWith('Z')).length >= syncs);
    }),
    { numRuns: 300 },
  );
});

test('every simple query has exactly one ReadyForQuery, at its end', async () => {
  await fc.assert(
    fc.asyncProperty(text, async (t) => {
      const c = new FakeConsole();
      c.send(query(t));
      for (let round = 0; round < 3; round += 1) {
        for (const p of c.pendings) p.resolve();
        await tick();
      }
      const lines = c.take().map(line);
      assert.equal(lines.filter((l) => l.startsWith('Z')).length, 1);
      assert.match(lines.at(-1) ?? '', /^Z/);
    }),
    { numRuns: 300 },
  );
});

test('any type of message, any body: whole replies or the end', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 60 }), (type, body) => {
      const c = new FakeConsole();
      c.session.onMessage(type, Buffer.from(body));
      c.take(); // fails when a message is not whole
      if (c.closed.length === 0) {
        c.send(sync());
        assert.equal(c.take().map(line).at(-1), 'Z I');
      }
    }),
    { numRuns: 500 },
  );
});
