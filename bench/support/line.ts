/**
 * What a line of the table is, and how it is measured: round by round, the targets one after the other, the order
 * turned by one in each round, so that whatever else the machine does meets all of them alike.
 */
import type { Backend } from './backend.ts';
import type { BenchOptions } from './options.ts';
import type { PoolerProgram } from './pooler.ts';
import { type LineResult, type Sample, TARGET_NAMES, type TargetName, type Units } from './results.ts';

/** Everything that groups of lines share. */
export interface Bench {
  readonly options: BenchOptions;
  readonly backend: Backend;
  /** Poolers to compare; PgBouncer may be missing. */
  readonly programs: readonly PoolerProgram[];
  readonly scratch: string;
}

/** One side of the comparison, running. */
export interface Target {
  readonly name: TargetName;
  readonly port: number;
  /** CPU seconds so far; null = direct or unknown. */
  cpu(): number | null;
}

export interface Line {
  readonly name: string;
  readonly units: Units;
  /** Why this target has no figure here; null = it is measured. */
  absent(bench: Bench, target: Target): string | null;
  measure(bench: Bench, target: Target, seconds: number): Promise<Sample>;
  /** Measured once without a warm-up: memory. */
  readonly once?: boolean;
}

/** Lines that need the same targets. */
export interface Group {
  readonly lines: readonly Line[];
  /** Starts what the lines need. */
  open(bench: Bench): Promise<OpenGroup>;
}

export interface OpenGroup {
  readonly targets: readonly Target[];
  /** Targets that could not be started, and why. */
  readonly failed: Readonly<Partial<Record<TargetName, string>>>;
  close(): Promise<void>;
}

/** Why `target` has no figure in a line that uses named statements; null = it has. */
export function withoutPrepared(bench: Bench, target: Target): string | null {
  const program = bench.programs.find((one) => one.name === target.name);
  if (program === undefined || program.preparedStatements) return null;
  return `${program.version} has no prepared statements in transaction mode (1.21 has); give a newer one in PGBOUNCER`;
}

/** `after` minus `before` in seconds, null when either is unknown. */
export function cpuBetween(before: number | null, after: number | null): number | null {
  return before === null || after === null ? null : after - before;
}

function rotated<T>(list: readonly T[], by: number): T[] {
  return list.map((_, i) => list[(i + by) % list.length] as T);
}

/** Measures one line on all targets; a failure of a target is noted as its reason to be absent. */
export async function measureLine(
  bench: Bench,
  line: Line,
  { targets, failed }: OpenGroup,
  say: (text: string) => void,
): Promise<LineResult> {
  const { options } = bench;
  const samples: Partial<Record<TargetName, Sample[]>> = {};
  const absent: Partial<Record<TargetName, string>> = {};
  for (const name of TARGET_NAMES) {
    const target = targets.find((one) => one.name === name);
    const missing = failed[name] ?? 'not installed or not part of this line';
    const why = target === undefined ? missing : line.absent(bench, target);
    if (why !== null) absent[name] = why;
  }
  const there = targets.filter((target) => absent[target.name] === undefined);
  const attempt = async (target: Target, seconds: number): Promise<Sample | null> => {
    if (absent[target.name] !== undefined) return null;
    try {
      return await line.measure(bench, target, seconds);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      absent[target.name] = `FAILED: ${why.split('\n').slice(0, 3).join(' | ')}`;
      delete samples[target.name];
      say(`  ${line.name}, ${target.name}: ${why}`);
      return null;
    }
  };
  if (line.once !== true && options.warmupSeconds > 0) {
    for (const target of there) await attempt(target, options.warmupSeconds);
  }
  for (let round = 0; round < options.rounds; round++) {
    for (const target of rotated(there, round)) {
      const sample = await attempt(target, options.seconds);
      if (sample !== null) samples[target.name] = [...(samples[target.name] ?? []), sample];
    }
  }
  return { name: line.name, units: line.units, samples, absent };
}
