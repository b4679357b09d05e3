/**
 * The decision at the start of a unit (ROUTING.md): a client of a cluster's database has no server, and a message has
 * come that asks for something. Says whether the unit may go (and sets where to in the client's routing), whether more
 * of it must be read, or answers it itself: a deferred BEGIN and its end, SET pgconcierge.…, a block that has failed.
 */

import type { Verdict } from '../routing/classifier.ts';
import { type Reason, reasonId } from '../routing/reasons.ts';
import type { CachedFacts } from '../sql/fact-cache.ts';
import type { Hint } from '../sql/facts.ts';
import { type ErrorFields, errorResponse } from '../wire/backend.ts';
import * as c from '../wire/codes.ts';
import { query } from '../wire/frontend.ts';
import type { Client } from './client.ts';
import {
  BLOCK_DEFERRED,
  BLOCK_FAILED,
  type ClientRouting,
  NO_BLOCK,
  TO_NODE,
  TO_PRIMARY,
  TO_REPLICA,
} from './client-routing.ts';
import { type AskedAs, type OwnResult, ownAnswer, ready } from './own-answers.ts';
import { ownSetting } from './own-settings.ts';
import { TextSafety } from './text-safety.ts';
import { batch, SCAN_MORE, SCAN_WHOLE } from './unit-scan.ts';

export const GO = 0;
/** More of the unit must be read first: `at` bytes from its start. */
export const MORE = 1;
/** Answered; the next message starts at `at`. */
export const ANSWERED = 2;
/** Waits for what only time brings; whoever ends the wait looks at the unit again. */
export const WAITS = 3;

/** A unit that is longer goes to the primary unseen. */
const UNIT_LIMIT = 256 * 1024;
/** A unit that is longer is not kept to be sent again. */
const KEEP_LIMIT = 64 * 1024;

const BATCH = reasonId('batch');
const BLOCK = reasonId('block');
const READ_ONLY_BLOCK = reasonId('read only block');
const SERIALIZABLE = reasonId('serializable');
const FUNCTION_CALL = reasonId('function call');
const SESSION_MODE = reasonId('session mode');
const SESSION_ROUTE = reasonId('session route');
const TOO_LONG = reasonId('too long');
const HINT_PRIMARY = reasonId('hint primary');
const HINT_REPLICA = reasonId('hint replica');
const HINT_NODE = reasonId('hint node');
const BALANCED = reasonId('balanced');
const SHADOW = reasonId('shadow');
const IN_FAILED_BLOCK = {
  severity: 'ERROR',
  sqlstate: '25P02',
  message: 'current transaction is aborted, commands ignored until end of transaction block',
} as const;

const SIMPLE: AskedAs = { extended: false, describes: 0, describesStatement: false };
const EMPTY = Buffer.alloc(0);

export class UnitRouter {
  readonly #client: Client;
  readonly #routing: ClientRouting;
  /** See MORE and ANSWERED. */
  at = 0;
  /** The text of the unit, when it is one statement. */
  #text = '';
  /** The client's unnamed statement, Parsed in an earlier batch. */
  #unnamed: Verdict | null = null;
  readonly #safety = new TextSafety();

  constructor(client: Client, routing: ClientRouting) {
    this.#client = client;
    this.#routing = routing;
  }

  /** The message at [pos, end) asks for something; [pos, n) has been read. */
  begin(buffer: Buffer, pos: number, type: number, end: number, n: number): number {
    const routing = this.#routing;
    if (routing.again) return GO;
    routing.fresh();
    if (this.#mode === 'session') return this.#fixed();
    if (type === c.F_QUERY) return this.#query(buffer, pos, end, n);
    if (type === c.F_FUNCTION_CALL) return this.#unseen(FUNCTION_CALL, end);
    return this.#batch(buffer, pos, end, n);
  }

  get #mode(): string {
    return this.#client.pool?.limits.mode ?? 'transaction';
  }

  // --- forms of a unit

