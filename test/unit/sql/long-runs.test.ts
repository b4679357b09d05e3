/** Texts that would take PostgreSQL's scanner, or ours, a time by the square of their length: all clients would wait. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { factsOf } from '../../../src/sql/classify.ts';
import { normalise } from '../../../src/sql/lexer.ts';
import { loadParser, parseSql } from '../../../src/sql/parse.ts';

before(() => loadParser());

const ruleOf = (text: string): string => {
  const parsed = parseSql(text);
  return parsed.ok ? '' : parsed.rule;
};

for (const [name, text] of [
  ['comments in comments', `SELECT 1 /*${'/*'.repeat(30_000)}`],
  ['the same with their ends', `SELECT 1 ${'/*'.repeat(15_000)}${'*/'.repeat(15_000)}`],
  ['a short one', `SELECT 1 ${'/*'.repeat(1_000)}${'*/'.repeat(1_000)}`],
  ['signs', `SELECT ${'+'.repeat(4_000)}1`],
  ['many signs', `SELECT ${'+-'.repeat(32_000)}1`],
  ['ends of comments', `SELECT 1 ${'*/'.repeat(30_000)} 1`],
] as const) {
  test(`not parsed: ${name}`, () => assert.equal(ruleOf(text), 'too long'));
}

for (const [name, text] of [
  ['a line in a string', `SELECT '${'='.repeat(60_000)}'`],
  ['a line in a comment', `SELECT 1 /* ${'-'.repeat(60_000)} */`],
  ['a comment of stars', `/${'*'.repeat(60_000)}/ SELECT 1`],
  ['a line comment', `SELECT 1 ${'-'.repeat(60_000)}`],
  ['lines as people draw them', `${`/*${'-'.repeat(100)}*/\n`.repeat(500)}SELECT 1`],
  ['a few signs', `SELECT ${'+'.repeat(50)}1`],
] as const) {
  test(`parsed: ${name}`, () => assert.equal(ruleOf(text), ''));
}

test('a million semicolons and SETs are read once', () => {
  // by the square it would be hours
  assert.equal(factsOf(';'.repeat(1_000_000)).rule, '');
  const set = "SET a = 'b';";
  const { text } = normalise(set.repeat(100_000));
  assert.equal(text, "SET a = '?';".repeat(100_000));
  // the last one is ours: the literals of all that stand before it stay too, as the name may be meant
  assert.equal(
    normalise(`${set}${set}SET pgconcierge.route = 'primary';${set}`).text,
    "SET a = 'b';SET a = 'b';SET pgconcierge.route = 'primary';SET a = '?';",
  );
});
