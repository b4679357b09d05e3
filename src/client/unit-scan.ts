/**
 * An extended-protocol batch, looked at whole before any of it is sent (ROUTING.md "Unit of routing"): where it ends,
 * what its messages name. Framing only; the texts are judged by unit-router.ts. One object serves all clients: its
 * fields are good until the next scan.
 */
import * as c from '../wire/codes.ts';

export const SCAN_WHOLE = 0;
/** Its Sync has not been read yet. */
export const SCAN_MORE = 1;
/** It has a Flush before its Sync, or something that is not for looking ahead. */
export const SCAN_OPEN = 2;

/** What of a batch names a statement, in order. */
export interface BatchItem {
  /** The text of a Parse, or the statement name of a Bind. */
  kind: 'text' | 'name';
  /** Of the unnamed statement. */
  unnamed: boolean;
  from: number;
  to: number;
}

class BatchScan {
  /** Behind the Sync. */
  end = 0;
  parses = 0;
  binds = 0;
  executes = 0;
  describes = 0;
  /** A Close, a function call, COPY data: not the plain pattern of one statement. */
  others = 0;
  /** The last Describe is of a statement ('S'), not of a portal. */
  describesStatement = false;
  /** Every name in it (statements, portals) is empty. */
  unnamed = true;
  count = 0;
  readonly items: BatchItem[] = [];

  /** Batches of one statement, from Parse to Execute: what the proxy can answer itself. */
  get single(): boolean {
    return (
      this.parses === 1 &&
      this.binds === 1 &&
      this.executes === 1 &&
      this.describes <= 1 &&
      this.others === 0 &&
      this.unnamed
    );
  }

  /** Looks at the batch that begins at `pos`; `n` = end of what has been read. */
  scan(buffer: Buffer, pos: number, n: number): number {
    this.parses = this.binds = this.executes = this.describes = this.others = this.count = 0;
    this.unnamed = true;
    this.describesStatement = false;
    let at = pos;
    while (at + 5 <= n) {
      const type = buffer[at] as number;
      const length = buffer.readUInt32BE(at + 1);
      const end = at + 1 + length;
      // what is malformed is for the relay to refuse
      if (length < 4) return SCAN_OPEN;
      if (end > n) return SCAN_MORE;
      switch (type) {
        case c.F_SYNC:
          this.end = end;
          return SCAN_WHOLE;
        case c.F_PARSE:
          if (!this.#parse(buffer, at + 5, end)) return SCAN_OPEN;
          break;
        case c.F_BIND:
          if (!this.#bind(buffer, at + 5, end)) return SCAN_OPEN;
          break;
        case c.F_EXECUTE:
          this.executes += 1;
          if (buffer[at + 5] !== 0) this.unnamed = false;
          break;
        case c.F_DESCRIBE:
          this.describes += 1;
          this.describesStatement = buffer[at + 5] === 0x53;
          if (buffer[at + 6] !== 0) this.unnamed = false;
          break;
        case c.F_CLOSE:
          this.others += 1;
          break;
        default:
          return SCAN_OPEN;
      }
      at = end;
    }
    return SCAN_MORE;
  }

  #parse(buffer: Buffer, at: number, end: number): boolean {
    const nul = buffer.indexOf(0, at);
    const textEnd = nul < 0 || nul >= end ? -1 : buffer.indexOf(0, nul + 1);
    if (textEnd < 0 || textEnd >= end) return false;
    this.parses += 1;
    if (nul > at) this.unnamed = false;
    this.#item('text', nul === at, nul + 1, textEnd);
    return true;
  }

  #bind(buffer: Buffer, at: number, end: number): boolean {
    const portalEnd = buffer.indexOf(0, at);
    const nul = portalEnd < 0 || portalEnd >= end ? -1 : buffer.indexOf(0, portalEnd + 1);
    if (nul < 0 || nul >= end) return false;
    this.binds += 1;
    if (portalEnd > at || nul > portalEnd + 1) this.unnamed = false;
    this.#item('name', nul === portalEnd + 1, portalEnd + 1, nul);
    return true;
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

/** The one scanner. */
export const batch = new BatchScan();
