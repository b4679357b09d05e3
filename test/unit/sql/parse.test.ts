import assert from 'node:assert/strict';
import { test } from 'node:test';
import { factsOf } from '../../../src/sql/classify.ts';
import { FactCache } from '../../../src/sql/fact-cache.ts';
import { loadParser, parserReady, parseSql } from '../../../src/sql/parse.ts';

// the tests of this file depend on their order: the parser is loaded by the first
test('what comes before the parser is loaded is for the primary, and asked again later', async () => {
  assert.equal(parserReady(), false);
  const cache = new FactCache(1 << 20);
  assert.equal(cache.lookup('SELECT early').facts.rule, 'not parsed');
  assert.equal(factsOf('INSERT INTO t VALUES (1)').rule, 'command');
  assert.equal(factsOf('').rule, '');
  await loadParser();
  assert.equal(parserReady(), true);
  assert.equal(cache.lookup('SELECT early').facts.rule, '');
});

test('a damaged parser is replaced', async () => {
  // under the limits for depth, and yet too deep when it is called from far down the stack
  const deep = `SELECT ${'1+'.repeat(1900)}1`;
  const call = (depth: number): string => {
    if (depth > 0) return call(depth - 1);
    const parsed = parseSql(deep);
    return parsed.ok ? '' : parsed.rule;
  };
  assert.equal(call(0), '');
  let rule = '';
  try {
    for (let depth = 500; depth < 20_000 && rule === ''; depth += 250) rule = call(depth);
  } catch {
    // the stack ended in the loop itself
  }
  assert.equal(rule, 'not parsed');
  assert.equal(parserReady(), false);
  assert.equal(factsOf('SELECT 1').rule, 'not parsed');
  await loadParser();
  assert.equal(factsOf('SELECT f(a) FROM t').rule, '');
});

test('what bison itself finds too deep does no damage', () => {
  assert.equal(factsOf(`SELECT ${'NOT '.repeat(1000)}true`).rule, '');
  // short enough not to be counted
  for (let i = 0; i < 100; i++) assert.equal(factsOf(`SELECT ${'('.repeat(4000)}`).rule, 'syntax error');
  assert.equal(factsOf('SELECT 1').rule, '');
});
