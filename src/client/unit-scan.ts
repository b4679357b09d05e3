/**
 * An extended-protocol batch, looked at whole before any of it is sent (ROUTING.md "Unit of routing"): where it ends,
 * what its messages name. Framing only; the texts are judged by unit-router.ts. One object serves all clients: its
 * fields are good until the next scan.
 */
import * as c from '../wire/codes.ts';
import { nulIn } from '../wire/names.ts';
import { ASKS } from './request-table.ts';

export const SCAN_WHOLE = 0;
/** Its Sync has not been read yet. */
export const SCAN_MORE = 1;
/** Something in it is not for looking ahead. */
export const SCAN_OPEN = 2;
/** It has a Flush before its Sync: the client waits for the answers up to there. */
export const SCAN_FLUSH = 3;

/** Describe and Close: of a statement. */
const STATEMENT = 0x53;

/** What of a batch names a statement, in order. */
export interface BatchItem {
  /** The text of a Parse, or the statement name of a Bind. */
  kind: 'text' | 'name';
  /** Of the unnamed statement. */
  unnamed: boolean;
  from: number;
  to: number;
}

/** Order of the messages about one statement; what comes twice or earlier is another pattern. */
const PARSE = 1;
const DESCRIBE_STATEMENT = 2;
const BIND = 3;
const DESCRIBE_PORTAL = 4;
const EXECUTE = 5;
/** Two statements, two portals, a Close. */
const OTHER = 6;

class BatchScan {
  /** Behind the Sync, or the Flush; of a batch that goes on, behind its last whole message. */
  end = 0;
  executes = 0;
  /** The batch is about one statement, in the usual order: what the proxy may be able to answer itself. */
  plain = true;
  count = 0;
  readonly items: BatchItem[] = [];

  /** It makes or closes a statement that has a name. */
  makesNames = false;
  #stage = 0;
  /** Names of the statement and the portal that came first, NUL included; 0 = none did. */
  #statementAt = 0;
  #statementEnd = 0;
  #portalAt = 0;
  #portalEnd = 0;

  /** The whole life of one statement, its text included. */
  get single(): boolean {
    return this.plain && this.executes === 1 && this.items[0]?.kind === 'text';
  }

  /** Name of the statement that a plain batch Parses; '' = none, or the unnamed one. */
  parsedName(buffer: Buffer): string {
    return this.items[0]?.kind === 'text'
      ? buffer.latin1Slice(this.#statementAt, this.#statementEnd - 1)
      : '';
  }

  /** Looks at the batch that begins at `pos`; `n` = end of what has been read. */
  scan(buffer: Buffer, pos: number, n: number): number {
    this.executes = this.count = this.#stage = this.#statementAt = this.#portalAt = 0;
    this.plain = true;
    this.makesNames = false;
    let at = pos;
    while (at + 5 <= n) {
      const type = buffer[at] as number;
      const length = buffer.readUInt32BE(at + 1);
      const end = at + 1 + length;
      // what is malformed is for the relay to refuse
      if (length < 4) return SCAN_OPEN;
      if (end > n) break;
      switch (type) {
        case c.F_SYNC:
          this.end = end;
          return SCAN_WHOLE;
        case c.F_FLUSH:
          this.end = end;
          return SCAN_FLUSH;
        case c.F_PARSE:
          if (!this.#parse(buffer, at + 5, end)) return SCAN_OPEN;
          break;
        case c.F_BIND:
          if (!this.#bind(buffer, at + 5, end)) return SCAN_OPEN;
          break;
        case c.F_EXECUTE:
          this.executes += 1;
          this.#next(EXECUTE);
          this.#portal(buffer, at + 5, end);
          break;
        case c.F_DESCRIBE:
          this.#describe(buffer, at, end);
          break;
        case c.F_CLOSE:
          this.#next(OTHER);
          if (buffer[at + 5] === STATEMENT && buffer[at + 6] !== 0) this.makesNames = true;
          break;
        default:
          return SCAN_OPEN;
      }
      at = end;
    }
    this.end = at;
    return SCAN_MORE;
  }

  #parse(buffer: Buffer, at: number, end: number): boolean {
    const nul = nulIn(buffer, at, end);
    const textEnd = nul < 0 ? -1 : buffer.indexOf(0, nul + 1);
    if (textEnd < 0 || textEnd >= end) return false;
    this.#next(PARSE);
    if (nul > at) this.makesNames = true;
    this.#statement(buffer, at, end);
    this.#item('text', nul === at, nul + 1, textEnd);
    return true;
  }

  #bind(buffer: Buffer, at: number, end: number): boolean {
    const portalEnd = nulIn(buffer, at, end);
    const nul = portalEnd < 0 ? -1 : nulIn(buffer, portalEnd + 1, end);
    if (nul < 0) return false;
    this.#next(BIND);
    this.#portal(buffer, at, end);
    this.#statement(buffer, portalEnd + 1, end);
    this.#item('name', nul === portalEnd + 1, portalEnd + 1, nul);
    return true;
  }

  #describe(buffer: Buffer, at: number, end: number): void {
    const ofStatement = buffer[at + 5] === STATEMENT;
    this.#next(ofStatement ? DESCRIBE_STATEMENT : DESCRIBE_PORTAL);
    if (ofStatement) this.#statement(buffer, at + 6, end);
    else this.#portal(buffer, at + 6, end);
  }

  #next(stage: number): void {
    if (stage <= this.#stage || stage === OTHER) this.plain = false;
    this.#stage = stage;
  }

  /** A name of a statement begins at `at`. */
  #statement(buffer: Buffer, at: number, end: number): void {
    const nameEnd = nulIn(buffer, at, end) + 1;
    if (this.#statementAt === 0) {
      this.#statementAt = at;
      this.#statementEnd = nameEnd;
    } else if (!sameBytes(buffer, this.#statementAt, this.#statementEnd, at, nameEnd)) this.plain = false;
    if (nameEnd === 0) this.plain = false;
  }

  /** The name of a portal: it is made by a Bind and used after it. */
  #portal(buffer: Buffer, at: number, end: number): void {
    const nameEnd = nulIn(buffer, at, end) + 1;
    if (this.#stage === BIND) {
      this.#portalAt = at;
      this.#portalEnd = nameEnd;
    } else if (!sameBytes(buffer, this.#portalAt, this.#portalEnd, at, nameEnd)) this.plain = false;
    if (nameEnd === 0) this.plain = false;
  }

  #item(kind: 'text' | 'name', unnamed: boolean, from: number, to: number): void {
    const item = this.items[this.count];
    if (item === undefined) this.items.push({ kind, unnamed, from, to });
    else {
      item.kind = kind;
      item.unnamed = unnamed;
      item.from = from;
      item.to = to;
    }
    this.count += 1;
  }
}

/** Where the first message that is not whole in [at, n) begins; -1 = the batch ends before, or has something odd in it. */
export function batchGoesOn(buffer: Buffer, from: number, n: number): number {
  let at = from;
  while (at + 5 <= n) {
    const length = buffer.readUInt32BE(at + 1);
    if (ASKS[buffer[at] as number] !== 2 || length < 4) return -1;
    if (at + 1 + length > n) break;
    at += 1 + length;
  }
  return at;
}

function sameBytes(buffer: Buffer, from: number, to: number, at: number, end: number): boolean {
  if (to - from !== end - at) return false;
  for (let i = from; i < to; i++) if (buffer[i] !== buffer[at - from + i]) return false;
  return true;
}

/** The one scanner. */
export const batch = new BatchScan();
