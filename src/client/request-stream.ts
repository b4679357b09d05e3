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
import type { ServerConnection } from '../server/server-connection.ts';
import { type ErrorCode, PoolerError } from '../util/errors.ts';
import { CLOSE_COMPLETE, readyForQuery } from '../wire/backend.ts';
import * as c from '../wire/codes.ts';
import { HeldBytes } from '../wire/held-bytes.ts';
import { forgetsStatements } from './forgets-statements.ts';
import type { RequestHost } from './request-host.ts';
import { ASKS, DONE, FORWARD, HOLD, STOP, WAIT } from './request-table.ts';

const READY_IDLE = readyForQuery(c.TX_IDLE);
/** A Bind or Describe whose names do not end within this many bytes is refused. */
const NAME_LIMIT = 64 * 1024;

/** One turn's pieces for one server; shared by all clients, always flushed before control goes elsewhere. */
const toServer = new OutBuffer();

export class RequestStream {
  /** Bytes of the current message's body still to come, when it is not held. */
  bodyLeft = 0;
  /** Messages are thrown away up to the next Sync (a queued batch was canceled). */
  discarding = false;
  /** What is held waits for answers to earlier messages; `resumeHeld` goes on. */
  awaitsStatements = false;
  readonly #host: RequestHost;
  #bodyForward = false;
  /** Start of a message that must be seen whole, or what waits for a server. */
  readonly #held = new HeldBytes();
  #portalEnd = 0;
  /** The last message belongs to a batch whose Sync is still to come. */
  #open = false;
  /** `acquire` has counted the request that comes next. */
  #counted = false;
  /** Where forwarding goes on inside the current message (after a rewritten head). */
  #resumeAt = -1;

