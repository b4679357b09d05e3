/** asyncpg: no libpq, named statements for every query, the driver that transaction pooling is known to break. */
// apt: python3 python3-asyncpg
import { test } from 'node:test';
import { withProxied } from '../support/proxied.ts';
import { programPath, runDriver, skipUnless } from './driver-program.ts';

// the system's Python: another one (pyenv) has not Debian's packages
const PYTHON = '/usr/bin/python3';

test('asyncpg', { skip: skipUnless([PYTHON, '-c', 'import asyncpg'], 'python3-asyncpg') }, async () => {
  await runDriver(
    await withProxied(),
    [PYTHON, programPath('with-asyncpg.py')],
    ['pool', 'interleaved', 'eviction', 'transactions', 'cursor', 'copy', 'cancel', 'listen', 'console'],
  );
});