  #query(buffer: Buffer, pos: number, end: number, n: number): number {
    if (end > n) return end - pos <= UNIT_LIMIT ? this.#more(end - pos) : this.#unseen(TOO_LONG, end);
    const unsafe = this.#safety.fault(this.#client);
    if (unsafe !== 0) return this.#unseen(unsafe, end);
    this.#text = buffer.latin1Slice(pos + 5, end - 1);
    const verdict = this.#routing.desk.shared.classifier.classify(this.#text);
    const own = this.#own(verdict, SIMPLE, end);
    if (own !== GO) return own;
    return this.#decide(verdict, verdict.read, verdict.changesData, verdict.reason, buffer, pos, end);
  }

  #batch(buffer: Buffer, pos: number, end: number, n: number): number {
    const seen = batch.scan(buffer, pos, n);
    if (seen === SCAN_MORE && n - pos <= UNIT_LIMIT) return this.#more(n - pos + 1);
    if (seen !== SCAN_WHOLE) return this.#unseen(BATCH, end);
    const unsafe = this.#safety.fault(this.#client);
    if (unsafe !== 0) return this.#unseen(unsafe, end);
    let read = true;
    let changes = false;
    const runs = batch.executes > 0;
    let reason = BALANCED;
    let first: Verdict | null = null;
    for (let i = 0; i < batch.count; i++) {
      const verdict = this.#verdictOf(buffer, i);
      if (verdict === null || !verdict.read) {
        if (read) reason = verdict?.reason ?? BATCH;
        read = false;
        changes = changes || (runs && (verdict?.changesData ?? true));
      } else first ??= verdict;
      if (i === 0) first = verdict;
    }
    if (first === null && batch.count > 0) return this.#unknown();
    const own = this.#own(
      first,
      batch.single
        ? { extended: true, describes: batch.describes, describesStatement: batch.describesStatement }
        : null,
      batch.end,
    );
    if (own !== GO) return own;
    const control = first?.facts.control ?? null;
    // BEGIN and what follows it in one batch (JDBC, Npgsql)
    if (first !== null && control?.verb === 'begin' && this.#routing.block === NO_BLOCK) {
      this.#routing.beginVerdict = first;
      this.#routing.cached = first.cached;
      return this.#decideBlock(control.readOnly, control.isolation, batch.end);
    }
    this.#routing.several = batch.executes > 1;
    return this.#decide(first, read, changes, reason, buffer, pos, batch.end);
  }

  /** A unit whose text is not known: the primary, or where its route sends everything. */
  #unseen(reason: Reason, end: number): number {
    const { block } = this.#routing;
    if (block === BLOCK_FAILED) return this.#refuse(end, reason !== BATCH);
    return this.#decide(null, false, true, reason, EMPTY, 0, 0);
  }

  /** A whole batch of a statement that is not known here (prepared with max_prepared_statements = 0, or never). */
  #unknown(): number {
    if (this.#routing.block === BLOCK_FAILED) return this.#refuse(batch.end, true);
    return this.#decide(null, false, true, BATCH, EMPTY, 0, 0);
  }

  #more(bytes: number): number {
    this.at = bytes;
    return MORE;
  }

  /** What the i-th name or text of the batch means; null = a statement that is not known here. */
  #verdictOf(buffer: Buffer, i: number): Verdict | null {
    const item = batch.items[i];
    if (item === undefined) return null;
    const { classifier } = this.#routing.desk.shared;
    if (item.kind === 'text') {
      this.#text = buffer.latin1Slice(item.from, item.to);
      const verdict = classifier.classify(this.#text);
      if (item.unnamed) {
        this.#unnamed = verdict;
        this.#routing.parsesUnnamed = true;
      }
      return verdict;
    }
    if (item.unnamed) {
      this.#routing.wantsUnnamed = !this.#routing.parsesUnnamed;
      return this.#unnamed;
    }
    const name = buffer.latin1Slice(item.from, item.to);
    const statement = this.#client.prepared.find(name);
    // Parsed earlier in this very batch: its text has been judged
    if (statement === null) return this.#parsedBefore(buffer, i, name);
    statement.memo ??= classifier.classify(statement.text).cached;
    return classifier.recall(statement.memo as CachedFacts);
  }

  #parsedBefore(buffer: Buffer, before: number, name: string): Verdict | null {
    for (let i = before - 1; i >= 0; i--) {
      const item = batch.items[i];
      if (item?.kind !== 'text') continue;
      const start = item.from - 1 - name.length;
      if (start > 0 && buffer.latin1Slice(start, item.from - 1) === name) return this.#verdictOf(buffer, i);
    }
    return null;
  }

  // --- decisions

  /** Session mode: one node for the life of the client. */
  #fixed(): number {
    const routing = this.#routing;
    const route = routing.sessionRoute ?? routing.desk.route;
    routing.read = route === 'replica';
    routing.changes = !routing.read;
    return this.#to(
      route === 'replica' ? TO_REPLICA : TO_PRIMARY,
      route === 'auto' ? SESSION_MODE : this.#explicit,
    );
  }

  get #explicit(): Reason {
    return this.#routing.sessionRoute === null ? this.#routing.desk.reason : SESSION_ROUTE;
  }

  #decide(
    verdict: Verdict | null,
    read: boolean,
    changes: boolean,
    reason: Reason,
    buffer: Buffer,
    pos: number,
    end: number,
  ): number {
    const routing = this.#routing;
    routing.cached = verdict?.cached ?? null;
    if (routing.block === BLOCK_DEFERRED) return this.#firstOfBlock(verdict, end);
    routing.read = read;
    routing.changes = changes;
    routing.altersCatalog = verdict?.facts.altersCatalog ?? false;
    if (verdict !== null) this.#forgetSession(verdict);
    const route = routing.sessionRoute ?? routing.desk.route;
    const hint = verdict?.hint ?? null;
    if (hint !== null) this.#hinted(hint);
    else if (route !== 'auto') this.#to(route === 'primary' ? TO_PRIMARY : TO_REPLICA, this.#explicit);
    else if (!read) this.#to(TO_PRIMARY, reason);
    else {
      this.#to(TO_REPLICA, BALANCED);
      routing.resendable = true;
    }
    this.#shadow();
    if (routing.target === TO_REPLICA && end > pos && end - pos <= KEEP_LIMIT)
      routing.unit.add(buffer, pos, end);
    return this.#placed(end);
  }

  #hinted(hint: Hint): void {
    const routing = this.#routing;
    if (hint.kind === 'primary') this.#to(TO_PRIMARY, HINT_PRIMARY);
    else if (hint.kind === 'replica') this.#to(TO_REPLICA, HINT_REPLICA);
    else {
      this.#to(TO_NODE, HINT_NODE);
      routing.wantedNode = hint.node;
    }
  }

  #to(target: number, reason: Reason): number {
    this.#routing.target = target;
    this.#routing.reason = reason;
    return GO;
  }

  /** The first statement of a block that has been begun already, as far as the client knows. */
  #firstOfBlock(verdict: Verdict | null, end: number): number {
    const begun = this.#routing.beginVerdict?.facts.control;
    const said = begun?.verb === 'begin' ? begun : null;
    const control = verdict?.facts.control;
    const set = control?.verb === 'set' ? control : null;
    return this.#decideBlock(
      set?.readOnly ?? said?.readOnly ?? null,
      set?.isolation ?? said?.isolation ?? null,
      end,
    );
  }

  #decideBlock(readOnly: boolean | null, isolation: string | null, end: number): number {
    const routing = this.#routing;
    const serializable = isolation === 'serializable';
    const read = readOnly === true && !serializable;
    routing.read = read;
    routing.changes = !read;
    routing.resendable = false;
    const route = routing.sessionRoute ?? routing.desk.route;
    const hint = routing.beginVerdict?.hint ?? null;
    if (hint !== null) this.#hinted(hint);
    else if (route !== 'auto') this.#to(route === 'primary' ? TO_PRIMARY : TO_REPLICA, this.#explicit);
    else if (read) this.#to(TO_REPLICA, READ_ONLY_BLOCK);
    else this.#to(TO_PRIMARY, serializable ? SERIALIZABLE : BLOCK);
    this.#shadow();
    return this.#placed(end);
  }

  /** route_shadow: all goes to the primary; what would have been done is counted. */
  #shadow(): void {
    const routing = this.#routing;
    const { settings, shared } = routing.desk;
    if (!settings.routeShadow) return;
    const bound = routing.bound();
    const { chooser, runtime } = shared;
    const would =
      routing.target === TO_REPLICA
        ? chooser.choose(bound, this.#client.registry.clock.now(), null)
        : runtime.primary;
    shared.shadow.note(
      routing.read,
      would !== null && would !== runtime.primary,
      routing.target === TO_REPLICA && chooser.stale,
    );
    routing.resendable = false;
    this.#to(TO_PRIMARY, SHADOW);
  }

  /** DISCARD ALL and RESET ALL give the session its own route back too. */
  #forgetSession({ cached }: Verdict): void {
    if (this.#routing.sessionRoute === null) return;
    if (/^(?:discard|reset) all ?;?$/i.test(cached.normalised.text)) this.#routing.sessionRoute = null;
  }

  // --- answers of the proxy's own

  /** `asked` null = the form is none that the proxy can answer. GO = nothing to answer. */
  #own(verdict: Verdict | null, asked: AskedAs | null, end: number): number {
    const routing = this.#routing;
    const control = verdict?.facts.control ?? null;
    const ends = control?.verb === 'commit' || control?.verb === 'rollback' ? control : null;
    if (routing.block === BLOCK_FAILED) {
      if (ends === null || asked === null) return this.#refuse(end, true);
      if (ends.chain) routing.chainBlock();
      else routing.endBlock(false);
      return this.#answer(asked, { tag: 'ROLLBACK' }, end);
    }
    if (asked === null || verdict === null) return GO;
    if (routing.block === BLOCK_DEFERRED && ends !== null && !ends.chain) {
      routing.endBlock(false);
      return this.#answer(asked, { tag: ends.verb === 'commit' ? 'COMMIT' : 'ROLLBACK' }, end);
    }
    if (verdict.facts.own !== null) {
      const result = ownSetting(routing, verdict.facts.own);
      if (result === 'wait') return this.#waitForSample();
      if ('sqlstate' in result) return this.#error(result, true, end);
      return this.#answer(asked, result, end);
    }
    if (control?.verb !== 'begin' || routing.block !== NO_BLOCK || this.#mode !== 'transaction') return GO;
    routing.block = BLOCK_DEFERRED;
    routing.begin = query(Buffer.from(this.#text, 'latin1').toString());
    routing.beginVerdict = verdict;
    return this.#answer(asked, { tag: verdict.facts.command }, end);
  }

  #answer(asked: AskedAs, result: OwnResult, end: number): number {
    this.at = end;
    this.#say(ownAnswer(asked, result, this.#routing.idleStatus));
    return ANSWERED;
  }

  /** In a failed block everything is refused until it ends. */
  #refuse(end: number, whole: boolean): number {
    const error = this.#routing.lostBlock ?? IN_FAILED_BLOCK;
    this.#routing.lostBlock = null;
    return this.#error(error, whole, end);
  }

  /** `whole`: nothing of the unit comes after `end`. */
  #error(error: ErrorFields, whole: boolean, end: number): number {
    const routing = this.#routing;
    this.at = end;
    if (routing.block === BLOCK_DEFERRED) routing.block = BLOCK_FAILED;
    this.#say(errorResponse(error));
    // of a batch that was not seen whole, the rest is thrown away up to its Sync, which is answered then
    if (whole) this.#say(ready(routing.idleStatus));
    else this.#client.requests.discarding = true;
    return ANSWERED;
  }

  /** A node that a hint names and that is not there is not waited for. `end` 0 = the unit has not been seen whole. */
  #placed(end: number): number {
    if (this.#routing.target !== TO_NODE || !this.#routing.unknownNode || end === 0) return GO;
    const error = { severity: 'ERROR', sqlstate: '57P03', message: this.#routing.holdText() } as const;
    return this.#error(error, true, end);
  }

  /** SHOW pgconcierge.lsn, and the sample that bounds the last write is not in yet. */
  #waitForSample(): number {
    const { desk } = this.#routing;
    desk.source.wantSamples(desk.shared.runtime.name);
    this.#routing.hold = 'sample';
    return WAITS;
  }

  /** A client that does not read its answers is not read either. */
  #say(bytes: Buffer): void {
    const { transport } = this.#client;
    if (!transport.writeOwned(bytes)) transport.pause();
  }
}
