/**
 * Messages of one logged-in client: finds their boundaries in what was read, notes on the server's queue which
 * answers are owed, and forwards the bytes (protocol-flow). Only messages that name prepared statements are
 * rewritten, and only in transaction and statement mode. Nothing is allocated for a message that passes through.
 */
import { OutBuffer } from '../net/out-buffer.ts';
import {
  FORGETS,
  OWED_BIND,
  OWED_CLOSE,
  OWED_COPY_END,
  OWED_DESCRIBE,
  OWED_EXECUTE,
  OWED_FUNCTION,
  OWED_PARSE,
  OWED_QUERY,
  OWED_SYNC,
} from '../server/owed-replies.ts';
import { GUARD_OFF } from '../server/reply-guard.ts';
import type { ServerConnection } from '../server/server-connection.ts';
import * as c from '../wire/codes.ts';
import { HeldBytes } from '../wire/held-bytes.ts';
import { forgetsStatements, mayForgetStatements } from './forgets-statements.ts';
import { mayBeOwn, mentionsOwn } from './linked-own.ts';
import { ANSWERED, MORE, WAITS } from './own-units.ts';
import { ASKS, DONE, FORWARD, HOLD, STOP, WAIT } from './request-table.ts';
import { NAME_LIMIT, UnlinkedRequests } from './request-unlinked.ts';

/** One turn's pieces for one server; shared by all clients, always flushed before control goes elsewhere. */
const toServer = new OutBuffer();

export class RequestStream extends UnlinkedRequests {
  /** Bytes of the current message's body still to come, when it is not held. */
  bodyLeft = 0;
  /** What is held waits for answers to earlier messages; `resumeHeld` goes on. */
  awaitsStatements = false;
  /** What is held waits for the answer to the unit before it; `resumeHeld` goes on. */
  awaitsUnit = false;
  #bodyForward = false;
  /** Start of a message that must be seen whole, or what waits for a server. */
  readonly #held = new HeldBytes();
  /** The last message belongs to a batch whose Sync is still to come. */
  #open = false;
  /** `acquire` has counted the request that comes next. */
  #counted = false;
  /** Behind the batch that was answered by the proxy, 0 = none was. */
  #doneAt = 0;
  /** Where forwarding goes on inside the current message (after a rewritten head). */
  #resumeAt = -1;

  protected forgetTurn(): void {
    toServer.discard();
  }

  /** The last message belongs to a batch whose Sync is still to come. */
  get batchOpen(): boolean {
    return this.#open;
  }

  /** Bytes held for later. */
  get pending(): number {
    return this.#held.length;
  }

  /** More input while a server is awaited: kept in order. */
  hold(buffer: Buffer, from: number, to: number): void {
    this.#held.add(buffer, from, to);
  }

  /** A server has been assigned: goes on with what was held. */
  resumeHeld(): void {
    const held = this.#held.buffer;
    const n = this.#held.length;
    this.#held.clear();
    this.awaitsStatements = false;
    this.awaitsUnit = false;
    this.#walk(held, n);
  }

