/**
 * Rubbish from either side: nothing hangs, nothing but PoolerError is thrown at a client's door, a server that talks
 * rubbish is closed and none of it is read as data, and what is held stays small.
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
import { PoolerError } from '../../src/util/errors.ts';
import { MessageReader, MessageTooLarge } from '../../src/wire/message-reader.ts';
import { commandComplete, dataRow, errorResponse, readyForQuery } from '../support/fake-server.ts';
import * as wire from '../support/raw-messages.ts';
import { deliverCut, newReplies, newRequests } from './streams.ts';

const letters = fc.constantFrom(...'QPBDECSHFdcfXpRKZNAT123IntsGWHVv'.split(''), '\0', '\xff');
/** Half of the time a header that looks right, with any length. */
const rubbish = fc.oneof(
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  fc
    .array(
      fc.tuple(
        letters,
        fc.oneof(fc.integer({ min: 0, max: 60 }), fc.integer()),
        fc.uint8Array({ maxLength: 60 }),
      ),
      { maxLength: 12 },
    )
    .map((all) =>
      Buffer.concat(
        all.map(([type, length, body]) =>
          Buffer.concat([Buffer.from(type, 'latin1'), wire.int32(length | 0), body]),
        ),
      ),
    ),
  fc
    .array(fc.tuple(letters, fc.uint8Array({ maxLength: 60 })), { maxLength: 12 })
    .map((all) => Buffer.concat(all.map(([type, body]) => wire.encode(type, Buffer.from(body))))),
);
const cuts = fc.array(fc.nat(400), { maxLength: 12 });

test('a client may send anything: PoolerError or nothing, and little is held', () => {
  const codes = new Set<string>();
  fc.assert(
    fc.property(rubbish, cuts, fc.boolean(), fc.constantFrom(0, 5), (bytes, at, linked, maxPrepared) => {
      const { stream, fromClient, toServer, calls } = newRequests({ linked, maxPrepared });
      fromClient.arrive(bytes);
      try {
        deliverCut(fromClient, at);
      } catch (error) {
        assert.ok(error instanceof PoolerError, String(error));
        codes.add(error.code);
      }
      assert.ok(stream.pending <= bytes.length);
      assert.ok(stream.bodyLeft >= 0);
      // what goes to a server is never more than what came, but for the names that the proxy gives
      assert.ok(toServer.take().length <= bytes.length * 4 + 4000);
      assert.ok(calls.filter((call) => call === 'terminate').length <= bytes.length);
    }),
    { numRuns: 3000 },
  );
  for (const code of ['badPacketHeader', 'unknownPacket', 'failedToParse']) {
    assert.ok(codes.has(code), `never seen: ${code}`);
  }
});

test('after rubbish of one client the shared buffers serve the next one', () => {
  fc.assert(
    fc.property(rubbish, (bytes) => {
      const bad = newRequests({ linked: true, maxPrepared: 5 });
      bad.fromClient.arrive(Buffer.concat([wire.parse('', 'select 1'), bytes]));
      try {
        deliverCut(bad.fromClient, []);
      } catch (error) {
        assert.ok(error instanceof PoolerError, String(error));
      }
      const good = newRequests({ linked: true, maxPrepared: 5 });
      good.fromClient.arrive(wire.query('select 1'));
      deliverCut(good.fromClient, []);
      assert.deepEqual(good.toServer.take(), wire.query('select 1'));
    }),
    { numRuns: 1000 },
  );
});

test('a name without an end is refused at 64 kB, not collected', () => {
  const endless = Buffer.alloc(200_000, 0x61);
  for (const [what, bytes] of [
    ['Bind', wire.encode('B', endless)],
    ['Bind, statement', wire.encode('B', wire.cstr('portal'), endless)],
    ['Describe', wire.encode('D', Buffer.from('S'), endless, Buffer.from([0]))],
    ['Close', wire.encode('C', Buffer.from('S'), endless, Buffer.from([0]))],
  ] as const) {
    for (const linked of [true, false]) {
      const { stream, fromClient } = newRequests({ linked, maxPrepared: 5 });
      fromClient.arrive(bytes);
      assert.throws(
        () => {
          while (fromClient.deliver(4096))
            assert.ok(stream.pending < 80_000, `${what}: ${stream.pending} held`);
        },
        (error) => error instanceof PoolerError && error.code === 'failedToParse',
        what,
      );
    }
  }
});

