/**
 * Messages of a client that has no server (protocol-flow): what needs one, what is answered or dropped without, and
 * what must be read further first. request-stream.ts extends this.
 */
import { type ErrorCode, PoolerError } from '../util/errors.ts';
import { CLOSE_COMPLETE } from '../wire/backend.ts';
import * as c from '../wire/codes.ts';
import { nulIn } from '../wire/names.ts';
import { mayForgetStatements } from './forgets-statements.ts';
import { ready } from './own-answers.ts';
import type { RequestHost } from './request-host.ts';
import { DONE, FORWARD, HOLD, STOP } from './request-table.ts';

/** A Bind or Describe whose names do not end within this many bytes is refused. */
export const NAME_LIMIT = 64 * 1024;

export abstract class UnlinkedRequests {
  /** Messages are thrown away up to the next Sync (a queued batch was canceled). */
  discarding = false;
  protected readonly host: RequestHost;
  /** Where the portal name of the Bind that was looked at last ends. */
  protected portalEnd = 0;
  /** A held message is looked at again when this many bytes of it are there (it need not be whole). */
  protected wholeBelow = Number.MAX_SAFE_INTEGER;

  constructor(host: RequestHost) {
    this.host = host;
  }

  /** Forgets what was gathered for the server. */
  protected abstract forgetTurn(): void;

  protected refuse(code: ErrorCode, argument = ''): never {
    this.forgetTurn();
    throw new PoolerError(code, argument);
  }

  /** A message of a client without a server: FORWARD = it needs one. */
  protected unlinked(buffer: Buffer, pos: number, type: number, end: number, n: number): number {
    const host = this.host;
    if (this.discarding && type !== c.F_TERMINATE) {
      if (type === c.F_SYNC) {
        this.discarding = false;
        this.say(ready(host.idleStatus));
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
        this.say(ready(host.idleStatus));
        return DONE;
      case c.F_CLOSE:
        if (end - pos > NAME_LIMIT) this.refuse('failedToParse');
        if (end > n) return this.need(end - pos);
        if (host.maxPrepared === 0 || buffer[pos + 5] !== 0x53 || buffer[pos + 6] === 0) return FORWARD;
        host.prepared.close(buffer.latin1Slice(pos + 6, end - 1), null);
        this.say(CLOSE_COMPLETE);
        return DONE;
      case c.F_QUERY:
        if (host.disablePqexec) this.refuse('pqexecDisallowed');
        // the router of a routed client waits for all of it
        return host.router === null && host.maxPrepared > 0 && mayForgetStatements(pos, end, n)
          ? this.need(end - pos)
          : FORWARD;
      // a server is taken only when the message can go on at once: a slow sender must hold none
      case c.F_PARSE:
        host.watch?.see(buffer, pos + 5, end, n);
        if (host.maxPrepared === 0) return FORWARD;
        if (n - pos < 6) return this.need(6);
        return buffer[pos + 5] !== 0 && end > n ? this.need(end - pos) : FORWARD;
      case c.F_BIND:
        // of a routed client the whole batch is looked at anyway
        return host.router === null && host.maxPrepared > 0 && this.bindNames(buffer, pos, end, n) < 0
          ? this.need(n - pos + 1)
          : FORWARD;
      case c.F_DESCRIBE:
        if (end - pos > NAME_LIMIT) this.refuse('failedToParse');
        return end > n ? this.need(end - pos) : FORWARD;
      case c.F_EXECUTE:
      case c.F_FUNCTION_CALL:
        return FORWARD;
      default:
        return this.refuse('unknownPacket');
    }
  }

  /** Where the NUL of a Bind's statement name stands; -1 = not read yet. The name starts after `#portalEnd`. */
  protected bindNames(buffer: Buffer, pos: number, end: number, n: number): number {
    const to = Math.min(end, n);
    const portalEnd = nulIn(buffer, pos + 5, to);
    this.portalEnd = portalEnd;
    const nul = portalEnd < 0 ? -1 : nulIn(buffer, portalEnd + 1, to);
    if (nul >= 0) return nul;
    if (end <= n || n - pos > NAME_LIMIT) this.refuse('failedToParse');
    return -1;
  }

  /** An answer of the proxy's own. A client that does not read its answers is not read either. */
  protected say(bytes: Buffer): void {
    if (!this.host.transport.writeOwned(bytes)) this.host.transport.pause();
  }

  protected need(bytes: number): number {
    this.wholeBelow = bytes;
    return HOLD;
  }
}
