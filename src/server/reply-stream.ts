/**
 * Replies of one server: finds message boundaries in what was read and forwards the bytes to the linked client as they
 * are (protocol-flow). What each message means is reply-account.ts.
 * It must never forward a reply that the queue does not expect: that closes the server.
 */
import { OutBuffer } from '../net/out-buffer.ts';
import type { Transport } from '../net/transport.ts';
import { HeldBytes } from '../wire/held-bytes.ts';
import { INVENT, KIND } from './owed-replies.ts';
import { BROKEN, FORWARD, ReplyAccount, SKIP } from './reply-account.ts';
import type { ReplyEvents, ReplyPeer } from './reply-events.ts';
import { GUARD_HOLDING, GUARD_OFF, GUARD_RETRY } from './reply-guard.ts';
import { HOLD_LIMIT, INVENTED, lengthFault, MAX_LENGTH, mustBeWhole } from './reply-table.ts';

/** Not forwarded, nor what was held back before it. */
const DROP = 3;

/** One turn's pieces for one client; shared by all servers, always flushed before control goes elsewhere. */
const toClient = new OutBuffer();

export class ReplyStream extends ReplyAccount {
  /** Bytes read while linked. */
  forwarded = 0;
  /** max_packet_size: a longer message ends the connection. */
  maxLength = MAX_LENGTH;
  readonly #transport: Transport;
  /** Bytes of the current message's body still to come, when it is not held. */
  #bodyLeft = 0;
  #bodyForward = false;
  /** Start of a message that must be seen whole. */
  readonly #held = new HeldBytes();

  constructor(transport: Transport, events: ReplyEvents) {
    super(events);
    this.#transport = transport;
  }

  /** A reply has been forwarded in part. */
  get midMessage(): boolean {
    return this.#bodyLeft > 0 && this.#bodyForward && this.guard.state === GUARD_OFF;
  }

  /** One chunk from the server. */
  onData(buffer: Buffer, n: number): void {
    let peer = this.peer;
    if (peer !== null) {
      this.forwarded += n;
      this.#begin(peer);
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
        this.break(lengthFault(length, this.maxLength));
        this.#end(peer, buffer, from, pos);
        return;
      }
      if (whole) {
        this.#held.add(buffer, pos, n);
        if (peer !== null) toClient.add(buffer, from, pos, this.#transport);
        from = pos = n;
        break;
      }
      let verdict = this.message(buffer, pos, type, end);
      if (this.guard.state !== GUARD_OFF) verdict = this.#guarded(verdict, type, end - pos);
      if (verdict !== FORWARD) {
        if (verdict === BROKEN) {
          this.#end(peer, buffer, from, pos);
          return;
        }
        if (verdict === DROP) toClient.discard();
        else if (peer !== null) toClient.add(buffer, from, pos, this.#transport);
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
      if (this.settled || this.done !== null) {
        if (peer !== null) this.#finish(buffer, from, pos);
        from = pos;
        this.#afterReady(peer);
        if (this.broken) return;
        peer = this.peer;
        if (peer !== null) this.#begin(peer);
      }
    }
    if (peer !== null) {
      this.#finish(buffer, from, n);
      if (!toClient.belowHighWater) this.#transport.pause();
      if (peer.awaitsStatements && !owed.uncertain) peer.onStatementsCertain();
    }
  }

  /** The client pushed a message for which the proxy answers; sends it at once when nothing is owed before it. */
  flushInvented(): void {
    const peer = this.peer;
    if (peer === null || this.skipping || this.#bodyLeft > 0 || (this.owed.peek() & INVENT) === 0) return;
    if (this.guard.state !== GUARD_OFF) return;
    toClient.begin(peer.transport);
    this.#invent();
    toClient.flush();
    if (!toClient.belowHighWater) peer.transport.pause();
  }

  /** Starts a turn for the client, with what earlier turns held back for it. */
  #begin(peer: ReplyPeer): void {
    toClient.begin(peer.transport);
    if (this.guard.state === GUARD_OFF) return;
    const { back } = this.guard;
    toClient.add(back.buffer, 0, back.length, null);
    back.length = 0;
    if (!this.skipping && this.#bodyLeft === 0 && (this.owed.peek() & INVENT) !== 0) this.#invent();
  }

  #finish(buffer: Buffer, from: number, to: number): void {
    if (this.guard.state === GUARD_HOLDING) {
      toClient.drainTo(this.guard.back);
      this.guard.back.add(buffer, from, to);
    } else toClient.finish(buffer, from, to, this.#transport);
  }

  #guarded(verdict: number, type: number, length: number): number {
    if (verdict === BROKEN) return verdict;
    if (this.guard.state === GUARD_RETRY) return SKIP;
    if (verdict === SKIP) return SKIP;
    return this.guard.passes(type, length, this.lastError) ? FORWARD : DROP;
  }

  #afterReady(peer: ReplyPeer | null): void {
    if (peer !== null && !toClient.belowHighWater) this.#transport.pause();
    const done = this.done;
    const settled = this.settled;
    this.done = null;
    this.settled = false;
    if (done !== null) {
      const error = this.internalError;
      this.internalError = null;
      done.onDone(error);
    }
    // the callback may have sent something more: then a later ReadyForQuery settles
    if (settled && !this.broken && this.owed.length === 0) this.events.onReady(done !== null);
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
      this.break(lengthFault(length, this.maxLength));
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
    let verdict = this.message(held, 0, type, total);
    if (this.guard.state !== GUARD_OFF) verdict = this.#guarded(verdict, type, total);
    if (verdict === BROKEN) return n;
    if (verdict === DROP) toClient.discard();
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
    if (this.settled || this.done !== null) {
      if (peer !== null) this.#finish(buffer, 0, 0);
      this.#afterReady(peer);
      if (this.broken) return n;
      if (this.peer !== null) this.#begin(this.peer);
    }
    return pos;
  }

  /** The connection is of no use any more: what was right up to `to` still reaches the client, which may be half through it. */
  #end(peer: ReplyPeer | null, buffer: Buffer, from: number, to: number): void {
    if (this.guard.state !== GUARD_OFF) toClient.discard();
    else if (peer !== null) toClient.finish(buffer, from, to, this.#transport);
    this.events.onBroken(this.brokenBecause);
  }
}
