/**
 * What a server's replies mean: each one is checked against the owed queue and taken off it (protocol-flow;
 * ARCHITECTURE "Owed replies"). Says of every message whether it may be forwarded; reply-stream.ts, which extends this,
 * finds the messages in the bytes and forwards them.
 */
import * as c from '../wire/codes.ts';
import { decodeError, decodeParameter, type ServerError } from '../wire/fields.ts';
import {
  FORGETS,
  type InternalQuery,
  KIND,
  OWED_COPY_END,
  OWED_EXECUTE,
  OWED_FUNCTION,
  OWED_PARSE,
  OWED_QUERY,
  OWED_SYNC,
  OwedReplies,
  SWALLOW,
  SWALLOW_OK,
} from './owed-replies.ts';
import type { CommitWatcher, ReplyEvents, ReplyPeer } from './reply-events.ts';
import { GUARD_RETRY, ReplyGuard } from './reply-guard.ts';
import { ANSWERS, ENDS } from './reply-table.ts';
import { dropSkipped } from './skipped.ts';

/** A statement of ours, not the stand-in for a name that a client never prepared. */
const OWN_NAME = /PGCONCIERGE_\d/;

/** First two letters of the tags CREATE …, ALTER …, DROP …. */
const CREATES = 0x4352;
const ALTERS = 0x414c;
const DROPS = 0x4452;

export const FORWARD = 0;
export const SKIP = 1;
export const BROKEN = 2;

export abstract class ReplyAccount {
  readonly owed = new OwedReplies();
  peer: ReplyPeer | null = null;
  /** Transaction status of the last ReadyForQuery. */
  status = c.TX_IDLE;
  /** An error has been received and the server skips to the next Sync. */
  skipping = false;
  /** Extended messages have been answered since the last ReadyForQuery: a transaction is open until the Sync. */
  unsynced = false;
  /** In copy-in mode: Sync is ignored by the server. */
  copyIn = false;
  /** Since the link something was committed: a COMMIT, or a unit that ended outside a block and not by failing. */
  committed = false;
  /** Since the link something has run after the end of a block, or of a unit: more than what was judged. */
  overran = false;
  readonly guard = new ReplyGuard();
  /** Told of a ReadyForQuery behind which more is owed, when something was committed. */
  commits: CommitWatcher | null = null;
  broken = false;
  /** Why the connection must not be reused although it goes on working for its client; '' = it may. */
  tainted = '';
  protected readonly events: ReplyEvents;
  /** ReadyForQuery with nothing owed any more; the query of ours that ended. */
  protected settled = false;
  protected done: InternalQuery | null = null;
  protected internalError: string | null = null;
  protected brokenBecause = '';
  protected lastError: ServerError | null = null;
  /** Since the link something was created, altered or dropped: what is known of the catalog may be old. */
  altered = false;
  /** The simple query at the head is in a COPY FROM, its end sent or not. */
  protected copying = false;
  /** What is being answered has failed, or was rolled back, and nothing was done since. */
  protected undone = false;
  #ended = false;

  constructor(events: ReplyEvents) {
    this.events = events;
  }

  /** The server is linked: what is said of the unit counts from here. */
  beginUnit(): void {
    this.committed = false;
    this.overran = false;
    this.altered = false;
    this.#ended = false;
  }

