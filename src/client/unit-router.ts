/**
 * The decision at the start of a unit (ROUTING.md): a client of a cluster's database has no server, and a message has
 * come that asks for something. Says whether the unit may go (and sets where to in the client's routing), whether more
 * of it must be read, or answers it itself: a deferred BEGIN and its end, SET pgconcierge.…, a block that has failed.
 */

import type { Verdict } from '../routing/classifier.ts';
import type { Reason } from '../routing/reasons.ts';
import type { Hint, Normalised } from '../sql/facts.ts';
import * as c from '../wire/codes.ts';
import { BatchVerdicts } from './batch-verdicts.ts';
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
import { answerLinked, answerLinkedBatch, mayBeOwn } from './linked-own.ts';
import { ANSWERED, type Asked, GO, MORE, OwnUnits } from './own-units.ts';
import { TextSafety } from './text-safety.ts';
import {
  BALANCED,
  BATCH,
  BLOCK,
  FUNCTION_CALL,
  HINT_NODE,
  HINT_PRIMARY,
  HINT_REPLICA,
  READ_ONLY_BLOCK,
  SERIALIZABLE,
  SESSION_MODE,
  SESSION_ROUTE,
  SHADOW,
  TOO_LONG,
} from './unit-reasons.ts';
import { runsAgain } from './unit-rerun.ts';
import { batch, batchGoesOn, SCAN_FLUSH, SCAN_MORE, SCAN_WHOLE } from './unit-scan.ts';

/** A unit that is longer goes to the primary unseen. */
const UNIT_LIMIT = 256 * 1024;

const SIMPLE = { extended: false } as const;
const EMPTY = Buffer.alloc(0);

export class UnitRouter {
  readonly #client: Client;
  readonly #routing: ClientRouting;
  readonly #owns: OwnUnits;
  /** See MORE and ANSWERED. */
  at = 0;
  /** The text of the unit, when it is one statement; '' = Parsed in an earlier batch. */
  #text = '';
  /** Of a batch that is not whole: how far it has been looked at, from its start; -1 = there is none. */
  #openTo = -1;
  readonly #verdicts: BatchVerdicts;
  readonly #safety = new TextSafety();

  constructor(client: Client, routing: ClientRouting) {
    this.#client = client;
    this.#routing = routing;
    this.#verdicts = new BatchVerdicts(client, routing);
    this.#owns = new OwnUnits(client, routing);
  }

