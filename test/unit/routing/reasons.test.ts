/** The table of reasons covers every rule of the room sql, without doubles; encodings; positions as text. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLexable } from '../../../src/routing/encodings.ts';
import { formatLsn, parseLsn } from '../../../src/routing/lsn-text.ts';
import { asBytes, readable } from '../../../src/routing/readable.ts';
import { REASONS, reasonId, reasonName } from '../../../src/routing/reasons.ts';
import { RouteLog, Shadow } from '../../../src/routing/route-log.ts';
import type { WriteRule } from '../../../src/sql/facts.ts';

const RULES: Record<Exclude<WriteRule, ''>, true> = {
  command: true,
  'locking clause': true,
  'select into': true,
  'modifying cte': true,
  'explain analyze of a write': true,
  copy: true,
  'transaction control': true,
  'several statements': true,
  'syntax error': true,
  'too long': true,
  'not parsed': true,
};

test('every rule has a reason of its name, and names are unique', () => {
  for (const rule of Object.keys(RULES)) {
    assert.equal(reasonName(reasonId(rule as Exclude<WriteRule, ''>)), rule);
  }
  assert.equal(new Set(REASONS.map((row) => row.name)).size, REASONS.length);
  for (const { name, sentence } of REASONS) assert.ok(name.length > 0 && sentence.length > 10);
  assert.equal(reasonName(9999), 'unknown');
  assert.throws(() => reasonId('nonsense' as 'copy'), /no routing reason nonsense/);
});

test('only the encodings with ASCII bytes inside of characters are unsafe', () => {
  for (const name of [
    'UTF8',
    'utf-8',
    'UNICODE',
    'SQL_ASCII',
    'LATIN1',
    'WIN1252',
    'EUC_JP',
    'EUC_KR',
    'koi8-r',
  ]) {
    assert.equal(isLexable(name), true, name);
  }
  for (const name of [
    'SJIS',
    'BIG5',
    'GBK',
    'UHC',
    'GB18030',
    'JOHAB',
    'SHIFT_JIS_2004',
    'Windows949',
    '',
    'x',
  ]) {
    assert.equal(isLexable(name), false, name);
  }
});

test('positions are written and read as PostgreSQL does', () => {
  for (const [text, lsn] of [
    ['0/0', 0],
    ['0/16B3748', 0x16b3748],
    ['16/B374D848', 0x16 * 2 ** 32 + 0xb374d848],
    ['1FFFFF/FFFFFFFF', Number.MAX_SAFE_INTEGER],
  ] as const) {
    assert.equal(formatLsn(lsn), text);
    assert.equal(parseLsn(text), lsn);
  }
  assert.equal(parseLsn(' 16/b374d848 '), 0x16b374d848);
  for (const bad of ['', '16', '16/', '/1', '1/2/3', 'g/1', '123456789/0', 'FFFFFFFF/FFFFFFFF', '-1/0']) {
    assert.equal(parseLsn(bad), null, bad);
  }
});

test('texts become readable whatever their bytes are', () => {
  assert.equal(readable(asBytes('größe ✓')), 'größe ✓');
  assert.equal(readable('gr\xf6\xdfe'), 'größe', 'not UTF-8: a byte, a character');
  assert.equal(readable(asBytes('ab✓'), 4), 'ab', 'a cut inside of a character');
});

test('the log keeps the last rows, newest first', () => {
  const log = new RouteLog(3);
  const origin = { id: 1, databaseName: 'app', userName: 'u' };
  assert.deepEqual(log.rows(), []);
  for (let i = 1; i <= 5; i++) {
    log.note(i, { ...origin, id: 10 + i }, `SELECT ${i}`, i % 2 === 0, reasonId('balanced'), 'pg2', i === 5);
  }
  assert.deepEqual(
    log.rows().map((row) => [row.at, row.clientId, row.text, row.class, row.reason, row.node, row.retried]),
    [
      [5, 15, 'SELECT 5', 'write', 'balanced', 'pg2', true],
      [4, 14, 'SELECT 4', 'read', 'balanced', 'pg2', false],
      [3, 13, 'SELECT 3', 'write', 'balanced', 'pg2', false],
    ],
  );
  log.note(6, origin, 'x'.repeat(50_000), true, 0, 'pg1', false);
  assert.equal(log.rows()[0]?.text.length, 1002);
});

test('shadow counts what would have been', () => {
  const shadow = new Shadow();
  shadow.note(true, true, false);
  shadow.note(true, false, true);
  shadow.note(false, false, false);
  assert.deepEqual(shadow.row, { units: 3, reads: 2, wouldReplica: 1, wouldStale: 1, writes: 1 });
});
