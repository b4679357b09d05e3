/**
 * The queue of replies that PostgreSQL still owes on one server connection (protocol-flow, "Pipelining").
 * Each message that expects an answer is noted when it is sent; answers take them off in order. An item may be
 * swallowed (the answer to what the proxy injected) or invented (an answer that the proxy gives itself, in order).
 * A ring of bytes and a ring of references: nothing is allocated per message.
 */
import type { Statement } from './statements.ts';

export const OWED_PARSE = 1;
export const OWED_BIND = 2;
export const OWED_DESCRIBE = 3;
export const OWED_EXECUTE = 4;
export const OWED_CLOSE = 5;
export const OWED_SYNC = 6;
export const OWED_QUERY = 7;
export const OWED_FUNCTION = 8;
/** CopyDone / CopyFail: has no answer of its own, marks where copy-in ends among the Syncs. */
export const OWED_COPY_END = 9;
export const KIND = 0x0f;

/** The success answer is not forwarded, an error is (an injected Parse: its error is the client's own). */
export const SWALLOW_OK = 0x10;
/** Neither answer is forwarded (SET, reset, check, eviction). */
export const SWALLOW = 0x30;
/** Nothing was sent: the proxy answers this itself when its turn comes. */
export const INVENT = 0x40;
/** A query that makes the server forget its prepared statements, if it succeeds. */
export const FORGETS = 0x80;

/** A Parse or Close, sent or answered by the proxy: what to undo when the server skips or refuses it. */
export interface StatementTicket {
  readonly internal: false;
  readonly statement: Statement;
  /** The client's own name when the message was its own, null when the proxy put it in. */
  readonly clientName: string | null;
}

/** What an item may carry. */
export type OwedReference = StatementTicket | InternalQuery | null;

/** A query that the proxy runs for itself on a server. Rows arrive as raw DataRow bodies. */
export interface InternalQuery {
  readonly internal: true;
  onRow(body: Buffer): void;
  /** At ReadyForQuery; `error` is the message of the ErrorResponse, or null. */
  onDone(error: string | null): void;
}

function endsInReady(item: number): boolean {
  const kind = item & KIND;
  return kind === OWED_SYNC || kind === OWED_QUERY || kind === OWED_FUNCTION;
}

export class OwedReplies {
  #kinds = new Uint8Array(32);
  #references: OwedReference[] = new Array(32).fill(null);
  #head = 0;
  length = 0;
  /** Syncs taken off by dropSyncsOfCopy for the copy that is running. */
  droppedSyncs = 0;
  /** ReadyForQuerys that the client is owed. */
  readies = 0;
  /** Tickets in the queue. */
  #tickets = 0;
  /**
   * Tickets before a Sync in the queue. While there are some, an error may still take back what has been noted about
   * statements, and what comes after that Sync would be served all the same: whoever names a statement must wait.
   */
  unsure = 0;

  /** Queries in the queue that make the server forget statements. */
  #forgets = 0;

  /** Which statements exist is known only when some of these answers are here. */
  get uncertain(): boolean {
    return this.unsure > 0 || this.#forgets > 0;
  }

  /** There is a Parse among them. */
  get parses(): boolean {
    for (let i = 0; i < this.length; i++) if ((this.at(i) & KIND) === OWED_PARSE) return true;
    return false;
  }

