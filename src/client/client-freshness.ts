/** What one client's next read must show: its own writes, those of its database, and what it was told to wait for. */
import type { RouteDesk } from './route-desk.ts';

export class ClientFreshness {
  /** SET pgconcierge.wait_lsn; 0 = nothing but what the client has written itself. */
  handedLsn = 0;
  /** Of its last write, and the LSN that marks of before have turned into; 0 = none. */
  #mark = 0;
  #waitLsn = 0;

  /** LSN that a replica must have replayed; Infinity = not known yet. */
  bound({ settings: { readConsistency }, shared }: RouteDesk): number {
    if (readConsistency === 'eventual') return this.handedLsn;
    const { runtime, written } = shared;
    // a mark turns into its LSN once that is known: one look-up per write, not per read
    if (this.#mark > 0) {
      const lsn = runtime.freshness.boundOf(this.#mark);
      if (lsn === Number.POSITIVE_INFINITY) return lsn;
      this.#mark = 0;
      this.#waitLsn = Math.max(this.#waitLsn, lsn);
    }
    const own = Math.max(this.#waitLsn, this.handedLsn);
    if (readConsistency === 'session') return own;
    if (written.mark > 0) {
      const lsn = runtime.freshness.boundOf(written.mark);
      if (lsn === Number.POSITIVE_INFINITY) return lsn;
      written.mark = 0;
      written.waitLsn = Math.max(written.waitLsn, lsn);
    }
    return Math.max(own, written.waitLsn);
  }

  /** Something was committed now. */
  note({ shared: { runtime, written } }: RouteDesk): void {
    this.#mark = runtime.freshness.mark();
    written.mark = this.#mark;
  }
}
