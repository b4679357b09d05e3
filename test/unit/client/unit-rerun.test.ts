/** A batch that is recognised by its shape is one that the scanner would find to be the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { rerunEnd } from '../../../src/client/unit-rerun.ts';
import { batch, SCAN_WHOLE } from '../../../src/client/unit-scan.ts';
import * as raw from '../../support/raw-messages.ts';

const describePortal = raw.describe('P', '');
const bindS1 = raw.bind('', 's1', ['7']);

/** The end that is recognised; `whole` bytes of `bytes` have been read, and the unit begins at `pos`. */
function found(bytes: Buffer, pos = 0, whole = bytes.length): number {
  const end = pos + 1 + bytes.readUInt32BE(pos + 1);
  return rerunEnd(bytes, pos, end, whole);
}

test('with and without a Describe, and with another batch behind it', () => {
  const plain = Buffer.concat([bindS1, raw.execute(''), raw.sync()]);
  const described = Buffer.concat([bindS1, describePortal, raw.execute('', 100), raw.sync()]);
  for (const unit of [plain, described]) {
    assert.equal(found(unit), unit.length);
    assert.equal(found(Buffer.concat([unit, unit])), unit.length);
    assert.equal(found(Buffer.concat([plain, unit]), plain.length), plain.length + unit.length);
    for (let n = 0; n < unit.length; n++) assert.equal(found(unit, 0, n), 0, `${n} bytes of ${unit.length}`);
  }
});

test('nothing else', () => {
  const end = [raw.execute(''), raw.sync()];
  for (const parts of [
    [raw.bind('p', 's1'), ...end],
    [bindS1, raw.execute('p'), raw.sync()],
    [bindS1, raw.describe('P', 'p'), ...end],
    [bindS1, raw.describe('S', ''), ...end],
    [bindS1, describePortal, describePortal, ...end],
    [bindS1, raw.execute(''), ...end],
    [bindS1, bindS1, ...end],
    [bindS1, raw.sync(), raw.sync()],
    [bindS1, raw.execute(''), raw.encode('H'), raw.sync()],
    [bindS1, raw.close('P', ''), ...end],
    [bindS1, raw.query('SELECT 12345')],
  ])
    assert.equal(
      found(Buffer.concat(parts)),
      0,
      raw.typesOf(raw.splitMessages(Buffer.concat(parts)).messages),
    );
});

test('whatever is recognised, the scanner sees the same: one statement, run once, up to the same Sync', () => {
  const name = fc.constantFrom('', 's1', 's2', 'p');
  const message = fc.oneof(
    fc.tuple(fc.constantFrom('', 'p'), name, fc.array(fc.string())).map(([p, s, v]) => raw.bind(p, s, v)),
    fc.tuple(fc.constantFrom('P' as const, 'S' as const), name).map(([kind, of]) => raw.describe(kind, of)),
    fc.tuple(fc.constantFrom('', '', 'p'), fc.nat(3)).map(([p, rows]) => raw.execute(p, rows)),
    fc.constant(raw.sync()),
    fc.constant(raw.encode('H')),
  );
  let recognised = 0;
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 4 }),
      fc.constantFrom([], [raw.execute(''), raw.sync()], [describePortal, raw.execute(''), raw.sync()]),
      fc.option(fc.tuple(fc.nat(), fc.nat(255))),
      (messages, tail, change) => {
        const bytes = Buffer.concat([bindS1, ...messages, ...tail]);
        // one byte is another one; the length of the Bind is what the relay has checked already
        if (change !== null) {
          const at = 5 + (change[0] % (bytes.length - 5));
          bytes[at] = change[1];
        }
        const end = found(bytes);
        if (end === 0) return;
        recognised += 1;
        assert.equal(batch.scan(bytes, 0, bytes.length), SCAN_WHOLE);
        assert.equal(batch.end, end);
        assert.deepEqual([batch.executes, batch.count, batch.plain, batch.makesNames], [1, 1, true, false]);
      },
    ),
    { numRuns: 3000 },
  );
  assert.ok(recognised > 100, `${recognised} recognised`);
});