  /** Accounts for the message whose header stands at `pos`. */
  protected message(buffer: Buffer, pos: number, type: number, end: number): number {
    const owed = this.owed;
    const head = owed.peek();
    const kind = head & KIND;
    switch (type) {
      case c.B_DATA_ROW:
        if (kind !== OWED_QUERY && kind !== OWED_EXECUTE) return this.break('unexpected DataRow');
        if ((head & SWALLOW) === 0) return this.peer === null ? SKIP : FORWARD;
        owed.internal()?.onRow(buffer.subarray(pos + 5, end));
        return SKIP;
      case c.B_READY_FOR_QUERY:
        return end - pos === 6 ? this.#ready(buffer[pos + 5] as number) : this.break('bad ReadyForQuery');
      case c.B_COMMAND_COMPLETE:
        if (kind !== OWED_QUERY && kind !== OWED_EXECUTE) return this.break('unexpected CommandComplete');
        this.copyIn = false;
        owed.droppedSyncs = 0;
        if (this.copying) owed.dropCopyEnd();
        this.copying = false;
        this.#tag(buffer, pos, end, (head & SWALLOW) === SWALLOW);
        return kind === OWED_EXECUTE ? this.#pop(head) : this.#quiet(head);
      case c.B_COPY_IN:
      case c.B_COPY_BOTH:
        if (kind !== OWED_QUERY && kind !== OWED_EXECUTE) return this.break('unexpected CopyInResponse');
        this.copyIn = !owed.dropSyncsOfCopy();
        this.copying = kind === OWED_QUERY;
        return this.#quiet(head);
      case c.B_ERROR:
        return this.#error(buffer, pos, end, head);
      case c.B_PARAMETER_STATUS:
        return this.#parameter(buffer, pos, end, head);
      case c.B_NOTICE:
        if (this.peer === null && owed.length === 0) return this.break('idle server got dirty');
        return this.#quiet(head);
      case c.B_NOTIFICATION:
        if (this.peer === null) return this.break('idle server got dirty');
        return FORWARD;
      default:
        if ((((ANSWERS[type] as number) >> kind) & 1) === 0) {
          return this.break(`unexpected message '${String.fromCharCode(type)}'`);
        }
        return (((ENDS[type] as number) >> kind) & 1) === 0 ? this.#quiet(head) : this.#pop(head);
    }
  }

