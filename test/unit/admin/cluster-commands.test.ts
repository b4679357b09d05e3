/** DETACH, ATTACH, DRAIN, SET WEIGHT, REDETECT and EXPLAIN ROUTE, in both protocols. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { splitStatements } from '../../../src/admin/grammar.ts';
import { CommandError } from '../../../src/control/port.ts';
import { bind, describe, execute, parse, query, sync } from '../../../src/wire/frontend.ts';
import { clusterRow, nodeRow } from '../../support/fake-clusters.ts';
import { columnsOf, FakeConsole, fieldsOf, line, tick } from './fake-console.ts';

type Options = ConstructorParameters<typeof FakeConsole>[0];

const values = (...texts: string[]) => bind({ portal: '', statement: '', values: texts });

test('commands reach the port with their words, whatever the case', () => {
  for (const [text, call, tag] of [
    ['DETACH pg2', 'detach pg2', 'DETACH'],
    ['detach "pg2";', 'detach pg2', 'DETACH'],
    ['ATTACH pg1', 'attach pg1', 'ATTACH'],
    ['SET WEIGHT pg2 0', 'setWeight pg2 0', 'SET WEIGHT'],
    ['set weight pg2 2.5', 'setWeight pg2 2.5', 'SET WEIGHT'],
    ["SET WEIGHT 'pg2' .5;", 'setWeight pg2 0.5', 'SET WEIGHT'],
    ['SET WEIGHT pg2 1000000', 'setWeight pg2 1000000', 'SET WEIGHT'],
  ] as const) {
    const c = new FakeConsole();
    assert.deepEqual(c.ask(query(text)), [`C ${tag}`, 'Z I'], text);
    assert.deepEqual(c.calls, [call], text);
  }
});

test('SET of a setting that is called weight stays a SET', () => {
  for (const text of ['SET weight = 5', 'SET weight TO 5', 'SET weight=5']) {
    const c = new FakeConsole();
    c.send(query(text));
    assert.deepEqual(c.calls, ['set weight 5'], text);
  }
  const quoted = new FakeConsole({ port: { nodes: () => [nodeRow('to')] } });
  assert.deepEqual(quoted.ask(query('SET WEIGHT "to" 5')), ['C SET WEIGHT', 'Z I']);
});

test('a weight that is none, and words too many', () => {
  for (const text of ['-1', 'abc', '1e3', '1000000.5', '1000001', 'NaN', '""', "''", '0x10', '.', '+1']) {
    const c = new FakeConsole();
    const [answer] = c.ask(query(`SET WEIGHT pg2 ${text}`));
    assert.match(
      answer ?? '',
      /^E ERROR 22023 invalid weight ".*": a number from 0 to 1000000 is needed$/,
      text,
    );
    assert.deepEqual(c.calls, []);
  }
  for (const text of [
    'SET WEIGHT',
    'SET WEIGHT pg2',
    'SET WEIGHT pg2 1 2',
    'DETACH a b',
    'DETACH =',
    'REDETECT a b',
  ]) {
    const c = new FakeConsole();
    assert.match(c.ask(query(text))[0] ?? '', /^E ERROR 08P01 invalid command/, text);
    assert.deepEqual(c.calls, []);
  }
  assert.equal(new FakeConsole().ask(query('DETACH'))[0], 'E ERROR 08P01 a node is required');
  assert.equal(new FakeConsole().ask(query(`DETACH ${'x'.repeat(64)}`))[0], 'E ERROR 08P01 bad arguments');
});

test('an unknown node or cluster is answered with the known ones', () => {
  for (const text of ['DETACH pg9', 'ATTACH pg9', 'DRAIN pg9', 'SET WEIGHT pg9 1', 'DETACH PG1']) {
    const c = new FakeConsole();
    c.send(query(text));
    const [error] = c.take();
    assert.ok(error !== undefined);
    assert.match(line(error), /^E ERROR 42704 no such node: (pg9|PG1)$/, text);
    assert.equal(fieldsOf(error)['H'], 'Known: "pg1", "pg2".');
    assert.deepEqual(c.calls, []);
  }
  const cluster = new FakeConsole();
  cluster.send(query('REDETECT nope'));
  const [error] = cluster.take();
  assert.deepEqual(error && [line(error), fieldsOf(error)['H']], [
    'E ERROR 42704 no such cluster: nope',
    'Known: "main".',
  ]);
  const port = { nodes: () => [], clusters: () => [] };
  for (const text of ['DETACH pg1', 'DRAIN pg1', 'SET WEIGHT pg1 1', 'REDETECT', 'REDETECT main']) {
    const none = new FakeConsole({ port });
    assert.equal(none.ask(query(text))[0], 'E ERROR 55000 no cluster is configured', text);
    assert.deepEqual(none.calls, []);
  }
});

test('stats users may not change anything, but may look and explain', () => {
  const options: Options = { admin: false };
  for (const text of [
    'DETACH pg2',
    'ATTACH pg2',
    'DRAIN pg2',
    'SET WEIGHT pg2 0',
    'REDETECT',
    'DETACH pg9',
  ]) {
    const c = new FakeConsole(options);
    assert.deepEqual(c.ask(query(text)), ['E ERROR 42501 admin access needed', 'Z I'], text);
    assert.deepEqual(c.calls, []);
  }
  assert.equal(new FakeConsole(options).ask(query('SHOW NODES')).at(-2), 'C SHOW');
  assert.equal(new FakeConsole(options).ask(query('EXPLAIN ROUTE SELECT 1')).at(-2), 'C EXPLAIN');
});

test('DRAIN and REDETECT wait; a cancel request ends the wait', async () => {
  const c = new FakeConsole();
  for (const [text, call] of [
    ['DRAIN pg2', 'drain pg2'],
    ['REDETECT', 'redetect '],
    ['REDETECT main', 'redetect main'],
  ] as const) {
    assert.deepEqual(c.ask(query(text)), [], text);
    assert.equal(c.calls.at(-1), call);
    c.pendings.at(-1)?.resolve();
    await tick();
    assert.deepEqual(c.take().map(line), [`C ${text.split(' ')[0]}`, 'Z I']);
  }
  c.send(query('DRAIN pg2'));
  c.session.onCancel();
  assert.deepEqual(c.take().map(line), ['E ERROR 57014 canceling statement due to user request', 'Z I']);
  assert.equal(c.pendings.at(-1)?.cancelled, 1);
  assert.ok(!c.calls.includes('attach pg2'), 'the node stays detached');
});

test('taking the primary out is done, and said', async () => {
  const warning =
    'N WARNING 01000 "pg1" is the primary of cluster "main": writes wait until ATTACH pg1 or until another node is the primary';
  const c = new FakeConsole();
  assert.deepEqual(c.ask(query('DETACH pg1')), [warning, 'C DETACH', 'Z I']);
  assert.deepEqual(c.ask(query('DRAIN pg1')), [warning], 'before the wait');
  c.pendings[0]?.resolve();
  await tick();
  assert.deepEqual(c.take().map(line), ['C DRAIN', 'Z I']);
  const other = new FakeConsole({ port: { clusters: () => [clusterRow('main', { primary: null })] } });
  assert.deepEqual(other.ask(query('DETACH pg1')), ['C DETACH', 'Z I']);
});

test('the extended protocol takes names and weights as parameters', () => {
  const c = new FakeConsole();
  assert.deepEqual(c.ask(parse('', 'SET WEIGHT $1 $2'), values('pg2', '0.25'), execute(''), sync()), [
    '1',
    '2',
    'C SET WEIGHT',
    'Z I',
  ]);
  assert.deepEqual(c.ask(parse('', 'DETACH $1'), values('pg2'), execute(''), sync()).at(-2), 'C DETACH');
  assert.deepEqual(c.calls, ['setWeight pg2 0.25', 'detach pg2']);
});

/** SQL that the console's own grammar would split, refuse or take for its own. */
const SQL = [
  'SELECT 1',
  "SELECT 'it''s; here' ; UPDATE t SET a = 1",
  "SELECT E'\\'' , $$a ' b$$, $tag$ ; $tag$",
  'SELECT "a""b" FROM t WHERE x = $1 AND y = $2',
  '/* pgconcierge: primary */ SELECT 1 -- trailing',
  "SELECT 'never ends",
  'SELECT /* never ends',
  'FORGET',
  'format(1)',
  '   \n SELECT\n 2',
  '$1 + 1',
  '$65',
  'für alle',
];

