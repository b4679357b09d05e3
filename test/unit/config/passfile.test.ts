/** Passfiles: libpq's form, libpq's distrust. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync } from 'node:fs';
import { test } from 'node:test';
import { findPassword, parsePassfile, readPassfile } from '../../../src/config/passfile.ts';
import type { Diagnostic } from '../../../src/config/types.ts';
import { files } from './fixture.ts';

function parsed(content: string): { lines: ReturnType<typeof parsePassfile>; found: Diagnostic[] } {
  const found: Diagnostic[] = [];
  return { lines: parsePassfile(content, 'p', found), found };
}

test('the first line that fits counts; stars, escapes, comments', () => {
  const { lines, found } = parsed(
    '# comment\n\npg1:5432:postgres:monitor:one\r\n*:5433:*:monitor:t\\:w\\\\o:rest\nlocalhost:*:*:*:sock\n*:*:*:bob:b b \n',
  );
  assert.deepEqual(found, []);
  const ask = (host: string, port: number, user = 'monitor', database = 'postgres'): string | null =>
    findPassword(lines, { host, port, database, user });
  assert.equal(ask('pg1', 5432), 'one');
  assert.equal(ask('pg1', 5432, 'monitor', 'other'), null);
  assert.equal(ask('pg2', 5432), null);
  assert.equal(ask('pg2', 5433), 't:w\\o');
  assert.equal(ask('', 1), 'sock');
  assert.equal(ask('/run/x', 1), 'sock');
  assert.equal(ask('localhost', 1), 'sock');
  assert.equal(ask('pg9', 1, 'bob'), 'b b ', 'blanks belong to a password');
});

test('a line that is none is warned of, without its text', () => {
  const { lines, found } = parsed('h:1:d:u\nh:1:d:u:\nsecret\nh:1:d:u:p\n');
  assert.equal(lines.length, 1);
  assert.deepEqual(
    found.map((d) => [d.level, d.line, d.message]),
    [1, 2, 3].map((line) => ['warning', line, `broken passfile (p:${line}), line skipped`]),
  );
});

test('refused when others can read it, when it is no file, when it is not there', (t) => {
  const at = files(t);
  const path = at.write('pass', '*:*:*:*:x\n');
  const outcome = (file: string): string => {
    const found: Diagnostic[] = [];
    const lines = readPassfile(file, found);
    return lines === null ? `${found[0]?.level}: ${found[0]?.message}` : String(lines.length);
  };
  chmodSync(path, 0o600);
  assert.equal(outcome(path), '1');
  for (const mode of [0o604, 0o640, 0o610, 0o660]) {
    chmodSync(path, mode);
    assert.equal(outcome(path), `error: passfile "${path}" has group or world access`, mode.toString(8));
  }
  mkdirSync(at.path('dir'));
  assert.equal(outcome(at.path('dir')), `error: passfile "${at.path('dir')}" is not a plain file`);
  assert.equal(
    outcome(at.path('gone')),
    `error: could not open passfile "${at.path('gone')}": No such file or directory`,
  );
});
