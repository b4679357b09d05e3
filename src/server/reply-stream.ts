/**
 * Replies of one server: finds message boundaries in what was read, takes answers off the owed queue, and forwards
 * the bytes to the linked client as they are (protocol-flow; ARCHITECTURE "Owed replies").
 * It must never forward a reply that the queue does not expect: that closes the server.
 */
import { OutBuffer } from '../net/out-buffer.ts';
import type { Transport } from '../net/transport.ts';
import * as c from '../wire/codes.ts';
import { decodeError, decodeParameter } from '../wire/fields.ts';
import { HeldBytes } from '../wire/held-bytes.ts';
import {
  INVENT,
  type InternalQuery,
  KIND,
  OWED_CLOSE,
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
import type { ReplyEvents, ReplyPeer } from './reply-events.ts';
import { ANSWERS, ENDS, HOLD_LIMIT, lengthFault, MAX_LENGTH, mustBeWhole } from './reply-table.ts';
import { dropSkipped } from './skipped.ts';

const INVENTED: Record<number, Buffer> = {
  [OWED_PARSE]: Buffer.from([c.B_PARSE_COMPLETE, 0, 0, 0, 4]),
  [OWED_CLOSE]: Buffer.from([c.B_CLOSE_COMPLETE, 0, 0, 0, 4]),
};

/** A statement of ours, not the stand-in for a name that a client never prepared. */
const OWN_NAME = /PGCONCIERGE_\d/;

const FORWARD = 0;
const SKIP = 1;
const BROKEN = 2;

/** One turn's pieces for one client; shared by all servers, always flushed before control goes elsewhere. */
const toClient = new OutBuffer();

export class ReplyStream {
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
  /** Bytes read while linked. */
  forwarded = 0;
  broken = false;
  /** max_packet_size: a longer message ends the connection. */
  maxLength = MAX_LENGTH;
  /** Why the connection must not be reused although it goes on working for its client; '' = it may. */
  tainted = '';
  readonly #transport: Transport;
  readonly #events: ReplyEvents;
  /** Bytes of the current message's body still to come, when it is not held. */
  #bodyLeft = 0;
  #bodyForward = false;
  /** Start of a message that must be seen whole. */
  readonly #held = new HeldBytes();
  /** The simple query at the head is in a COPY FROM, its end sent or not. */
  #copying = false;
  #settled = false;
  #brokenBecause = '';
  #done: InternalQuery | null = null;
  #internalError: string | null = null;

  constructor(transport: Transport, events: ReplyEvents) {
    this.#transport = transport;
    this.#events = events;
  }

  /** A reply has been forwarded in part. */
  get midMessage(): boolean {
    return this.#bodyLeft > 0 && this.#bodyForward;
  }

  /** One chunk from the server. */
  onData(buffer: Buffer, n: number): void {
    let peer = this.peer;
    if (peer !== null) {
      this.forwarded += n;
      toClient.begin(peer.transport);
    }
    let pos = 0;
    let from = 0;
    if (this.#bodyLeft > 0) {
      pos = Math.min(this.#bodyLeft, n);
      this.#bodyLeft -= pos;
      if (!this.#bodyForward) from = pos;
      if (this.#bodyLeft === 0 && !this.skipping && (this.owed.peek() & INVENT) !== 0) {
        toClient.add(buffer, from, pos, this.#transport);
        from = pos;
        this.#invent();
      }
    } else if (this.#held.length > 0) {
      pos = this.#completeHeld(buffer, n);
      if (this.broken) {
        this.#end(peer, buffer, 0, 0);
        return;
      }
      from = pos;
      peer = this.peer;
    }
    const owed = this.owed;
    while (pos < n) {
      if (n - pos < 5) {
        this.#held.add(buffer, pos, n);
        if (peer !== null) toClient.add(buffer, from, pos, this.#transport);
        from = pos = n;
        break;
      }
      const type = buffer[pos] as number;
      const length = buffer.readUInt32BE(pos + 1);
      const end = pos + 1 + length;
      const whole = end > n && mustBeWhole(type, length, owed);
      if (length < 4 || length > (whole ? HOLD_LIMIT : this.maxLength)) {
        this.#break(lengthFault(length, this.maxLength));
        this.#end(peer, buffer, from, pos);
        return;
      }
      if (whole) {
        this.#held.add(buffer, pos, n);
        if (peer !== null) toClient.add(buffer, from, pos, this.#transport);
        from = pos = n;
        break;
      }
      const verdict = this.#message(buffer, pos, type, end);
      if (verdict !== FORWARD) {
        if (verdict === BROKEN) {
          this.#end(peer, buffer, from, pos);
          return;
        }
        if (peer !== null) toClient.add(buffer, from, pos, this.#transport);
        from = Math.min(end, n);
      }
      if (end > n) {
        this.#bodyLeft = end - n;
        this.#bodyForward = verdict === FORWARD;
        pos = n;
        break;
      }
      pos = end;
      if (!this.skipping && (owed.peek() & INVENT) !== 0) {
        toClient.add(buffer, from, pos, this.#transport);
        from = pos;
        this.#invent();
      }
      if (this.#settled || this.#done !== null) {
        if (peer !== null) toClient.finish(buffer, from, pos, this.#transport);
        from = pos;
        this.#afterReady(peer);
        if (this.broken) return;
        peer = this.peer;
        if (peer !== null) toClient.begin(peer.transport);
      }
    }
    if (peer !== null) {
      toClient.finish(buffer, from, n, this.#transport);
      if (!toClient.belowHighWater) this.#transport.pause();
      if (peer.awaitsStatements && !owed.uncertain) peer.onStatementsCertain();
    }
  }

  /** The client pushed a message for which the proxy answers; sends it at once when nothing is owed before it. */
  flushInvented(): void {
    const peer = this.peer;
    if (peer === null || this.skipping || this.#bodyLeft > 0 || (this.owed.peek() & INVENT) === 0) return;
    toClient.begin(peer.transport);
    this.#invent();
    toClient.flush();
    if (!toClient.belowHighWater) peer.transport.pause();
  }

  #afterReady(peer: ReplyPeer | null): void {
    if (peer !== null && !toClient.belowHighWater) this.#transport.pause();
    const done = this.#done;
    const settled = this.#settled;
    this.#done = null;
    this.#settled = false;
    if (done !== null) {
      const error = this.#internalError;
      this.#internalError = null;
      done.onDone(error);
    }
    // the callback may have sent something more: then a later ReadyForQuery settles
    if (settled && !this.broken && this.owed.length === 0) this.#events.onReady(done !== null);
  }

  /** Answers the invented items at the head of the queue. */
  #invent(): void {
    const owed = this.owed;
    for (let item = owed.peek(); (item & INVENT) !== 0; item = owed.peek()) {
      const bytes = INVENTED[item & KIND];
      if (bytes !== undefined) toClient.add(bytes, 0, bytes.length, null);
      owed.pop();
    }
  }

  /** Goes on with a message whose start is held. Returns how many bytes of the chunk belong to it. */
  #completeHeld(buffer: Buffer, n: number): number {
    let pos = 0;
    if (this.#held.length < 5) {
      pos = Math.min(5 - this.#held.length, n);
      this.#held.add(buffer, 0, pos);
      if (this.#held.length < 5) return n;
    }
    const type = this.#held.buffer[0] as number;
    const length = this.#held.buffer.readUInt32BE(1);
    const whole = mustBeWhole(type, length, this.owed);
    if (length < 4 || length > (whole ? HOLD_LIMIT : this.maxLength)) {
      this.#break(lengthFault(length, this.maxLength));
      return n;
    }
    const total = length + 1;
    const peer = this.peer;
    if (whole) {
      const take = Math.min(total - this.#held.length, n - pos);
      this.#held.add(buffer, pos, pos + take);
      pos += take;
      if (this.#held.length < total) return n;
    }
    const have = this.#held.length;
    const held = this.#held.buffer;
    this.#held.length = 0;
    const verdict = this.#message(held, 0, type, total);
    if (verdict === BROKEN) return n;
    if (verdict === FORWARD && peer !== null) toClient.add(held, 0, have, null);
    if (have < total) {
      this.#bodyForward = verdict === FORWARD;
      const take = Math.min(total - have, n - pos);
      this.#bodyLeft = total - have - take;
      if (this.#bodyForward) toClient.add(buffer, pos, pos + take, this.#transport);
      pos += take;
      if (this.#bodyLeft > 0) return pos;
    }
    if (!this.skipping && (this.owed.peek() & INVENT) !== 0) this.#invent();
    if (this.#settled || this.#done !== null) {
      if (peer !== null) toClient.flush();
      this.#afterReady(peer);
      if (this.broken) return n;
      if (this.peer !== null) toClient.begin(this.peer.transport);
    }
    return pos;
  }

  /** Accounts for the message whose header stands at `pos`. */
  #message(buffer: Buffer, pos: number, type: number, end: number): number {
    const owed = this.owed;
    const head = owed.peek();
    const kind = head & KIND;
    switch (type) {
      case c.B_DATA_ROW:
        if (kind !== OWED_QUERY && kind !== OWED_EXECUTE) return this.#break('unexpected DataRow');
        if ((head & SWALLOW) === 0) return this.peer === null ? SKIP : FORWARD;
        owed.internal()?.onRow(buffer.subarray(pos + 5, end));
        return SKIP;
      case c.B_READY_FOR_QUERY:
        return end - pos === 6 ? this.#ready(buffer[pos + 5] as number) : this.#break('bad ReadyForQuery');
      case c.B_COMMAND_COMPLETE:
        if (kind !== OWED_QUERY && kind !== OWED_EXECUTE) return this.#break('unexpected CommandComplete');
        this.copyIn = false;
        owed.droppedSyncs = 0;
        if (this.#copying) owed.dropCopyEnd();
        this.#copying = false;
        this.#tag(buffer, pos, end);
        return kind === OWED_EXECUTE ? this.#pop(head) : this.#quiet(head);
      case c.B_COPY_IN:
      case c.B_COPY_BOTH:
        if (kind !== OWED_QUERY && kind !== OWED_EXECUTE) return this.#break('unexpected CopyInResponse');
        this.copyIn = !owed.dropSyncsOfCopy();
        this.#copying = kind === OWED_QUERY;
        return this.#quiet(head);
      case c.B_ERROR:
        return this.#error(buffer, pos, end, head);
      case c.B_PARAMETER_STATUS:
        return this.#parameter(buffer, pos, end, head);
      case c.B_NOTICE:
        if (this.peer === null && owed.length === 0) return this.#break('idle server got dirty');
        return this.#quiet(head);
      case c.B_NOTIFICATION:
        if (this.peer === null) return this.#break('idle server got dirty');
        return FORWARD;
      default:
        if ((((ANSWERS[type] as number) >> kind) & 1) === 0) {
          return this.#break(`unexpected message '${String.fromCharCode(type)}'`);
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
    this.#copying = false;
    this.unsynced = false;
    if (this.skipping) {
      this.skipping = false;
      dropSkipped(owed, this.#events, this.peer);
      if (owed.length === 0 && owed.droppedSyncs > 0) {
        // the copy failed before the server came to the Sync that we had counted as ignored
        owed.droppedSyncs -= 1;
        this.status = status;
        this.#settled = true;
        return this.peer === null ? SKIP : FORWARD;
      }
    }
    while ((owed.peek() & KIND) === OWED_COPY_END) owed.pop();
    const head = owed.peek();
    const kind = head & KIND;
    if (kind !== OWED_SYNC && kind !== OWED_QUERY && kind !== OWED_FUNCTION) {
      return this.#break('unexpected ReadyForQuery');
    }
    this.#done = owed.internal();
    this.status = status;
    owed.pop();
    while ((owed.peek() & KIND) === OWED_COPY_END) owed.pop();
    this.#settled = owed.length === 0;
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
      : { severity: 'ERROR', sqlstate: '', message: '' };
    const fatal = error.severity === 'FATAL' || error.severity === 'PANIC';
    // the text of some function did DEALLOCATE: what is noted about this server is not so
    if (error.sqlstate === '26000' && OWN_NAME.test(error.message))
      this.tainted = 'prepared statement vanished';
    if (kind === 0 || fatal) this.#events.onServerError(error, this.peer !== null);
    if (this.broken) return BROKEN;
    if (kind !== OWED_QUERY && kind !== OWED_FUNCTION && kind !== OWED_SYNC && kind !== 0)
      this.skipping = true;
    if ((head & SWALLOW) === SWALLOW) {
      this.#internalError = error.message === '' ? 'unknown error' : error.message;
      return SKIP;
    }
    return this.peer === null ? SKIP : FORWARD;
  }

  #parameter(buffer: Buffer, pos: number, end: number, head: number): number {
    const parameter = decodeParameter(buffer.subarray(pos + 5, end));
    if (parameter === null) return this.#break('bad ParameterStatus');
    this.#events.onParameter(parameter.name, parameter.value);
    if (this.peer === null || (head & SWALLOW) === SWALLOW) return SKIP;
    this.peer.onServerParameter(parameter.name, parameter.value);
    return FORWARD;
  }

  /** DISCARD ALL and DEALLOCATE ALL are recognised by their tags (pgbouncer.md §13). */
  #tag(buffer: Buffer, pos: number, end: number): void {
    const n = end - pos;
    if (n !== 17 && n !== 20) return;
    const tag = buffer.latin1Slice(pos + 5, end - 1);
    if (tag !== 'DISCARD ALL' && tag !== 'DEALLOCATE ALL') return;
    this.#events.onStatementsDropped();
    if (this.peer !== null && (this.owed.peek() & SWALLOW) !== SWALLOW) this.peer.prepared.clear();
  }

  #break(reason: string): number {
    this.broken = true;
    this.#brokenBecause = reason;
    return BROKEN;
  }

  /** The connection is of no use any more: what was right up to `to` still reaches the client, which may be half through it. */
  #end(peer: ReplyPeer | null, buffer: Buffer, from: number, to: number): void {
    if (peer !== null) toClient.finish(buffer, from, to, this.#transport);
    this.#events.onBroken(this.#brokenBecause);
  }
}
