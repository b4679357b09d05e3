/**
 * lag_source = heartbeat: a row that is written on the primary at every check and read on the replicas, for replication
 * of any kind. Its time is the primary's clock; how far that is from ours is measured with every write, so that the
 * clocks of the replicas do not matter.
 */
import type { Log } from '../util/log.ts';
import { CheckError, type MonitorConnection } from './monitor-connection.ts';
import type { Row } from './observe-sql.ts';

const TABLE = 'pgconcierge_heartbeat';
/** A synchronous standby that is lost must not stop the heartbeat. */
const LOCAL = 'SET synchronous_commit = local; ';
const CREATE = `${LOCAL}CREATE TABLE IF NOT EXISTS ${TABLE} (cluster text PRIMARY KEY, beat_at timestamptz NOT NULL)`;

function literal(text: string): string {
  return text.includes('\\')
    ? ` E'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
    : `'${text.replaceAll("'", "''")}'`;
}

export class Heartbeat {
  readonly #cluster: string;
  readonly #log: Log;
  /** The last row written: the primary's clock, epoch ms. */
  #lastBeat = 0;
  /** Their clock minus ours (monotonic). */
  #offset: number | null = null;
  #running = false;
  /** Texts of errors that have been told. */
  readonly #told = new Set<string>();

  constructor(cluster: string, log: Log) {
    this.#cluster = cluster;
    this.#log = log;
  }

  /**
   * Writes the row, at most one at a time; never rejects. A table that cannot be made or written is told once.
   * `connection` is one of its own: a write may hang where a check must not.
   */
  async beat(connection: MonitorConnection, timeoutMs: number, nowMs: () => number): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    try {
      let rows: readonly Row[];
      try {
        rows = await connection.query(this.#write(), timeoutMs);
      } catch (error) {
        if (
          !(error instanceof CheckError) ||
          error.kind !== 'sql' ||
          !error.message.includes('does not exist')
        )
          throw error;
        await connection.query(CREATE, timeoutMs);
        rows = await connection.query(this.#write(), timeoutMs);
      }
      const beat = Number(rows.at(-1)?.[0]);
      if (!Number.isFinite(beat)) return;
      this.#lastBeat = beat;
      this.#offset = beat - nowMs();
      this.#told.clear();
    } catch (error) {
      // whether the primary lives is the check's business
      if (error instanceof CheckError && error.kind === 'sql') {
        this.#tell(`cannot write table ${TABLE} on the primary: ${error.message}`);
      }
    } finally {
      this.#running = false;
    }
  }

  /** What a replica is asked. */
  readSql(): string {
    return `SELECT (extract(epoch FROM beat_at) * 1000)::bigint FROM ${TABLE} WHERE cluster = ${literal(this.#cluster)}`;
  }

  /** The lag that a replica's answer means; null = it cannot be told (no row yet, nothing written yet). */
  lagMs(rows: readonly Row[], nowMs: number): number | null {
    const value = rows[0]?.[0];
    if (value === undefined || value === null || this.#offset === null) return null;
    const beat = Number(value);
    // it has all there is: how long ago that was is no lag
    return beat >= this.#lastBeat ? 0 : Math.max(0, nowMs + this.#offset - beat);
  }

  /** The row could not be read. */
  readFailed(node: string, reason: string): void {
    this.#tell(`cannot read table ${TABLE} on ${node}: ${reason}`);
  }

  /** Another primary has another clock. */
  reset(): void {
    this.#offset = null;
    this.#lastBeat = 0;
  }

  #write(): string {
    return (
      `${LOCAL}INSERT INTO ${TABLE} (cluster, beat_at) VALUES (${literal(this.#cluster)}, clock_timestamp()) ` +
      'ON CONFLICT (cluster) DO UPDATE SET beat_at = excluded.beat_at ' +
      'RETURNING (extract(epoch FROM beat_at) * 1000)::bigint'
    );
  }

  #tell(text: string): void {
    if (this.#told.has(text)) return;
    this.#told.add(text);
    this.#log.error(
      `cluster ${this.#cluster}: ${text}; lag is not known without it (lag_source = heartbeat)`,
    );
  }
}
