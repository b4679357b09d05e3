import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { cellBinary, cellText, encodeRows, numericBinary } from '../../../src/admin/encode.ts';
import { splitStatements } from '../../../src/admin/grammar.ts';
import { localTime } from '../../../src/admin/local-time.ts';
import { readReplies, textsOf } from './fake-console.ts';

const kinds = (text: string): string[][] =>
  splitStatements(text).map((s) => s.tokens.map((t) => `${t.kind}:${t.text}`));

test('tokens', () => {
  assert.deepEqual(kinds(`PAUSE my-db.x; SET a='it''s';"q ""x;"`), [
    ['word:PAUSE', 'word:my-db.x'],
    ['word:SET', 'word:a', 'symbol:=', "string:it's"],
    ['identifier:q "x;'],
  ]);
  assert.deepEqual(kinds('a $1 $12 $0 $65 $x b--c\n d/* ; */e'), [
    ['word:a', 'parameter:1', 'parameter:12', 'word:$0', 'word:$65', 'word:$x', 'word:b', 'word:d', 'word:e'],
  ]);
  assert.deepEqual(kinds(' ; ;; '), []);
  assert.deepEqual(splitStatements('a $3 $2')[0]?.parameters, 3);
});

test('the source of a statement', () => {
  assert.deepEqual(
    splitStatements(' FOO ;').map((s) => s.source),
    [' FOO ;'],
  );
  assert.deepEqual(
    splitStatements('a b; c;').map((s) => s.source),
    ['a b', 'c'],
  );
});

test('what does not end is refused', () => {
  for (const text of ['"a', "'a", "'a''", '/* a', '/* /* */', 'x"']) {
    assert.throws(() => splitStatements(text), /^PoolerError: invalid command/, text);
  }
});

test('any text ends in statements or a PoolerError', () => {
  const pieces = fc.constantFrom('"', "'", ';', '--', '/*', '*/', '\n', ' ', '$1', 'a', '=', ',', 'é', '\0');
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 30 }), (list) => {
      const text = list.join('');
      try {
        for (const s of splitStatements(text)) {
          assert.ok(s.tokens.length > 0);
          for (const t of s.tokens) assert.ok(t.start < t.end && t.end <= text.length);
        }
      } catch (error) {
        assert.equal((error as Error).name, 'PoolerError');
      }
    }),
  );
});

/** numeric_out, from the bytes. */
function readNumeric(b: Buffer): string {
  const count = b.readInt16BE(0);
  const weight = b.readInt16BE(2);
  const sign = b.readUInt16BE(4) === 0x4000 ? '-' : '';
  const scale = b.readUInt16BE(6);
  assert.equal(b.length, 8 + count * 2);
  let whole = '';
  for (let i = 0; i <= weight; i += 1)
    whole += String(i < count ? b.readInt16BE(8 + i * 2) : 0).padStart(4, '0');
  let fraction = '';
  for (let i = weight + 1; fraction.length < scale; i += 1) {
    fraction += String(i >= 0 && i < count ? b.readInt16BE(8 + i * 2) : 0).padStart(4, '0');
  }
  const left = whole.replace(/^0+(?=\d)/, '') || '0';
  return `${sign}${left}${scale > 0 ? `.${fraction.slice(0, scale)}` : ''}`;
}

test('numeric in binary', () => {
  // as numeric_send of PostgreSQL gives them
  assert.deepEqual(numericBinary('0').toString('hex'), '0000000000000000');
  assert.deepEqual(numericBinary('1').toString('hex'), '00010000000000000001');
  assert.deepEqual(numericBinary('10000').toString('hex'), '00010001000000000001');
  assert.deepEqual(numericBinary('-12.5').toString('hex'), '0002000040000001000c1388');
  assert.deepEqual(numericBinary('0.0001').toString('hex'), '0001ffff000000040001');
  fc.assert(
    fc.property(fc.bigInt(), (n) => assert.equal(readNumeric(numericBinary(n.toString())), n.toString())),
  );
  const fraction = fc.stringMatching(/^\d{1,12}$/);
  fc.assert(
    fc.property(fc.bigInt({ min: 1n }), fraction, (n, f) => {
      assert.equal(readNumeric(numericBinary(`-${n}.${f}`)), `-${n}.${f}`);
    }),
  );
});

test('numbers fit their type', () => {
  assert.equal(cellText(3_000_000_000, 'int4'), '2147483647');
  assert.equal(cellText(-3_000_000_000, 'int4'), '-2147483648');
  assert.equal(cellText(1.9, 'int4'), '1');
  assert.equal(cellText(Number.NaN, 'numeric'), '0');
  assert.equal(cellText(1e21, 'numeric'), '1000000000000000000000');
  assert.equal(cellText(12n, 'int8'), '12');
  assert.deepEqual(cellBinary(-2, 'int8'), Buffer.from('fffffffffffffffe', 'hex'));
  assert.deepEqual(cellBinary(4_294_967_295, 'oid'), Buffer.from('ffffffff', 'hex'));
  assert.equal(cellBinary(null, 'int4'), null);
});

test('times', () => {
  assert.equal(localTime(0), '');
  assert.match(localTime(Date.now()), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+$/);
});

test('any text arrives as it is', () => {
  const columns = [
    { name: 'a', type: 'text' },
    { name: 'b', type: 'text' },
  ] as const;
  const text = fc.oneof(
    fc.string(),
    fc.string({ unit: 'grapheme', maxLength: 60 }),
    fc.constantFrom('é', 'naïve', 'é'.repeat(9000), null),
  );
  fc.assert(
    fc.property(
      fc.array(fc.tuple(text, text), { maxLength: 20 }),
      fc.constantFrom([], [1], [0, 1]),
      (rows, formats) => {
        const replies = readReplies(encodeRows(rows, columns, formats));
        assert.deepEqual(replies.map(textsOf), rows);
      },
    ),
  );
});
