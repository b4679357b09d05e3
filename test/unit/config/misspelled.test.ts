/** A password stays one when its key is misspelled, or its line cannot be read. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maskPasswords } from '../../../src/config/connstr.ts';
import { formatDiagnostic, loadConfig } from '../../../src/config/load.ts';
import { setOption } from '../../../src/config/show.ts';
import { files } from './fixture.ts';

for (const line of [
  '[clusters]\nc = check_pasword=s3cret',
  '[clusters]\nc = check_passwd=s3cret',
  "[clusters]\nc = passwort='s3cret'",
  '[clusters]\nc = check_psword=s3cret',
  '[clusters]\nc = check_pssword = s3cret',
  '[clusters]\nc = check_password = "my s3cret"',
  "[clusters]\nc = check_password = 'x''s3cret",
  '[databases]\nd = pasword=s3cret',
  '[pgbouncer]\ncheck_pasword = s3cret',
  '[pgbouncer]\ncheck_pssword = s3cret',
]) {
  test(`told without it: ${JSON.stringify(line)}`, (t) => {
    const { config, diagnostics } = loadConfig(files(t).write('f.ini', `[pgbouncer]\n${line}\n`), {
      env: {},
    });
    assert.equal(config, null);
    const text = diagnostics.map(formatDiagnostic).join('\n');
    assert.match(text, /:3\)/);
    assert.doesNotMatch(text, /s3cret/);
  });
}

test('what is no password stays readable', () => {
  assert.equal(maskPasswords('host=a passfile=/b password=c'), 'host=a passfile=/b password=********');
  assert.equal(maskPasswords('hots=a user=b'), 'hots=a user=b');
});

test('SET of a misspelled one', (t) => {
  const { config } = loadConfig(files(t).write('f.ini', '[pgbouncer]\n'), { env: {} });
  assert.ok(config);
  assert.doesNotMatch(setOption(config, 'check_pasword', 's3cret').error ?? '', /s3cret/);
});
