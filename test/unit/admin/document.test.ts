import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { consoleDocument } from '../../../src/admin/document.ts';
import { CLIENT_STATES, SERVER_STATES } from '../../../src/admin/view-sockets.ts';
import { VIEWS } from '../../../src/admin/views.ts';

test('docs/console.md is what the tables say (node dist/src/admin/document-main.js)', () => {
  // npm test runs in the root of the repository
  assert.equal(readFileSync('docs/console.md', 'utf8'), consoleDocument());
});

test('the document names every view and state', () => {
  const text = consoleDocument();
  for (const view of VIEWS) assert.ok(text.includes(`### SHOW ${view.name}\n`), view.name);
  for (const state of [...Object.keys(CLIENT_STATES), ...Object.keys(SERVER_STATES)]) {
    assert.ok(text.includes(`\`${state}\`: `), state);
  }
});
