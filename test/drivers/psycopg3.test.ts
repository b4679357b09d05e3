/**
 * psycopg 3: the extended protocol, named statements after some runs, pipelines. Its eviction of statements
 * (`prepared_max`, a `DEALLOCATE _pg3_0` in SQL before libpq 17) is not for a pooler: its own manual says so.
 */
// apt: python3 python3-psycopg
import { test } from 'node:test';
import { withProxied } from '../support/proxied.ts';
import { programPath, runDriver, skipUnless } from './driver-program.ts';

// the system's Python: another one (pyenv) has not Debian's packages
const PYTHON = '/usr/bin/python3';

test('psycopg 3', { skip: skipUnless([PYTHON, '-c', 'import psycopg'], 'python3-psycopg') }, async () => {
  await runDriver(
    await withProxied(),
    [PYTHON, programPath('with-psycopg3.py')],
    [
      'interleaved_prepared',
      'two_servers',
      'threshold',
      'types_and_binary',
      'errors_and_rollback',
      'pipelines',
      'executemany',
      'server_cursor_and_stream',
      'copy',
      'cancel',
      'listen',
      'console',
    ],
  );
});