test('EXPLAIN ROUTE takes the rest of the query as it stands', () => {
  for (const sql of SQL) {
    for (const head of ['EXPLAIN ROUTE ', 'explain  /* x */ Route\n', ' ; explain route ']) {
      const c = new FakeConsole();
      assert.deepEqual(
        c.ask(query(`${head}${sql}`)),
        ['T item value', 'D class|read', 'C EXPLAIN', 'Z I'],
        sql,
      );
      assert.deepEqual(c.calls, [`explainRoute null ${sql.trimStart()}`]);
    }
  }
});

test('EXPLAIN ROUTE FOR names the database; the semicolon at the end is not part of the SQL', () => {
  for (const [text, call] of [
    ['EXPLAIN ROUTE FOR app SELECT 1; ;\n', 'app SELECT 1'],
    ['explain route for "My App" SELECT ";"', 'My App SELECT ";"'],
    ['EXPLAIN ROUTE for"app"\tSELECT 1;', 'app SELECT 1'],
    ["EXPLAIN ROUTE FOR App SELECT 'x", "App SELECT 'x"],
  ] as const) {
    const c = new FakeConsole();
    assert.equal(c.ask(query(text)).at(-2), 'C EXPLAIN', text);
    assert.deepEqual(c.calls, [`explainRoute ${call}`]);
  }
});

