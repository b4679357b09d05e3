/** EXPLAIN ROUTE says class, rule, functions, bound, chosen and rejected nodes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReadChooser } from '../../../src/routing/choose.ts';
import { Classifier } from '../../../src/routing/classifier.ts';
import { explainRoute } from '../../../src/routing/explain.ts';
import type { Hint, SqlFacts } from '../../../src/sql/facts.ts';
import { factsOf, nodeView, routingSettings, runtimeOf, sqlName } from './support.ts';

function explain(
  facts: Partial<SqlFacts>,
  more: {
    hint?: Hint;
    route?: 'auto' | 'primary' | 'replica';
    bound?: number;
    catalog?: boolean;
    sessionMode?: boolean;
  } = {},
) {
  const runtime = runtimeOf([nodeView('pg2'), nodeView('pg3', { state: 'lagging' })]);
  const settings = routingSettings({ route: more.route ?? 'auto' });
  const lookup = (text: string) => ({
    facts: factsOf(facts),
    normalised: { text, hint: more.hint ?? null },
    slot: undefined,
  });
  const classifier = new Classifier({
    cache: { lookup },
    writeFunctions: [],
    readFunctions: [],
    learned: runtime.learned,
    cluster: 'main',
    database: 'app',
  });
  const catalog = {
    version: 1,
    functions: [{ schema: 'public', name: 'f', volatile: true }],
    unlogged: [{ schema: 'public', name: 'v', mayWrite: true }],
  };
  classifier.setCatalog(more.catalog === false ? null : catalog);
  const chooser = new ReadChooser(runtime, settings);
  const boundLsn = more.bound ?? 0;
  const lines = explainRoute({
    sql: 'SELECT größe',
    classifier,
    chooser,
    runtime,
    settings,
    sessionMode: more.sessionMode ?? false,
    boundLsn,
    nowMs: 0,
  });
  return Object.fromEntries(lines.map((line) => [line.item, line.value]));
}

test('a read: bound, every node, the chosen one', () => {
  const told = explain({ functions: [sqlName('now'), sqlName('random')] }, { bound: 500 });
  assert.equal(told['statement'], 'SELECT größe');
  assert.equal(told['class'], 'read');
  assert.equal(told['rule'], 'nothing in it writes');
  assert.match(told['function now'] ?? '', /^read; not volatile, by built-in list/);
  assert.match(told['function random'] ?? '', /^read; volatile, by built-in list: random values/);
  assert.equal(told['freshness bound'], '0/1F4');
  assert.match(told['node pg1'] ?? '', /^rejected: primary/);
  assert.equal(told['node pg2'], 'eligible: 100.0 % of the reads');
  assert.equal(told['node pg3'], 'rejected: state lagging');
  assert.equal(told['node'], 'pg2');
});

test('a write: the rule, its culprit, the primary', () => {
  const told = explain({ functions: [sqlName('f')], relations: [sqlName('foo')] });
  assert.equal(told['class'], 'write');
  assert.equal(told['rule'], 'volatile function (f): it calls a function that may write');
  assert.match(told['function f'] ?? '', /^write; volatile, by catalog/);
  assert.equal(told['relation foo'], 'read');
  assert.equal(told['node'], 'pg1');
  assert.equal(told['node pg2'], undefined, 'no node was weighed');
});

test('hints, routes and bounds that are not known', () => {
  assert.match(explain({}, { hint: { kind: 'primary' } })['node'] ?? '', /^pg1 \(hint primary: /);
  assert.match(explain({}, { hint: { kind: 'node', node: 'pg3' } })['node'] ?? '', /^pg3 \(hint node: /);
  assert.match(explain({}, { hint: { kind: 'node', node: 'x' } })['node'] ?? '', /^x, which is no node/);
  assert.match(explain({}, { route: 'primary' })['node'] ?? '', /^pg1 \(route=primary: /);
  assert.match(explain({ rule: 'command' }, { route: 'replica' })['node'] ?? '', /^pg2 \(route=replica: /);
  const unknown = explain({}, { bound: Number.POSITIVE_INFINITY });
  assert.match(unknown['freshness bound'] ?? '', /^not known yet/);
  assert.equal(unknown['node'], 'pg1');
  const begin = explain({
    rule: 'transaction control',
    control: { verb: 'begin', readOnly: null, isolation: null },
  });
  assert.match(begin['note'] ?? '', /BEGIN is answered by the proxy.*of the block$/);
  assert.equal(begin['class'], 'write');
  const readOnly = { verb: 'begin', readOnly: true, isolation: null } as const;
  const block = explain({ rule: 'transaction control', control: readOnly });
  assert.equal(block['class'], 'read');
  assert.equal(block['rule'], 'read only block: it begins a READ ONLY block');
  assert.equal(block['node'], 'pg2');
  const serializable = { ...readOnly, isolation: 'serializable' } as const;
  assert.equal(explain({ rule: 'transaction control', control: serializable })['node'], 'pg1');
  const own = { verb: 'show', name: 'lsn', value: null, local: false } as const;
  assert.deepEqual(explain({ own }), {
    statement: 'SELECT größe',
    node: 'none: the proxy answers it itself',
  });
});

test('pool_mode = session: one node for all, whatever the text says', () => {
  const sessionMode = true;
  assert.match(explain({}, { sessionMode })['node'] ?? '', /^pg1 \(session mode: /);
  assert.match(
    explain({}, { sessionMode, hint: { kind: 'replica' } })['node'] ?? '',
    /^pg1 \(session mode: /,
  );
  assert.match(explain({}, { sessionMode, route: 'primary' })['node'] ?? '', /^pg1 \(route=primary: /);
  const write = explain({ rule: 'command' }, { sessionMode, route: 'replica' });
  assert.match(write['node'] ?? '', /^pg2 \(route=replica: /);
});

test('a function that nobody knows: not in the catalog, or there is none', () => {
  assert.match(explain({ functions: [sqlName('g')] })['function g'] ?? '', /^write; not in the catalog/);
  const noCatalog = explain({ functions: [sqlName('g')] }, { catalog: false });
  assert.match(noCatalog['function g'] ?? '', /^write; the catalog of the primary could not be read yet/);
});

test('a view that a replica cannot serve is not called an unlogged table', () => {
  const told = explain({ relations: [sqlName('v')] });
  assert.match(told['rule'] ?? '', /^view \(v\): it reads a view that calls a function that may write/);
  assert.equal(told['relation v'], 'primary; view');
});
