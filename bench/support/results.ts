/** What was measured: samples, medians, the table, the file. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** `plain` = ourselves with a plain entry, where `pgconcierge` is ourselves with routing. */
export type TargetName = 'direct' | 'pgbouncer' | 'plain' | 'pgconcierge';
export const TARGET_NAMES: readonly TargetName[] = ['direct', 'pgbouncer', 'plain', 'pgconcierge'];
/** Columns of the main table. */
const COLUMNS: readonly TargetName[] = ['direct', 'pgbouncer', 'pgconcierge'];

export interface Sample {
  readonly value: number;
  /** CPU of the pooler in the line's CPU unit; null = none (direct) or unknown. */
  readonly cpu: number | null;
}

export interface Units {
  /** Of the value: `tps`, `MB/s`, `kB/client`. */
  readonly value: string;
  /** Of the CPU figure: `µs/tx`, `s/GB`; null = the line has none. */
  readonly cpu: string | null;
  readonly biggerIsBetter: boolean;
}

export interface LineResult {
  readonly name: string;
  readonly units: Units;
  readonly samples: Readonly<Partial<Record<TargetName, readonly Sample[]>>>;
  /** Why a target has no samples. */
  readonly absent: Readonly<Partial<Record<TargetName, string>>>;
}

export interface Report {
  readonly startedAt: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly lines: readonly LineResult[];
}

export function median(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

function medianOf(line: LineResult, target: TargetName, what: 'value' | 'cpu'): number | null {
  const values = (line.samples[target] ?? []).map((sample) => sample[what]);
  return median(values.filter((value): value is number => value !== null));
}

/** us / them of the medians of one run; null when either is missing. */
export function ratio(line: LineResult, them: TargetName, what: 'value' | 'cpu'): number | null {
  const [a, b] = [medianOf(line, 'pgconcierge', what), medianOf(line, them, what)];
  return a === null || b === null || b === 0 ? null : a / b;
}

function number(value: number | null): string {
  if (value === null) return 'n/a';
  if (value >= 10_000) return `${(value / 1000).toFixed(1)}k`;
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

const times = (value: number | null): string => (value === null ? 'n/a' : value.toFixed(2));

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map((_, i) => (i < 2 ? '---' : '--:')), ...rows]
    .map((row) => `| ${row.join(' | ')} |`)
    .join('\n');
}

/** The Markdown tables: medians, then our ratios (us / them). */
export function renderTable(lines: readonly LineResult[]): string {
  const own = lines.filter((line) => line.samples.plain !== undefined);
  const others = lines.filter((line) => line.samples.plain === undefined);
  const tables = [others.length > 0 ? mainTable(others) : '', own.length > 0 ? routeTable(own) : ''];
  return tables.filter((table) => table !== '').join('\n\n');
}

function routeTable(lines: readonly LineResult[]): string {
  const rows = lines.map((line) => [
    line.name,
    `${line.units.value}; CPU ${line.units.cpu ?? ''}`,
    number(medianOf(line, 'plain', 'value')),
    number(medianOf(line, 'pgconcierge', 'value')),
    times(ratio(line, 'plain', 'value')),
    number(medianOf(line, 'plain', 'cpu')),
    number(medianOf(line, 'pgconcierge', 'cpu')),
    times(ratio(line, 'plain', 'cpu')),
  ]);
  return markdown(
    ['line', 'unit', 'plain', 'auto', 'auto/plain', 'CPU plain', 'CPU auto', 'CPU auto/plain'],
    rows,
  );
}

function mainTable(lines: readonly LineResult[]): string {
  const rows = lines.map((line) => {
    const values = COLUMNS.map((target) => number(medianOf(line, target, 'value')));
    const cpu =
      line.units.cpu === null
        ? ['–', '–', '–']
        : [
            number(medianOf(line, 'pgbouncer', 'cpu')),
            number(medianOf(line, 'pgconcierge', 'cpu')),
            times(ratio(line, 'pgbouncer', 'cpu')),
          ];
    const unit = `${line.units.value}${line.units.cpu === null ? '' : `; CPU ${line.units.cpu}`}`;
    const ratios = [times(ratio(line, 'pgbouncer', 'value')), times(ratio(line, 'direct', 'value'))];
    return [line.name, unit, ...values, ...ratios, ...cpu];
  });
  const head = [
    'line',
    'unit',
    'direct',
    'PgBouncer',
    'us',
    'us/PgB',
    'us/direct',
    'CPU PgB',
    'CPU us',
    'CPU us/PgB',
  ];
  return markdown(head, rows);
}

/** Notes below the table: why a figure is missing. */
export function renderNotes(lines: readonly LineResult[]): string[] {
  const reasons = new Map<string, string[]>();
  for (const line of lines) {
    for (const [target, why] of Object.entries(line.absent)) {
      // the routing lines compare us with ourselves, the others have no plain side
      if (target === 'plain' ? !line.name.startsWith('route') : line.name.startsWith('route')) continue;
      const key = `${target}: ${why}`;
      reasons.set(key, [...(reasons.get(key) ?? []), line.name]);
    }
  }
  return [...reasons].map(([why, names]) => `n/a – ${why} (${names.join(', ')})`);
}

/** Writes `report` with all samples; returns the path relative to `root`. */
export function writeReport(root: string, save: string | null, report: Report): string {
  const stamp = report.startedAt.replace(/[:.]/g, '-');
  const name = save === null ? path.join('local', `${stamp}.json`) : `${save}.json`;
  const file = path.join(root, 'bench/results', name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
  return path.relative(root, file);
}
