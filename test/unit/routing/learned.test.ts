/** Learned writes: bounded in number, size and time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Learned } from '../../../src/routing/learned.ts';

const text = (sql: string) => ({ normalised: { text: sql } });

test('learns per cluster and database, once per text', () => {
  const learned = new Learned(10, 1000);
  learned.learn('main', 'app', text('SELECT f()'), '25006', 5);
  assert.equal(learned.has('main', 'app', text('SELECT f()')), true);
  assert.equal(learned.has('main', 'other', text('SELECT f()')), false);
  assert.equal(learned.has('second', 'app', text('SELECT f()')), false);
  const { version } = learned;
  learned.learn('main', 'app', text('SELECT f()'), '55000', 6);
  assert.equal(learned.version, version, 'nothing new for verdicts');
  assert.deepEqual(learned.rows(), [
    { cluster: 'main', database: 'app', text: 'SELECT f()', sqlstate: '55000', since: 6, hits: 0 },
  ]);
});

test('the oldest make room; one that is refused again is young again', () => {
  const learned = new Learned(3, 1000);
  for (const sql of ['a', 'b', 'c']) learned.learn('m', 'd', text(sql), '25006', 1);
  learned.learn('m', 'd', text('a'), '25006', 2);
  learned.learn('m', 'd', text('d'), '25006', 3);
  assert.deepEqual(
    learned.rows().map((row) => row.text),
    ['d', 'a', 'c'],
  );
});

test('long texts are bounded by size', () => {
  const learned = new Learned(1000, 1000);
  for (let i = 0; i < 100; i++) learned.learn('m', 'd', text(`${i} ${'x'.repeat(60_000)}`), '25006', 1);
  assert.ok(learned.size < 80);
  assert.equal(learned.has('m', 'd', text(`99 ${'x'.repeat(60_000)}`)), true);
});

test('forgets after its age and on clear', () => {
  const learned = new Learned(10, 1000);
  learned.learn('m', 'd', text('a'), '25006', 0);
  learned.learn('m', 'd', text('b'), '25006', 500);
  learned.sweep(1000);
  assert.deepEqual(
    learned.rows().map((row) => row.text),
    ['b'],
  );
  const { version } = learned;
  learned.clear();
  assert.ok(learned.version > version);
  assert.equal(learned.size, 0);
  learned.clear();
});

test('rows show texts as people wrote them', () => {
  const learned = new Learned(10, 1000);
  learned.learn('m', 'd', text(Buffer.from('SELECT "größe"()').latin1Slice()), '25006', 0);
  assert.equal(learned.rows()[0]?.text, 'SELECT "größe"()');
});
