/** auth_file: exactly what the cookbook's COPY writes, and lines that cannot be read. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Diagnostic } from '../../../src/config/types.ts';
import { parseUserlist, readUserlist } from '../../../src/config/userlist.ts';
import { files } from './fixture.ts';

function parse(content: string): { users: Record<string, string>; found: Diagnostic[] } {
  const found: Diagnostic[] = [];
  return { users: Object.fromEntries(parseUserlist(content, 'u.txt', found)), found };
}

test('the file that COPY writes', () => {
  const scram =
    'SCRAM-SHA-256$4096:vZ7nkGTg8dx1hzZG4pnNDw==$8I0Gt8DgQTDy5QXGkBL8wRHC0aGCw1gkUnfdc4nVFnE=:kVn3QkJ0yhqYXQrF0gl0rGO3uFDX8gTYH2S1AwOmJ2A=';
  const { users, found } = parse(
    `"alice" "md5d5ab5c5f1e5b1d1f2c3e4a5b6c7d8e9f"
"bob" "${scram}"
"carol" ""
"we ird" "pa;ss #1"
"back\\\\slash" "a\\\\b"
`,
  );
  assert.deepEqual(found, []);
  assert.deepEqual(users, {
    alice: 'md5d5ab5c5f1e5b1d1f2c3e4a5b6c7d8e9f',
    bob: scram,
    carol: '',
    'we ird': 'pa;ss #1',
    'back\\\\slash': 'a\\\\b',
  });
});

test('quotes, comments, rests of lines, the last line of a user counts', () => {
  const { users, found } = parse(
    '\n; "no" "no"\n  ;x\n"a""b" "c""d" rest "x"\r\n"q" """"\n"glued""" "s"\n"twice" "1"\n"twice" "2"',
  );
  assert.deepEqual(found, []);
  assert.deepEqual(users, { 'a"b': 'c"d', q: '"', 'glued"': 's', twice: '2' });
});

test('a broken line costs a warning and that line only', () => {
  const { users, found } = parse(
    `"ok1" "1"\nalice secret\n"open\n"only"\n"user" "open\n"a""b"\n# x\n"" "x"\n"${'x'.repeat(128)}" "x"\n"${'é'.repeat(63)}" "x"\n"ok2" "2"\n`,
  );
  assert.deepEqual(Object.keys(users), ['ok1', 'é'.repeat(63), 'ok2']);
  assert.deepEqual(
    found.map((d) => [d.level, d.file, d.line, d.message]),
    [2, 3, 4, 5, 6, 7, 8, 9].map((n) => [
      'warning',
      'u.txt',
      n,
      `broken auth file (u.txt:${n}), line skipped`,
    ]),
  );
  assert.equal(found[0]?.hint, 'a line is "user" "secret"');
  assert.ok(!JSON.stringify(found).includes('alice'), 'says why, never what stands there');
});

test('limits of the secret', () => {
  assert.deepEqual(Object.keys(parse(`"a" "${'x'.repeat(65530)}"`).users), ['a']);
  assert.equal(parse(`"a" "${'x'.repeat(65531)}"`).found.length, 1);
});

test('a file that cannot be read', (t) => {
  const found: Diagnostic[] = [];
  const path = files(t).path('nope');
  assert.equal(readUserlist(path, found), null);
  assert.equal(found[0]?.message, `could not open auth_file ${path}: No such file or directory`);
});
