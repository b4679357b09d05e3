/** docs/metrics.md is what the table of metrics says. `UPDATE_DOCS=1` writes it. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { metricsDocument } from '../../../src/observe/metrics-document.ts';

/** Tests are run in the top folder of the repository. */
const FILE = resolve('docs/metrics.md');

test('docs/metrics.md is up to date', () => {
  const wanted = metricsDocument();
  if (process.env['UPDATE_DOCS'] === '1') writeFileSync(FILE, wanted);
  assert.equal(readFileSync(FILE, 'utf8'), wanted, 'UPDATE_DOCS=1 writes it anew');
});
