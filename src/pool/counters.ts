/** Counters of the hot path: plain number fields; averages over stats_period are taken from snapshots. */
import type { Counters } from '../control/port.ts';

export function newCounters(): Counters {
  return {
    serverAssignments: 0,
    xacts: 0,
    queries: 0,
    bytesReceived: 0,
    bytesSent: 0,
    xactTimeUs: 0,
    queryTimeUs: 0,
    waitTimeUs: 0,
    clientParses: 0,
    serverParses: 0,
    binds: 0,
    clientLogins: 0,
  };
}

/** Adds `from` to `into`. */
export function addCounters(into: Counters, from: Readonly<Counters>): void {
  for (const key of Object.keys(into) as (keyof Counters)[]) into[key] += from[key];
}

/**
 * Per second over `seconds` between two snapshots; the times are means per transaction, query and assignment
 * (pgbouncer.md §11 STATS).
 */
export function averages(now: Readonly<Counters>, before: Readonly<Counters>, seconds: number): Counters {
  const out = newCounters();
  const per = seconds > 0 ? seconds : 1;
  for (const key of Object.keys(out) as (keyof Counters)[])
    out[key] = Math.trunc((now[key] - before[key]) / per);
  const mean = (sum: number, n: number): number => (n > 0 ? Math.trunc(sum / n) : 0);
  out.xactTimeUs = mean(now.xactTimeUs - before.xactTimeUs, now.xacts - before.xacts);
  out.queryTimeUs = mean(now.queryTimeUs - before.queryTimeUs, now.queries - before.queries);
  out.waitTimeUs = mean(now.waitTimeUs - before.waitTimeUs, now.serverAssignments - before.serverAssignments);
  return out;
}
