/**
 * The rules of the house that a machine can check. First that the linter would catch every illegal import (a copy
 * of the room layout with one offence per file), then that the tree as it stands keeps the rules.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { importsOf, type SourceFile, sourceFiles, withoutComments } from '../support/imports.ts';
import { biomeConfig, forbidden, LAYERS, REPOSITORY, ROOTS, withLayerTable } from '../support/layers.ts';

const BIOME = path.join(REPOSITORY, 'node_modules/@biomejs/biome/bin/biome');
const SOURCE = path.join(REPOSITORY, 'src');
const MAX_LINES = 400;

interface Finding {
  readonly category: string;
  readonly file: string;
}

/** Lints `folder` (with its own biome.json); errors only. Throws when biome itself fails. */
function lint(folder: string, ...paths: string[]): Finding[] {
  const flags = ['lint', '--reporter=json', '--max-diagnostics=none', '--diagnostic-level=error'];
  const run = spawnSync(process.execPath, [BIOME, ...flags, ...paths], {
    cwd: folder,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  if (!run.stdout.startsWith('{')) throw new Error(`biome said: ${run.stdout}${run.stderr}`);
  const report = JSON.parse(run.stdout) as {
    diagnostics: { category: string; location?: { path?: string | { file: string } } }[];
  };
  return report.diagnostics.map((d) => {
    const at = d.location?.path;
    return { category: d.category, file: typeof at === 'string' ? at : (at?.file ?? '') };
  });
}

const FORMS: Readonly<Record<string, (target: string) => string>> = {
  value: (target) => `import { it } from '${target}';\n\nexport const mine = it;\n`,
  type: (target) => `import type { It } from '${target}';\n\nexport type Mine = It;\n`,
  inline: (target) => `import { type It } from '${target}';\n\nexport type Mine = It;\n`,
  side: (target) => `import '${target}';\n`,
  reexport: (target) => `export { it } from '${target}';\n`,
  star: (target) => `export * from '${target}';\n`,
  dynamic: (target) => `export const mine = await import('${target}');\n`,
};

/** An empty copy of the layout: every room and root with a file to import. Returns its root. */
function layout(): string {
  const root = mkdtempSync(path.join(tmpdir(), 'pgc-rules-'));
  writeFileSync(path.join(root, 'biome.json'), biomeConfig());
  const thing = 'export const it = 1;\nexport type It = number;\n';
  for (const room of Object.keys(LAYERS)) {
    mkdirSync(path.join(root, 'src', room, 'deep'), { recursive: true });
    writeFileSync(path.join(root, 'src', room, 'it.ts'), thing);
  }
  for (const name of ROOTS) writeFileSync(path.join(root, 'src', name), thing);
  mkdirSync(path.join(root, 'test/support'), { recursive: true });
  writeFileSync(path.join(root, 'test/support/it.ts'), thing);
  return root;
}

/** Writes each form of an import of `target` (relative to src/) into `room`, at two depths; returns the files. */
function writeImports(root: string, room: string, target: string): string[] {
  const label = target.replace(/[^a-z]+/g, '-');
  const files: string[] = [];
  for (const [form, source] of Object.entries(FORMS)) {
    for (const up of ['..', '../..', '../../src']) {
      const folder = up === '../..' ? `src/${room}/deep` : `src/${room}`;
      const name = `${folder}/${label}-${form}-${up.length}.ts`;
      writeFileSync(path.join(root, name), source(`${up}/${target}`));
      files.push(name);
    }
  }
  return files;
}

test('biome reports every import that the layer table does not allow, in every form', (t) => {
  const root = layout();
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const illegal: string[] = [];
  for (const room of Object.keys(LAYERS)) {
    const targets = [...forbidden(room).map((other) => `${other}/it.ts`), ...ROOTS, '../test/support/it.ts'];
    for (const target of targets) illegal.push(...writeImports(root, room, target));
  }
  writeFileSync(path.join(root, 'src/main.ts'), FORMS['value']?.('../test/support/it.ts') ?? '');
  illegal.push('src/main.ts');
  const found = new Set<string>();
  for (const finding of lint(root, 'src')) {
    if (finding.category === 'lint/style/noRestrictedImports') found.add(finding.file);
  }
  assert.deepEqual(
    illegal.filter((file) => !found.has(file)),
    [],
    'illegal imports that the linter let pass',
  );
  assert.equal(found.size, illegal.length);
});

test('biome lets every allowed import pass, and reports a cycle', (t) => {
  const root = layout();
  t.after(() => rmSync(root, { recursive: true, force: true }));
  for (const [room, layer] of Object.entries(LAYERS)) {
    for (const other of layer.may) {
      writeFileSync(
        path.join(root, `src/${room}/uses-${other}.ts`),
        FORMS['value']?.(`../${other}/it.ts`) ?? '',
      );
    }
  }
  assert.deepEqual(lint(root, 'src'), []);
  writeFileSync(
    path.join(root, 'src/util/a.ts'),
    "import { b } from './b.ts';\n\nexport const a = (): number => b();\n",
  );
  writeFileSync(
    path.join(root, 'src/util/b.ts'),
    "import { a } from './a.ts';\n\nexport const b = (): number => a();\n",
  );
  const cycles = lint(root, 'src').filter((f) => f.category === 'lint/suspicious/noImportCycles');
  assert.deepEqual(cycles.map((f) => f.file).sort(), ['src/util/a.ts', 'src/util/b.ts']);
});

test('biome forbids any, non-null assertions, default exports and value imports of types', (t) => {
  const root = layout();
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const offences = {
    'suspicious/noExplicitAny': 'export const a: any = 1;\n',
    'style/noNonNullAssertion': 'export const a = (b: number | null): number => b!;\n',
    'style/noDefaultExport': 'export default 1;\n',
    'style/useImportType': "import { It } from '../util/it.ts';\n\nexport type Mine = It;\n",
  };
  for (const [rule, text] of Object.entries(offences)) {
    const name = `src/wire/${rule.slice(rule.indexOf('/') + 1)}.ts`;
    writeFileSync(path.join(root, name), text);
    const found = lint(root, name).map((f) => f.category);
    assert.ok(found.includes(`lint/${rule}`), `${rule}: ${found.join(', ')}`);
  }
});

test('the table has no cycles and names only rooms that it knows', () => {
  const visit = (room: string, way: readonly string[]): void => {
    assert.ok(!way.includes(room), `cycle: ${[...way, room].join(' -> ')}`);
    const layer = LAYERS[room];
    assert.ok(layer, `unknown room ${room}`);
    for (const types of layer.typesOnly ?? []) assert.ok(layer.may.includes(types), `${room}: ${types}`);
    for (const other of layer.may) visit(other, [...way, room]);
  };
  for (const room of Object.keys(LAYERS)) visit(room, []);
});

test('biome.json and the table in docs/architecture.md are what test/support/layers.ts makes', () => {
  const hint = 'run: npm run layers';
  assert.equal(readFileSync(path.join(REPOSITORY, 'biome.json'), 'utf8'), biomeConfig(), hint);
  const document = readFileSync(path.join(REPOSITORY, 'docs/architecture.md'), 'utf8');
  assert.equal(document, withLayerTable(document), hint);
});

/** Offences against the table that the linter cannot see: types-only edges, `import('…')` types, unknown rooms. */
function offences(files: readonly SourceFile[]): string[] {
  const found: string[] = [];
  for (const file of files) {
    const room = file.name.includes('/') ? (file.name.split('/')[0] ?? '') : '';
    if (room !== '' && LAYERS[room] === undefined) found.push(`${file.name}: no room ${room} in the table`);
    if (room === '' && !ROOTS.includes(file.name)) found.push(`${file.name}: not one of the roots`);
    for (const edge of importsOf(file)) {
      const other = edge.target.split('/')[0] ?? '';
      const where = `${edge.file}:${edge.line} imports ${edge.target}`;
      if (edge.target.startsWith('..')) found.push(`${where}: outside of src`);
      if (room === '' || other === room || edge.target.startsWith('..')) continue;
      if (ROOTS.includes(edge.target)) found.push(`${where}: a root`);
      else if (!LAYERS[room]?.may.includes(other)) found.push(`${where}: not allowed`);
      else if (LAYERS[room]?.typesOnly?.includes(other) && !edge.typeOnly) found.push(`${where}: types only`);
    }
  }
  return found;
}

test('the scan finds what the linter cannot', () => {
  const check = (name: string, text: string): string[] => offences([{ name, text }]);
  assert.equal(check('util/a.ts', "export type A = typeof import('../client/b.ts');\n").length, 1);
  assert.equal(check('control/a.ts', "import { A } from '../config/types.ts';\n").length, 1);
  assert.equal(check('control/a.ts', "import {\n  A,\n  B,\n} from '../config/types.ts';\n").length, 1);
  assert.equal(check('control/a.ts', "import { type A, b } from '../config/types.ts';\n").length, 1);
  assert.equal(check('control/a.ts', "import '../config/types.ts';\n").length, 1);
  assert.deepEqual(check('control/a.ts', "import type {\n  A,\n  B,\n} from '../config/types.ts';\n"), []);
  assert.deepEqual(check('control/a.ts', "export type { A } from '../config/types.ts';\n"), []);
  assert.equal(check('nowhere/a.ts', 'export const a = 1;\n').length, 1);
  assert.equal(check('other.ts', 'export const a = 1;\n').length, 1);
  assert.equal(check('main.ts', "import { a } from '../test/support/a.ts';\n").length, 1);
  assert.deepEqual(check('util/a.ts', "// import { a } from '../client/a.ts';\nexport const a = 1;\n"), []);
  assert.deepEqual(check('supervisor.ts', "import { a } from './worker/a.ts';\n"), []);
});

test('src keeps the layers', () => {
  assert.deepEqual(offences(sourceFiles(SOURCE)), []);
  const unknown = readdirSync(SOURCE, { withFileTypes: true }).filter(
    (entry) => entry.isDirectory() && LAYERS[entry.name] === undefined,
  );
  assert.deepEqual(
    unknown.map((entry) => entry.name),
    [],
  );
});

/** Lines of src that end the process elsewhere than in main.ts: a room throws or reports, main decides. */
function exits(files: readonly SourceFile[]): string[] {
  const ending =
    /\bprocess\s*(?:\?\.|\.)\s*(?:exit|abort|reallyExit)\b|\bimport\s*\{[^}]*\b(?:exit|abort)\b[^}]*\}\s*from\s*'(?:node:)?process'/g;
  return files
    .filter((file) => file.name !== 'main.ts')
    .flatMap((file) => {
      const text = withoutComments(file.text);
      return [...text.matchAll(ending)].map(
        (m) => `${file.name}:${text.slice(0, m.index).split('\n').length}`,
      );
    });
}

