/** psycopg2, the driver of Django and SQLAlchemy: libpq, the simple protocol, a transaction by default. */
// apt: python3 python3-psycopg2
import { test } from 'node:test';
import { withProxied } from '../support/proxied.ts';
import { programPath, runDriver, skipUnless } from './driver-program.ts';

// the system's Python: another one (pyenv) has not Debian's packages
const PYTHON = '/usr/bin/python3';

test('psycopg2', { skip: skipUnless([PYTHON, '-c', 'import psycopg2'], 'python3-psycopg2') }, async () => {
  await runDriver(
    await withProxied(),
    [PYTHON, programPath('with-psycopg2.py')],
    [
      'interleaved',
      'types',
      'errors',
      'abandoned',
      'named_cursor',
      'copy',
      'batches',
      'cancel',
      'session_settings',
      'sql_prepare',
      'listen',
      'console',
    ],
  );
});
