/** Which format a scraper gets. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { metricsFormat } from '../../../src/http/accept.ts';

test('OpenMetrics for those who ask for it, text for all others', () => {
  const prometheus =
    'application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,' +
    'text/plain;version=0.0.4;q=0.3,*/*;q=0.2';
  assert.equal(metricsFormat(prometheus), 'openmetrics');
  assert.equal(metricsFormat('application/openmetrics-text'), 'openmetrics');
  assert.equal(metricsFormat('Application/OpenMetrics-Text; Q=0.3, text/plain;q=0.3'), 'openmetrics');
  assert.equal(metricsFormat('text/plain, application/openmetrics-text;q=0.9'), 'text');
  assert.equal(metricsFormat('application/openmetrics-text;q=0'), 'text');
  for (const other of [undefined, '', '*/*', 'text/html', ';;,,q=', 'application/openmetrics-text;q=x']) {
    assert.equal(metricsFormat(other), 'text', other);
  }
});
