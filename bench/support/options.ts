/** The command line of `npm run bench`. */
import { parseArgs } from 'node:util';

export interface BenchOptions {
  readonly rounds: number;
  /** Length of one measurement. */
  readonly seconds: number;
  /** Length of the run before the first round of a line, which is not counted. */
  readonly warmupSeconds: number;
  /** Only lines whose name contains one of these; empty = all. */
  readonly only: readonly string[];
  /** Client counts of the pgbench -S lines. */
  readonly clients: readonly number[];
  /** Idle clients of the memory line. */
  readonly idleClients: number;
  /** pgbench scale factor. */
  readonly scale: number;
  /** File name under bench/results/ for a result that is to be kept; null = bench/results/local/<time>.json. */
  readonly save: string | null;
}

export const USAGE = `usage: npm run bench -- [options]
  --rounds N       alternating rounds per line, medians are shown (default 5)
  --seconds N      length of one measurement (default 3)
  --warmup N       uncounted seconds before each line and target (default 1)
  --only TEXT      only lines whose name contains TEXT; may be repeated ("prepared", "prepared 32", "churn", …)
  --clients LIST   client counts of the pgbench -S lines (default 1,8,32,128)
  --idle N         clients of the memory line (default 2000)
  --scale N        pgbench scale factor (default 10)
  --save NAME      write bench/results/NAME.json instead of bench/results/local/<time>.json
  --list           print the names of the lines
PGBOUNCER=/path/to/pgbouncer chooses another PgBouncer than the one in PATH; PG_BIN another PostgreSQL.`;

/** Wrong use of the command line; the message is for the user. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}

function positive(name: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value < least) {
    throw new UsageError(`--${name} must be a number of at least ${least}, not "${text}"`);
  }
  return value;
}

function whole(name: string, text: string): number {
  const value = positive(name, text, 1);
  if (!Number.isInteger(value)) throw new UsageError(`--${name} must be a whole number, not "${text}"`);
  return value;
}

/** Parses the arguments; throws UsageError. */
export function parseOptions(
  args: readonly string[],
): BenchOptions & { readonly list: boolean; readonly help: boolean } {
  let values: Record<string, string | boolean | string[] | undefined>;
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        rounds: { type: 'string', default: '5' },
        seconds: { type: 'string', default: '3' },
        warmup: { type: 'string', default: '1' },
        only: { type: 'string', multiple: true, default: [] },
        clients: { type: 'string', default: '1,8,32,128' },
        idle: { type: 'string', default: '2000' },
        scale: { type: 'string', default: '10' },
        save: { type: 'string' },
        list: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }));
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const text = (name: string): string => String(values[name] ?? '');
  const save = values['save'] === undefined ? null : text('save').replace(/\.json$/, '');
  if (save !== null && !/^[\w.-]+$/.test(save))
    throw new UsageError(`--save: "${save}" is not a plain file name`);
  return {
    rounds: whole('rounds', text('rounds')),
    seconds: whole('seconds', text('seconds')),
    warmupSeconds: positive('warmup', text('warmup'), 0),
    only: Array.isArray(values['only']) ? values['only'] : [],
    clients: text('clients')
      .split(',')
      .map((part) => whole('clients', part.trim())),
    idleClients: whole('idle', text('idle')),
    scale: whole('scale', text('scale')),
    save,
    list: values['list'] === true,
    help: values['help'] === true,
  };
}
