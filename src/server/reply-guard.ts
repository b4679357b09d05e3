/**
 * While a read runs on a replica, the start of its reply is held back: as long as nothing of it has reached the client,
 * the unit can be sent again elsewhere (ROUTING.md "Learning", FAILOVER.md "running a read on a node that dies").
 * The first message that tells the outcome (a row, CommandComplete, an error of the client's own making) ends that.
 */
import * as c from '../wire/codes.ts';
import type { ServerError } from '../wire/fields.ts';
import { HeldBytes } from '../wire/held-bytes.ts';

export const GUARD_OFF = 0;
/** Nothing of the reply has been forwarded. */
export const GUARD_HOLDING = 1;
/** The unit will be sent again: the rest of this reply is for nobody. */
export const GUARD_RETRY = 2;

/** More than this is not held back. */
const LIMIT = 8 * 1024;

/** Messages that come before the outcome is known. */
const EARLY = new Uint8Array(256);
for (const type of [
  c.B_PARSE_COMPLETE,
  c.B_BIND_COMPLETE,
  c.B_CLOSE_COMPLETE,
  c.B_PARAMETER_DESCRIPTION,
  c.B_ROW_DESCRIPTION,
  c.B_NO_DATA,
  c.B_NOTICE,
  // COPY TO STDOUT announces itself before it runs anything
  c.B_COPY_OUT,
])
  EARLY[type] = 1;

/**
 * What a replica says to a statement that it cannot run because it is one (25006, and 0A000 or 55000 of some
 * functions), or because replay cut it off (40001): it has done nothing.
 */
const REFUSALS: ReadonlySet<string> = new Set(['25006', '0A000', '55000', '40001']);

export class ReplyGuard {
  state = GUARD_OFF;
  /** The client outlives this server: its FATAL is kept from the client, who gets an error of the proxy's. */
  survivor = false;
  /** The error that made it a retry, or the FATAL that was kept back. */
  error: ServerError | null = null;
  /** 25006 has reached the client, behind rows: the text can only be learned. */
  late = false;
  readonly back = new HeldBytes();
  #bytes = 0;
  #refusals = false;

  /** A unit that may be sent again begins on this server; with `refusals` also when the server refuses it. */
  begin(refusals: boolean): void {
    this.state = GUARD_HOLDING;
    this.#refusals = refusals;
    this.#bytes = 0;
    this.error = null;
  }

  /** The server leaves its client. */
  reset(): void {
    this.state = GUARD_OFF;
    this.survivor = false;
    this.late = false;
    this.error = null;
    if (this.back.length > 0) this.back.clear();
  }

  /** May a message of the reply be forwarded? Called for what would be, while holding. */
  passes(type: number, length: number, error: ServerError | null): boolean {
    this.#bytes += length;
    if (EARLY[type] === 1 && this.#bytes <= LIMIT) return true;
    if (this.#refusals && type === c.B_ERROR && error !== null && REFUSALS.has(error.sqlstate)) {
      this.state = GUARD_RETRY;
      this.error = error;
      this.back.clear();
      return false;
    }
    this.state = GUARD_OFF;
    return true;
  }
}
