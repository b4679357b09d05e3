/** Values that only settings of ours have: units, lists of functions, ways to check. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  byteSize,
  checkMethod,
  duration,
  functionList,
  nullableDuration,
  parseDuration,
  period,
  processCount,
  secretText,
} from '../../../src/config/unit-types.ts';

test('times: seconds as everywhere, or with a unit', () => {
  for (const [text, ms] of [
    ['1', 1000],
    ['0.1', 100],
    ['.5', 500],
    ['1e1', 10_000],
    ['100ms', 100],
    ['1.5 s', 1500],
    ['5s', 5000],
    ['2min', 120_000],
    ['2MIN', 120_000],
    ['1h', 3_600_000],
    ['1d', 86_400_000],
    ['0.25ms', 0.25],
  ] as const) {
    assert.equal(parseDuration(text), ms, text);
  }
  for (const text of [
    '',
    's',
    '5x',
    '5 sec',
    '-1',
    '-1s',
    '1m',
    '1s2',
    '1,5s',
    '0x10',
    '1e400s',
    'ms5',
    '1..5s',
  ]) {
    assert.equal(duration.parse(text), undefined, text);
  }
  assert.equal(duration.format(1500), '1.5');
  assert.deepEqual([nullableDuration.parse(''), nullableDuration.format(null)], [null, null]);
  assert.deepEqual(
    [period.parse('0'), period.parse('9ms'), period.parse('10ms')],
    [undefined, undefined, 10],
  );
});

test("sizes have PostgreSQL's units", () => {
  for (const [text, bytes] of [
    ['0', 0],
    ['4096', 4096],
    ['0x10', 16],
    ['8B', 8],
    ['64kB', 65536],
    ['64KB', 65536],
    ['10MB', 10 * 2 ** 20],
    ['1.5 GB', 1.5 * 2 ** 30],
    ['2TB', 2 * 2 ** 40],
  ] as const) {
    assert.equal(byteSize.parse(text), bytes, text);
  }
  for (const text of ['', '-1', '1.5', '10MiB', 'MB', '9999999999TB', '1 M']) {
    assert.equal(byteSize.parse(text), undefined, text);
  }
  fc.assert(
    fc.property(fc.nat({ max: Number.MAX_SAFE_INTEGER }), (bytes) => {
      assert.equal(byteSize.parse(byteSize.format(bytes) ?? ''), bytes);
    }),
  );
});

test('lists of functions: names, regexps, quotes for commas', () => {
  for (const [text, words] of [
    ['', []],
    ['f', ['f']],
    ['f, app.g  h,', ['f', 'app.g', 'h']],
    ['^log_, "^f[a,b] $" k', ['^log_', '^f[a,b] $', 'k']],
    ['"say ""x"""', ['say "x"']],
    ['é, MyFunc', ['é', 'MyFunc']],
  ] as const) {
    assert.deepEqual(functionList.parse(text), words, text);
  }
  for (const text of ['f(', '"open', '"a"b', '""', '[']) {
    assert.equal(functionList.parse(text), undefined, text);
  }
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[a-z^$," ]*[a-z]$/)), (words) => {
      assert.deepEqual(functionList.parse(functionList.format(words) ?? ''), words);
    }),
  );
});

test('the ways to learn roles', () => {
  assert.equal(checkMethod.parse('SQL'), 'sql');
  assert.equal(checkMethod.parse('patroni:http://h:8008'), 'patroni:http://h:8008');
  assert.equal(checkMethod.parse('patroni:https://[::1]:8008/x'), 'patroni:https://[::1]:8008/x');
  for (const text of [
    '',
    'patroni',
    'patroni:',
    'patroni:h:8008',
    'http://h:8008',
    'patroni:ftp://h',
    'patroni:http://',
    'patroni:http://h:99999',
    'patroni:http://u:p@h',
    'patroni:http://h/?q',
  ]) {
    assert.equal(checkMethod.parse(text), undefined, text);
  }
});

test('process counts and secrets', () => {
  assert.deepEqual(
    ['auto', 'AUTO', '1', '8', '0', 'x', '-1'].map((text) => processCount.parse(text)),
    ['auto', 'auto', '1', '8', undefined, undefined, undefined],
  );
  assert.deepEqual([secretText.parse('x'), secretText.parse('')], ['x', null]);
  assert.deepEqual([secretText.format('x'), secretText.format(null)], ['********', null]);
});
