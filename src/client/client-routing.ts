/**
 * Routing of one client of a cluster's database: what it has written (freshness), its session's own route, the unit
 * that is being placed or runs, and the end of that unit. What a unit is and where it goes is unit-router.ts; how it
 * waits for a node is here.
 */
import type { Pool } from '../pool/pool.ts';
import type { Verdict } from '../routing/classifier.ts';
import { type Reason, reasonId } from '../routing/reasons.ts';
import type { RouteOrigin } from '../routing/route-log.ts';
import type { RoutedNode } from '../routing/routed-node.ts';
import type { ServerConnection } from '../server/server-connection.ts';
import type { CachedFacts } from '../sql/fact-cache.ts';
import type { ErrorFields } from '../wire/backend.ts';
import * as c from '../wire/codes.ts';
import { query } from '../wire/frontend.ts';
import { HeldBytes } from '../wire/held-bytes.ts';
import type { Client } from './client.ts';
import { ClientFreshness } from './client-freshness.ts';
import { holdText } from './hold-text.ts';
import { doubtLimitMs, goesElsewhere, type NodeDoubt } from './node-doubt.ts';
import type { RouteDesk } from './route-desk.ts';
import { UnitNames } from './unit-names.ts';

/** Where a unit may run. */
export const TO_PRIMARY = 0;
export const TO_REPLICA = 1;
export const TO_NODE = 2;

/** The client's transaction block while it has no server. */
export const NO_BLOCK = 0;
/** BEGIN has been answered, no server has it yet. */
export const BLOCK_DEFERRED = 1;
/** Refused until ROLLBACK: no server is in it. */
export const BLOCK_FAILED = 2;

/** What a client without a server waits for in the hall of its pools. */
export type HoldReason = '' | 'primary' | 'node' | 'fresh' | 'pause' | 'sample' | 'doubt';

/** For a block whose own BEGIN was not kept. */
const PLAIN_BEGIN = query('BEGIN');
/** A unit that is longer is not kept to be sent again. */
const KEEP_LIMIT = 64 * 1024;
/** Bytes of an idle client's buffer for units. */
const KEPT_BUFFER = 4096;
const RETRIED = reasonId('retried');
const NODE_LOST = reasonId('node lost');
const NOT_FRESH = reasonId('not fresh');
const HINT_NODE = reasonId('hint node');
const WAITED = reasonId('waited for a fresh replica');
/** Commands that may commit and fail all the same ('' = nobody knows): procedures, DETACH PARTITION CONCURRENTLY. */
const COMMITS_INSIDE: ReadonlySet<string> = new Set(['CALL', 'DO', 'ALTER', '']);

export class ClientRouting {
  readonly client: Client;
  desk: RouteDesk;
  /** SET pgconcierge.route; null = the desk's. */
  sessionRoute: 'auto' | 'primary' | 'replica' | null = null;
  readonly freshness = new ClientFreshness();
  block = NO_BLOCK;
  /** The deferred BEGIN, as a Query message; sent before the block's first statement. */
  begin: Buffer | null = null;
  beginVerdict: Verdict | null = null;
  /** A block's server is gone: what its next statement is told, once. */
  lostBlock: ErrorFields | null = null;

  // --- the unit that is placed or runs
  target = TO_PRIMARY;
  node: RoutedNode | null = null;
  /** The node was not the primary when the unit was linked there: its client outlives that node. Roles may change since. */
  onReplica = false;
  wantedNode = '';
  reason: Reason = 0;
  read = false;
  changes = false;
  /** A batch of several statements that is no block. */
  several = false;
  /** A Bind of the unnamed statement without its Parse: it is on the node that Parsed it last, if anywhere. */
  wantsUnnamed = false;
  /** The unit Parses the unnamed statement. */
  parsesUnnamed = false;
  unnamedNode: RoutedNode | null = null;
  /** A replica's refusal (25006) sends it again to the primary. */
  resendable = false;
  /** What the log of decisions shows, and what is learned. */
  cached: CachedFacts | null = null;
  /** Its bytes, while it may be sent again. */
  readonly unit = new HeldBytes();
  readonly unitNames: UnitNames;
  /** The next unit is the last one again. */
  again = false;
  /** Not again to this node. */
  exclude: RoutedNode | null = null;
  /** Its backend was ended: was it the node? */
  doubt: NodeDoubt | null = null;
  hold: HoldReason = '';
  holdUntilMs = 0;
  /** `holdUntilMs` is stale_read_wait's, not primary_wait_timeout's. */
  #heldForFresh = false;
  #refusal = '';
  #counted: RoutedNode | null = null;
  #startedMs = 0;
  /** The unit has lost a node already: not a second time. */
  lost = false;
  readonly #origin: RouteOrigin;

