import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseCommandLine, programName, usageText } from '../../../src/cli/args.ts';
import { VERSION, versionLines } from '../../../src/util/version.ts';

const parse = (...argv: string[]) => parseCommandLine(argv, 'exe');
const run = { kind: 'run', file: 'f.ini', check: false, daemon: false, quiet: false, verbose: 0, user: '' };
const mistake = (text: string) => ({
  kind: 'say',
  to: 'stderr',
  exitCode: 1,
  text: `exe: ${text}\nTry "exe --help" for more information.\n`,
});

test('a file alone', () => {
  assert.deepEqual(parse('f.ini'), run);
});

test('short options may be bundled, repeated, and stand after the file', () => {
  assert.deepEqual(parse('-dqvv', 'f.ini', '-v'), { ...run, daemon: true, quiet: true, verbose: 3 });
  for (const argv of [
    ['-u', 'bob', 'f.ini'],
    ['-ubob', 'f.ini'],
    ['f.ini', '-qubob'],
  ]) {
    const command = parse(...argv);
    assert.equal(command.kind === 'run' && command.user, 'bob', argv.join(' '));
  }
});

test('long options, with =, with the next word, abbreviated', () => {
  assert.deepEqual(parse('--daemon', '--quiet', '--verbose', '--user=bob', 'f.ini'), {
    ...run,
    daemon: true,
    quiet: true,
    verbose: 1,
    user: 'bob',
  });
  assert.deepEqual(parse('--us', 'bob', '--dae', 'f.ini'), { ...run, daemon: true, user: 'bob' });
  assert.deepEqual(parse('--check', 'f.ini'), { ...run, check: true });
});

test('after -- everything is a file name', () => {
  assert.deepEqual(parse('--', '-d'), { ...run, file: '-d' });
});

test("mistakes have getopt's words", () => {
  assert.deepEqual(parse(), mistake('no configuration file specified'));
  assert.deepEqual(parse('-q'), mistake('no configuration file specified'));
  assert.deepEqual(parse('-x', 'f.ini'), mistake("invalid option -- 'x'"));
  assert.deepEqual(parse('-qx', 'f.ini'), mistake("invalid option -- 'x'"));
  assert.deepEqual(parse('--frob'), mistake("unrecognized option '--frob'"));
  assert.deepEqual(parse('f.ini', '-u'), mistake("option requires an argument -- 'u'"));
  assert.deepEqual(parse('--user'), mistake("option '--user' requires an argument"));
  assert.deepEqual(parse('--daemon=1'), mistake("option '--daemon' doesn't allow an argument"));
  assert.deepEqual(
    parse('--ver'),
    mistake("option '--ver' is ambiguous; possibilities: '--verbose' '--version'"),
  );
  assert.deepEqual(parse('a', 'b'), mistake('too many command-line arguments (first is "b")'));
});

test('help and version win over what comes after them, not over what comes before', () => {
  assert.deepEqual(parse('-h', '-x'), { kind: 'say', to: 'stdout', exitCode: 0, text: usageText('exe') });
  assert.deepEqual(parse('-hx'), { kind: 'say', to: 'stdout', exitCode: 0, text: usageText('exe') });
  assert.deepEqual(parse('-xh'), mistake("invalid option -- 'x'"));
  const version = parse('--version');
  assert.equal(version.kind === 'say' && version.text, `${versionLines().join('\n')}\n`);
});

test('the online reboot is named and refused', () => {
  for (const option of ['-R', '--reboot']) {
    const command = parse(option, 'f.ini');
    assert.ok(command.kind === 'say' && command.exitCode === 1);
    assert.match(command.text, /removed in PgBouncer 1\.26[\s\S]*so_reuseport/);
  }
});

test('demo takes all that follows', () => {
  assert.deepEqual(parse('demo', '--x', '-d'), { kind: 'demo', argv: ['--x', '-d'] });
  assert.deepEqual(parse('-q', 'demo'), { ...run, quiet: true, file: 'demo' });
});

test('the usage text names every option', () => {
  const text = usageText('exe');
  assert.ok(text.startsWith('exe is a connection pooler for PostgreSQL.\n'));
  for (const option of [
    '-d, --daemon',
    '-q, --quiet',
    '-u, --user=',
    '-v, --verbose',
    '-V, --version',
    '-h, --help',
  ]) {
    assert.ok(text.includes(option), option);
  }
});

test('the name in messages', () => {
  assert.equal(programName('/somewhere/bin/pgconcierge'), 'pgconcierge');
  assert.equal(programName('/somewhere/dist/src/main.js'), 'pgconcierge');
  assert.equal(programName('/somewhere/bin/pgbouncer'), 'pgbouncer');
  assert.equal(programName('C:\\x\\pooler.js'), 'pooler');
  assert.equal(programName(undefined), 'pgconcierge');
});

test('the version is that of package.json', () => {
  const manifest: unknown = JSON.parse(
    readFileSync(new URL('../../../../package.json', import.meta.url), 'utf8'),
  );
  assert.equal((manifest as { version: string }).version, VERSION);
});

test('check FILE', () => {
  assert.deepEqual(parse('check', 'f.ini'), { kind: 'check', file: 'f.ini' });
  assert.deepEqual(parse('check', '--', '-f'), { kind: 'check', file: '-f' });
  assert.deepEqual(parse('check'), mistake('no configuration file specified'));
  assert.deepEqual(parse('check', 'a', 'b'), mistake('too many command-line arguments (first is "b")'));
  for (const option of ['-d', '-q', '-v', '-ubob', '--check']) {
    assert.deepEqual(parse('check', option, 'f.ini'), mistake('check takes no options'), option);
  }
  assert.deepEqual(parse('check', '--help'), parse('--help'));
  assert.deepEqual(parse('./check'), { ...run, file: './check' });
});
