/** The generated files of the tree are those of the table, and the sample works. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { generatedFiles, sampleConfig, sampleUserlist } from '../../../src/config/document.ts';
import { ENTRY_KEYS } from '../../../src/config/entry-keys.ts';
import { OPTIONS } from '../../../src/config/options.ts';
import { showConfig } from '../../../src/config/show.ts';
import { parseUserlist } from '../../../src/config/userlist.ts';
import { load } from './fixture.ts';

for (const [path, content] of generatedFiles()) {
  test(`${path} is up to date (node dist/src/config/document-main.js)`, () => {
    // tests run from the root of the tree
    assert.equal(readFileSync(path, 'utf8'), content);
  });
}

test('the documentation has every setting and key', () => {
  const document = generatedFiles().get('docs/config.md') ?? '';
  for (const row of OPTIONS) assert.ok(document.includes(`### ${row.name}\n`), row.name);
  for (const row of ENTRY_KEYS) assert.ok(document.includes(`| ${row.name} | `), row.name);
});

test('the sample loads, and also with everything switched on', (t) => {
  const { config, errors } = load(t, sampleConfig());
  assert.deepEqual(errors, []);
  assert.equal(config?.settings.authType, 'scram-sha-256');

  // switched on: settings without a default stay off, an empty value is not their default
  const on = sampleConfig().replace(/^;(?=[a-z_0-9*]+ =)/gm, '');
  const all = load(t, on.replace(/^verbose =$/m, 'verbose = 0'));
  assert.deepEqual(all.errors, []);
  assert.ok(all.config);
  const set = new Set(['listen_addr', 'auth_type', 'auth_file', 'admin_users']);
  for (const row of showConfig(all.config)) {
    if (set.has(row.key) || row.key === 'conffile') continue;
    const expected = row.key === 'unix_socket_mode' ? '511' : row.key === 'verbose' ? '0' : row.default;
    assert.equal(row.value, expected, row.key);
  }
});

test('the sample userlist lets nobody in', () => {
  const found: never[] = [];
  assert.equal(parseUserlist(sampleUserlist(), 'userlist.txt', found).size, 0);
  assert.deepEqual(found, []);
});
