/**
 * Units of a client without a server that the proxy answers itself: a deferred BEGIN and its end, SET and SHOW of
 * `pgconcierge.…`, everything in a block that has failed. What the answers look like is own-answers.ts.
 */
import type { Verdict } from '../routing/classifier.ts';
import type { OwnSetting } from '../sql/facts.ts';
import { type ErrorFields, errorResponse } from '../wire/backend.ts';
import { query } from '../wire/frontend.ts';
import type { Client } from './client.ts';
import { BLOCK_DEFERRED, BLOCK_FAILED, type ClientRouting, NO_BLOCK } from './client-routing.ts';
import { type AskedAs, type OwnResult, ownAnswer, ready } from './own-answers.ts';
import { ownSetting } from './own-settings.ts';

// --- what becomes of a unit (see unit-router.ts)

export const GO = 0;
/** More of the unit must be read first: `at` bytes from its start. */
export const MORE = 1;
/** Answered; the next message starts at `at`. */
export const ANSWERED = 2;
/** Waits for what only time brings; whoever ends the wait looks at the unit again. */
export const WAITS = 3;

/** A unit about one statement. */
export interface Asked {
  readonly how: AskedAs;
  /** It is run, not only prepared or described. */
  readonly runs: boolean;
  /** '' = not known here. */
  readonly text: string;
  /** Up to its Sync; else up to a Flush. */
  readonly whole: boolean;
}

const IN_FAILED_BLOCK = {
  severity: 'ERROR',
  sqlstate: '25P02',
  message: 'current transaction is aborted, commands ignored until end of transaction block',
} as const;

export class OwnUnits {
  readonly #client: Client;
  readonly #routing: ClientRouting;

  constructor(client: Client, routing: ClientRouting) {
    this.#client = client;
    this.#routing = routing;
  }

  /** `asked` null = the form is none that the proxy can answer. GO = nothing to answer. */
  answer(verdict: Verdict | null, asked: Asked | null, mayDefer: boolean): number {
    const routing = this.#routing;
    const control = verdict?.facts.control ?? null;
    const ends = control?.verb === 'commit' || control?.verb === 'rollback' ? control : null;
    if (routing.block === BLOCK_FAILED) {
      if (ends === null || asked === null) return this.refuse(true);
      if (asked.runs) {
        if (ends.chain) routing.chainBlock();
        else routing.endBlock(false);
      }
      return this.#say(asked, { tag: 'ROLLBACK' });
    }
    if (asked === null || verdict === null) return GO;
    if (routing.block === BLOCK_DEFERRED && ends !== null && !ends.chain) {
      if (asked.runs) routing.endBlock(false);
      return this.#say(asked, { tag: ends.verb === 'commit' ? 'COMMIT' : 'ROLLBACK' });
    }
    if (verdict.facts.own !== null) return this.#setting(verdict.facts.own, asked);
    if (control?.verb !== 'begin' || !asked.runs || asked.text === '') return GO;
    if (routing.block !== NO_BLOCK || !mayDefer) return GO;
    // a replica refuses to begin such a block: that is for the client to know now
    if ((control.isolation === 'serializable' || control.readOnly === false) && this.#onReplica(verdict))
      return GO;
    routing.block = BLOCK_DEFERRED;
    routing.begin = query(Buffer.from(asked.text, 'latin1').toString());
    routing.beginVerdict = verdict;
    return this.#say(asked, { tag: verdict.facts.command });
  }

  /** In a failed block everything is refused until it ends. `whole`: see error. */
  refuse(whole: boolean): number {
    const error = this.#routing.lostBlock ?? IN_FAILED_BLOCK;
    this.#routing.lostBlock = null;
    return this.error(error, whole);
  }

  /** `whole`: the unit has been seen to its end. */
  error(error: ErrorFields, whole: boolean): number {
    const routing = this.#routing;
    if (routing.block === BLOCK_DEFERRED) routing.block = BLOCK_FAILED;
    this.#write(errorResponse(error));
    // of a batch that was not seen whole, the rest is thrown away up to its Sync, which is answered then
    if (whole) this.#write(ready(routing.idleStatus));
    else this.#client.requests.discarding = true;
    return ANSWERED;
  }

  /** What is begun here would go to a replica, whatever it is. */
  #onReplica({ hint }: Verdict): boolean {
    const { sessionRoute, desk } = this.#routing;
    return hint === null ? (sessionRoute ?? desk.route) === 'replica' : hint.kind !== 'primary';
  }

  #setting(own: OwnSetting, asked: Asked): number {
    const result = asked.runs ? ownSetting(this.#routing, own) : shapeOf(own);
    if (result === 'wait') return this.#waitForSample();
    return 'sqlstate' in result ? this.error(result, asked.whole) : this.#say(asked, result);
  }

  /** SHOW pgconcierge.lsn, and the sample that bounds the last write is not in yet. */
  #waitForSample(): number {
    const { desk } = this.#routing;
    desk.source.wantSamples(desk.shared.runtime.name);
    this.#routing.hold = 'sample';
    return WAITS;
  }

  #say(asked: Asked, result: OwnResult): number {
    this.#write(ownAnswer(asked.how, result, this.#routing.idleStatus));
    return ANSWERED;
  }

  /** A client that does not read its answers is not read either. */
  #write(bytes: Buffer): void {
    const { transport } = this.#client;
    if (!transport.writeOwned(bytes)) transport.pause();
  }
}

/** What a Describe says of it. */
function shapeOf({ verb, name }: OwnSetting): OwnResult {
  return verb === 'show' ? { tag: '', column: `pgconcierge.${name}` } : { tag: '' };
}
