import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { classify, factsOf } from '../../../src/sql/classify.ts';
import type { SqlFacts, SqlName } from '../../../src/sql/facts.ts';
import { normalise } from '../../../src/sql/lexer.ts';
import { loadParser, MAX_PARSE } from '../../../src/sql/parse.ts';
import { ROUTE_TABLE } from '../../support/route-table.ts';
import { NUMBERS, STATEMENTS, STRINGS, textOf } from './texts.ts';

const bytes = (sql: string) => Buffer.from(sql, 'utf8').latin1Slice();
const facts = (sql: string) => factsOf(bytes(sql));
const named = (names: readonly SqlName[]) =>
  names.map(({ schema, name }) => (schema === null ? name : `${schema}.${name}`));

before(loadParser);

test('the rule, the command and whether data may change', () => {
  const cases: readonly (readonly [string, SqlFacts['rule'], string, boolean])[] = [
    ['SELECT 1', '', 'SELECT', false],
    ['(SELECT 1)', '', 'SELECT', false],
    ['VALUES (1)', '', 'VALUES', false],
    ['TABLE t', '', 'SELECT', false],
    ['', '', '', false],
    [' ; -- x', '', '', false],
    ['SHOW x', '', 'SHOW', false],
    ['SELECT 1; SELECT 2', '', 'SELECT', false],
    ['INSERT INTO t VALUES (1)', 'command', 'INSERT', true],
    ['with x as (select 1) insert into t table x', 'command', 'INSERT', true],
    ['MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE', 'command', 'MERGE', true],
    ['SET x = 1', 'command', 'SET', false],
    ['SET LOCAL x = 1', 'command', 'SET', false],
    ['RESET ALL', 'command', 'RESET', false],
    ['LISTEN x', 'command', 'LISTEN', false],
    ['DISCARD ALL', 'command', 'DISCARD', false],
    ['DISCARD TEMP', 'command', 'DISCARD', true],
    ['CALL p()', 'command', 'CALL', true],
    ['DO $$ begin end $$', 'command', 'DO', true],
    ['FETCH 1 FROM c', 'command', 'FETCH', true],
    ['EXECUTE p', 'command', 'EXECUTE', true],
    ['DEALLOCATE p', 'command', 'DEALLOCATE', false],
    ['SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY', 'command', 'SET', false],
    ['SELECT 1 FOR UPDATE', 'locking clause', 'SELECT', true],
    ['SELECT (SELECT 1 FOR KEY SHARE)', 'locking clause', 'SELECT', true],
    ['SELECT 1 INTO t', 'select into', 'SELECT', true],
    ['SELECT 1 INTO t UNION SELECT 2', 'select into', 'SELECT', true],
    ['WITH d AS (DELETE FROM t RETURNING 1) SELECT 1', 'modifying cte', 'SELECT', true],
    ['SELECT * FROM (WITH d AS (DELETE FROM t RETURNING 1) TABLE d) x', 'modifying cte', 'SELECT', true],
    ['EXPLAIN DELETE FROM t', '', 'EXPLAIN', false],
    ['EXPLAIN ANALYZE SELECT 1', '', 'EXPLAIN', false],
    ['EXPLAIN ANALYZE DELETE FROM t', 'explain analyze of a write', 'EXPLAIN', true],
    ["EXPLAIN (ANALYZE 'nonsense') DELETE FROM t", 'explain analyze of a write', 'EXPLAIN', true],
    ['EXPLAIN ANALYZE SELECT 1 FOR UPDATE', 'explain analyze of a write', 'EXPLAIN', true],
    ['EXPLAIN EXECUTE p', 'command', 'EXPLAIN', true],
    ['COPY t TO STDOUT', '', 'COPY', false],
    ['COPY t FROM STDIN', 'copy', 'COPY', true],
    ["COPY (SELECT 1) TO 'x'", 'copy', 'COPY', true],
    ["COPY t TO PROGRAM 'x'", 'copy', 'COPY', true],
    ['COPY (DELETE FROM t RETURNING 1) TO STDOUT', 'copy', 'COPY', true],
    ['COPY (SELECT 1 FOR UPDATE) TO STDOUT', 'locking clause', 'COPY', true],
    ['SELECT 1; DELETE FROM t', 'several statements', 'SELECT', true],
    ['SELECT 1; SET x = 1', 'several statements', 'SELECT', false],
    ['INSERT INTO t VALUES (1); SELECT 1', 'several statements', 'INSERT', true],
    ['BEGIN; SELECT 1', 'transaction control', 'BEGIN', false],
    ['BEGIN; DELETE FROM t; COMMIT', 'transaction control', 'BEGIN', true],
    ['INSERT INTO t VALUES (1); COMMIT', 'transaction control', 'INSERT', true],
    ['SAVEPOINT a', 'transaction control', 'SAVEPOINT', false],
    ['ROLLBACK TO a', 'transaction control', 'ROLLBACK', false],
    ["PREPARE TRANSACTION 'x'", 'transaction control', 'PREPARE TRANSACTION', false],
    ["COMMIT PREPARED 'x'", 'transaction control', 'COMMIT PREPARED', true],
    ["ROLLBACK PREPARED 'x'", 'transaction control', 'ROLLBACK PREPARED', false],
    ['SELEC 1', 'syntax error', 'SELEC', true],
    ["SELECT 'x", 'syntax error', 'SELECT', true],
    ['SELECT 1\0; DROP TABLE t', 'syntax error', 'SELECT', true],
  ];
  for (const [sql, rule, command, changesData] of cases) {
    const found = facts(sql);
    assert.deepEqual([found.rule, found.command, found.changesData], [rule, command, changesData], sql);
  }
});

