/**
 * The last decisions, for SHOW ROUTES: a ring of rows that are made once and written over. Texts are kept as they are
 * (the fact cache holds most of them anyway), except long ones, of which only the beginning is. And what route_shadow
 * counts for one database: everything goes to the primary, and this is what would have been.
 */
import { readable } from './readable.ts';
import { type Reason, reasonName } from './reasons.ts';

/** Characters of a text that are kept. */
const MAX_TEXT = 1000;

/** A row of SHOW ROUTES. */
export interface RouteLogRow {
  readonly at: number;
  readonly clientId: number;
  readonly database: string;
  readonly user: string;
  readonly text: string;
  readonly class: 'read' | 'write';
  readonly reason: string;
  readonly node: string;
  readonly retried: boolean;
}

/** Whose unit it was. An object of its own: a row must not keep a client alive that has gone. */
export interface RouteOrigin {
  readonly id: number;
  readonly databaseName: string;
  readonly userName: string;
}

interface Slot {
  at: number;
  origin: RouteOrigin;
  text: string;
  read: boolean;
  reason: Reason;
  node: string;
  retried: boolean;
}

const NOBODY: RouteOrigin = { id: 0, databaseName: '', userName: '' };

export class RouteLog {
  readonly #slots: Slot[];
  #next = 0;
  #size = 0;

  constructor(rows: number) {
    this.#slots = Array.from({ length: Math.max(1, rows) }, () => ({
      at: 0,
      origin: NOBODY,
      text: '',
      read: false,
      reason: 0,
      node: '',
      retried: false,
    }));
  }

  /** `at` is wall ms, `text` normalised (bytes as characters), `node` the name of where it went. */
  note(
    at: number,
    origin: RouteOrigin,
    text: string,
    read: boolean,
    reason: Reason,
    node: string,
    retried: boolean,
  ): void {
    const slot = this.#slots[this.#next] as Slot;
    this.#next = this.#next + 1 === this.#slots.length ? 0 : this.#next + 1;
    if (this.#size < this.#slots.length) this.#size += 1;
    slot.at = at;
    slot.origin = origin;
    slot.text = text.length <= MAX_TEXT ? text : shortened(text);
    slot.read = read;
    slot.reason = reason;
    slot.node = node;
    slot.retried = retried;
  }

  /** Newest first. */
  rows(): RouteLogRow[] {
    const rows: RouteLogRow[] = [];
    for (let i = 1; i <= this.#size; i++) {
      const at = (this.#next - i + this.#slots.length) % this.#slots.length;
      const slot = this.#slots[at] as Slot;
      rows.push({
        at: slot.at,
        clientId: slot.origin.id,
        database: slot.origin.databaseName,
        user: slot.origin.userName,
        text: readable(slot.text),
        class: slot.read ? 'read' : 'write',
        reason: reasonName(slot.reason),
        node: slot.node,
        retried: slot.retried,
      });
    }
    return rows;
  }
}

/** A copy: a slice would keep the whole text alive. */
function shortened(text: string): string {
  return `${Buffer.from(text.slice(0, MAX_TEXT), 'latin1').latin1Slice()} …`;
}

/** A row of SHOW SHADOW, without the name of its database. */
export interface ShadowCounts {
  readonly units: number;
  readonly reads: number;
  readonly wouldReplica: number;
  readonly wouldStale: number;
  readonly writes: number;
}

export class Shadow {
  #reads = 0;
  #writes = 0;
  #wouldReplica = 0;
  #wouldStale = 0;

  /** One unit: would a replica have run it, and would it have been kept from one only by freshness? */
  note(read: boolean, wouldReplica: boolean, wouldStale: boolean): void {
    if (!read) {
      this.#writes += 1;
      return;
    }
    this.#reads += 1;
    if (wouldReplica) this.#wouldReplica += 1;
    if (wouldStale) this.#wouldStale += 1;
  }

  get row(): ShadowCounts {
    return {
      units: this.#reads + this.#writes,
      reads: this.#reads,
      wouldReplica: this.#wouldReplica,
      wouldStale: this.#wouldStale,
      writes: this.#writes,
    };
  }
}
