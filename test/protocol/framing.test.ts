/**
 * Framing: a stream may be cut anywhere, and the bytes that go out, the answers that are owed and the callbacks are the
 * same (S-90: "every split at every byte offset decodes identically").
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  INVENT,
  OWED_BIND,
  OWED_CLOSE,
  OWED_DESCRIBE,
  OWED_EXECUTE,
  OWED_FUNCTION,
  OWED_PARSE,
  OWED_QUERY,
  OWED_SYNC,
  SWALLOW,
  SWALLOW_OK,
} from '../../src/server/owed-replies.ts';
import {
  commandComplete,
  dataRow,
  errorResponse,
  oneColumn,
  readyForQuery,
  rowDescription,
} from '../support/fake-server.ts';
import * as wire from '../support/raw-messages.ts';
import { pipelinedScript } from './scripts.ts';
import { deliverCut, newReplies, newRequests, owedItems } from './streams.ts';

interface ReplyCase {
  readonly owed: readonly number[];
  readonly bytes: Buffer;
  /** What the client must get. */
  readonly forwarded: Buffer;
}

const notice = wire.encode(
  'N',
  wire.cstr('SNOTICE'),
  wire.cstr('C00000'),
  wire.cstr('Mhello'),
  Buffer.from([0]),
);
const parameter = wire.encode('S', wire.cstr('application_name'), wire.cstr('x'));
const notification = wire.encode('A', wire.int32(7), wire.cstr('channel'), wire.cstr('payload'));
const big = dataRow(['x'.repeat(5000), null, '']);
const copyFormats = Buffer.concat([Buffer.from([0]), wire.int16(1), wire.int16(0)]);

/** S-90 as it stands in the book: description 34, row 12, tag 14, ready 6. */
const S90_REPLY = Buffer.concat([
  Buffer.from(
    `54000000210001${Buffer.from('?column?').toString('hex')}00000000000000000000170004ffffffff0000`,
    'hex',
  ),
  dataRow(['1']),
  commandComplete('SELECT 1'),
  readyForQuery('I'),
]);

const everything = [
  rowDescription(['a', 'b']),
  big,
  notice,
  commandComplete('SELECT 1'),
  readyForQuery('T'),
  wire.encode('1'),
  wire.encode('t', wire.int16(1), wire.int32(23)),
  rowDescription(['c']),
  wire.encode('2'),
  dataRow(['1']),
  parameter,
  commandComplete('SELECT 1'),
  wire.encode('3'),
  notification,
  wire.encode('n'),
  wire.encode('s'),
  readyForQuery('I'),
  wire.encode('V', wire.int32(2), Buffer.from('ab')),
  readyForQuery('I'),
  wire.encode('H', copyFormats),
  wire.copyData(Buffer.alloc(300, 0x61)),
  wire.copyDone(),
  commandComplete('COPY 1'),
  errorResponse('42601', 'then an error'),
  readyForQuery('I'),
];

const CASES: Readonly<Record<string, ReplyCase>> = {
  'S-90': { owed: [OWED_QUERY], bytes: S90_REPLY, forwarded: S90_REPLY },
  'every kind of reply': {
    owed: [
      OWED_QUERY,
      OWED_PARSE,
      OWED_DESCRIBE,
      OWED_BIND,
      OWED_EXECUTE,
      OWED_CLOSE,
      OWED_DESCRIBE,
      OWED_EXECUTE,
      OWED_SYNC,
      OWED_FUNCTION,
      OWED_QUERY,
    ],
    bytes: Buffer.concat(everything),
    forwarded: Buffer.concat(everything),
  },
  'swallowed and invented answers': {
    owed: [
      OWED_QUERY | SWALLOW,
      OWED_PARSE | SWALLOW_OK,
      OWED_PARSE | INVENT,
      OWED_BIND,
      OWED_EXECUTE,
      OWED_CLOSE | SWALLOW,
      OWED_CLOSE | INVENT,
      OWED_SYNC,
    ],
    bytes: Buffer.concat([
      parameter,
      commandComplete('SET'),
      readyForQuery('I'),
      wire.encode('1'),
      wire.encode('2'),
      big,
      commandComplete('SELECT 1'),
      wire.encode('3'),
      readyForQuery('I'),
    ]),
    forwarded: Buffer.concat([
      wire.encode('1'),
      wire.encode('2'),
      big,
      commandComplete('SELECT 1'),
      wire.encode('3'),
      readyForQuery('I'),
    ]),
  },
  'an error takes off what was skipped': {
    owed: [OWED_BIND, OWED_EXECUTE, OWED_PARSE | INVENT, OWED_CLOSE | INVENT, OWED_SYNC, OWED_QUERY],
    bytes: Buffer.concat([wire.encode('2'), errorResponse('22012', 'zero'), readyForQuery('I'), S90_REPLY]),
    forwarded: Buffer.concat([
      wire.encode('2'),
      errorResponse('22012', 'zero'),
      readyForQuery('I'),
      S90_REPLY,
    ]),
  },
  'DISCARD ALL': {
    owed: [OWED_QUERY],
    bytes: Buffer.concat([commandComplete('DISCARD ALL'), readyForQuery('I')]),
    forwarded: Buffer.concat([commandComplete('DISCARD ALL'), readyForQuery('I')]),
  },
};