test('transaction statements that are the whole text', () => {
  const begin = { verb: 'begin', readOnly: null, isolation: null };
  const cases: readonly (readonly [string, unknown])[] = [
    ['BEGIN', begin],
    ['/* x */ begin work; -- y', begin],
    ['START TRANSACTION READ ONLY', { ...begin, readOnly: true }],
    ['BEGIN READ WRITE', { ...begin, readOnly: false }],
    ['BEGIN READ ONLY, READ WRITE', { ...begin, readOnly: false }],
    ['BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY', { ...begin, readOnly: true, isolation: 'serializable' }],
    ['BEGIN TRANSACTION ISOLATION LEVEL Repeatable  Read', { ...begin, isolation: 'repeatable read' }],
    ['COMMIT', { verb: 'commit', chain: false }],
    ['END TRANSACTION', { verb: 'commit', chain: false }],
    ['COMMIT AND CHAIN', { verb: 'commit', chain: true }],
    ['COMMIT AND NO CHAIN', { verb: 'commit', chain: false }],
    ['ROLLBACK', { verb: 'rollback', chain: false }],
    ['ABORT AND CHAIN', { verb: 'rollback', chain: true }],
    ['SET TRANSACTION READ ONLY', { verb: 'set', readOnly: true, isolation: null }],
    [
      'SET TRANSACTION ISOLATION LEVEL READ COMMITTED',
      { verb: 'set', readOnly: null, isolation: 'read committed' },
    ],
    ['BEGIN; SELECT 1', null],
    ['COMMIT; BEGIN', null],
    ['SAVEPOINT a', null],
    ['ROLLBACK TO SAVEPOINT a', null],
    ["COMMIT PREPARED 'x'", null],
    ["SET TRANSACTION SNAPSHOT 'x'", null],
    ['SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY', null],
    ['SET transaction_read_only = on', null],
    ['SELECT 1', null],
  ];
  for (const [sql, control] of cases) assert.deepEqual(facts(sql).control, control, sql);
});

