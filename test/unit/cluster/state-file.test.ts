import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type SavedCluster, StateFile } from '../../../src/cluster/state-file.ts';
import { type Log, SILENT } from '../../../src/util/log.ts';

function place(t: TestContext): { dir: string; path: string; told: string[]; log: Log } {
  const dir = mkdtempSync(join(tmpdir(), 'pgconcierge-state-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const told: string[] = [];
  const tell = (text: string): number => told.push(text);
  return { dir, path: join(dir, 'state.json'), told, log: { ...SILENT, warning: tell, error: tell } };
}

const SAVED: ReadonlyMap<string, SavedCluster> = new Map([
  [
    'main',
    {
      memory: { primary: 'pg2', timeline: 3, systemId: '7350000000000000001' },
      primaryUp: true,
      overrides: new Map([
        ['pg1', { detached: true, weight: null }],
        ['pg3', { detached: false, weight: 0.5 }],
      ]),
    },
  ],
]);

test('what is written is read again', (t) => {
  const { dir, path, told, log } = place(t);
  assert.equal(new StateFile(path, log).read().size, 0);
  new StateFile(path, log).write(SAVED);
  assert.deepEqual(new StateFile(path, log).read(), SAVED);
  assert.deepEqual(readdirSync(dir), ['state.json'], 'no temporary file is left');
  assert.deepEqual(told, []);
});

test('it is written when something has changed only', (t) => {
  const { path, log } = place(t);
  const file = new StateFile(path, log);
  file.write(SAVED);
  writeFileSync(path, 'touched by somebody');
  file.write(SAVED);
  assert.equal(readFileSync(path, 'utf8'), 'touched by somebody');
  file.write(new Map());
  assert.match(readFileSync(path, 'utf8'), /"clusters": \{\}/);
});

test('garbage is told and ignored', (t) => {
  for (const text of [
    '',
    'xyz',
    '[]',
    '{"format": 2, "clusters": {}}',
    '{"format": 1}',
    '{"format": 1, "clusters": {"main": {"primary": 7}}}',
    '{"format": 1, "clusters": {"main": {"primary":"a","timeline":-1,"systemId":"","primaryUp":true}}}',
  ]) {
    const { path, told, log } = place(t);
    writeFileSync(path, text);
    assert.equal(new StateFile(path, log).read().size, 0, text);
    assert.equal(told.length, 1, text);
    assert.match(told[0] ?? '', /state_file .* ignored/);
  }
});

test('a file that cannot be written is told once', (t) => {
  const { dir, told, log } = place(t);
  const file = new StateFile(join(dir, 'no', 'such', 'dir'), log);
  file.write(SAVED);
  file.write(SAVED);
  assert.equal(told.length, 1);
  assert.match(told[0] ?? '', /cannot write state_file .*: No such file or directory/);
});

test("'' = no file at all", (t) => {
  const { dir, log } = place(t);
  const file = new StateFile('', log);
  file.write(SAVED);
  assert.equal(file.read().size, 0);
  assert.deepEqual(readdirSync(dir), []);
});
