import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expectedFileUse, fileLimits, limitsLine, parseProcLimits } from '../../../src/cli/limits.ts';

const header = 'Limit                     Soft Limit           Hard Limit           Units     \n';

test('/proc/self/limits', () => {
  const text = `${header}Max processes             1                    2                    processes\nMax open files            1024                 20000                files     \n`;
  assert.deepEqual(parseProcLimits(text), { soft: 1024, hard: 20000 });
  const open = parseProcLimits(
    `${header}Max open files            unlimited            unlimited            files     \n`,
  );
  assert.deepEqual(open, { soft: Number.POSITIVE_INFINITY, hard: Number.POSITIVE_INFINITY });
  assert.equal(parseProcLimits(header), null);
});

test('this process has limits', () => {
  const limits = fileLimits();
  assert.ok(limits !== null && limits.soft > 0 && limits.hard >= limits.soft);
});

test("PgBouncer's estimate and line", () => {
  assert.equal(expectedFileUse(100, [], 3), 112);
  const pools = [
    { poolSize: 20, forcedUser: false },
    { poolSize: 5, forcedUser: true },
  ];
  assert.equal(expectedFileUse(100, pools, 3), 112 + 60 + 5);
  assert.equal(
    limitsLine({ soft: 20000, hard: 20000 }, 100, 112),
    'kernel file descriptor limit: 20000 (hard: 20000); max_client_conn: 100, max expected fd use: 112',
  );
});