  constructor(client: Client, desk: RouteDesk) {
    this.client = client;
    this.desk = desk;
    this.unitNames = new UnitNames(client.prepared);
    this.#origin = { id: client.id, databaseName: client.databaseName, userName: client.userName };
  }

  /** A new unit: nothing of the last one counts any more. */
  fresh(): void {
    this.node = null;
    this.exclude = null;
    this.wantedNode = '';
    this.resendable = false;
    this.cached = null;
    this.several = false;
    this.wantsUnnamed = false;
    this.parsesUnnamed = false;
    this.#refusal = '';
    this.lost = false;
    this.doubt = null;
    this.unit.length = 0;
    this.unitNames.forget();
  }

  /** LSN that a replica must have replayed for this client's next read; Infinity = not known yet. */
  bound(): number {
    return this.freshness.bound(this.desk);
  }

  /** The pool for the unit; the hall while there is no node for it (`hold` says why). */
  place(nowMs: number): Pool {
    const hall = (this.client.pool as Pool).hall;
    const { pools } = this.client.registry;
    this.hold = '';
    if (hall.database.paused) return this.#hold(hall, 'pause', nowMs, 0);
    const node = this.#choose(nowMs);
    if (node === null) return this.#hold(hall, this.#holdReason, nowMs, this.#holdLimitMs);
    this.node = node;
    return pools.poolOn(hall, node.view);
  }

