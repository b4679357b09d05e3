import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { factsOf } from '../../../src/sql/classify.ts';
import { FactCache } from '../../../src/sql/fact-cache.ts';
import { loadParser } from '../../../src/sql/parse.ts';

before(loadParser);

test('the same object for the same normalised text', () => {
  const cache = new FactCache(1 << 20);
  const one = cache.lookup("SELECT a FROM t WHERE b = 1 AND c = 'x'");
  one.slot = 'verdict';
  assert.equal(cache.lookup("SELECT a FROM t  WHERE b = 2 AND c = 'y' -- z"), one);
  assert.equal(cache.lookup("SELECT a FROM t WHERE b = 1 AND c = 'x'").slot, 'verdict');
  assert.notEqual(cache.lookup("SELECT a FROM t WHERE b = '1' AND c = 'x'"), one);
  assert.deepEqual(one.normalised, { text: "SELECT a FROM t WHERE b = ? AND c = '?'", hint: null });
  assert.deepEqual([cache.hits, cache.misses, cache.parses], [2, 2, 2]);
});

test('a hint makes it another entry', () => {
  const cache = new FactCache(1 << 20);
  const plain = cache.lookup('SELECT 1');
  const hinted = cache.lookup('/* pgconcierge: primary */ SELECT 1');
  const node = cache.lookup('/* pgconcierge: node=pg2 */ SELECT 2');
  const other = cache.lookup('/* pgconcierge: node=pg3 */ SELECT 2');
  assert.equal(new Set([plain, hinted, node, other]).size, 4);
  assert.deepEqual(hinted.normalised.hint, { kind: 'primary' });
  assert.deepEqual(other.normalised.hint, { kind: 'node', node: 'pg3' });
  assert.equal(cache.lookup('/* pgconcierge:  primary */ SELECT 3'), hinted);
});

test('a text that the grammar refuses says nothing about others of its shape', () => {
  const cache = new FactCache(1 << 20);
  assert.equal(cache.lookup('SELECT a::float(99)').facts.rule, 'syntax error');
  assert.equal(cache.lookup('SELECT a::float(9)').facts.rule, '');
});

test('a fixed text is found without the lexer, when it comes again', () => {
  const cache = new FactCache(1 << 20);
  cache.lookup('SELECT $1');
  cache.lookup('SELECT $1');
  assert.equal(cache.exactHits, 1);
  // with literals it has to come twice first
  for (let i = 0; i < 3; i++) cache.lookup("SELECT 'fixed'");
  assert.equal(cache.exactHits, 2);
  assert.equal(cache.misses, 2);
});

test('what the first word decides is not parsed', () => {
  const cache = new FactCache(1 << 20);
  assert.equal(cache.lookup('INSERT INTO t VALUES (1)').facts.rule, 'command');
  assert.equal(cache.parses, 0);
  assert.equal(cache.misses, 1);
});

test('its size is bounded, what is in use stays', () => {
  const limit = 200_000;
  const cache = new FactCache(limit);
  const hot = cache.lookup('SELECT hot FROM t WHERE a = $1');
  const warm = cache.lookup("SELECT warm FROM t WHERE a = '0'");
  for (let i = 0; i < 3000; i++) {
    cache.lookup(`SELECT c${i} FROM t`);
    cache.lookup(`SELECT lit FROM t WHERE a = '${i}'`);
    assert.equal(cache.lookup('SELECT hot FROM t WHERE a = $1'), hot);
    assert.equal(cache.lookup(`SELECT warm FROM t WHERE a = '${i}'`), warm);
    assert.ok(cache.bytes <= limit, `${cache.bytes}`);
  }
  assert.equal(cache.misses, 3003);
  const { misses } = cache;
  cache.lookup('SELECT c0 FROM t');
  assert.equal(cache.misses, misses + 1, 'the oldest are gone');
});

test('one object for a text, whatever is dropped', () => {
  const cache = new FactCache(20_000);
  for (let i = 0; i < 5000; i++) {
    const n = i % 37;
    const exact = `SELECT a${n} FROM t WHERE b = $1`;
    const one = cache.lookup(exact);
    assert.equal(cache.lookup(`SELECT a${n} FROM t  WHERE b = $1`), one);
    const literal = cache.lookup(`SELECT l${n} FROM t WHERE b = ${i}`);
    assert.equal(cache.lookup(`SELECT l${n} FROM t WHERE b = ${n}`), literal);
    assert.equal(cache.lookup(`SELECT l${n} FROM t WHERE b = ${n}`), literal);
  }
});

test('a text that is too big is not kept', () => {
  const cache = new FactCache(100_000);
  const big = `SELECT ${'a, '.repeat(4000)} a`;
  assert.equal(cache.lookup(big).facts.rule, '');
  assert.equal(cache.bytes, 0);
  const long = `INSERT INTO t VALUES ${"('x'), ".repeat(20_000)} ('x')`;
  assert.equal(cache.lookup(long).facts.rule, 'command');
  assert.equal(cache.bytes, 0);
});

test('many literals do not fill it', () => {
  const cache = new FactCache(1 << 20);
  for (let i = 0; i < 10_000; i++) cache.lookup(`SELECT a FROM t WHERE b = ${i} AND c = 'user ${i}'`);
  assert.equal(cache.misses, 1);
  assert.ok(cache.bytes < 2000, String(cache.bytes));
});

test('clear forgets', () => {
  const cache = new FactCache(1 << 20);
  const one = cache.lookup('SELECT a');
  cache.clear();
  assert.equal(cache.bytes, 0);
  assert.notEqual(cache.lookup('SELECT a'), one);
  assert.deepEqual(cache.lookup('SELECT a').facts, factsOf('SELECT a'));
});
