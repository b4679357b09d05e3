/**
 * A bound on how many series of a counter are shown under labels of their own: the first ones seen, while they exist. The
 * rest is summed under `_other`. By differences, so that the sum never goes down when one of its parts is forgotten.
 */

/** No name holds a NUL. */
const SEPARATOR = '\0';

export interface SeriesIn {
  /** Label values, in a fixed order. */
  readonly labels: readonly string[];
  /** Monotonic counters; as many in each row. */
  readonly values: readonly number[];
}

export class BoundedSeries {
  readonly #max: number;
  readonly #named = new Set<string>();
  #late = new Map<string, readonly number[]>();
  #other: number[] | null = null;

  constructor(max: number) {
    this.#max = max;
  }

  /** Rows with the same labels are added up. `otherLabels` are those of the rest. Called once for each snapshot. */
  take(rows: readonly SeriesIn[], otherLabels: readonly string[]): SeriesIn[] {
    const sums = new Map<string, SeriesIn>();
    for (const { labels, values } of rows) {
      const key = labels.join(SEPARATOR);
      sums.set(key, { labels, values: added(sums.get(key)?.values, values) });
    }
    // those that are gone make room; who came too late stays in the rest while it exists
    for (const key of this.#named) if (!sums.has(key)) this.#named.delete(key);
    const otherKey = otherLabels.join(SEPARATOR);
    const out: SeriesIn[] = [];
    const late = new Map<string, readonly number[]>();
    for (const [key, series] of sums) {
      // what really is called _other would collide with our own line
      const isNew = !this.#named.has(key) && !this.#late.has(key) && key !== otherKey;
      if (isNew && this.#named.size < this.#max) this.#named.add(key);
      if (this.#named.has(key)) out.push(series);
      else late.set(key, series.values);
    }
    for (const [key, values] of late) {
      this.#other = added(this.#other ?? undefined, growth(this.#late.get(key), values));
    }
    this.#late = late;
    if (this.#other !== null) out.push({ labels: otherLabels, values: this.#other });
    return out;
  }
}

function added(a: readonly number[] | undefined, b: readonly number[]): number[] {
  return b.map((value, i) => value + (a?.[i] ?? 0));
}

/** What `now` has more than `before`; counters that went down were made anew. */
function growth(before: readonly number[] | undefined, now: readonly number[]): number[] {
  const anew = before === undefined || now.some((value, i) => value < (before[i] ?? 0));
  return now.map((value, i) => value - (anew ? 0 : (before[i] ?? 0)));
}
