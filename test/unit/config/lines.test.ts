/** The line grammar: what PgBouncer reads is read, nothing is lost in `ini`, every error has its place. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readConfigLines } from '../../../src/config/lines.ts';
import type { Diagnostic } from '../../../src/config/types.ts';
import { type Files, files } from './fixture.ts';

function read(at: Files, content: string): { lines: string[]; errors: Diagnostic[] } {
  const errors: Diagnostic[] = [];
  const lines = readConfigLines(at.write('f.ini', content), errors).map((line) =>
    line.kind === 'section' ? `[${line.name}]` : `${line.key}|${line.value}|${line.place.line}`,
  );
  return { lines, errors };
}

test('values keep ; # quotes backslashes and words that ini would change', (t) => {
  const { lines, errors } = read(
    files(t),
    `\uFEFF; comment
# comment
   ; indented comment
[databases]
foo = host=h password='a b;c' connect_query='SELECT ''1'''
h = host=h password=ab#cd;e
  app.db\t=\thost=y  \r
* = host=x
'we ird' = host=w
'it''s' = host=q
'a=b' = host=eq
'arr[]' = 1
'arr[]' = 2
__proto__ = host=p
q = 'x'
dq = "double"
t = true
n = null
f = false
empty =
back = C:\\temp\\new "q" 'r'
u = a\u2028b
12 = number
3 = smaller
[a.b]
x = 1 ; not a comment
`,
  );
  assert.deepEqual(errors, []);
  assert.deepEqual(lines, [
    '[databases]',
    "foo|host=h password='a b;c' connect_query='SELECT ''1'''|5",
    'h|host=h password=ab#cd;e|6',
    'app.db|host=y|7',
    '*|host=x|8',
    'we ird|host=w|9',
    "it's|host=q|10",
    'a=b|host=eq|11',
    'arr[]|1|12',
    'arr[]|2|13',
    '__proto__|host=p|14',
    "q|'x'|15",
    'dq|"double"|16',
    't|true|17',
    'n|null|18',
    'f|false|19',
    'empty||20',
    'back|C:\\temp\\new "q" \'r\'|21',
    'u|a\u2028b|22',
    '12|number|23',
    '3|smaller|24',
    '[a.b]',
    'x|1 ; not a comment|26',
  ]);
});

test('duplicates and repeated sections come in the order of the file', (t) => {
  const { lines } = read(files(t), '[users]\nfoo=1\nfoo=2\n[databases]\nfoo=3\n[users]\nfoo=4\n');
  assert.deepEqual(lines, ['[users]', 'foo|1|2', 'foo|2|3', '[databases]', 'foo|3|5', '[users]', 'foo|4|7']);
});

test('what stands behind a header is read as a line of its own', (t) => {
  const { lines, errors } = read(files(t), '[users] ; comment\n[databases] a = host=x\n');
  assert.deepEqual(errors, []);
  assert.deepEqual(lines, ['[users]', '[databases]', 'a|host=x|2']);
});

test('bad lines are all reported and reading goes on', (t) => {
  const at = files(t);
  const { lines, errors } = read(
    at,
    '[users]\ngarbage\n"key" = 1\n[open\nok = 1\n= 2\n%include\n%includefoo\nü = 1\n',
  );
  const f = at.path('f.ini');
  assert.deepEqual(
    errors.map((d) => [d.file, d.line, d.message]),
    [2, 3, 4, 6, 7, 8, 9].map((n) => [f, n, `syntax error in configuration (${f}:${n}), stopping loading`]),
  );
  assert.match(errors[1]?.hint ?? '', /single quotes/);
  assert.deepEqual(lines, ['[users]', 'ok|1|5']);
});

test('a value before the first section', (t) => {
  const { errors } = read(files(t), 'listen_port = 1\n');
  assert.equal(errors[0]?.message, 'load_init_file: value without section: listen_port');
  assert.equal(errors[0]?.line, 1);
});

test('%include continues the section, in and out, relative to the current directory', (t) => {
  const at = files(t);
  const before = process.cwd();
  t.after(() => process.chdir(before));
  at.write('inc file.ini', 'b = 2\n[users]\nc = 3\n');
  process.chdir(at.path('.'));
  const { lines, errors } = read(at, '[databases]\na = 1\n  %include \t inc file.ini  \nd = 4\n');
  assert.deepEqual(errors, []);
  assert.deepEqual(lines, ['[databases]', 'a|1|2', 'b|2|1', '[users]', 'c|3|3', 'd|4|4']);
});

test('%include goes ten levels deep, not eleven', (t) => {
  const at = files(t);
  for (let i = 1; i <= 9; i++) at.write(`l${i}.ini`, `%include ${at.path(`l${i + 1}.ini`)}\nk${i} = 1\n`);
  at.write('l10.ini', 'k10 = 1\n');
  const top = `[users]\n%include ${at.path('l1.ini')}\n`;
  const good = read(at, top);
  assert.deepEqual(good.errors, []);
  assert.equal(good.lines.length, 11);

  at.write('l10.ini', `%include ${at.path('l11.ini')}\n`);
  at.write('l11.ini', 'k11 = 1\n');
  const { errors } = read(at, top);
  assert.match(errors[0]?.message ?? '', /^include nesting level too deep \(.*l10\.ini:1\)/);
  assert.equal(errors.filter((d) => d.message.startsWith('error processing include file')).length, 11);
});

test('a file that includes itself ends', (t) => {
  const at = files(t);
  const { errors } = read(at, `%include ${at.path('f.ini')}\n`);
  assert.ok(errors.length > 0);
});

test('missing include', (t) => {
  const at = files(t);
  const { errors } = read(at, `[users]\n%include ${at.path('nope.ini')}\n`);
  assert.deepEqual(
    errors.map((d) => d.message),
    [
      `could not load file "${at.path('nope.ini')}": No such file or directory`,
      `error processing include file in configuration (${at.path('f.ini')}:2), stopping loading`,
    ],
  );
});
