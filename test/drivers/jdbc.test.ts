/**
 * PgJDBC in its four preferQueryModes, always with named statements from the first run on (prepareThreshold=1). It
 * sends extra_float_digits at login, so ignore_startup_parameters names it, as in everybody's pgbouncer.ini.
 */
// apt: default-jdk-headless libpostgresql-jdbc-java
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { before, describe, test } from 'node:test';
import { type Proxied, withProxied } from '../support/proxied.ts';
import { programPath, runDriver, skipUnless } from './driver-program.ts';

const JAR = '/usr/share/java/postgresql.jar';
const CHECKS = [
  'interleaved',
  'twoServers',
  'types',
  'transactions',
  'autosave',
  'batches',
  'fetchSize',
  'manyStatements',
  'copy',
  'cancel',
  'listen',
  'metadata',
  'console',
];
const skip =
  skipUnless(['javac', '-version'], 'javac (default-jdk-headless)') ||
  skipUnless(['test', '-r', JAR], 'libpostgresql-jdbc-java');

/** `java FILE` compiles in memory; the file's name need not be the class's. */
function java(mode: string): string[] {
  return ['java', '-cp', JAR, programPath('with-jdbc.java'), mode];
}

describe('PgJDBC', { skip }, () => {
  let proxied: Proxied;
  before(async () => {
    proxied = await withProxied({
      settings: { ignore_startup_parameters: 'extra_float_digits', max_prepared_statements: 30 },
    });
  });

  for (const mode of ['extended', 'simple', 'extendedForPrepared', 'extendedCacheEverything']) {
    test(`preferQueryMode=${mode}`, async () => {
      await runDriver(proxied, java(mode), CHECKS);
    });
  }

  test('without ignore_startup_parameters the login is refused, and the message says why', async () => {
    const strict = await withProxied();
    const { host, port } = strict.daemon;
    const [file = '', ...args] = java('extended');
    const stderr = await new Promise<string>((resolve) => {
      execFile(file, [...args, host, String(port)], { timeout: 60_000 }, (_error, _out, err) => resolve(err));
    });
    assert.match(stderr, /unsupported startup parameter: extra_float_digits/);
  });
});
