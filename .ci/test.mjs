/**
 * Runs test suites: `node .ci/test.mjs SUITE… [FILE-SUBSTRING…] [-t NAME-PATTERN]`. A suite is a folder of test/; each
 * file runs in a process of its own. Prints a line per file, the failures in full, and at the end the names of what
 * failed and a closing line; with PGC_TEST_SUMMARY set, appends {"passed","failed","skipped","names"} to that file.
 * Exit code 1 when anything failed.
 * Known hole: a test file that calls process.exit(0) itself hides its later tests (Node reports nothing about it).
 */
import { appendFileSync, existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { run } from 'node:test';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const FILE_TIMEOUT_MS = 300_000;
/** Suites that start PostgreSQL and daemons: one file at a time, for steady timing on two cores. */
const HEAVY = new Set(['integration', 'fault', 'psql', 'drivers']);

function parseArguments(args) {
  const suites = [];
  const filters = [];
  const patterns = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (arg === '-t') {
      i += 1;
      if (args[i] === undefined) throw new Error('-t needs a pattern');
      patterns.push(new RegExp(args[i]));
    } else if (arg.startsWith('-')) {
      throw new Error(`unknown option ${arg}; usage: SUITE… [FILE-SUBSTRING…] [-t NAME-PATTERN]`);
    } else if (
      existsSync(path.join(root, 'test', arg)) &&
      statSync(path.join(root, 'test', arg)).isDirectory()
    ) {
      suites.push(arg);
    } else {
      filters.push(arg);
    }
  }
  return { suites, filters, patterns };
}

function filesOf(suite, filters) {
  const folder = path.join(root, 'dist/test', suite);
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.js'))
    .filter((name) => filters.length === 0 || filters.some((part) => `${suite}/${name}`.includes(part)))
    .sort()
    .map((name) => path.join(folder, name));
}

function indent(text, by) {
  return text.replace(/^/gm, by);
}

function errorText(details) {
  const error = details.error?.cause ?? details.error;
  if (error instanceof Error) return error.stack ?? error.message;
  return typeof error === 'string' ? error : inspect(error);
}

const COUNT_LINE = /^(?:tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) [\d.]+$/;
const MAX_OUTPUT = 100_000;

function newState(file) {
  const label = path.relative(path.join(root, 'dist/test'), file).replace(/\.test\.js$/, '');
  return {
    label,
    passed: 0,
    failed: 0,
    skipped: 0,
    ms: 0,
    failures: [],
    notes: [],
    output: '',
    printed: false,
  };
}

function print(state, filtered) {
  state.printed = true;
  if (state.passed + state.failed + state.skipped === 0) {
    if (filtered) return;
    state.failed = 1;
    state.failures.push('✖ there is no test in this file');
  }
  const counts = [`${state.passed} passed`];
  if (state.failed > 0) counts.push(`${state.failed} FAILED`);
  if (state.skipped > 0) counts.push(`${state.skipped} skipped`);
  const seconds = (state.ms / 1000).toFixed(1);
  console.log(`${state.failed > 0 ? '✖' : '✔'} ${state.label}: ${counts.join(', ')} (${seconds} s)`);
  for (const text of [...state.notes, ...state.failures]) console.log(indent(text, '    '));
  if (state.failed > 0 && state.output !== '') {
    console.log(indent(`output of the file:\n${state.output.trimEnd()}`, '    | '));
  }
}

function recordPass(state, data, isFile) {
  if (isFile || data.details?.type === 'suite') return;
  if (data.skip === undefined || data.skip === false) {
    state.passed += 1;
  } else if (!/does not match pattern/.test(String(data.skip))) {
    state.skipped += 1;
    const reason = typeof data.skip === 'string' && data.skip !== '' ? `: ${data.skip}` : '';
    state.notes.push(`- skipped: ${data.name}${reason}`);
  }
}

