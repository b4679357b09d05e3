/**
 * Protocol-level prepared statements of one client in transaction and statement mode (pgbouncer.md §13,
 * SESSION-STATE.md): its names map to proxy-wide statements; messages are rewritten into the batch that leaves for
 * the server, injected Parses included, so that all of it is one write.
 */

import type { Counters } from '../control/port.ts';
import type { OutBuffer } from '../net/out-buffer.ts';
import {
  INVENT,
  OWED_BIND,
  OWED_CLOSE,
  OWED_DESCRIBE,
  OWED_PARSE,
  SWALLOW,
  SWALLOW_OK,
} from '../server/owed-replies.ts';
import type { ServerConnection } from '../server/server-connection.ts';
import type { Statement, StatementRegistry } from '../server/statements.ts';
import { TX_FAILED } from '../wire/codes.ts';

/**
 * Stands in for a name that the client never prepared. No server has it, so PostgreSQL answers 26000 as it would
 * without a pooler, and drivers that re-prepare on 26000 recover.
 */
const MISSING_PREFIX = 'PGCONCIERGE_missing:';

export class PreparedNames {
  readonly #registry: StatementRegistry;
  readonly #names = new Map<string, Statement>();
  /** What was looked up last: clients run one statement again and again. */
  #lastName = '';
  #last: Statement | null = null;

  constructor(registry: StatementRegistry) {
    this.#registry = registry;
  }

  /** The statement that a name means; null = none. */
  find(name: string): Statement | null {
    return this.#names.get(name) ?? null;
  }

  /** The statement whose name stands in [from, to); null = none. */
  findAt(buffer: Buffer, from: number, to: number): Statement | null {
    if (this.#last !== null && sameText(this.#lastName, buffer, from, to)) return this.#last;
    const name = buffer.latin1Slice(from, to);
    const statement = this.#names.get(name) ?? null;
    this.#lastName = name;
    this.#last = statement;
    return statement;
  }

  /** A Parse that will be sent again frees its name, so that it is not refused as a second one. */
  undo(name: string): void {
    const statement = this.#names.get(name);
    if (statement !== undefined) this.lost(name, statement);
  }

  /** A Parse that the proxy has answered itself: its statement is known from now on, no server has it. */
  learn(name: string, rest: Buffer): void {
    if (!this.#names.has(name)) this.#set(name, this.#registry.acquire(rest));
  }

  get size(): number {
    return this.#names.size;
  }

  /**
   * A named Parse, whole in [pos, end). Writes what the server needs (nothing, if it knows the statement) and notes
   * the reply that is owed.
   */
  parse(
    buffer: Buffer,
    pos: number,
    end: number,
    server: ServerConnection,
    max: number,
    out: OutBuffer,
    counters: Counters,
  ): boolean {
    const nul = buffer.indexOf(0, pos + 5);
    if (nul < 0 || nul >= end) return false;
    const name = buffer.latin1Slice(pos + 5, nul);
    const rest = buffer.subarray(nul + 1, end);
    counters.clientParses += 1;
    const live = this.#names.get(name);
    if (live !== undefined) {
      // PostgreSQL refuses a live name (42P05); it does so for the shared name just the same
      this.#ensure(server, live, max, out, counters);
      this.#rename(buffer, pos, pos + 5, nul, end, live.name, out);
      out.add(buffer, nul, end, null);
      server.replies.owed.push(OWED_PARSE, null);
      return true;
    }
    const statement = this.#registry.acquire(rest);
    this.#set(name, statement);
    const owed = server.replies.owed;
    if (server.statements.touch(statement)) {
      if (owed.readies === 0 && server.replies.status !== TX_FAILED) {
        owed.push(OWED_PARSE | INVENT, { internal: false, statement, clientName: name });
        return true;
      }
      // an aborted transaction refuses a Parse (25P02), and whether it is aborted the server knows best
      this.#evict(server, statement, out);
    }
    this.#send(server, statement, name, OWED_PARSE, max, out, counters);
    return true;
  }

  /**
   * A Bind with a statement name in [nameAt, nul). Everything up to the name's NUL is written renamed; the caller
   * forwards the bytes from `nul` on.
   */
  bind(
    buffer: Buffer,
    pos: number,
    nameAt: number,
    nul: number,
    end: number,
    server: ServerConnection,
    max: number,
    out: OutBuffer,
    counters: Counters,
  ): void {
    const name = this.#onServer(buffer, nameAt, nul, server, max, out, counters);
    this.#rename(buffer, pos, nameAt, nul, end, name, out);
    server.replies.owed.push(OWED_BIND, null);
  }

  /** A Describe of a named statement, whole in [pos, end). */
  describe(
    buffer: Buffer,
    pos: number,
    end: number,
    server: ServerConnection,
    max: number,
    out: OutBuffer,
    counters: Counters,
  ): void {
    const name = this.#onServer(buffer, pos + 6, end - 1, server, max, out, counters);
    this.#rename(buffer, pos, pos + 6, end - 1, end, name, out);
    out.add(buffer, end - 1, end, null);
    server.replies.owed.push(OWED_DESCRIBE, null);
  }

  /** A Close of a named statement: never reaches a server, which is `null` or owes the answers before this one. */
  close(name: string, server: ServerConnection | null): void {
    const statement = this.#names.get(name);
    if (statement !== undefined) {
      this.#delete(name);
      this.#registry.release(statement);
    }
    if (server === null) return;
    const ticket = statement === undefined ? null : { internal: false as const, statement, clientName: name };
    server.replies.owed.push(OWED_CLOSE | INVENT, ticket);
  }

  /** The Parse of `name` failed. */
  lost(name: string, statement: Statement): void {
    if (this.#names.get(name) !== statement) return;
    this.#delete(name);
    this.#registry.release(statement);
  }

  /** The Close of `name` was skipped by a server that was skipping to the next Sync. */
  restore(name: string, statement: Statement): void {
    const now = this.#names.get(name);
    if (now === statement) return;
    if (now !== undefined) this.#registry.release(now);
    this.#registry.addUse(statement);
    this.#set(name, statement);
  }

  /** Forgets all names (DISCARD ALL, DEALLOCATE ALL, disconnect). */
  clear(): void {
    for (const statement of this.#names.values()) this.#registry.release(statement);
    this.#names.clear();
    this.#last = null;
  }

  #set(name: string, statement: Statement): void {
    this.#names.set(name, statement);
    this.#last = null;
  }

  #delete(name: string): void {
    this.#names.delete(name);
    this.#last = null;
  }

  /** The name on the server of the client's statement, which is Parsed there first when the server lacks it. */
  #onServer(
    buffer: Buffer,
    from: number,
    to: number,
    server: ServerConnection,
    max: number,
    out: OutBuffer,
    counters: Counters,
  ): Buffer {
    const statement = this.findAt(buffer, from, to);
    if (statement === null) return Buffer.from(MISSING_PREFIX + buffer.latin1Slice(from, to), 'latin1');
    this.#ensure(server, statement, max, out, counters);
    return statement.name;
  }

  #ensure(
    server: ServerConnection,
    statement: Statement,
    max: number,
    out: OutBuffer,
    counters: Counters,
  ): void {
    if (server.statements.touch(statement)) return;
    this.#send(server, statement, null, OWED_PARSE | SWALLOW_OK, max, out, counters);
  }