test('max_packet_size and lengths below 4 are refused at the header', () => {
  const cases = [
    [wire.int32(1001), 'packetTooLarge'],
    [wire.int32(-1), 'packetTooLarge'],
    [wire.int32(3), 'badPacketHeader'],
    [wire.int32(0), 'badPacketHeader'],
  ] as const;
  for (const [length, code] of cases) {
    for (const linked of [true, false]) {
      const { fromClient, toServer } = newRequests({ linked, maxPrepared: 0, maxPacketSize: 1000 });
      fromClient.arrive(Buffer.concat([Buffer.from('Q'), length]));
      assert.throws(
        () => deliverCut(fromClient, [2]),
        (error) => error instanceof PoolerError && error.code === code,
      );
      assert.equal(toServer.take().length, 0);
    }
  }
});

const debts = fc.array(
  fc.constantFrom(
    OWED_PARSE,
    OWED_BIND,
    OWED_DESCRIBE,
    OWED_EXECUTE,
    OWED_CLOSE,
    OWED_SYNC,
    OWED_QUERY,
    OWED_FUNCTION,
    OWED_QUERY | SWALLOW,
    OWED_PARSE | SWALLOW_OK,
    OWED_CLOSE | SWALLOW,
    OWED_PARSE | INVENT,
    OWED_CLOSE | INVENT,
  ),
  { maxLength: 6 },
);

test('a server may send anything: it is closed, or what is forwarded was owed', () => {
  let broken = 0;
  fc.assert(
    fc.property(rubbish, cuts, debts, (bytes, at, owed) => {
      const { stream, fromServer, toClient, calls } = newReplies();
      for (const item of owed) stream.owed.push(item, null);
      fromServer.arrive(bytes);
      while (fromServer.arrived > 0 && !stream.broken) {
        if (at.length > 0) fromServer.deliver(1 + ((at[fromServer.arrived % at.length] ?? 0) % 50));
        else fromServer.deliver(65_536);
      }
      const said = calls.filter((call) => call.startsWith('broken'));
      assert.ok(said.length <= 1);
      assert.equal(stream.broken, said.length === 1);
      if (stream.broken) broken += 1;
      assert.ok(toClient.take().length <= bytes.length + owed.length * 5);
      assert.ok(stream.owed.length >= 0 && stream.owed.length <= owed.length);
    }),
    { numRuns: 3000 },
  );
  assert.ok(broken > 500, `only ${broken} closed`);
});