  /** The unit will be sent again, before what is held; `resumeHeld` does it. */
  replay(unit: Buffer): void {
    const rest = Buffer.from(this.#held.buffer.subarray(0, this.#held.length));
    this.#held.clear();
    this.#held.add(unit, 0, unit.length);
    this.#held.add(rest, 0, rest.length);
  }

  /** Throws the first held message away; what of it has not been read yet is skipped when it comes. */
  dropHeldMessage(): void {
    const total = this.#held.buffer.readUInt32BE(1) + 1;
    const drop = Math.min(total, this.#held.length);
    this.#held.drop(drop);
    this.bodyLeft = total - drop;
    this.#bodyForward = false;
  }

  /** The first held message's type, 0 = none. */
  heldType(): number {
    return this.#held.length === 0 ? 0 : (this.#held.buffer[0] as number);
  }

  /** One chunk from the client. */
  onData(buffer: Buffer, n: number): void {
    if (this.#held.length === 0) {
      this.#walk(buffer, n);
      return;
    }
    this.hold(buffer, 0, n);
    if (this.awaitsStatements || this.awaitsUnit) {
      this.host.transport.pause();
      return;
    }
    if (this.host.router?.stillOpen(this.#held.buffer, this.#held.length) === true) return;
    // a large message grows chunk by chunk: look again only when it can be whole
    const { buffer: held, length } = this.#held;
    if (length >= 5 && length >= Math.min(held.readUInt32BE(1) + 1, this.wholeBelow)) this.resumeHeld();
  }

  #walk(buffer: Buffer, n: number): void {
    const host = this.host;
    let server = host.server;
    if (server !== null) {
      toServer.begin(server.transport);
      this.#addSetup();
    }
    let pos = 0;
    let from = 0;
    let completed = false;
    if (this.bodyLeft > 0) {
      pos = Math.min(this.bodyLeft, n);
      this.bodyLeft -= pos;
      if (!this.#bodyForward || server === null) from = pos;
      completed = this.bodyLeft === 0;
    }
    this.wholeBelow = Number.MAX_SAFE_INTEGER;
    while (pos < n) {
      if (n - pos < 5) {
        if (server !== null) toServer.add(buffer, from, pos, this.host.transport);
        this.hold(buffer, pos, n);
        this.wholeBelow = 5;
        from = n;
        break;
      }
      const type = buffer[pos] as number;
      const length = buffer.readUInt32BE(pos + 1);
      if (length < 4) this.refuse('badPacketHeader', buffer.toString('hex', pos, pos + 5));
      if (length > host.maxPacketSize) this.refuse('packetTooLarge');
      let end = pos + 1 + length;
      let verdict: number;
      if (server === null) {
        verdict = this.unlinked(buffer, pos, type, end, n);
        if (verdict === FORWARD && host.router !== null) {
          verdict = this.#route(buffer, pos, type, end, n);
          if (verdict === DONE) end = host.router.at;
        }
        if (verdict === FORWARD) {
          server = host.acquire();
          this.#counted = true;
          if (server === null) {
            verdict = WAIT;
          } else {
            toServer.begin(server.transport);
            this.#addSetup();
            from = pos;
          }
        }
      } else {
        verdict = FORWARD;
      }
      if (verdict === FORWARD && server !== null)
        verdict = this.#linked(buffer, pos, type, end, n, from, server);
      if (verdict === DONE) {
        if (this.#doneAt > 0) end = this.#doneAt;
        this.#doneAt = 0;
        from = this.#resumeAt >= 0 ? this.#resumeAt : Math.min(end, n);
        this.#resumeAt = -1;
      } else if (verdict === HOLD || verdict === WAIT) {
        if (server !== null) toServer.add(buffer, from, pos, this.host.transport);
        this.hold(buffer, pos, n);
        from = n;
        break;
      } else if (verdict === STOP) {
        return;
      }
      if (end > n) {
        this.bodyLeft = end - n;
        this.#bodyForward = from < n;
        break;
      }
      pos = end;
    }
    if (server !== null) this.#finish(server, buffer, from, n);
    if (completed) host.onMessageComplete();
  }

  /** Asks where the unit that begins here goes. */
  #route(buffer: Buffer, pos: number, type: number, end: number, n: number): number {
    const router = this.host.router;
    const said = router === null ? 0 : router.begin(buffer, pos, type, end, n);
    if (router === null || said === 0) return FORWARD;
    if (said === MORE) return this.need(router.at);
    if (said === ANSWERED) return DONE;
    if (said === WAITS) this.host.awaitCluster();
    return WAIT;
  }

  #addSetup(): void {
    const { setup } = this.host;
    if (setup === null) return;
    this.host.setup = null;
    toServer.add(setup, 0, setup.length, null);
  }

  #finish(server: ServerConnection, buffer: Buffer, from: number, n: number): void {
    toServer.finish(buffer, from, n, this.host.transport);
    server.replies.flushInvented();
    if (!toServer.belowHighWater) this.host.transport.pause();
  }

  /**
   * The message names a statement, and a Parse or Close of an earlier batch has no answer yet: if it fails, this name
   * means something else. Reading stops until the answer is there; the server has the Sync, so it will come.
   */
  #awaitStatements(): number {
    this.awaitsStatements = true;
    this.host.transport.pause();
    return HOLD;
  }

  /** The next unit may have to go elsewhere, and this one may have to be sent again. */
  #awaitUnit(): number {
    this.awaitsUnit = true;
    this.host.transport.pause();
    return HOLD;
  }