function recordFailure(state, data, isFile) {
  // a parent that failed only because of its children has been counted with them
  if (data.details.error?.failureType === 'subtestsFailed' || (isFile && state.failed > 0)) return;
  state.failed += 1;
  state.printed = false;
  state.failures.push(
    `✖ ${isFile ? 'the file itself' : data.name}\n${indent(errorText(data.details), '  ')}`,
  );
}

/** A line for each failure with the first lines of its error: what a reader of the end of a long log must see. */
function briefs(state) {
  return state.failures.map((text) => {
    const [name = '', ...error] = text.split('\n');
    const said = error.filter((line) => line.trim() !== '' && !/^\s+at /.test(line)).slice(0, 6);
    return [`${state.label} › ${name.replace(/^✖ /, '')}`, ...said].join('\n');
  });
}

/** Runs the files of one group, printing each as it ends; resolves to the counts of its tests. */
function runGroup(files, concurrency, patterns) {
  const states = new Map(files.map((file) => [file, newState(file)]));
  const options = { files, concurrency, timeout: FILE_TIMEOUT_MS };
  if (patterns.length > 0) options.testNamePatterns = patterns;
  const filtered = patterns.length > 0;
  let current = null;

  const record = (data, how) => {
    const fileState = states.get(data.name) ?? states.get(path.resolve(data.name));
    const state = fileState ?? states.get(data.file);
    if (state === undefined) throw new Error(`a result of an unknown file: ${data.file}, ${data.name}`);
    // results come file by file: the first of the next file ends the one before
    if (current !== null && current !== state) print(current, filtered);
    current = state;
    if (data.nesting === 0) state.ms = Math.max(state.ms, fileState ? data.details.duration_ms : 0);
    if (data.nesting === 0 && fileState === undefined) state.ms += data.details.duration_ms;
    how(state, data, fileState !== undefined);
  };
  const note = (data) => {
    const state = states.get(data.file) ?? current; // what a file says about itself has no file name
    if (state === null || COUNT_LINE.test(data.message)) return;
    if (state.output.length < MAX_OUTPUT) state.output += `${data.message.trimEnd()}\n`;
  };

  return new Promise((resolve) => {
    const stream = run(options);
    stream.on('test:pass', (data) => record(data, recordPass));
    stream.on('test:fail', (data) => record(data, recordFailure));
    for (const kind of ['test:stdout', 'test:stderr', 'test:diagnostic']) stream.on(kind, note);
    stream.on('end', () => {
      const totals = { passed: 0, failed: 0, skipped: 0, names: [] };
      for (const state of states.values()) {
        if (!state.printed) print(state, filtered);
        for (const key of ['passed', 'failed', 'skipped']) totals[key] += state[key];
        totals.names.push(...briefs(state));
      }
      resolve(totals);
    });
    stream.resume();
  });
}

const { suites, filters, patterns } = parseArguments(process.argv.slice(2));
if (suites.length === 0) throw new Error('which suite? A folder of test/: unit, protocol, integration, …');
const sum = { passed: 0, failed: 0, skipped: 0, names: [] };
for (const heavy of [false, true]) {
  const files = suites.filter((s) => HEAVY.has(s) === heavy).flatMap((s) => filesOf(s, filters));
  if (files.length === 0) continue;
  const counts = await runGroup(files, heavy ? 1 : 2, patterns);
  for (const key of ['passed', 'failed', 'skipped']) sum[key] += counts[key];
  sum.names.push(...counts.names);
}
if (sum.passed + sum.failed + sum.skipped === 0) {
  console.log(
    `no test found in ${suites.join(', ')}${filters.length > 0 ? ` for ${filters.join(', ')}` : ''}`,
  );
  sum.failed = 1;
}
for (const name of sum.names) console.log(`✖ ${name}`);
console.log(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
if (process.env.PGC_TEST_SUMMARY !== undefined) {
  appendFileSync(process.env.PGC_TEST_SUMMARY, `${JSON.stringify(sum)}\n`);
}
process.exit(sum.failed > 0 ? 1 : 0);