  #send(
    server: ServerConnection,
    statement: Statement,
    clientName: string | null,
    item: number,
    max: number,
    out: OutBuffer,
    counters: Counters,
  ): void {
    const owed = server.replies.owed;
    server.statements.add(statement);
    // more than one when max_prepared_statements has become smaller
    for (
      let victim = server.statements.victim(max);
      victim !== null;
      victim = server.statements.victim(max)
    ) {
      this.#evict(server, victim, out);
    }
    counters.serverParses += 1;
    out.add(statement.parseMessage, 0, statement.parseMessage.length, null);
    owed.push(item, { internal: false, statement, clientName });
  }

  #evict(server: ServerConnection, statement: Statement, out: OutBuffer): void {
    server.statements.remove(statement);
    out.add(statement.closeMessage, 0, statement.closeMessage.length, null);
    server.replies.owed.push(OWED_CLOSE | SWALLOW, { internal: false, statement, clientName: null });
  }

  /** Writes the message [pos, nul) with the name in [nameAt, nul) replaced and the length corrected. */
  #rename(
    buffer: Buffer,
    pos: number,
    nameAt: number,
    nul: number,
    end: number,
    name: Buffer,
    out: OutBuffer,
  ): void {
    const head = out.reserve(nameAt - pos + name.length);
    const at = head.at;
    buffer.copy(head.buffer, at, pos, nameAt);
    name.copy(head.buffer, at + nameAt - pos);
    head.buffer.writeUInt32BE(end - pos - 1 - (nul - nameAt) + name.length, at + 1);
  }
}

/** Bytes [from, to) spell `text` (bytes as characters). */
function sameText(text: string, buffer: Buffer, from: number, to: number): boolean {
  if (to - from !== text.length) return false;
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) !== buffer[from + i]) return false;
  return true;
}