  /** Forwarded unless it answers something of the proxy's own. */
  #quiet(head: number): number {
    return (head & SWALLOW) === SWALLOW || this.peer === null ? SKIP : FORWARD;
  }

  #pop(head: number): number {
    this.unsynced = true;
    this.owed.pop();
    // the end mark of a copy that is over has no answer of its own
    while ((this.owed.peek() & KIND) === OWED_COPY_END) this.owed.pop();
    return (head & SWALLOW_OK) !== 0 || this.peer === null ? SKIP : FORWARD;
  }

  #ready(status: number): number {
    const owed = this.owed;
    this.copyIn = false;
    this.copying = false;
    this.unsynced = false;
    if (this.skipping) {
      this.skipping = false;
      dropSkipped(owed, this.events, this.peer);
      if (owed.length === 0 && owed.droppedSyncs > 0) {
        // the copy failed before the server came to the Sync that we had counted as ignored
        owed.droppedSyncs -= 1;
        this.undone = false;
        this.status = status;
        this.settled = true;
        return this.peer === null ? SKIP : FORWARD;
      }
    }
    while ((owed.peek() & KIND) === OWED_COPY_END) owed.pop();
    const head = owed.peek();
    const kind = head & KIND;
    if (kind !== OWED_SYNC && kind !== OWED_QUERY && kind !== OWED_FUNCTION) {
      return this.break('unexpected ReadyForQuery');
    }
    if ((head & SWALLOW) !== SWALLOW) {
      if (status === c.TX_IDLE && !this.undone) this.committed = true;
      this.undone = false;
      this.#ended = status === c.TX_IDLE;
    }
    this.done = owed.internal();
    this.status = status;
    owed.pop();
    while ((owed.peek() & KIND) === OWED_COPY_END) owed.pop();
    this.settled = owed.length === 0;
    if (!this.settled && this.committed) this.commits?.onCommitted();
    return (head & SWALLOW) === SWALLOW || this.peer === null ? SKIP : FORWARD;
  }

  #error(buffer: Buffer, pos: number, end: number, head: number): number {
    const kind = head & KIND;
    this.copyIn = false;
    // whether the server read those Syncs inside or after the failed copy cannot be known from here
    if (this.owed.droppedSyncs > 0) this.tainted = 'copy failed with a Sync in flight';
    const whole = end <= buffer.length;
    const error = whole
      ? decodeError(buffer.subarray(pos + 5, end))
      : { severity: 'ERROR', sqlstate: '', message: '', routine: '' };
    const fatal = error.severity === 'FATAL' || error.severity === 'PANIC';
    // the text of some function did DEALLOCATE: what is noted about this server is not so
    if (error.sqlstate === '26000' && OWN_NAME.test(error.message))
      this.tainted = 'prepared statement vanished';
    // a Parse that was noted as new to this server
    if (kind === OWED_PARSE && error.sqlstate === '42P05' && this.owed.reference() !== null)
      this.tainted = 'prepared statement was there already';
    this.lastError = error;
    if (error.sqlstate === '25006' && this.guard.survivor) this.guard.late = true;
    if (kind === 0 || fatal) this.events.onServerError(error, this.peer !== null);
    if (this.broken) return BROKEN;
    if (fatal && this.guard.survivor) {
      // of a refusal that came before it the refusal counts
      if (this.guard.state !== GUARD_RETRY) this.guard.error = error;
      return SKIP;
    }
    if ((head & SWALLOW) !== SWALLOW) {
      this.undone = true;
      if (this.#ended) this.overran = true;
    }
    if (kind !== OWED_QUERY && kind !== OWED_FUNCTION && kind !== OWED_SYNC && kind !== 0)
      this.skipping = true;
    if ((head & SWALLOW) === SWALLOW) {
      this.internalError = error.message === '' ? 'unknown error' : error.message;
      return SKIP;
    }
    return this.peer === null ? SKIP : FORWARD;
  }

  #parameter(buffer: Buffer, pos: number, end: number, head: number): number {
    const parameter = decodeParameter(buffer.subarray(pos + 5, end));
    if (parameter === null) return this.break('bad ParameterStatus');
    this.events.onParameter(parameter.name, parameter.value);
    if (this.peer === null || (head & SWALLOW) === SWALLOW) return SKIP;
    return this.peer.onServerParameter(parameter.name, parameter.value) ? FORWARD : SKIP;
  }

  /** The end of a block, DISCARD ALL and DEALLOCATE ALL are recognised by their tags (pgbouncer.md §13). */
  #tag(buffer: Buffer, pos: number, end: number, own: boolean): void {
    if (!own) {
      this.undone = false;
      if (this.#ended) this.overran = true;
    }
    const first = ((buffer[pos + 5] as number) << 8) | (buffer[pos + 6] as number);
    if (first === CREATES || first === ALTERS || first === DROPS) this.altered = true;
    const n = end - pos;
    if (n !== 17 && n !== 20 && n !== 14 && n !== 12 && n !== 21) return;
    const tag = buffer.latin1Slice(pos + 5, end - 1);
    if (!own && (tag === 'COMMIT' || tag === 'COMMIT PREPARED' || tag === 'ROLLBACK')) {
      // an error that comes later undoes no COMMIT; ROLLBACK may also be the end of a ROLLBACK TO
      if (tag === 'ROLLBACK') this.undone = true;
      else this.committed = true;
      this.#ended = true;
    }
    if (tag !== 'DISCARD ALL' && tag !== 'DEALLOCATE ALL') return;
    this.events.onStatementsDropped();
    // a form that was not recognised in time: what was Parsed behind it has been noted already, and is forgotten here
    if ((this.owed.peek() & FORGETS) === 0 && this.owed.parses)
      this.tainted = 'prepared statements dropped in a pipeline';
    if (this.peer !== null && !own) this.peer.prepared.clear();
  }

  protected break(reason: string): number {
    this.broken = true;
    this.brokenBecause = reason;
    return BROKEN;
  }
}