test('only main.ts ends the process', () => {
  const bad = 'export function f(): void {\n  process.exit(1);\n}\n';
  assert.deepEqual(exits([{ name: 'util/a.ts', text: bad }]), ['util/a.ts:2']);
  assert.deepEqual(exits([{ name: 'worker.ts', text: "import { exit } from 'node:process';\n" }]), [
    'worker.ts:1',
  ]);
  assert.deepEqual(exits([{ name: 'main.ts', text: bad }]), []);
  assert.deepEqual(
    exits([{ name: 'util/a.ts', text: '// process.exit is for main\nprocess.exitCode = 1;\n' }]),
    [],
  );
  assert.deepEqual(exits(sourceFiles(SOURCE)), []);
});

test(`no file in src is longer than ${MAX_LINES} lines`, () => {
  const long = sourceFiles(SOURCE)
    .map((file) => ({ name: file.name, lines: file.text.split('\n').length - 1 }))
    .filter((file) => file.lines > MAX_LINES)
    .map((file) => `${file.name}: ${file.lines} lines`);
  assert.deepEqual(long, [], 'split by phase');
});

test('the tree as it stands is clean for the linter', (t) => {
  // a copy, so that the rules of the generator (not of an edited biome.json) are the ones applied
  const root = mkdtempSync(path.join(tmpdir(), 'pgc-rules-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  writeFileSync(path.join(root, 'biome.json'), biomeConfig());
  cpSync(SOURCE, path.join(root, 'src'), { recursive: true });
  const rules = new Set(['lint/style/noRestrictedImports', 'lint/suspicious/noImportCycles']);
  const found = lint(root, 'src').filter((f) => rules.has(f.category));
  assert.deepEqual(found, []);
});