test('the proxy’s own settings', () => {
  const set = { verb: 'set', local: false };
  const cases: readonly (readonly [string, unknown])[] = [
    ["SET pgconcierge.route = 'primary'", { ...set, name: 'route', value: 'primary' }],
    ['set PGConcierge.Route to Replica;', { ...set, name: 'route', value: 'replica' }],
    [
      'SET SESSION "pgconcierge"."Wait_LSN" = $$0/16B3748$$',
      { ...set, name: 'wait_lsn', value: '0/16B3748' },
    ],
    ['SET pgconcierge.x = 0', { ...set, name: 'x', value: '0' }],
    ['SET pgconcierge.x = -1.5, on', { ...set, name: 'x', value: '-1.5, on' }],
    ['SET pgconcierge.route TO DEFAULT', { ...set, name: 'route', value: null }],
    ["SET LOCAL pgconcierge.route = 'x'", { ...set, name: 'route', value: 'x', local: true }],
    ['RESET pgconcierge.route', { verb: 'reset', name: 'route', value: null, local: false }],
    ['SHOW pgconcierge.lsn', { verb: 'show', name: 'lsn', value: null, local: false }],
    ["SET pgconcierge.route = 'x'; SELECT 1", null],
    ["SET app.pgconcierge = 'x'", null],
    ['RESET ALL', null],
    ['SHOW ALL', null],
  ];
  for (const [sql, own] of cases) assert.deepEqual(facts(sql).own, own, sql);
});

test('functions are found wherever they are called', () => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ['SELECT f(), F(), "F"(), s.f(), db.s.g()', ['f', 'F', 's.f', 's.g']],
    ['SELECT a(b(c()))', ['a', 'b', 'c']],
    ['SELECT * FROM f() JOIN LATERAL g(1) ON h()', ['f', 'g', 'h']],
    ['SELECT * FROM ROWS FROM (f(), g()) WITH ORDINALITY', ['f', 'g']],
    [
      'SELECT 1 WHERE f() GROUP BY g() HAVING h() ORDER BY i() LIMIT j() OFFSET k()',
      ['f', 'g', 'h', 'i', 'j', 'k'],
    ],
    ['SELECT sum(f()) FILTER (WHERE g()) OVER (PARTITION BY h() ORDER BY i())', ['sum', 'f', 'g', 'h', 'i']],
    ['SELECT sum(1) OVER w FROM t WINDOW w AS (ORDER BY f())', ['sum', 'f']],
    [
      'SELECT CASE f() WHEN 1 THEN g() ELSE h() END, COALESCE(i()), ARRAY[j()], ROW(k())',
      ['f', 'g', 'h', 'i', 'j', 'k'],
    ],
    [
      'SELECT (SELECT f()), EXISTS (SELECT g()), 1 = ANY (SELECT h()), ARRAY(SELECT i())',
      ['f', 'g', 'h', 'i'],
    ],
    ['WITH RECURSIVE a AS (SELECT f() UNION ALL SELECT g() FROM a) SELECT h() FROM a', ['f', 'g', 'h']],
    ['VALUES (f()), (g())', ['f', 'g']],
    ['SELECT f() UNION (SELECT g() INTERSECT SELECT h())', ['f', 'g', 'h']],
    [
      'SELECT f(VARIADIC ARRAY[g()]), h(x => i()), (j()).k, (l())[m()], n()::t',
      ['f', 'g', 'h', 'i', 'j', 'l', 'm', 'n'],
    ],
    ['SELECT DISTINCT ON (f()) 1 FROM t TABLESAMPLE system (g()) REPEATABLE (h())', ['f', 'g', 'h']],
    ["SELECT JSON_OBJECT('a': f()), JSON_ARRAY(SELECT g()), XMLELEMENT(NAME a, h())", ['f', 'g', 'h']],
    ["SELECT * FROM JSON_TABLE(f(), '$' PASSING g() AS x COLUMNS (a int))", ['f', 'g']],
    ["SELECT * FROM XMLTABLE('/a' PASSING f() COLUMNS a int DEFAULT g())", ['f', 'g']],
    [
      'SELECT GREATEST(f(), 1), NULLIF(g(), 1), f() IS NULL, NOT g() AND h() IN (i(), 2) AND j() BETWEEN k() AND 1',
      ['f', 'g', 'h', 'i', 'j', 'k'],
    ],
    ['SELECT CURRENT_TIMESTAMP, CURRENT_USER, GROUPING(a) FROM t GROUP BY a', []],
    ['SELECT extract(year FROM now())', ['pg_catalog.extract', 'now']],
    ['COPY (SELECT f()) TO STDOUT', ['f']],
    ['EXPLAIN SELECT f()', ['f']],
    ['SELECT f(); SELECT g(); SHOW x', ['f', 'g']],
    ['SELECT f() FROM t CROSS JOIN u WHERE a @@ g()', ['f', 'g']],
    ['SELECT größe()', [bytes('größe')]],
    ['SELECT U&"f!0061" UESCAPE \'!\' (1)', ['fa']],
  ];
  for (const [sql, expected] of cases) {
    const found = facts(sql);
    assert.equal(found.rule, '', sql);
    assert.deepEqual([...named(found.functions)].sort(), [...expected].sort(), sql);
  }
});