  /** Appends an item (kind | flags). */
  push(item: number, reference: OwedReference): void {
    if (this.length === this.#kinds.length) this.#grow();
    const at = (this.#head + this.length) & (this.#kinds.length - 1);
    this.#kinds[at] = item;
    if (reference !== null) {
      this.#references[at] = reference;
      if (!reference.internal) this.#tickets += 1;
    } else if (endsInReady(item)) {
      this.readies += 1;
      if ((item & FORGETS) !== 0) this.#forgets += 1;
      if ((item & KIND) === OWED_SYNC) this.unsure = this.#tickets;
    }
    this.length += 1;
  }

  /** The oldest item (kind | flags), or 0 when nothing is owed. */
  peek(): number {
    return this.length === 0 ? 0 : (this.#kinds[this.#head] as number);
  }

  /** The oldest item's reference. */
  reference(): OwedReference {
    return this.length === 0 ? null : (this.#references[this.#head] ?? null);
  }

  /** The proxy's own query that the oldest item answers, else null. */
  internal(): InternalQuery | null {
    const reference = this.reference();
    return reference?.internal === true ? reference : null;
  }

  /** Takes the oldest item off. */
  pop(): void {
    const at = this.#head;
    const reference = this.#references[at] ?? null;
    if (reference !== null) {
      this.#references[at] = null;
      if (!reference.internal) {
        this.#tickets -= 1;
        if (this.unsure > 0) this.unsure -= 1;
      }
    } else if (endsInReady(this.#kinds[at] as number)) {
      this.readies -= 1;
      if (((this.#kinds[at] as number) & FORGETS) !== 0) this.#forgets -= 1;
    }
    this.#head = (at + 1) & (this.#kinds.length - 1);
    this.length -= 1;
  }

  /** Kind and flags of the i-th oldest item. */
  at(i: number): number {
    return this.#kinds[(this.#head + i) & (this.#kinds.length - 1)] as number;
  }

  /** Reference of the i-th oldest item. */
  referenceAt(i: number): OwedReference {
    return this.#references[(this.#head + i) & (this.#kinds.length - 1)] ?? null;
  }

  /**
   * The server has entered copy-in for the oldest item (an Execute): it ignores every Sync until the copy ends
   * (protocol-flow, "COPY Operations"), so those before the COPY_END mark are owed no answer.
   * Returns true when the end of the copy data has been sent already.
   */
  dropSyncsOfCopy(): boolean {
    const mask = this.#kinds.length - 1;
    let kept = 1;
    let ended = false;
    let tickets = 0;
    this.droppedSyncs = 0;
    this.unsure = 0;
    for (let i = 1; i < this.length; i++) {
      const from = (this.#head + i) & mask;
      const item = this.#kinds[from] as number;
      if (!ended && (item & KIND) === OWED_COPY_END) ended = true;
      else if (!ended && (item & KIND) === OWED_SYNC) {
        this.droppedSyncs += 1;
        this.readies -= 1;
        continue;
      }
      const to = (this.#head + kept) & mask;
      this.#kinds[to] = item;
      const reference = this.#references[from] ?? null;
      this.#references[to] = reference;
      if (reference !== null && !reference.internal) tickets += 1;
      else if ((item & KIND) === OWED_SYNC) this.unsure = tickets;
      kept += 1;
    }
    for (let i = kept; i < this.length; i++) this.#references[(this.#head + i) & mask] = null;
    this.length = kept;
    return ended;
  }

  /** A copy of the oldest item (a simple query, which may have another one) is over: so is the mark of its end. */
  dropCopyEnd(): void {
    if (this.length < 2 || (this.at(1) & KIND) !== OWED_COPY_END) return;
    const mask = this.#kinds.length - 1;
    const next = (this.#head + 1) & mask;
    this.#kinds[next] = this.#kinds[this.#head] as number;
    this.#references[next] = this.#references[this.#head] ?? null;
    this.#references[this.#head] = null;
    this.#head = next;
    this.length -= 1;
  }

  clear(): void {
    while (this.length > 0) this.pop();
  }

  #grow(): void {
    const size = this.#kinds.length;
    const kinds = new Uint8Array(size * 2);
    const references: OwedReference[] = new Array(size * 2).fill(null);
    for (let i = 0; i < this.length; i++) {
      const at = (this.#head + i) & (size - 1);
      kinds[i] = this.#kinds[at] as number;
      references[i] = this.#references[at] ?? null;
    }
    this.#kinds = kinds;
    this.#references = references;
    this.#head = 0;
  }
}