  #choose(nowMs: number): RoutedNode | null {
    const { runtime, chooser } = this.desk.shared;
    if (this.doubt !== null) {
      this.hold = 'doubt';
      if (!goesElsewhere(this, this.doubt)) return null;
      this.hold = '';
    }
    if (this.target === TO_PRIMARY) return runtime.primary;
    if (this.target === TO_NODE) {
      const node = runtime.nodes.get(this.wantedNode);
      const state = node?.view.state;
      if (state === 'primary' || state === 'replica' || state === 'lagging') return node ?? null;
      this.hold = 'node';
      return null;
    }
    const bound = this.bound();
    if (this.wantsUnnamed && this.unnamedNode !== null && this.exclude === null) {
      const there = this.unnamedNode;
      if (there === runtime.primary || chooser.eligible(there, bound, nowMs)) return there;
    }
    const node = chooser.choose(bound, nowMs, this.exclude);
    if (chooser.stale) this.desk.source.wantSamples(runtime.name);
    if (node === null) {
      this.hold = 'node';
      return null;
    }
    if (chooser.reason === NOT_FRESH && this.desk.settings.staleRead === 'wait') {
      const limit = this.desk.settings.staleReadWaitMs;
      if (limit > 0) this.#limitHold(true, nowMs, limit);
      if (nowMs < this.holdUntilMs) {
        this.hold = 'fresh';
        return null;
      }
    }
    if (this.reason !== RETRIED && this.reason !== NODE_LOST && this.read) {
      const waited = this.holdUntilMs > 0 && chooser.reason !== NOT_FRESH;
      if (this.resendable) this.reason = waited ? WAITED : chooser.reason;
    }
    return node;
  }

  /** Of a unit that found no node; the choice may have said it. */
  get #holdReason(): HoldReason {
    return this.hold === '' ? 'primary' : this.hold;
  }

  get #holdLimitMs(): number {
    const { settings, shared } = this.desk;
    return this.doubt === null ? settings.primaryWaitTimeoutMs : doubtLimitMs(shared.runtime);
  }

  #hold(hall: Pool, why: HoldReason, nowMs: number, limitMs: number): Pool {
    this.hold = why;
    this.node = null;
    if (why !== 'fresh' && why !== 'pause') this.#limitHold(false, nowMs, limitMs);
    return hall;
  }

  /** Each kind of hold has its own limit, and the same one goes on over being looked at again. */
  #limitHold(fresh: boolean, nowMs: number, limitMs: number): void {
    if (this.holdUntilMs > 0 && this.#heldForFresh === fresh) return;
    this.#heldForFresh = fresh;
    this.holdUntilMs = limitMs > 0 ? nowMs + limitMs : 0;
  }

  /** SHOW pgconcierge.lsn waits for the sample that bounds the last write. */
  awaitSample(nowMs: number): void {
    this.hold = 'sample';
    this.target = TO_PRIMARY;
    if (this.holdUntilMs === 0)
      this.holdUntilMs = nowMs + Math.max(this.desk.settings.primaryWaitTimeoutMs, 1);
  }

  /** A server of `node` is linked: the unit is counted there, and its reply is watched if it may be sent again. */
  onLinked(server: ServerConnection, nowMs: number): void {
    const { node, client } = this;
    this.hold = '';
    this.holdUntilMs = 0;
    this.onReplica = node !== null && node !== this.desk.shared.runtime.primary;
    if (node === null) return;
    this.#counted = node;
    server.replies.commits = this;
    if (this.parsesUnnamed) this.unnamedNode = node;
    this.#startedMs = nowMs;
    node.begin(nowMs, this.read, this.reason);
    this.desk.log.note(
      nowMs + client.registry.wallOffset,
      this.#origin,
      this.cached?.normalised.text ?? '',
      this.read,
      this.reason,
      node.name,
      this.again,
    );
    this.again = false;
    const { guard } = server.replies;
    if (this.onReplica) {
      guard.survivor = client.pool?.limits.mode !== 'session';
      if (this.unit.length > 0) guard.begin(this.resendable);
    }
  }

  /** Nothing is owed any more and the server goes back. `ok` = some of it was committed. */
  onUnitEnd(server: ServerConnection, nowMs: number): void {
    this.#uncount(nowMs);
    const { committed } = server.replies;
    if (this.#wrote(server, this.changes && this.#commitsInside)) this.noteWrite();
    this.endBlock(false);
    if (server.replies.altered && committed) {
      const { shared, source } = this.desk;
      source.wantCatalog(shared.runtime.name, shared.dbname, true);
    }
    // behind rows it could not be sent again, but the next one of its kind
    if (server.replies.guard.late && this.resendable && !this.several) this.#learn('25006');
    if (this.#refusal === '' || !committed || this.cached === null) return;
    // the primary has done what the replica refused
    this.#learn(this.#refusal);
  }

  /**
   * The client has been told of a commit and keeps its server: a session, a chained block, more units on their way.
   * It reads there itself; with read_consistency = database others count on it, and ask for samples when they do.
   */
  onCommitted(): void {
    const { server } = this.client;
    if (server === null) return;
    const idleSession = this.client.pool?.limits.mode === 'session' && server.replies.status === c.TX_IDLE;
    if (this.#wrote(server, idleSession)) this.freshness.note(this.desk);
  }

  #wrote(server: ServerConnection, failedToo: boolean): boolean {
    const { committed, overran } = server.replies;
    // still in recovery at its ReadyForQuery: whatever it was, it has written nothing
    return server.inHotStandby !== true && (overran || (this.changes && (committed || failedToo)));
  }

  /** A failure says nothing about what was committed before it. In a block every commit shows. */
  get #commitsInside(): boolean {
    if (this.beginVerdict !== null) return false;
    return this.several || COMMITS_INSIDE.has(this.cached?.facts.command ?? '');
  }

  /** The client may have written: its next reads wait for the next sample. */
  noteWrite(): void {
    this.freshness.note(this.desk);
    this.desk.source.wantSamples(this.desk.shared.runtime.name);
  }

  /**
   * The replica has refused the unit (and done nothing): it will be sent again to the primary. Called at the
   * ReadyForQuery that nobody sees.
   */
  onRefused(sqlstate: string, nowMs: number): void {
    this.#uncount(nowMs);
    if (sqlstate === '25006') this.#learn(sqlstate);
    else if (sqlstate !== '40001') this.#refusal = sqlstate;
    this.target = TO_PRIMARY;
    this.reason = RETRIED;
    this.read = false;
    this.changes = true;
    this.resendable = false;
    this.again = true;
  }

  /** The unit's node was lost before the client has seen anything of the reply: once more, elsewhere. */
  mayGoElsewhere(sqlstate: string): boolean {
    if (this.lost || this.unit.length === 0 || this.target !== TO_REPLICA) return false;
    // promoted meanwhile: a function that only says that it reads may have written there; not if recovery ended it
    if (this.node === this.desk.shared.runtime.primary && sqlstate !== '40001') return false;
    this.lost = true;
    this.exclude = this.node;
    this.reason = NODE_LOST;
    this.again = true;
    return true;
  }

  /** The block that ran on a server is over (or lives on as a failed one, until the client ends it). */
  endBlock(failed: boolean): void {
    this.block = failed ? BLOCK_FAILED : NO_BLOCK;
    if (!failed) {
      this.begin = null;
      this.beginVerdict = null;
    }
    this.#dropUnit();
  }

  /** ROLLBACK AND CHAIN of a failed block: another one of the same kind. */
  chainBlock(): void {
    this.block = BLOCK_DEFERRED;
    this.begin ??= PLAIN_BEGIN;
  }

  /** A small buffer is kept for the next unit. */
  #dropUnit(): void {
    if (this.unit.buffer.length > KEPT_BUFFER) this.unit.clear();
    else this.unit.length = 0;
    this.unitNames.forget();
  }

  /** The unit reads: it may be sent once more, as long as nothing of its reply has reached the client. */
  keepUnit(buffer: Buffer, from: number, to: number, makesNames: boolean): void {
    if (to - from > KEEP_LIMIT) return;
    this.unit.add(buffer, from, to);
    if (makesNames) this.unitNames.note(buffer, from, to);
  }

  onServerLost(): void {
    this.#counted?.aborted();
    this.#counted = null;
    // what it did before the end is not known
    if (this.changes) this.noteWrite();
  }

  #uncount(nowMs: number): void {
    this.#counted?.end(nowMs, (nowMs - this.#startedMs) * 1000);
    this.#counted = null;
  }

  #learn(sqlstate: string): void {
    const { shared } = this.desk;
    if (this.cached === null) return;
    shared.runtime.learned.learn(
      shared.runtime.name,
      shared.dbname,
      this.cached,
      sqlstate,
      this.client.registry.clock.wall(),
    );
  }

  /** The status that the client's last ReadyForQuery would say, without a server. */
  get idleStatus(): number {
    return this.block === BLOCK_DEFERRED ? c.TX_BLOCK : this.block === BLOCK_FAILED ? c.TX_FAILED : c.TX_IDLE;
  }

  /** The node that the unit asks for cannot be waited for. */
  get unknownNode(): boolean {
    const state = this.desk.shared.runtime.nodes.get(this.wantedNode)?.view.state;
    return state !== 'primary' && state !== 'replica' && state !== 'lagging';
  }

  /** Why the unit did not get a node in time, as people should read it. */
  holdText(): string {
    const hinted = this.target === TO_NODE && this.reason === HINT_NODE;
    const { runtime, chooser } = this.desk.shared;
    const stale = chooser.countEligible(this.client.registry.clock.now()) > 0;
    const wanted = this.target !== TO_REPLICA ? 'primary' : stale ? 'stale' : 'replica';
    return holdText(runtime, wanted, hinted ? this.wantedNode : null);
  }
}