function playReplies(
  one: ReplyCase,
  cuts: readonly number[],
): { out: string; calls: string[]; owed: number[] } {
  const { stream, fromServer, toClient, calls } = newReplies();
  for (const item of one.owed) stream.owed.push(item, null);
  fromServer.arrive(one.bytes);
  deliverCut(fromServer, cuts);
  return { out: toClient.take().toString('hex'), calls, owed: owedItems(stream) };
}

for (const [name, one] of Object.entries(CASES)) {
  test(`replies, ${name}: every cut gives the same`, () => {
    const whole = playReplies(one, []);
    assert.equal(whole.out, one.forwarded.toString('hex'));
    assert.deepEqual(whole.owed, []);
    assert.ok(whole.calls.includes('ready(false)'));
    assert.ok(!whole.calls.some((call) => call.startsWith('broken')));
    for (let at = 1; at < one.bytes.length; at++)
      assert.deepEqual(playReplies(one, [at]), whole, `cut at ${at}`);
    const single = Array.from({ length: one.bytes.length }, (_, i) => i);
    assert.deepEqual(playReplies(one, single), whole, 'byte by byte');
    fc.assert(
      fc.property(fc.array(fc.nat(one.bytes.length), { maxLength: 30 }), (cuts) => {
        assert.deepEqual(playReplies(one, cuts), whole);
      }),
    );
  });
}

test('a first reply in part: nothing of it is owed twice, the owed queue at the cut is a prefix', () => {
  const { stream, fromServer } = newReplies();
  stream.owed.push(OWED_QUERY, null);
  fromServer.arrive(S90_REPLY);
  for (let at = 1; at < S90_REPLY.length; at++) {
    fromServer.deliver(1);
    assert.deepEqual(owedItems(stream), [OWED_QUERY], `after ${at} bytes`);
  }
  fromServer.deliver(1);
  assert.deepEqual(owedItems(stream), []);
});

function playRequests(
  bytes: Buffer,
  cuts: readonly number[],
  options: { linked: boolean; maxPrepared: number },
): { out: string; calls: string[]; owed: number[]; left: number; held: number } {
  const { stream, fromClient, toServer, replies, calls } = newRequests(options);
  fromClient.arrive(bytes);
  deliverCut(fromClient, cuts);
  return {
    out: toServer.take().toString('hex'),
    calls,
    owed: owedItems(replies),
    left: stream.bodyLeft,
    // a stream that waits for answers does not read on: what it has not read counts too
    held: stream.pending + fromClient.arrived,
  };
}

const S90_QUERIES = Buffer.concat([
  wire.query('SELECT 1;'),
  wire.query("select 'This is a very long query to view.';"),
]);

test('S-90: the queries of the book have its lengths', () => {
  assert.equal(wire.query('SELECT 1;').toString('hex'), '510000000e53454c45435420313b00');
  assert.equal(S90_QUERIES.length, 15 + 50);
  assert.equal(S90_QUERIES.readInt32BE(16), 0x31);
  assert.equal(S90_REPLY.length, 66);
  assert.deepEqual(
    wire.splitMessages(S90_REPLY).messages.map(({ body }) => body.length + 5),
    [34, 12, 14, 6],
  );
  assert.deepEqual(wire.splitMessages(oneColumn('x', ['1'])).messages.length, 4);
});

