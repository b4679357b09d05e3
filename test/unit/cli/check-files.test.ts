/** `check`: files with secrets, files that must be there, the limit of file descriptors, and the report itself. */
import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { test } from 'node:test';
import { checkFiles, checkLimits } from '../../../src/cli/check-files.ts';
import { failed, ok, passed, reportText, warn } from '../../../src/cli/check-report.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { files, loaded } from '../config/fixture.ts';

test('modes of files with secrets', (t) => {
  const at = files(t);
  const write = (name: string, mode: number, content = ''): string => {
    const path = at.write(name, content);
    chmodSync(path, mode);
    return path;
  };
  const ini = write(
    'c.ini',
    0o644,
    `[pgbouncer]
auth_file = ${write('users', 0o640)}
auth_type = hba
auth_hba_file = ${write('hba', 0o644)}
passfile = ${write('pass', 0o600)}
client_tls_sslmode = require
client_tls_key_file = ${write('client.key', 0o640)}
client_tls_cert_file = ${at.path('gone.crt')}
server_tls_key_file = ${write('server.key', 0o600)}
`,
  );
  const verdicts = (): string[] => {
    const { config } = loadConfig(ini);
    assert.ok(config);
    return checkFiles(config).map(({ verdict, item }) => `${verdict} ${item}`);
  };
  assert.deepEqual(verdicts(), [
    'OK configuration',
    'OK auth_file',
    'OK passfile',
    'OK auth_hba_file',
    'WARN client_tls_key_file',
    'FAILED client_tls_cert_file',
    'OK server_tls_key_file',
  ]);
  chmodSync(at.path('users'), 0o644);
  assert.ok(verdicts().includes('WARN auth_file'));
});

test('the directory of state_file must be there', (t) => {
  const at = files(t);
  const verdict = (path: string): string[] => {
    const { config } = loadConfig(at.write('c.ini', `[pgbouncer]\nstate_file = ${path}\n`));
    assert.ok(config);
    return checkFiles(config).map(({ verdict: said, item }) => `${said} ${item}`);
  };
  assert.deepEqual(verdict(at.path('state')), ['OK configuration', 'OK state_file']);
  assert.deepEqual(verdict(at.path('gone/state')), ['OK configuration', 'FAILED state_file']);
});

test('the configuration itself is a secret only with a password in it', (t) => {
  const at = files(t);
  for (const [content, verdict] of [
    ['[pgbouncer]\n', 'OK'],
    ['[pgbouncer]\ncheck_password = x\n', 'WARN'],
    ['[pgbouncer]\n[databases]\nd = user=u password=x\n', 'WARN'],
    ['[pgbouncer]\n[databases]\n* = user=u password=x\n', 'WARN'],
    ['[pgbouncer]\n[clusters]\nc = check_password=x\n[nodes]\nn = cluster=c\n', 'WARN'],
    // as the documentation advises
    [`[pgbouncer]\n[clusters]\nc = check_password='\${PATH}'\n[nodes]\nn = cluster=c\n`, 'OK'],
    [`[pgbouncer]\n[databases]\nd = user=u password='\${PATH}'\n`, 'WARN'],
  ] as const) {
    const path = at.write('c.ini', content);
    chmodSync(path, 0o644);
    const { config } = loadConfig(path);
    assert.ok(config);
    assert.equal(checkFiles(config)[0]?.verdict, verdict, content);
  }
});

test('passwords in a file that is included', (t) => {
  const at = files(t);
  const secrets = at.write('secrets.ini', '[databases]\nd = user=u password=x\n');
  const ini = at.write('c.ini', `[pgbouncer]\n%include ${secrets}\n`);
  chmodSync(ini, 0o644);
  chmodSync(secrets, 0o644);
  const verdicts = (): string[] => {
    const { config } = loadConfig(ini);
    assert.ok(config);
    return checkFiles(config).map(({ verdict, text }) => `${verdict} ${text.includes(secrets)}`);
  };
  assert.deepEqual(verdicts(), ['OK false', 'WARN true']);
  chmodSync(secrets, 0o600);
  assert.deepEqual(verdicts(), ['OK false', 'OK true']);
});

test('file descriptors against max_client_conn', (t) => {
  const config = loaded(t, '[pgbouncer]\nmax_client_conn = 1000\n');
  assert.equal(checkLimits(config, { soft: 1012, hard: 1012 }).verdict, 'OK');
  const short = checkLimits(config, { soft: 1011, hard: 4096 });
  assert.equal(short.verdict, 'WARN');
  assert.match(
    short.text,
    /limit: 1011 \(hard: 4096\); max_client_conn: 1000, max expected fd use: 1012; raise it/,
  );
  assert.equal(checkLimits(config, null).verdict, 'WARN');
});

test('the report: a line per item whatever the text, and what decides the exit status', () => {
  const findings = [ok('a', 'fine'), warn('b', 'so\nso'), failed('c', 'bad\u001b[0m')];
  assert.equal(
    reportText(findings),
    'OK     a: fine\nWARN   b: so so\nFAILED c: bad [0m\n1 OK, 1 WARN, 1 FAILED\n',
  );
  assert.equal(passed(findings), false);
  assert.equal(passed(findings.slice(0, 2)), true);
});
