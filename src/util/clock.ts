/**
 * Time, injected. `now()` is monotonic milliseconds (fractional), `wall()` is epoch milliseconds.
 * Hot paths call `now()` at most once per event; tests drive a fake clock.
 */
export interface Clock {
  /** Monotonic milliseconds with sub-millisecond fraction; for durations and deadlines. */
  now(): number;
  /** Milliseconds since the epoch; for what people read. */
  wall(): number;
}

export const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
};