test('EXPLAIN ROUTE after other commands, and its parts in one statement', () => {
  const c = new FakeConsole();
  assert.deepEqual(c.ask(query('RESUME; EXPLAIN ROUTE SELECT 1; RELOAD')).at(-2), 'C EXPLAIN');
  assert.deepEqual(c.calls, ['resume ', 'explainRoute null SELECT 1; RELOAD']);
  const [statement] = splitStatements('EXPLAIN ROUTE FOR app SELECT $3;');
  assert.deepEqual(
    statement?.tokens.map((t) => t.kind),
    ['word', 'word', 'word', 'word', 'sql'],
  );
  assert.equal(statement?.parameters, 0);
  assert.deepEqual(statement?.tokens.at(-1), { kind: 'sql', text: 'SELECT $3', start: 22, end: 31 });
});

test('EXPLAIN ROUTE without SQL, and other EXPLAINs', () => {
  for (const text of [
    'EXPLAIN ROUTE',
    'EXPLAIN ROUTE ;',
    'EXPLAIN ROUTE FOR app',
    'EXPLAIN ROUTE FOR app ;',
  ]) {
    const c = new FakeConsole();
    assert.deepEqual(
      c.ask(query(text)),
      ['E ERROR 42601 usage: EXPLAIN ROUTE [FOR <db>] <sql>', 'Z I'],
      text,
    );
    assert.deepEqual(c.calls, []);
  }
  for (const text of ['EXPLAIN', 'EXPLAIN SELECT 1', 'EXPLAIN "route" SELECT 1']) {
    assert.match(new FakeConsole().ask(query(text))[0] ?? '', /^E ERROR 08P01 invalid command/, text);
  }
  const long = `EXPLAIN ROUTE FOR ${'x'.repeat(64)} SELECT 1`;
  assert.equal(new FakeConsole().ask(query(long))[0], 'E ERROR 08P01 bad arguments');
});

test('EXPLAIN ROUTE in the extended protocol: $1 is of the SQL, or stands for all of it', () => {
  const c = new FakeConsole();
  c.send(parse('', 'EXPLAIN ROUTE SELECT $1;'), values(), describe('portal', ''), execute(''), sync());
  const replies = c.take();
  assert.deepEqual(replies.map(line), ['1', '2', 'T item value', 'D class|read', 'C EXPLAIN', 'Z I']);
  const head = replies[2];
  assert.deepEqual(head && columnsOf(head).map((each) => each.oid), [25, 25]);
  c.ask(parse('', 'EXPLAIN ROUTE $1'), values("SELECT 'a;b'; "), execute(''), sync());
  c.ask(parse('', 'EXPLAIN ROUTE FOR $2 $1'), values('SELECT 2', 'app'), execute(''), sync());
  assert.deepEqual(c.calls, [
    'explainRoute null SELECT $1',
    "explainRoute null SELECT 'a;b'; ",
    'explainRoute app SELECT 2',
  ]);
  assert.equal(new FakeConsole().ask(query('EXPLAIN ROUTE $1'))[0], 'E ERROR 42P02 there is no parameter $1');
});

test('what the port refuses is told', () => {
  const explainRoute = (): never => {
    throw new CommandError('several databases are routed: say which one, with FOR', '42704');
  };
  const c = new FakeConsole({ port: { explainRoute } });
  assert.deepEqual(c.ask(query('EXPLAIN ROUTE SELECT 1')), [
    'E ERROR 42704 several databases are routed: say which one, with FOR',
    'Z I',
  ]);
});

test('a large text is taken without trouble', () => {
  const sql = `SELECT '${' ;'.repeat(200_000)}' x`;
  const c = new FakeConsole();
  c.send(query(`EXPLAIN ROUTE ${sql};`));
  assert.deepEqual(c.calls, [`explainRoute null ${sql}`]);
});