  /** The message at [pos, end) asks for something; [pos, n) has been read. */
  begin(buffer: Buffer, pos: number, type: number, end: number, n: number): number {
    const routing = this.#routing;
    this.#openTo = -1;
    if (routing.again) return GO;
    routing.fresh();
    if (this.#mode === 'session') return this.#session(buffer, pos, type, end, n);
    if (type === c.F_QUERY) return this.#query(buffer, pos, end, n);
    if (type === c.F_FUNCTION_CALL) return this.#unseen(FUNCTION_CALL, end);
    if (type === c.F_BIND && runsAgain(this.#client, routing, this.#safety, buffer, pos, end, n)) return GO;
    return this.#batch(buffer, pos, end, n);
  }

  /**
   * The held bytes [0, n) are a batch that was not whole when it was looked at last, and they still are: there is no
   * need to look into all of it again for every piece.
   */
  stillOpen(held: Buffer, n: number): boolean {
    if (this.#openTo < 0 || n > UNIT_LIMIT) return false;
    this.#openTo = batchGoesOn(held, this.#openTo, n);
    return this.#openTo >= 0;
  }

  /** SET or SHOW of the proxy's own settings, from a client that has a server whose status this is. */
  answerOwn(buffer: Buffer, pos: number, end: number, status: number): boolean {
    return answerLinked(this.#client, buffer, pos, end, status);
  }

  /** As answerOwn, for a batch that begins at `pos`: where it ends, 0 = it is for the server, -1 = read on. */
  answerOwnBatch(buffer: Buffer, pos: number, n: number, status: number): number {
    return answerLinkedBatch(this.#client, buffer, pos, n, status);
  }

  /** One node for the life of the client; what it sets before counts. */
  #session(buffer: Buffer, pos: number, type: number, end: number, n: number): number {
    const whole = type === c.F_QUERY && end <= n;
    if (!whole || !mayBeOwn(buffer, pos, end) || !answerLinked(this.#client, buffer, pos, end, c.TX_IDLE))
      return this.#fixed();
    this.at = end;
    return ANSWERED;
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
    if (this.#mayAnswer(verdict)) {
      const own = this.#own(verdict, { how: SIMPLE, runs: true, text: this.#text, whole: true }, end);
      if (own !== GO) return own;
    }
    return this.#decide(verdict, verdict.read, mayChange(verdict), verdict.reason, buffer, pos, end);
  }

  #batch(buffer: Buffer, pos: number, end: number, n: number): number {
    const seen = batch.scan(buffer, pos, n);
    if (seen === SCAN_MORE && n - pos <= UNIT_LIMIT) {
      this.#openTo = batch.end - pos;
      return this.#more(n - pos + 1);
    }
    if (seen !== SCAN_WHOLE)
      return seen === SCAN_FLUSH ? this.#flushed(buffer, pos, end) : this.#unseen(BATCH, end);
    const unsafe = this.#safety.fault(this.#client);
    if (unsafe !== 0) return this.#unseen(unsafe, end);
    let read = true;
    let changes = false;
    const runs = batch.executes > 0;
    let reason = BALANCED;
    let first: Verdict | null = null;
    let same = batch.plain;
    let statement: Normalised | null = null;
    /** The first that is bound, and how many of them begin or end a block. */
    let bound: Verdict | null = null;
    let controls = 0;
    this.#verdicts.text = '';
    for (let i = 0; i < batch.count; i++) {
      const verdict = this.#verdicts.of(buffer, i);
      const judged = verdict?.cached.normalised ?? null;
      if (i === 0) statement = judged;
      else if (statement !== judged) same = false;
      if (batch.items[i]?.kind === 'name') {
        bound ??= verdict;
        if (verdict !== null && verdict.facts.control !== null) controls += 1;
      }
      if (verdict === null || !verdict.read) {
        if (read) reason = verdict?.reason ?? BATCH;
        read = false;
        changes = changes || (runs && (verdict === null || mayChange(verdict)));
      } else first ??= verdict;
      if (i === 0) first = verdict;
    }
    this.#text = this.#verdicts.text;
    if (first === null && batch.count > 0) return this.#unknown();
    if (this.#mayAnswer(first)) {
      const own = this.#own(first, same ? this.#asked(buffer, pos) : null, batch.end);
      if (own !== GO) return own;
    }
    const begins = bound?.facts.control ?? null;
    // BEGIN and what follows it in one batch (JDBC, Npgsql)
    if (bound !== null && begins?.verb === 'begin' && this.#routing.block === NO_BLOCK) {
      this.#routing.beginVerdict = bound;
      this.#routing.cached = bound.cached;
      // what comes behind the end of the block may write
      return this.#decideBlock(controls === 1 ? begins.readOnly : null, begins.isolation, batch.end);
    }
    this.#routing.several = batch.executes > 1;
    const said = this.#decide(first, read, changes, reason, buffer, pos, batch.end);
    // what is run is what may be refused, and learned
    if (bound !== null && this.#routing.block === NO_BLOCK) this.#routing.cached = bound.cached;
    return said;
  }

  /** Drivers prepare with a Flush and run with the Sync: what is for the proxy must be answered by it from the start. */
  #flushed(buffer: Buffer, pos: number, end: number): number {
    const item = batch.items[0];
    if (batch.plain && batch.count > 0 && item !== undefined && this.#safety.fault(this.#client) === 0) {
      this.#verdicts.text = '';
      const verdict = this.#verdicts.of(buffer, 0);
      const mine = (verdict?.facts.own ?? null) !== null && this.#routing.block !== BLOCK_FAILED;
      const asked = mine ? this.#asked(buffer, pos, false) : null;
      if (asked !== null) return this.#own(verdict, asked, batch.end);
    }
    return this.#unseen(BATCH, end);
  }

  /** A batch about one statement: what the proxy may be able to answer itself. */
  #asked(buffer: Buffer, from: number, whole = true): Asked | null {
    // a name that is in use is refused by the server
    if (this.#client.prepared.find(batch.parsedName(buffer)) !== null) return null;
    const { prepared: names } = this.#client;
    const how = { extended: true, whole, buffer, from, to: batch.end, names } as const;
    return { how, runs: batch.executes > 0, text: this.#text, whole };
  }

  /** A unit whose text is not known: the primary, or where its route sends everything. */
  #unseen(reason: Reason, end: number): number {
    const { block } = this.#routing;
    this.at = end;
    if (block === BLOCK_FAILED) return this.#owns.refuse(reason !== BATCH);
    return this.#decide(null, false, true, reason, EMPTY, 0, 0);
  }

  /** A whole batch of a statement that is not known here (prepared with max_prepared_statements = 0, or never). */
  #unknown(): number {
    this.at = batch.end;
    if (this.#routing.block === BLOCK_FAILED) return this.#owns.refuse(true);
    return this.#decide(null, false, true, BATCH, EMPTY, 0, 0);
  }

  #more(bytes: number): number {
    this.at = bytes;
    return MORE;
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
    if (verdict !== null) this.#forgetSession(verdict);
    const route = routing.sessionRoute ?? routing.desk.route;
    // a read's own wish is not for what else the batch writes
    const wish = verdict?.read === true && !read ? null : (verdict?.hint ?? null);
    if (wish !== null) this.#hinted(wish);
    else if (route !== 'auto') this.#to(route === 'primary' ? TO_PRIMARY : TO_REPLICA, this.#explicit);
    else if (!read) this.#to(TO_PRIMARY, reason);
    else {
      this.#to(TO_REPLICA, BALANCED);
      routing.resendable = true;
    }
    this.#shadow();
    // what may write is not run twice, even where a replica was meant to refuse it
    if (routing.target === TO_REPLICA && read && end > pos)
      routing.keepUnit(buffer, pos, end, buffer[pos] !== c.F_QUERY && batch.makesNames);
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

  /** Most units are for a server: nothing is put together to ask whether they are. */
  #mayAnswer(verdict: Verdict | null): boolean {
    if (this.#routing.block !== NO_BLOCK) return true;
    return verdict !== null && (verdict.facts.own !== null || verdict.facts.control !== null);
  }

  /** GO = nothing to answer. See OwnUnits. */
  #own(verdict: Verdict | null, asked: Asked | null, end: number): number {
    this.at = end;
    return this.#owns.answer(verdict, asked, this.#mode === 'transaction');
  }

  /** A node that a hint names and that is not there is not waited for. `end` 0 = the unit has not been seen whole. */
  #placed(end: number): number {
    if (this.#routing.target !== TO_NODE || !this.#routing.unknownNode || end === 0) return GO;
    const error = { severity: 'ERROR', sqlstate: '57P03', message: this.#routing.holdText() } as const;
    this.at = end;
    return this.#owns.error(error, true);
  }
}

/** It changes data itself, or begins a block of which nobody knows what comes. */
function mayChange({ changesData, facts }: Verdict): boolean {
  if (changesData || facts.rule !== 'transaction control') return changesData;
  const { control } = facts;
  if (control === null || control.verb === 'begin') return true;
  return control.verb !== 'set' && control.chain;
}