/** All requests; named ones only before the first Sync (later ones wait for answers, see pipelines.test.ts). */
const REQUESTS = Buffer.concat([
  wire.parse('s1', `select '${'x'.repeat(700)}'`, [23, 25]),
  wire.parse('', 'select 2'),
  wire.describe('S', 's1'),
  wire.describe('S', ''),
  wire.bind('', 's1', ['a', null, 'b'.repeat(900)]),
  wire.bind('portal', '', ['c']),
  wire.describe('P', 'portal'),
  wire.execute('portal', 5),
  wire.close('P', 'portal'),
  wire.close('S', 's1'),
  wire.close('S', ''),
  wire.flush(),
  wire.parse('s2', 'select 1'),
  wire.bind('', 'unknown'),
  wire.sync(),
  wire.query('copy x from stdin'),
  wire.copyData(Buffer.alloc(500, 0x61)),
  wire.copyData(Buffer.alloc(0)),
  wire.copyDone(),
  wire.query('copy y from stdin'),
  wire.copyFail('no'),
  wire.encode('F', wire.int32(1), wire.int16(0), wire.int16(0), wire.int16(0)),
  S90_QUERIES,
]);

for (const linked of [true, false]) {
  for (const maxPrepared of [0, 2]) {
    test(`requests, ${linked ? 'linked' : 'not linked'}, max_prepared_statements ${maxPrepared}: every cut`, () => {
      const options = { linked, maxPrepared };
      const whole = playRequests(REQUESTS, [], options);
      if (maxPrepared === 0) assert.equal(whole.out, REQUESTS.toString('hex'));
      else assert.doesNotMatch(Buffer.from(whole.out, 'hex').toString('latin1'), /s1\0/);
      assert.deepEqual([whole.left, whole.held], [0, 0]);
      for (let at = 1; at < REQUESTS.length; at++) {
        assert.deepEqual(playRequests(REQUESTS, [at], options), whole, `cut at ${at}`);
      }
      const single = Array.from({ length: REQUESTS.length }, (_, i) => i);
      assert.deepEqual(playRequests(REQUESTS, single, options), whole, 'byte by byte');
    });
  }
}

test('requests of random clients: any cuts give the same bytes and the same debts', () => {
  fc.assert(
    fc.property(
      pipelinedScript,
      fc.array(fc.nat(3000), { maxLength: 40 }),
      fc.boolean(),
      fc.constantFrom(0, 1, 3),
      (bursts, cuts, linked, maxPrepared) => {
        const bytes = Buffer.concat(bursts);
        const options = { linked, maxPrepared };
        assert.deepEqual(playRequests(bytes, cuts, options), playRequests(bytes, [], options));
      },
    ),
    { numRuns: 500, includeErrorInReport: true },
  );
});

test('a message of megabytes passes in pieces and is never held', () => {
  const value = Buffer.alloc(3_000_000, 0x61).toString();
  const { stream, fromClient, toServer } = newRequests({ linked: true, maxPrepared: 10 });
  const bytes = Buffer.concat([
    wire.query(value),
    wire.bind('p', '', [value]),
    wire.copyData(Buffer.from(value)),
  ]);
  fromClient.arrive(bytes);
  let out = 0;
  while (fromClient.deliver(16_384)) {
    out += toServer.take().length;
    assert.ok(stream.pending < 20_000, `${stream.pending} bytes held`);
  }
  assert.equal(out, bytes.length);

  const replies = newReplies();
  replies.stream.owed.push(OWED_QUERY, null);
  const row = Buffer.concat([dataRow([value]), commandComplete('SELECT 1'), readyForQuery('I')]);
  replies.fromServer.arrive(row);
  let forwarded = 0;
  while (replies.fromServer.deliver(65_536)) {
    const now = replies.toClient.take().length;
    assert.ok(now > 0, 'a piece was kept');
    forwarded += now;
  }
  assert.equal(forwarded, row.length);
});
