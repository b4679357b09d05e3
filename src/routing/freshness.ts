/**
 * Up to where a replica must have replayed so that a client sees its own writes. The monitor asks the primary for its
 * insert position now and then; these samples are numbered. A unit that ends notes the number of the NEXT sample that
 * will be sent (its mark): whatever it committed lies below the position that this sample, or any later one, finds.
 * So a lost sample costs time and never correctness, and no query is added to a client's path.
 *
 * One object per cluster and worker. Marks are numbers that never go back, whatever happens to the primary.
 */

/** Samples kept: 100 s at the default lsn_interval. Older marks are served by the oldest kept: too high, never too low. */
const KEPT = 1024;

export class Freshness {
  /** Number of the next sample that will be sent to the primary. */
  nextSample = 1;
  /** Ring of samples that came in, ascending by number (and by LSN: a fallen position is raised, see onSample). */
  readonly #numbers = new Float64Array(KEPT);
  readonly #lsns = new Float64Array(KEPT);
  /** How many came in since the last change of the primary; the newest is at `#count - 1`, modulo KEPT. */
  #count = 0;
  /** Samples sent before the last change of the primary are not taken. */
  #notBefore = 1;
  #lastMark = 0;

  /** Sample `number` is about to be sent: units that end from now on are not covered by it. */
  onSent(number: number): void {
    if (number >= this.nextSample) this.nextSample = number + 1;
  }

  /** Sample `number` came in: the primary's insert position was `lsn`. Late, repeated and useless ones are dropped. */
  onSample(number: number, lsn: number): void {
    // a sample that was never announced cannot be trusted: units may have ended after it was asked
    if (number < this.#notBefore || number >= this.nextSample || !(lsn > 0)) return;
    let position = lsn;
    if (this.#count > 0) {
      const newest = (this.#count - 1) % KEPT;
      if (number <= (this.#numbers[newest] ?? 0)) return;
      // a position that falls is a new history which we have not been told of yet: the higher one is safe
      position = Math.max(lsn, this.#lsns[newest] ?? 0);
    }
    const at = this.#count % KEPT;
    this.#numbers[at] = number;
    this.#lsns[at] = position;
    this.#count += 1;
    if (this.#count === 2 * KEPT) this.#count = KEPT;
  }

  /**
   * Another node (or another timeline) is primary now. Positions of the old history say nothing about the new one:
   * marks are served by the first sample that is sent from now on, which bounds everything that has survived.
   */
  onPrimaryChange(): void {
    this.#count = 0;
    this.#notBefore = this.nextSample;
  }

  /** What a read must wait for after a unit that ended now with success; keep it per client (or per database). */
  mark(): number {
    this.#lastMark = this.nextSample;
    return this.nextSample;
  }

  /** Position that a replica must have replayed for `mark`: 0 for mark 0, Infinity while no such sample is in. */
  boundOf(mark: number): number {
    if (mark <= 0) return 0;
    if (this.#count === 0) return Number.POSITIVE_INFINITY;
    const newest = this.#count - 1;
    if ((this.#numbers[newest % KEPT] ?? 0) < mark) return Number.POSITIVE_INFINITY;
    // the lowest sample at or after the mark
    let low = Math.max(0, this.#count - KEPT);
    let high = newest;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#numbers[middle % KEPT] ?? 0) >= mark) high = middle;
      else low = middle + 1;
    }
    return this.#lsns[low % KEPT] ?? Number.POSITIVE_INFINITY;
  }

  /** A mark was given that no sample serves yet: the monitor should sample. */
  get pending(): boolean {
    if (this.#lastMark === 0) return false;
    return this.#count === 0 || (this.#numbers[(this.#count - 1) % KEPT] ?? 0) < this.#lastMark;
  }
}
