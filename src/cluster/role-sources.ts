/**
 * One answer about a node out of all sources that are configured: PostgreSQL itself (with role_query), Patroni's
 * `/cluster`, and the node's own HTTP check. They must agree before a node gets writes.
 */
import type { ClusterSettings, NodeTarget } from '../config/effective-routing.ts';
import type { Log } from '../util/log.ts';
import type { Heartbeat } from './heartbeat.ts';
import { CheckError } from './monitor-connection.ts';
import type { CheckAnswer, NodeCheck } from './node-check.ts';
import { factsOfMember, httpSaysPrimary, memberOf, type PatroniMember, PatroniSource } from './patroni.ts';

export class RoleSources {
  readonly #log: Log;
  readonly #now: () => number;
  #url = '';
  #patroni: PatroniSource | null = null;
  #failed = false;

  constructor(log: Log, now: () => number) {
    this.#log = log;
    this.#now = now;
  }

  /** Rejects with what speaks against the node (CheckError). `heartbeat` null = not used. */
  async ask(
    check: NodeCheck,
    node: NodeTarget,
    settings: ClusterSettings,
    heartbeat: Heartbeat | null,
  ): Promise<CheckAnswer> {
    const [sql, members, says] = await Promise.all([
      settled(check.ask(settings, heartbeat, this.#now)),
      this.#members(settings),
      node.check === '' ? null : settled(httpSaysPrimary(node.check, settings.checkTimeoutMs)),
    ]);
    if (says !== null && !says.ok) throw says.error;
    const member = members === null ? null : memberOf(members, node);
    if (!sql.ok) {
      const barred = sql.error instanceof CheckError && sql.error.kind === 'login';
      if (!barred || member === null) throw sql.error;
      return { facts: factsOfMember(member), standbys: [], hidden: false, heartbeatLagMs: null };
    }
    // who is told to lead but still recovers would refuse writes; who writes but does not lead must not get any
    const leads = (says === null || says.value) && (member === null || member.primary);
    const { facts } = sql.value;
    return { ...sql.value, facts: leads ? facts : { ...facts, inRecovery: true } };
  }

  /** Null = not used, or nobody answers there: then the nodes themselves are believed. */
  async #members(settings: ClusterSettings): Promise<readonly PatroniMember[] | null> {
    const { name, patroniUrl, checkTimeoutMs } = settings;
    if (patroniUrl !== this.#url) {
      this.#url = patroniUrl;
      this.#patroni = patroniUrl === '' ? null : new PatroniSource(patroniUrl);
      this.#failed = false;
    }
    if (this.#patroni === null) return null;
    try {
      const members = await this.#patroni.members(checkTimeoutMs);
      if (this.#failed) this.#log.log(`cluster ${name}: Patroni answers again`);
      this.#failed = false;
      return members;
    } catch (error) {
      if (!this.#failed) {
        const why = error instanceof Error ? error.message : String(error);
        this.#log.warning(`cluster ${name}: Patroni does not answer, roles are asked from the nodes: ${why}`);
      }
      this.#failed = true;
      return null;
    }
  }
}

type Settled<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: unknown };

function settled<T>(work: Promise<T>): Promise<Settled<T>> {
  return work.then(
    (value): Settled<T> => ({ ok: true, value }),
    (error: unknown): Settled<T> => ({ ok: false, error }),
  );
}
