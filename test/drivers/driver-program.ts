/**
 * Runs a program of test/drivers/programs/ against the proxy. A program prints `ok NAME` for every check it has
 * passed and ends with 0; the test names the checks that it expects, so that one that was left out is a failure.
 * What a program needs is installed from Debian by .ci/run (the line `// apt:` of its test); where it is missing the
 * test is skipped, loudly.
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Proxied } from '../support/proxied.ts';

const PROGRAMS = new URL('../../../test/drivers/programs/', import.meta.url);
const told = new Set<string>();

/** Path of a program's source, which is not compiled into dist. */
export function programPath(name: string): string {
  return fileURLToPath(new URL(name, PROGRAMS));
}

/** False when `command` ends with 0, else the reason for `skip`, which is also written to stderr once. */
export function skipUnless(command: readonly string[], what: string): false | string {
  const [file = '', ...args] = command;
  try {
    execFileSync(file, args, { stdio: 'ignore', timeout: 30_000 });
    return false;
  } catch {
    const text = `${what} not installed`;
    if (!told.has(text)) process.stderr.write(`\n*** SKIPPED TESTS: ${text} ***\n\n`);
    told.add(text);
    return text;
  }
}

/** Runs it with host and port after `command`; its checks must be exactly `expected`, and nothing may stay behind. */
export async function runDriver(
  proxied: Proxied,
  command: readonly string[],
  expected: readonly string[],
): Promise<void> {
  const { host, port } = proxied.daemon;
  await runProgram(proxied.daemon, [...command, host, String(port)], expected);
  for (const database of ['tx', 'one', 'sess'] as const) await proxied.assertQuiet(database);
}

/** Runs it as it stands; its checks must be exactly `expected`. */
export async function runProgram(
  daemon: { readonly log: { tail(): string } },
  command: readonly string[],
  expected: readonly string[],
): Promise<void> {
  const [file = '', ...args] = command;
  const env = { ...process.env, LC_ALL: 'C.UTF-8' };
  const { error, stdout, stderr } = await new Promise<{
    error: Error | null;
    stdout: string;
    stderr: string;
  }>((resolve) => {
    const child = execFile(file, args, { env, timeout: 90_000 }, (failed, out, err) => {
      resolve({ error: failed, stdout: out, stderr: err });
    });
    child.stdin?.end();
  });
  const passed = stdout.match(/^ok .*$/gm)?.map((line) => line.slice(3)) ?? [];
  const log = () => `${stdout}\n${stderr}\n--- the daemon\n${daemon.log.tail()}`;
  if (error !== null) assert.fail(`the program ended with an error\n${log()}`);
  assert.deepEqual(passed, expected, log());
}