for (const [what, owed, bytes] of [
  ['ParseComplete nobody asked for', [OWED_QUERY], wire.encode('1')],
  ['BindComplete in the place of ParseComplete', [OWED_PARSE, OWED_BIND], wire.encode('2')],
  [
    'a second ReadyForQuery',
    [OWED_QUERY],
    Buffer.concat([commandComplete('X'), readyForQuery(), readyForQuery()]),
  ],
  ['ReadyForQuery before the Sync', [OWED_PARSE, OWED_SYNC], readyForQuery()],
  ['ReadyForQuery of a wrong size', [OWED_SYNC], wire.encode('Z', Buffer.from('II'))],
  ['a DataRow for nothing', [], dataRow(['secret'])],
  ['a DataRow for a Parse', [OWED_PARSE], dataRow(['secret'])],
  ['CommandComplete for nothing', [], commandComplete('SELECT 1')],
  ['a CopyInResponse for a Sync', [OWED_SYNC], wire.encode('G', Buffer.alloc(3))],
  ['an unknown type', [OWED_QUERY], wire.encode('!', Buffer.from('secret'))],
  ['authentication in the middle', [OWED_QUERY], wire.encode('R', wire.int32(3))],
  ['BackendKeyData in the middle', [OWED_QUERY], wire.encode('K', wire.int32(3), wire.int32(3))],
  ['a length of 3', [OWED_QUERY], Buffer.from([0x44, 0, 0, 0, 3])],
  ['a length of 2 GB and more', [OWED_QUERY], Buffer.from([0x44, 0xff, 0xff, 0xff, 0xff, 0x73])],
  ['a CommandComplete of 256 MB', [OWED_QUERY], Buffer.from([0x43, 0x10, 0, 0, 0, 0x73])],
  ['a ParameterStatus of 256 MB', [OWED_QUERY], Buffer.from([0x53, 0x10, 0, 0, 0, 0x73])],
  ['a ReadyForQuery of 256 MB', [OWED_QUERY], Buffer.from([0x5a, 0x10, 0, 0, 0, 0x73])],
] as const) {
  test(`a server's ${what} closes it and never reaches the client`, () => {
    for (const cut of [65_536, 1, 5]) {
      const { stream, fromServer, toClient, calls } = newReplies();
      for (const item of owed) stream.owed.push(item, null);
      fromServer.arrive(bytes);
      while (!stream.broken && fromServer.deliver(cut));
      assert.ok(stream.broken, `in pieces of ${cut}`);
      assert.equal(calls.filter((call) => call.startsWith('broken')).length, 1);
      const got = wire.splitMessages(toClient.take());
      assert.equal(got.rest.length, 0);
      // what was right before it may have gone
      assert.match(wire.typesOf(got.messages), /^(CZ?)?$/);
    }
  });
}

test('an endless ErrorResponse of a server is forwarded in pieces, not collected', () => {
  const { stream, fromServer, toClient } = newReplies();
  stream.owed.push(OWED_QUERY, null);
  const bytes = Buffer.concat([errorResponse('42601', 'x'.repeat(2_000_000)), readyForQuery()]);
  fromServer.arrive(bytes);
  let got = 0;
  for (let piece = 0; fromServer.deliver(10_000); piece++) {
    const now = toClient.take().length;
    assert.ok(now > 0 || piece === bytes.length, `piece ${piece} was kept`);
    got += now;
  }
  assert.equal(got, bytes.length);
  assert.equal(stream.owed.length, 0);
});

test('MessageReader: any cuts give the messages, rubbish gives MessageTooLarge or waits, within its limit', () => {
  const message = fc.tuple(fc.constantFrom('Q', 'p', 'X'), fc.uint8Array({ maxLength: 50 }));
  fc.assert(
    fc.property(fc.array(message, { maxLength: 8 }), cuts, (messages, at) => {
      const bytes = Buffer.concat(messages.map(([type, body]) => wire.encode(type, Buffer.from(body))));
      const reader = new MessageReader(1000);
      const got: { type: string; body: string }[] = [];
      const ends = [...new Set([...at.filter((cut) => cut < bytes.length), bytes.length])].sort(
        (a, b) => a - b,
      );
      let from = 0;
      for (const end of ends) {
        reader.push(bytes, from, end);
        from = end;
        for (let next = reader.next(); next !== null; next = reader.next()) {
          got.push({ type: String.fromCharCode(next.type), body: next.body.toString('hex') });
        }
      }
      const want = messages.map(([type, body]) => ({ type, body: Buffer.from(body).toString('hex') }));
      assert.deepEqual(got, want);
      assert.equal(reader.pending, 0);
    }),
  );
  fc.assert(
    fc.property(rubbish, fc.boolean(), (bytes, startup) => {
      const reader = new MessageReader(100);
      try {
        for (let at = 0; at < bytes.length; at++) {
          reader.push(bytes, at, at + 1);
          while ((startup ? reader.nextStartup() : reader.next()) !== null);
          assert.ok(reader.pending <= 100, `${reader.pending} bytes held`);
        }
      } catch (error) {
        assert.ok(error instanceof MessageTooLarge, String(error));
      }
    }),
    { numRuns: 1000 },
  );
});