test('relations are found, names of CTEs are none', () => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ['SELECT * FROM t, s.u, db.s.v, "W x", ONLY y, Z', ['t', 's.u', 's.v', 'W x', 'y', 'z']],
    ['TABLE t', ['t']],
    ['SELECT (SELECT 1 FROM t) FROM (SELECT * FROM u) v JOIN w USING (a)', ['t', 'u', 'w']],
    ['SELECT * FROM t TABLESAMPLE system (1)', ['t']],
    ['WITH t AS (SELECT 1) SELECT * FROM t, u', ['u']],
    ['WITH t AS (SELECT 1) SELECT * FROM s.t', ['s.t']],
    ['WITH t AS (SELECT * FROM t) SELECT * FROM t', ['t']],
    ['WITH RECURSIVE t AS (SELECT * FROM t) SELECT * FROM t', []],
    ['WITH a AS (SELECT * FROM b), b AS (SELECT * FROM a) SELECT * FROM a, b', ['b']],
    ['WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT * FROM a) TABLE a', []],
    ['SELECT * FROM (WITH t AS (SELECT 1) TABLE t) x, t', ['t']],
    ['WITH t AS (SELECT 1) SELECT (SELECT 1 FROM t WHERE EXISTS (TABLE t))', []],
    ['WITH t AS (SELECT 1) (SELECT * FROM t UNION SELECT * FROM u) INTERSECT TABLE t', ['u']],
    ['SELECT * FROM pg_temp.t', ['pg_temp.t']],
    ['COPY t (a) TO STDOUT', ['t']],
    ['EXPLAIN INSERT INTO t SELECT * FROM u', ['t', 'u']],
    ['EXPLAIN MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE', ['t', 'u']],
    ['EXPLAIN DELETE FROM t USING u', ['t', 'u']],
    ['SELECT * FROM größen', [bytes('größen')]],
    [`SELECT * FROM ${'ö'.repeat(31)}x`, [bytes(`${'ö'.repeat(31)}x`)]],
  ];
  for (const [sql, expected] of cases) {
    const found = facts(sql);
    assert.equal(found.rule, '', sql);
    assert.deepEqual([...named(found.relations)].sort(), [...expected].sort(), sql);
  }
  // not UTF-8: its bytes are the name
  assert.deepEqual(named(factsOf('SELECT * FROM gr\xf6\xdfe').relations), ['gr\xf6\xdfe']);
});

test('what may alter the catalog', () => {
  const cases: readonly (readonly [string, boolean])[] = [
    ["CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", true],
    ["create or replace function f() returns int language sql as 'select 1'", true],
    ['CREATE TABLE t (a int)', true],
    ['CREATE UNLOGGED TABLE t (a int)', true],
    ['CREATE TEMP TABLE t (a int)', false],
    ['CREATE OR REPLACE TEMP VIEW v AS SELECT 1', false],
    ['CREATE INDEX ON t (a)', false],
    ['CREATE UNIQUE INDEX ON t (a)', false],
    ['CREATE EXTENSION x', true],
    ['CREATE AGGREGATE a(int) (SFUNC = f, STYPE = int)', true],
    ['ALTER TABLE t SET LOGGED', true],
    ['ALTER FUNCTION f() VOLATILE', true],
    ['ALTER SCHEMA s RENAME TO r', true],
    ['ALTER SYSTEM SET x = 1', false],
    ['DROP FUNCTION f', true],
    ['DROP SCHEMA s CASCADE', true],
    ['DROP ROLE r', false],
    ['IMPORT FOREIGN SCHEMA s FROM SERVER x INTO y', true],
    ['DO $$ begin end $$', false],
    ['CALL p()', false],
    ['INSERT INTO t VALUES (1)', false],
    ['INSERT INTO t VALUES (1); DROP FUNCTION f', true],
    ["INSERT INTO t VALUES ('; DROP FUNCTION f')", false],
    ['SELECT 1; CREATE TABLE t (a int)', true],
    ['BEGIN; ALTER FUNCTION f() STABLE; COMMIT', true],
    ['SELECT 1 INTO t', true],
    ['EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1', true],
    ['EXPLAIN CREATE TABLE t AS SELECT 1', false],
    ['CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END', true],
    ['SELECT 1', false],
  ];
  for (const [sql, expected] of cases) assert.equal(facts(sql).altersCatalog, expected, sql);
  const body = facts('CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END');
  assert.equal(body.rule, 'command');
});

