/**
 * A fixed-bucket histogram of durations for the hot path: one array increment per observation, no allocation.
 * Buckets are powers of two of microseconds (1 µs … ~67 s); rendered as Prometheus buckets by observe/.
 */
export const HISTOGRAM_BUCKETS = 27;

export class Histogram {
  readonly counts = new Float64Array(HISTOGRAM_BUCKETS + 1);
  sumUs = 0;
  count = 0;

  /** Records one duration in microseconds (negative values count as 0). */
  observe(us: number): void {
    const whole = Math.max(us, 0);
    // bucket i holds values <= 2^i microseconds; the last one is +Inf
    const i = whole <= 1 ? 0 : 32 - Math.clz32((whole < 0x7fffffff ? Math.ceil(whole) : 0x7fffffff) - 1);
    const at = Math.min(i, HISTOGRAM_BUCKETS);
    this.counts[at] = (this.counts[at] as number) + 1;
    this.sumUs += whole;
    this.count += 1;
  }
}

/** Upper bound in microseconds of bucket `i`. */
export function bucketBoundUs(i: number): number {
  return 2 ** i;
}
