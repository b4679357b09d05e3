/**
 * Makes a fresh clone ready with nothing but Node and npm: installs what package-lock.json names if it is not there,
 * compiles, and removes compiled files whose source is gone. Run before every npm script; quick when all is done.
 * Needs no dependency. `--no-build`: install only. Exit code 1, with the reason, when a step fails.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const lockFile = path.join(root, 'package-lock.json');
const installedFile = path.join(root, 'node_modules/.package-lock.json');

function say(text) {
  process.stderr.write(`pgconcierge: ${text}\n`);
}

function fail(text) {
  say(text);
  process.exit(1);
}

function checkNode() {
  const engines = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')).engines.node;
  const [needMajor, needMinor = 0] = engines
    .replace(/[^0-9.]/g, '')
    .split('.')
    .map(Number);
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < needMajor || (major === needMajor && minor < needMinor)) {
    fail(`needs Node ${engines}, this is ${process.versions.node}`);
  }
}

/** For another system or libc: npm leaves it out here. */
function isForeign({ os, cpu, libc }) {
  if (libc !== undefined || (os !== undefined && !os.includes(process.platform))) return true;
  return cpu !== undefined && !cpu.includes(process.arch);
}

/** Why npm has to run, or null. Compares contents, so that a touched lock file costs nothing. */
function whyInstall() {
  if (!existsSync(installedFile)) return 'node_modules is missing';
  if (!existsSync(lockFile)) return null;
  const wanted = JSON.parse(readFileSync(lockFile, 'utf8')).packages;
  const installed = JSON.parse(readFileSync(installedFile, 'utf8')).packages;
  // an optional package may be absent for a good reason (other platform): only a newer lock file asks again
  const lockIsNewer = statSync(lockFile).mtimeMs > statSync(installedFile).mtimeMs;
  for (const [name, entry] of Object.entries(wanted)) {
    if (name === '' || installed[name]?.version === entry.version) continue;
    if (!entry.optional || (lockIsNewer && !isForeign(entry)))
      return `package-lock.json asks for ${name} ${entry.version}`;
  }
  return null;
}

/** Runs npm, the one that runs this script if there is one. Returns its exit code and what it wrote. */
function npm(...args) {
  const cli = process.env.npm_execpath;
  const useNode = cli !== undefined && /\.c?js$/.test(cli);
  // dev packages too, whatever NODE_ENV says: the compiler is one
  const flags = ['--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error'];
  const options = { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 64 << 20 };
  const run = useNode
    ? spawnSync(process.execPath, [cli, ...args, ...flags], options)
    : spawnSync('npm', [...args, ...flags], { ...options, shell: process.platform === 'win32' });
  if (run.error !== undefined) fail(`cannot run npm: ${run.error.message}`);
  return { code: run.status ?? 1, output: `${run.stdout}${run.stderr}` };
}

function install() {
  const reason = whyInstall();
  if (reason === null) return;
  say(`installing packages (${reason}) …`);
  let result = existsSync(lockFile) ? npm('ci') : { code: 1, output: 'EUSAGE' };
  // "not in sync" is also what npm says of a lock file made with a registry that lacks the optional packages of other
  // platforms; `install` takes the versions of the lock file too, fills the gaps, and --no-save leaves the file alone
  if (result.code !== 0 && /EUSAGE/.test(result.output)) result = npm('install', '--no-save');
  if (result.code !== 0) {
    process.stderr.write(result.output);
    fail('npm could not install the packages; its own words are above');
  }
}

/** Removes dist files whose .ts is gone: a deleted test must not go on being run. */
function prune() {
  for (const folder of ['src', 'test', 'bench']) {
    const compiled = path.join(root, 'dist', folder);
    if (!existsSync(compiled)) continue;
    for (const name of readdirSync(compiled, { recursive: true, encoding: 'utf8' })) {
      const stem = /^(.*)\.js(?:\.map)?$/.exec(name)?.[1];
      if (stem === undefined || existsSync(path.join(root, folder, `${stem}.ts`))) continue;
      rmSync(path.join(compiled, name), { force: true });
    }
  }
}

function build() {
  if (!existsSync(path.join(root, 'dist'))) say('compiling …');
  const tsc = path.join(root, 'node_modules/typescript/bin/tsc');
  const run = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.json'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
  });
  if (run.error !== undefined) fail(`cannot run the compiler: ${run.error.message}`);
  if (run.status !== 0) fail('compiling failed');
  prune();
}

checkNode();
install();
if (!process.argv.includes('--no-build')) build();
