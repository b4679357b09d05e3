/** Texts of the file into values and back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  boolean,
  formatG,
  integer,
  list,
  lookup,
  milliseconds,
  nullableText,
  seconds,
  wholeSeconds,
} from '../../../src/config/value-types.ts';

test('integers as strtol with base 0', () => {
  const type = integer();
  for (const [text, value] of [
    ['0', 0],
    ['42', 42],
    ['0777', 511],
    ['0x10', 16],
    ['0XfF', 255],
    ['+5', 5],
    ['2147483647', 2147483647],
  ] as const) {
    assert.equal(type.parse(text), value, text);
  }
  for (const text of ['', ' ', '1x', '08', '0x', '1.5', '1e3', '-1', '2147483648', '--1', 'abc']) {
    assert.equal(type.parse(text), undefined, text);
  }
  assert.equal(integer(1, 16).parse('0'), undefined);
  assert.equal(integer(1, 16).parse('17'), undefined);
});

test('booleans are integers', () => {
  assert.equal(boolean.parse('0'), false);
  assert.equal(boolean.parse('1'), true);
  assert.equal(boolean.parse('2'), true);
  for (const text of ['', 'yes', 'true', 'on', '1 ; comment'])
    assert.equal(boolean.parse(text), undefined, text);
});

test('times: seconds with fraction, held in ms', () => {
  for (const [text, ms] of [
    ['0', 0],
    ['3600', 3600000],
    ['0.5', 500],
    ['.25', 250],
    ['1.', 1000],
    ['1e3', 1000000],
    ['0.1', 100],
  ] as const) {
    assert.equal(seconds.parse(text), ms, text);
  }
  for (const text of ['', '-1', '5s', '1 2', 'nan', 'inf', '1e999', '.'])
    assert.equal(seconds.parse(text), undefined, text);
  assert.equal(seconds.format(500), '0.5');
  assert.equal(wholeSeconds.parse('60'), 60000);
  assert.equal(wholeSeconds.parse('0.5'), undefined);
  assert.equal(wholeSeconds.format(60000), '60');
  assert.equal(milliseconds.parse('1500'), 1500);
  assert.equal(milliseconds.format(1500), '1500');
});

test('%g', () => {
  const cases = [
    [0, '0'],
    [3600, '3600'],
    [0.5, '0.5'],
    [1 / 3, '0.333333'],
    [999999, '999999'],
    [1e6, '1e+06'],
    [8640000, '8.64e+06'],
    [0.0001, '0.0001'],
    [0.00001, '1e-05'],
    [999999.9, '1e+06'],
    [1e12, '1e+12'],
  ] as const;
  for (const [value, text] of cases) assert.equal(formatG(value), text);
});

test('lists, words, texts that may be NULL', () => {
  assert.deepEqual(list.parse('a, b,,c d'), ['a', 'b', 'c', 'd']);
  assert.deepEqual(list.parse(''), []);
  assert.ok(Object.isFrozen(list.parse('a')));
  assert.equal(lookup('Session', 'transaction').parse('TRANSACTION'), 'transaction');
  assert.equal(lookup('session').parse('sess'), undefined);
  assert.equal(nullableText.parse(''), null);
  assert.equal(nullableText.format(null), null);
});