test('long and deep texts', () => {
  const long = `SELECT '${'x'.repeat(MAX_PARSE)}'`;
  assert.equal(facts(long).rule, 'too long');
  assert.equal(facts(`INSERT INTO t VALUES ('${'x'.repeat(MAX_PARSE)}')`).rule, 'command');
  assert.equal(facts(`SELECT '${'x'.repeat(MAX_PARSE - 100)}'`).rule, '');
  assert.equal(facts(`SELECT ${'1,'.repeat(20_000)}1`).rule, '');
  assert.equal(facts(`SELECT 1 WHERE a IN (${'(1, 2), '.repeat(5000)}(1, 2))`).rule, '');
  assert.equal(facts(`SELECT ${'1+'.repeat(1500)}1`).rule, '');
  // would overflow the stack of the parser
  for (const deep of [
    `SELECT ${'1+'.repeat(20_000)}1`,
    `SELECT ${'f('.repeat(5000)}${')'.repeat(5000)}`,
    `SELECT ${'(SELECT '.repeat(3000)}${')'.repeat(3000)}`,
    `SELECT a ${'COLLATE c '.repeat(6000)}`,
    `SELECT x${'::a'.repeat(15_000)}`,
  ]) {
    for (let i = 0; i < 40; i++) assert.equal(facts(deep).rule, 'too long', deep.slice(0, 30));
  }
  assert.equal(facts('SELECT f(a) FROM t').rule, '');
});

test('a COPY to a file without a name is no read, and says nothing about others', () => {
  for (const sql of [
    "COPY t TO ''",
    "COPY t TO E''",
    'COPY t TO $$$$',
    'COPY t TO $a$$a$',
    "COPY (SELECT 1) TO ''",
  ]) {
    const found = classify(sql, normalise(sql).text);
    assert.notEqual(found.facts.rule, '', sql);
    assert.equal(found.shared, false, sql);
  }
  assert.equal(facts("COPY t TO 'x'").rule, 'copy');
  assert.equal(facts("COPY t TO STDOUT DELIMITER ','").rule, '');
});

test('the table of routes', () => {
  for (const { sql, expect } of ROUTE_TABLE) {
    const { rule, functions, relations } = facts(sql);
    const { hint } = normalise(bytes(sql));
    if (expect === 'replica') assert.equal(rule, '', sql);
    // a read goes to the primary by its comment, by a function or by what it reads from
    else assert.ok(rule !== '' || hint?.kind === 'primary' || functions.length + relations.length > 0, sql);
  }
});

test('texts with the same normalised text have the same facts', () => {
  const known = new Map<string, string>();
  let met = 0;
  fc.assert(
    fc.property(
      STATEMENTS,
      fc.infiniteStream(STRINGS),
      fc.infiniteStream(NUMBERS),
      (pieces, strings, numbers) => {
        const sql = textOf(
          pieces,
          () => ' ',
          () => strings.next().value,
          () => numbers.next().value,
        );
        const key = normalise(bytes(sql)).text;
        const found = classify(bytes(sql), key);
        if (!found.shared) return;
        const value = JSON.stringify(found.facts);
        const before = known.get(key);
        if (before !== undefined) met++;
        assert.equal(before ?? value, value, `${sql}\n${key}`);
        known.set(key, value);
      },
    ),
    { numRuns: 10_000 },
  );
  assert.ok(met > 100, String(met));
});
