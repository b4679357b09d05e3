/** Connect strings. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maskPasswords, parseConnstr } from '../../../src/config/connstr.ts';

function pairs(source: string): Record<string, string> {
  const parsed = parseConnstr(source);
  assert.equal(parsed.error, undefined);
  return Object.fromEntries(parsed.pairs ?? []);
}

test('pairs, blanks, quotes', () => {
  assert.deepEqual(pairs(''), {});
  assert.deepEqual(pairs('   '), {});
  assert.deepEqual(pairs('host=a  port = 5\tdbname =c'), { host: 'a', port: '5', dbname: 'c' });
  assert.deepEqual(pairs("password='a b;c' connect_query='SELECT ''1'''"), {
    password: 'a b;c',
    connect_query: "SELECT '1'",
  });
  assert.deepEqual(pairs("password=a;b#c'd"), { password: "a;b#c'd" });
  assert.deepEqual(pairs('a=1 a=2'), { a: '2' });
  assert.deepEqual(pairs('password==x=y'), { password: '=x=y' });
});

test('what is refused', () => {
  for (const source of [
    'host',
    'host=a port',
    "p='open",
    "p='a'b=1",
    'host=',
    "p=''",
    '=x',
    'a b=c',
    "p='it''",
  ]) {
    assert.equal(parseConnstr(source).error, 'syntax error in connection string', source);
  }
});

test('passwords are not shown', () => {
  assert.equal(
    maskPasswords("a=1 password='x ''y' b=2 password=z"),
    'a=1 password=******** b=2 password=********',
  );
  assert.equal(maskPasswords("password = 'open x"), 'password = ********');
});
