/**
 * `npm run bench`: direct, PgBouncer (when installed) and ourselves in alternation, in one run. Prints a Markdown
 * table of medians and ratios and writes all samples as JSON. Figures of different runs are not to be compared.
 */
import { readFileSync, rmSync } from 'node:fs';
import { cpus } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { unguardDir } from '../src/demo/guard.ts';
import { findPostgres } from '../src/demo/postgres-binaries.ts';
import { makeScratchDir } from '../src/demo/run-as.ts';
import { bulkGroup } from './lines/bulk.ts';
import { idleGroup } from './lines/idle.ts';
import { instantGroup } from './lines/instant.ts';
import { churnGroups, selectGroup } from './lines/pgbench-lines.ts';
import { routeGroup } from './lines/route.ts';
import { type Backend, startBackend } from './support/backend.ts';
import { type Bench, type Group, measureLine } from './support/line.ts';
import { type BenchOptions, parseOptions, USAGE, UsageError } from './support/options.ts';
import { pgbenchVersion } from './support/pgbench.ts';
import { findPgbouncer, ownProgram, POOL_SIZE, type PoolerProgram } from './support/pooler.ts';
import { type LineResult, type Report, renderNotes, renderTable, writeReport } from './support/results.ts';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const say = (text: string): void => console.error(text);

function allGroups(options: BenchOptions): Group[] {
  return [
    selectGroup(options),
    ...churnGroups(),
    bulkGroup(),
    idleGroup(options),
    instantGroup(),
    routeGroup(),
  ];
}

function chosen(group: Group, only: readonly string[]): Group {
  if (only.length === 0) return group;
  // whole words at the end: "8" and "prepared 8" do not mean "prepared 128"
  const matches = (name: string): boolean =>
    only.some((text) => (/\d$/.test(text) ? ` ${name}`.endsWith(` ${text}`) : name.includes(text)));
  return { ...group, lines: group.lines.filter((line) => matches(line.name)) };
}

async function measureAll(bench: Bench, groups: readonly Group[]): Promise<LineResult[]> {
  const results: LineResult[] = [];
  for (const group of groups) {
    const open = await group.open(bench);
    try {
      for (const line of group.lines) {
        say(`${line.name} …`);
        const result = await measureLine(bench, line, open, say);
        results.push(result);
        say(renderTable([result]).split('\n').at(-1) ?? '');
      }
    } finally {
      await open.close();
    }
  }
  return results;
}

function ownVersion(): string {
  const text = readFileSync(path.join(ROOT, 'package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** Every failed line is in the notes; true when none failed. */
function summarise(report: Report, file: string): boolean {
  const versions = Object.entries(report.versions).map(([name, version]) => `${name} ${version}`);
  console.log(`\n${versions.join(' · ')}\n`);
  console.log(renderTable(report.lines));
  const notes = renderNotes(report.lines);
  if (notes.length > 0) console.log(`\n${notes.join('\n')}`);
  console.log(`\nmedians of ${report.settings['rounds']} alternating rounds; all samples in ${file}`);
  return !notes.some((note) => note.includes('FAILED'));
}

async function bench(options: BenchOptions): Promise<boolean> {
  const pgbouncer = findPgbouncer();
  const own = ownProgram(ROOT, ownVersion());
  const programs: PoolerProgram[] = pgbouncer === null ? [own] : [pgbouncer, own];
  if (pgbouncer === null) say('PgBouncer is not installed (PATH, PGBOUNCER): only direct and us');
  const startedAt = new Date().toISOString();
  const scratch = makeScratchDir('pgc-bench', (await findPostgres()).runAs);
  say(`starting PostgreSQL and filling it (scale ${options.scale}) …`);
  const backend: Backend = await startBackend(scratch, options.scale);
  try {
    const all: Bench = { options, backend, programs, scratch };
    const groups = allGroups(options)
      .map((group) => chosen(group, options.only))
      .filter((group) => group.lines.length > 0);
    const lines = await measureAll(all, groups);
    const versions = {
      node: process.versions.node,
      postgresql: backend.binaries.version,
      pgbench: pgbenchVersion(backend.pgbench),
      pgbouncer: pgbouncer?.version ?? 'none',
      pgconcierge: own.version,
    };
    const { rounds, seconds, warmupSeconds, scale } = options;
    const settings = {
      rounds,
      seconds,
      warmupSeconds,
      scale,
      poolSize: POOL_SIZE,
      poolMode: 'transaction',
      cpus: cpus().length,
    };
    const report: Report = { startedAt, versions, settings, lines };
    return summarise(report, writeReport(ROOT, options.save, report));
  } finally {
    await backend.stop();
    rmSync(scratch, { recursive: true, force: true });
    unguardDir(scratch);
  }
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options.help) console.log(USAGE);
  else if (options.list)
    console.log(
      allGroups(options)
        .flatMap((group) => group.lines.map((line) => line.name))
        .join('\n'),
    );
  else return (await bench(options)) ? 0 : 1;
  return 0;
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    say(
      error instanceof UsageError
        ? `${error.message}\n${USAGE}`
        : String(error instanceof Error ? error.stack : error),
    );
    process.exitCode = error instanceof UsageError ? 2 : 1;
  },
);