  /** A message of a client with a server; `from` = start of what has not been handed on yet. */
  #linked(
    buffer: Buffer,
    pos: number,
    type: number,
    end: number,
    n: number,
    from: number,
    server: ServerConnection,
  ): number {
    const host = this.host;
    const owed = server.replies.owed;
    const asks = ASKS[type] as number;
    const inside = this.#open;
    // behind a unit that may be sent again nothing goes to this server, not even what is out of place there
    const waits = asks > 0 || (server.replies.guard.state !== GUARD_OFF && type !== c.F_TERMINATE);
    if (waits && owed.readies > 0 && host.oneUnitAtATime) return this.#awaitUnit();
    // what comes behind it must know
    if (type === c.F_QUERY && host.maxPrepared > 0 && mayForgetStatements(pos, end, n))
      return this.need(end - pos);
    if (asks > 0) {
      if (!this.#open && !this.#counted && owed.length === 0) host.onRequest();
      this.#open = asks === 2;
      this.#counted = false;
    }
    const max = host.maxPrepared;
    switch (type) {
      case c.F_QUERY:
        if (host.disablePqexec) this.refuse('pqexecDisallowed');
        if (host.router !== null && !inside && end <= n && mayBeOwn(buffer, pos, end)) {
          if (owed.readies > 0) return this.#awaitUnit();
          if (owed.length === 0 && host.router.answerOwn(buffer, pos, end, server.replies.status)) {
            toServer.add(buffer, from, pos, this.host.transport);
            return DONE;
          }
        }
        host.watch?.see(buffer, pos + 5, end, n);
        owed.push(
          max > 0 && forgetsStatements(buffer, pos, end, n) ? OWED_QUERY | FORGETS : OWED_QUERY,
          null,
        );
        return FORWARD;
      case c.F_PARSE:
        if (host.router !== null && !inside && end <= n && mentionsOwn(buffer, pos, end)) {
          this.#open = false;
          if (owed.readies > 0) return this.#awaitUnit();
          const verdict = owed.length === 0 ? this.#ownBatch(buffer, pos, n, from, server) : FORWARD;
          if (verdict !== FORWARD) return verdict;
          this.#open = true;
        }
        if (max > 0) {
          if (n - pos < 6) return this.need(6);
          if (buffer[pos + 5] !== 0) {
            if (end > n) return this.need(end - pos);
            if (owed.uncertain) return this.#awaitStatements();
            toServer.add(buffer, from, pos, this.host.transport);
            if (!host.prepared.parse(buffer, pos, end, server, max, toServer, host.counters)) {
              this.refuse('failedToParse');
            }
            return DONE;
          }
        }
        owed.push(OWED_PARSE, null);
        return FORWARD;
      case c.F_BIND:
        return this.#bind(buffer, pos, end, n, from, server);
      case c.F_DESCRIBE:
      case c.F_CLOSE:
        if (end - pos > NAME_LIMIT) this.refuse('failedToParse');
        if (end > n) return this.need(end - pos);
        if (max > 0 && buffer[pos + 5] === 0x53 && buffer[pos + 6] !== 0) {
          if (buffer[end - 1] !== 0) this.refuse('failedToParse');
          if (owed.uncertain) return this.#awaitStatements();
          toServer.add(buffer, from, pos, this.host.transport);
          if (type === c.F_CLOSE) host.prepared.close(buffer.latin1Slice(pos + 6, end - 1), server);
          else host.prepared.describe(buffer, pos, end, server, max, toServer, host.counters);
          return DONE;
        }
        owed.push(type === c.F_CLOSE ? OWED_CLOSE : OWED_DESCRIBE, null);
        return FORWARD;
      case c.F_EXECUTE:
        owed.push(OWED_EXECUTE, null);
        return FORWARD;
      case c.F_SYNC:
        // in copy-in mode the server reads Sync and ignores it
        if (server.replies.copyIn) owed.droppedSyncs += 1;
        else owed.push(OWED_SYNC, null);
        return FORWARD;
      case c.F_FUNCTION_CALL:
        owed.push(OWED_FUNCTION, null);
        return FORWARD;
      case c.F_COPY_DONE:
      case c.F_COPY_FAIL:
        server.replies.copyIn = false;
        if (owed.length > 0) owed.push(OWED_COPY_END, null);
        return FORWARD;
      case c.F_COPY_DATA:
      case c.F_FLUSH:
        return FORWARD;
      case c.F_TERMINATE:
        toServer.finish(buffer, from, pos, this.host.transport);
        host.onTerminate();
        return STOP;
      default:
        return this.refuse('unknownPacket');
    }
  }

  /** A batch of SET or SHOW of the proxy's own settings is answered; FORWARD = it is none. */
  #ownBatch(buffer: Buffer, pos: number, n: number, from: number, server: ServerConnection): number {
    const { router } = this.host;
    const at = router === null ? 0 : router.answerOwnBatch(buffer, pos, n, server.replies.status);
    if (at === 0) return FORWARD;
    if (at < 0) return this.need(n - pos + 1);
    toServer.add(buffer, from, pos, this.host.transport);
    this.#doneAt = at;
    return DONE;
  }

  #bind(buffer: Buffer, pos: number, end: number, n: number, from: number, server: ServerConnection): number {
    const host = this.host;
    host.counters.binds += 1;
    if (host.maxPrepared === 0) {
      server.replies.owed.push(OWED_BIND, null);
      return FORWARD;
    }
    const nul = this.bindNames(buffer, pos, end, n);
    const nameAt = this.portalEnd + 1;
    if (nul < 0) {
      host.counters.binds -= 1;
      return this.need(n - pos + 1);
    }
    if (nul === nameAt) {
      server.replies.owed.push(OWED_BIND, null);
      return FORWARD;
    }
    if (server.replies.owed.uncertain) {
      host.counters.binds -= 1;
      return this.#awaitStatements();
    }
    toServer.add(buffer, from, pos, this.host.transport);
    host.prepared.bind(buffer, pos, nameAt, nul, end, server, host.maxPrepared, toServer, host.counters);
    this.#resumeAt = nul;
    return DONE;
  }
}
