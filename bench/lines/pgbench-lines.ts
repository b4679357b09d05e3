/** The lines that pgbench measures: -S in the three protocol modes, and connection churn. */
import { DATABASE, SCRAM_PASSWORD, SCRAM_USER, TRUST_USER } from '../support/backend.ts';
import {
  type Bench,
  cpuBetween,
  type Group,
  type Line,
  type Target,
  withoutPrepared,
} from '../support/line.ts';
import type { BenchOptions } from '../support/options.ts';
import { runPgbench } from '../support/pgbench.ts';
import type { Sample } from '../support/results.ts';
import { openTargets } from '../support/targets.ts';

const UNITS = { value: 'tps', cpu: 'µs/tx', biggerIsBetter: true } as const;
const CHURN_CLIENTS = 32;

interface Job {
  readonly clients: number;
  readonly user: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs pgbench against `target` and divides the pooler's CPU time by the transactions. */
export async function measurePgbench(
  bench: Bench,
  target: Target,
  seconds: number,
  job: Job,
): Promise<Sample> {
  const where = ['-h', '127.0.0.1', '-p', String(target.port), '-U', job.user];
  const load = [
    '-n',
    '-c',
    String(job.clients),
    '-j',
    String(Math.min(job.clients, 2)),
    '-T',
    String(Math.ceil(seconds)),
  ];
  const before = target.cpu();
  const run = await runPgbench(
    bench.backend.pgbench,
    [...where, ...load, ...job.args, DATABASE],
    seconds * 1000 + 60_000,
    job.env,
  );
  const cpu = cpuBetween(before, target.cpu());
  return { value: run.tps, cpu: cpu === null ? null : (cpu * 1e6) / run.transactions };
}

/** pgbench -S, simple / extended / prepared, at the client counts of the options. */
export function selectGroup(options: BenchOptions): Group {
  const lines: Line[] = [];
  for (const mode of ['simple', 'extended', 'prepared']) {
    for (const clients of options.clients) {
      lines.push({
        name: `${mode} ${clients}`,
        units: UNITS,
        absent: (bench, target) => (mode === 'prepared' ? withoutPrepared(bench, target) : null),
        measure: (bench, target, seconds) =>
          measurePgbench(bench, target, seconds, { clients, user: TRUST_USER, args: ['-S', '-M', mode] }),
      });
    }
  }
  return { lines, open: (b) => openTargets(b, { auth: 'trust', userlist: [`"${TRUST_USER}" ""`] }) };
}

/** A connection for each transaction, without and with SCRAM. */
export function churnGroups(): Group[] {
  const line = (name: string, user: string, env: Readonly<Record<string, string>>): Line => ({
    name,
    units: UNITS,
    absent: () => null,
    measure: (bench, target, seconds) =>
      measurePgbench(bench, target, seconds, { clients: CHURN_CLIENTS, user, args: ['-C', '-S'], env }),
  });
  return [
    {
      lines: [line(`churn trust ${CHURN_CLIENTS}`, TRUST_USER, {})],
      open: (b) => openTargets(b, { auth: 'trust', userlist: [`"${TRUST_USER}" ""`] }),
    },
    {
      lines: [line(`churn scram ${CHURN_CLIENTS}`, SCRAM_USER, { PGPASSWORD: SCRAM_PASSWORD })],
      open: (b) =>
        openTargets(b, { auth: 'scram-sha-256', userlist: [`"${SCRAM_USER}" "${b.backend.scramVerifier}"`] }),
    },
  ];
}
