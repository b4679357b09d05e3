/** Totals and averages per database (SHOW STATS), the snapshots of stats_period, and the `stats:` log line. */
import type { Counters, PoolMetricsRow, StatsRow } from '../control/port.ts';
import { addCounters, averages, newCounters } from '../pool/counters.ts';
import type { Database } from '../pool/database.ts';
import type { PoolRegistry } from '../pool/registry.ts';

/** All that the pools of a database have counted since start. */
export function databaseTotals(database: Database): Counters {
  const totals = newCounters();
  addCounters(totals, database.retired);
  for (const pool of database.pools.values()) addCounters(totals, pool.counters);
  return totals;
}

export class Stats {
  readonly #pools: PoolRegistry;
  #takenMs: number;
  #periodSeconds = 0;
  /** A console session counts one transaction and one query in total, as in PgBouncer. */
  readonly console: Counters = newCounters();

  constructor(pools: PoolRegistry, nowMs: number) {
    this.#pools = pools;
    this.#takenMs = nowMs;
  }

  /** Takes a snapshot when a period is over; returns the log line then, else null. */
  tick(nowMs: number, periodMs: number): string | null {
    if (nowMs - this.#takenMs < periodMs) return null;
    this.#periodSeconds = (nowMs - this.#takenMs) / 1000;
    this.#takenMs = nowMs;
    const sum = newCounters();
    const before = newCounters();
    for (const database of this.#pools.databases.values()) {
      database.previous = database.current;
      database.current = databaseTotals(database);
      addCounters(sum, database.current);
      addCounters(before, database.previous);
    }
    const a = averages(sum, before, this.#periodSeconds);
    return (
      `stats: ${a.xacts} xacts/s, ${a.queries} queries/s, ${a.clientParses} client parses/s, ${a.serverParses} server parses/s, ` +
      `${a.binds} binds/s, ${a.clientLogins} client logins/s, in ${a.bytesReceived} B/s, out ${a.bytesSent} B/s, ` +
      `xact ${a.xactTimeUs} us, query ${a.queryTimeUs} us, wait ${a.waitTimeUs} us`
    );
  }

  rows(): StatsRow[] {
    const rows: StatsRow[] = [];
    for (const database of this.#pools.databases.values()) {
      rows.push({
        database: database.name,
        totals: databaseTotals(database),
        averages: averages(database.current, database.previous, this.#periodSeconds),
      });
    }
    rows.push({ database: 'pgbouncer', totals: { ...this.console }, averages: newCounters() });
    return rows.sort((a, b) => (a.database < b.database ? -1 : 1));
  }

  metrics(): PoolMetricsRow[] {
    const rows: PoolMetricsRow[] = [];
    for (const pool of this.#pools.pools()) {
      rows.push({
        database: pool.database.name,
        user: pool.user.name,
        counters: pool.counters,
        waitUs: pool.waitUs,
        xactUs: pool.xactUs,
      });
    }
    return rows;
  }
}
