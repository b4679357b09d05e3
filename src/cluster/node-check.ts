/**
 * Asks one node: with SQL over a kept connection, its role by role_query where one is set. Asks less when the check
 * user may not see everything, and says once what is missing.
 */
import type { ClusterSettings } from '../config/effective-routing.ts';
import type { Heartbeat } from './heartbeat.ts';
import { CheckError, MonitorConnection, type MonitorDeps, type MonitorTarget } from './monitor-connection.ts';
import { type Answer, type AskLevel, LEVELS, observeSql, readAnswer } from './observe-sql.ts';

export interface CheckAnswer extends Answer {
  readonly heartbeatLagMs: number | null;
}

/** Retry with a fuller question after so many answers: rights may have been granted. */
const FULLER_AFTER = 60;
/** An error stands in logs and views. */
const MAX_SHOWN = 60;

/** What role_query said: true = replica; null = nothing of the kind. */
export function readRole(value: string): boolean | null {
  if (/^(t|true|on|1|yes)$/i.test(value)) return true;
  return /^(f|false|off|0|no)$/i.test(value) ? false : null;
}

export class NodeCheck {
  readonly connection: MonitorConnection;
  readonly #name: string;
  readonly #warn: (text: string) => void;
  #level: AskLevel = 'full';
  #answers = 0;
  readonly #told = new Set<string>();

  constructor(name: string, target: MonitorTarget, deps: MonitorDeps, warn: (text: string) => void) {
    this.#name = name;
    this.#warn = warn;
    this.connection = new MonitorConnection(target, deps);
  }

  /** One check. Rejects with CheckError. `heartbeat` null = not used. All of it within check_timeout. */
  async ask(settings: ClusterSettings, heartbeat: Heartbeat | null, now: () => number): Promise<CheckAnswer> {
    try {
      return await this.#askAll(settings, heartbeat, now);
    } catch (error) {
      if (!(error instanceof CheckError) || error.kind !== 'timeout') throw error;
      // the limit of all queries together, not what was left of it for the last one
      throw new CheckError('timeout', `no answer within ${settings.checkTimeoutMs / 1000} s`);
    }
  }

  async #askAll(
    settings: ClusterSettings,
    heartbeat: Heartbeat | null,
    now: () => number,
  ): Promise<CheckAnswer> {
    const endMs = now() + settings.checkTimeoutMs;
    const left = (): number => Math.max(1, endMs - now());
    if (this.#level !== 'full' && ++this.#answers >= FULLER_AFTER) {
      this.#level = 'full';
      this.#answers = 0;
    }
    const replica = settings.roleQuery === '' ? null : await this.#role(settings.roleQuery, left());
    const answer = await this.#observe(replica, left);
    let heartbeatLagMs: number | null = null;
    if (heartbeat !== null && answer.facts.inRecovery) {
      try {
        heartbeatLagMs = heartbeat.lagMs(await this.connection.query(heartbeat.readSql(), left()), now());
      } catch (error) {
        if (!(error instanceof CheckError) || error.kind !== 'sql') throw error;
        heartbeat.readFailed(this.#name, error.message);
      }
    }
    if (answer.hidden) {
      this.#once(
        `user "${this.connection.target.user}" may not see pg_stat_wal_receiver on ${this.#name}: timelines are seen ` +
          'late after a failover; GRANT pg_monitor to it',
      );
    }
    return { ...answer, heartbeatLagMs };
  }

  async #observe(replica: boolean | null, left: () => number): Promise<Answer> {
    for (;;) {
      try {
        const [row] = await this.connection.query(observeSql(this.#level), left());
        return readAnswer(this.#level, row, replica);
      } catch (error) {
        if (!(error instanceof CheckError)) throw new CheckError('sql', String(error));
        const less = LEVELS[LEVELS.indexOf(this.#level) + 1];
        if (error.kind !== 'sql' || less === undefined) throw error;
        this.#once(`${this.#name} refuses the full check, asking it for less (${less}): ${error.message}`);
        this.#level = less;
        this.#answers = 0;
      }
    }
  }

  /** True = replica. */
  async #role(roleQuery: string, timeoutMs: number): Promise<boolean> {
    let rows: Awaited<ReturnType<MonitorConnection['query']>>;
    try {
      rows = await this.connection.query(roleQuery, timeoutMs);
    } catch (error) {
      if (error instanceof CheckError && error.kind === 'sql') {
        throw new CheckError('sql', `role_query failed: ${error.message}`);
      }
      throw error;
    }
    const value = rows[0]?.[0] ?? '';
    const replica = readRole(value);
    if (replica !== null) return replica;
    const shown = value.length > MAX_SHOWN ? `${value.slice(0, MAX_SHOWN)}…` : value;
    throw new CheckError('sql', `role_query must return true (replica) or false (primary), not "${shown}"`);
  }

  #once(text: string): void {
    if (this.#told.has(text)) return;
    this.#told.add(text);
    this.#warn(text);
  }
}