  constructor(host: RequestHost) {
    this.#host = host;
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
    this.#walk(held, n);
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
    if (this.awaitsStatements) {
      this.#host.transport.pause();
      return;
    }
    // a large message grows chunk by chunk: look again only when it can be whole
    const { buffer: held, length } = this.#held;
    if (length >= 5 && length >= Math.min(held.readUInt32BE(1) + 1, this.#wholeBelow)) this.resumeHeld();
  }

  /** A held message is looked at again when this many bytes of it are there (it need not be whole). */
  #wholeBelow = Number.MAX_SAFE_INTEGER;

  #walk(buffer: Buffer, n: number): void {
    const host = this.#host;
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
    this.#wholeBelow = Number.MAX_SAFE_INTEGER;
    while (pos < n) {
      if (n - pos < 5) {
        if (server !== null) toServer.add(buffer, from, pos, this.#host.transport);
        this.hold(buffer, pos, n);
        this.#wholeBelow = 5;
        from = n;
        break;
      }
      const type = buffer[pos] as number;
      const length = buffer.readUInt32BE(pos + 1);
      if (length < 4) this.#refuse('badPacketHeader', buffer.toString('hex', pos, pos + 5));
      if (length > host.maxPacketSize) this.#refuse('packetTooLarge');
      const end = pos + 1 + length;
      let verdict: number;
      if (server === null) {
        verdict = this.#unlinked(buffer, pos, type, end, n);
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
        from = this.#resumeAt >= 0 ? this.#resumeAt : Math.min(end, n);
        this.#resumeAt = -1;
      } else if (verdict === HOLD || verdict === WAIT) {
        if (server !== null) toServer.add(buffer, from, pos, this.#host.transport);
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

  #addSetup(): void {
    const { setup } = this.#host;
    if (setup === null) return;
    this.#host.setup = null;
    toServer.add(setup, 0, setup.length, null);
  }

  #finish(server: ServerConnection, buffer: Buffer, from: number, n: number): void {
    toServer.finish(buffer, from, n, this.#host.transport);
    server.replies.flushInvented();
    if (!toServer.belowHighWater) this.#host.transport.pause();
  }

  #refuse(code: ErrorCode, argument = ''): never {
    toServer.discard();
    throw new PoolerError(code, argument);
  }

  /** A message of a client without a server: FORWARD = it needs one. */
  #unlinked(buffer: Buffer, pos: number, type: number, end: number, n: number): number {
    const host = this.#host;
    if (this.discarding && type !== c.F_TERMINATE) {
      if (type === c.F_SYNC) {
        this.discarding = false;
        this.#say(READY_IDLE);
      }
      return DONE;
    }
    switch (type) {
      case c.F_TERMINATE:
        host.onTerminate();
        return STOP;
      // what a client still sends of a COPY that the server has refused (pgbouncer.md §14)
      case c.F_COPY_DATA:
      case c.F_COPY_DONE:
      case c.F_COPY_FAIL:
      case c.F_FLUSH:
        return DONE;
      case c.F_SYNC:
        // nothing is outstanding: the answer needs no server
        this.#say(READY_IDLE);
        return DONE;
      case c.F_CLOSE:
        if (end - pos > NAME_LIMIT) this.#refuse('failedToParse');
        if (end > n) return this.#need(end - pos);
        if (host.maxPrepared === 0 || buffer[pos + 5] !== 0x53 || buffer[pos + 6] === 0) return FORWARD;
        host.prepared.close(buffer.latin1Slice(pos + 6, end - 1), null);
        this.#say(CLOSE_COMPLETE);
        return DONE;
      case c.F_QUERY:
        if (host.disablePqexec) this.#refuse('pqexecDisallowed');
        return FORWARD;
      // a server is taken only when the message can go on at once: a slow sender must hold none
      case c.F_PARSE:
        host.watch?.see(buffer, pos + 5, end, n);
        if (host.maxPrepared === 0) return FORWARD;
        if (n - pos < 6) return this.#need(6);
        return buffer[pos + 5] !== 0 && end > n ? this.#need(end - pos) : FORWARD;
      case c.F_BIND:
        return host.maxPrepared > 0 && this.#bindNames(buffer, pos, end, n) < 0
          ? this.#need(n - pos + 1)
          : FORWARD;
      case c.F_DESCRIBE:
        if (end - pos > NAME_LIMIT) this.#refuse('failedToParse');
        return end > n ? this.#need(end - pos) : FORWARD;
      case c.F_EXECUTE:
      case c.F_FUNCTION_CALL:
        return FORWARD;
      default:
        return this.#refuse('unknownPacket');
    }
  }

  /** Where the NUL of a Bind's statement name stands; -1 = not read yet. The name starts after `#portalEnd`. */
  #bindNames(buffer: Buffer, pos: number, end: number, n: number): number {
    const portalEnd = buffer.indexOf(0, pos + 5);
    this.#portalEnd = portalEnd;
    const nul = portalEnd < 0 || portalEnd + 1 >= n ? -1 : buffer.indexOf(0, portalEnd + 1);
    if (portalEnd >= 0 && nul >= 0 && nul < n && nul < end) return nul;
    if (end <= n || n - pos > NAME_LIMIT) this.#refuse('failedToParse');
    return -1;
  }

  /** An answer of the proxy's own. A client that does not read its answers is not read either. */
  #say(bytes: Buffer): void {
    if (!this.#host.transport.writeOwned(bytes)) this.#host.transport.pause();
  }

  #need(bytes: number): number {
    this.#wholeBelow = bytes;
    return HOLD;
  }

  /**
   * The message names a statement, and a Parse or Close of an earlier batch has no answer yet: if it fails, this name
   * means something else. Reading stops until the answer is there; the server has the Sync, so it will come.
   */
  #awaitStatements(): number {
    this.awaitsStatements = true;
    this.#host.transport.pause();
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
    const host = this.#host;
    const owed = server.replies.owed;
    const asks = ASKS[type] as number;
    if (asks > 0) {
      if (!this.#open && !this.#counted && owed.length === 0) host.onRequest();
      this.#open = asks === 2;
      this.#counted = false;
    }
    const max = host.maxPrepared;
    switch (type) {
      case c.F_QUERY:
        if (host.disablePqexec) this.#refuse('pqexecDisallowed');
        host.watch?.see(buffer, pos + 5, end, n);
        owed.push(
          max > 0 && forgetsStatements(buffer, pos, end, n) ? OWED_QUERY | FORGETS : OWED_QUERY,
          null,
        );
        return FORWARD;
      case c.F_PARSE:
        if (max > 0) {
          if (n - pos < 6) return this.#need(6);
          if (buffer[pos + 5] !== 0) {
            if (end > n) return this.#need(end - pos);
            if (owed.uncertain) return this.#awaitStatements();
            toServer.add(buffer, from, pos, this.#host.transport);
            if (!host.prepared.parse(buffer, pos, end, server, max, toServer, host.counters)) {
              this.#refuse('failedToParse');
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
        if (end - pos > NAME_LIMIT) this.#refuse('failedToParse');
        if (end > n) return this.#need(end - pos);
        if (max > 0 && buffer[pos + 5] === 0x53 && buffer[pos + 6] !== 0) {
          if (buffer[end - 1] !== 0) this.#refuse('failedToParse');
          if (owed.uncertain) return this.#awaitStatements();
          toServer.add(buffer, from, pos, this.#host.transport);
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
        toServer.finish(buffer, from, pos, this.#host.transport);
        host.onTerminate();
        return STOP;
      default:
        return this.#refuse('unknownPacket');
    }
  }

  #bind(buffer: Buffer, pos: number, end: number, n: number, from: number, server: ServerConnection): number {
    const host = this.#host;
    host.counters.binds += 1;
    if (host.maxPrepared === 0) {
      server.replies.owed.push(OWED_BIND, null);
      return FORWARD;
    }
    const nul = this.#bindNames(buffer, pos, end, n);
    const nameAt = this.#portalEnd + 1;
    if (nul < 0) {
      host.counters.binds -= 1;
      return this.#need(n - pos + 1);
    }
    if (nul === nameAt) {
      server.replies.owed.push(OWED_BIND, null);
      return FORWARD;
    }
    if (server.replies.owed.uncertain) {
      host.counters.binds -= 1;
      return this.#awaitStatements();
    }
    toServer.add(buffer, from, pos, this.#host.transport);
    host.prepared.bind(buffer, pos, nameAt, nul, end, server, host.maxPrepared, toServer, host.counters);
    this.#resumeAt = nul;
    return DONE;
  }
}
