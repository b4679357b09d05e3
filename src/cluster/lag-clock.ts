/**
 * How far behind a replica is, in time. The age of its last replayed transaction alone says too much: after an idle
 * hour the first write makes every replica look an hour late for a moment. So the positions at which the primary was
 * seen are kept with the time on our own clock: who has replayed one of them is no older than the last sight of it.
 */

const MAX_ENTRIES = 512;

interface Sight {
  readonly lsn: number;
  /** When the primary was last seen there. */
  readonly ms: number;
}

export class LagClock {
  #sights: Sight[] = [];

  /** The newest position; 0 = none. */
  get position(): number {
    return this.#sights.at(-1)?.lsn ?? 0;
  }

  /** The primary stood at `lsn` at `nowMs` (monotonic). */
  see(lsn: number, nowMs: number): void {
    const last = this.#sights.at(-1);
    // a crashed primary may come back before what it had not flushed
    if (last !== undefined && lsn < last.lsn) this.#sights = [];
    else if (last?.lsn === lsn) this.#sights.pop();
    this.#sights.push({ lsn, ms: nowMs });
    // the far past gets coarser, never wrong
    if (this.#sights.length > MAX_ENTRIES) {
      const half = this.#sights.length / 2;
      this.#sights = this.#sights.filter((_one, i) => i > half || i % 2 === 0);
    }
  }

  /** Another primary: positions of the old one say nothing. */
  reset(): void {
    this.#sights = [];
  }

  /**
   * Upper bound of the lag of a replica that has replayed `replayed`: 0 when it is where the primary was seen last.
   * `replayAgeMs`: age of its last replayed transaction by its own clock. Null = nothing is known.
   */
  behindMs(replayed: number, replayAgeMs: number | null, nowMs: number): number | null {
    if (this.position === 0 || replayed === 0) return null;
    if (replayed >= this.position) return 0;
    const age = replayAgeMs === null ? null : Math.max(0, replayAgeMs);
    for (let i = this.#sights.length - 1; i >= 0; i--) {
      const sight = this.#sights[i];
      if (sight !== undefined && sight.lsn <= replayed) {
        const bound = nowMs - sight.ms;
        return age === null ? bound : Math.min(age, bound);
      }
    }
    return age;
  }
}
