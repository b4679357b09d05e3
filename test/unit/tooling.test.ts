/** The tools around the code: a test runner that counted nothing, or a table with wrong ratios, would go unnoticed. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { parseOptions, UsageError } from '../../bench/support/options.ts';
import { type LineResult, median, ratio, renderNotes, renderTable } from '../../bench/support/results.ts';
import { REPOSITORY } from '../support/layers.ts';

/** Runs a copy of .ci/test.mjs on compiled test files made of `files`. */
function runSuites(t: TestContext, files: Readonly<Record<string, string>>, ...args: string[]) {
  const root = mkdtempSync(path.join(tmpdir(), 'pgc-tooling-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  mkdirSync(path.join(root, '.ci'));
  copyFileSync(path.join(REPOSITORY, '.ci/test.mjs'), path.join(root, '.ci/test.mjs'));
  writeFileSync(path.join(root, 'package.json'), '{"type":"module"}');
  for (const suite of ['unit', 'integration']) {
    mkdirSync(path.join(root, 'test', suite), { recursive: true });
    mkdirSync(path.join(root, 'dist/test', suite), { recursive: true });
  }
  for (const [name, body] of Object.entries(files)) {
    const text = `import { describe, it, test } from 'node:test';\n${body}\n`;
    writeFileSync(path.join(root, 'dist/test', `${name}.test.js`), text);
  }
  const summary = path.join(root, 'summary');
  // the variable would make the inner runner think that it is a child of this one
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const run = spawnSync(process.execPath, ['.ci/test.mjs', ...args], {
    cwd: root,
    encoding: 'utf8',
    env: { ...env, PGC_TEST_SUMMARY: summary },
  });
  return { code: run.status, out: run.stdout, err: run.stderr, summary };
}

const GOOD = "test('one', () => {}); describe('group', () => { it('two', () => {}); });";

test('the runner counts passed, failed and skipped tests', (t) => {
  const files = {
    'unit/good': GOOD,
    'unit/mixed':
      "test('bad', () => { throw new Error('boo'); }); test('off', { skip: 'no psql' }, () => {});",
    'integration/nested':
      "test('parent', async (t) => { await t.test('child', () => { throw new Error('inner'); }); });",
  };
  const { code, out, summary } = runSuites(t, files, 'unit', 'integration');
  assert.equal(code, 1);
  assert.match(out, /^✔ unit\/good: 2 passed/m);
  assert.match(out, /^✖ unit\/mixed: 0 passed, 1 FAILED, 1 skipped/m);
  assert.match(out, /skipped: off: no psql/);
  assert.match(out, /✖ bad\n\s+Error: boo/);
  assert.match(out, /✖ child\n\s+Error: inner/);
  const names = ['unit/mixed › bad\n  Error: boo', 'integration/nested › child\n  Error: inner'];
  assert.ok(
    out.endsWith(`${names.map((name) => `✖ ${name}\n`).join('')}2 passed, 2 failed, 1 skipped\n`),
    out,
  );
  assert.deepEqual(JSON.parse(readFileSync(summary, 'utf8')), { passed: 2, failed: 2, skipped: 1, names });
});

test('the runner is green only when something passed', (t) => {
  const good = runSuites(t, { 'unit/good': GOOD }, 'unit', 'integration');
  assert.deepEqual([good.code, good.out.split('\n').at(-2)], [0, '2 passed, 0 failed, 0 skipped']);
  const nothing = runSuites(t, {}, 'unit');
  assert.deepEqual([nothing.code, nothing.out.split('\n').at(-2)], [1, '0 passed, 1 failed, 0 skipped']);
});

const BROKEN = {
  'a file without a test': 'export const nothing = 1;',
  'a file that cannot be loaded': "import './absent.js';",
  'a file whose process dies':
    "test('fine', () => {}); setTimeout(() => process.exit(3), 20); setTimeout(() => {}, 50);\ntest('never', () => new Promise((resolve) => setTimeout(resolve, 5000)));",
  'an error after the end': "test('fine', () => { setTimeout(() => { throw new Error('late'); }, 5); });",
};
for (const [what, body] of Object.entries(BROKEN)) {
  test(`the runner fails on ${what}`, (t) => {
    const { code, out } = runSuites(t, { 'unit/broken': body }, 'unit');
    assert.equal(code, 1, out);
    assert.match(out, /, [1-9]\d* failed, /);
  });
}

test('the runner picks files and tests by name, and refuses unknown options', (t) => {
  const files = { 'unit/good': GOOD, 'unit/other': "test('three', () => {});" };
  assert.match(runSuites(t, files, 'unit', 'other').out, /\n1 passed, 0 failed/);
  assert.match(runSuites(t, files, 'unit', '-t', '^two$').out, /\n1 passed, 0 failed, 0 skipped/);
  const bad = runSuites(t, files, 'unit', '--watch');
  assert.equal(bad.code, 1);
  assert.match(bad.err, /unknown option --watch/);
});

test('bench options: defaults, lists, and what is refused', () => {
  const options = parseOptions([
    '--clients',
    '1, 4',
    '--only',
    'prepared',
    '--only',
    'churn',
    '--save',
    'a.json',
  ]);
  assert.deepEqual(options.clients, [1, 4]);
  assert.deepEqual(options.only, ['prepared', 'churn']);
  assert.deepEqual([options.rounds, options.seconds, options.save], [5, 3, 'a']);
  assert.throws(() => parseOptions(['--rounds', '0']), UsageError);
  assert.throws(() => parseOptions(['--seconds', '1.5']), UsageError);
  assert.throws(() => parseOptions(['--clients', '']), UsageError);
  assert.throws(() => parseOptions(['--save', '../a']), UsageError);
  assert.throws(() => parseOptions(['--nonsense']), UsageError);
});

test('bench results: medians, ratios us/them, missing sides', () => {
  assert.deepEqual([median([]), median([3, 1, 2]), median([4, 1, 2, 3])], [null, 2, 2.5]);
  const sample = (value: number, cpu: number | null) => ({ value, cpu });
  const line: LineResult = {
    name: 'simple 1',
    units: { value: 'tps', cpu: 'µs/tx', biggerIsBetter: true },
    samples: { direct: [sample(400, null)], pgconcierge: [sample(100, 15), sample(300, 5), sample(200, 10)] },
    absent: { pgbouncer: 'not installed' },
  };
  assert.equal(ratio(line, 'direct', 'value'), 0.5);
  assert.equal(ratio(line, 'pgbouncer', 'value'), null);
  assert.match(
    renderTable([line]),
    /\| simple 1 \| tps; CPU µs\/tx \| 400 \| n\/a \| 200 \| n\/a \| 0\.50 \| n\/a \| 10\.0 \| n\/a \|$/,
  );
  assert.deepEqual(renderNotes([line]), ['n/a – pgbouncer: not installed (simple 1)']);
});
