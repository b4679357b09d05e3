/** Waiting for something that announces itself nowhere: asked again and again, with a deadline. */
import { setTimeout as sleep } from 'node:timers/promises';

export interface UntilOptions {
  /** Default 10,000: for what hangs, on a slow machine too. */
  readonly timeoutMs?: number;
  /** Between two looks, default 10. */
  readonly everyMs?: number;
  /** What is waited for, in the error. */
  readonly what?: string;
  /** More for the error, asked when the deadline has passed: the last lines of a log. */
  readonly explain?: () => string;
}

/**
 * Resolves with the first value of `look` that is neither false, null nor undefined. An error thrown by `look` counts
 * as "not yet" and is reported as the cause when the deadline passes.
 */
export async function until<T>(
  look: () => T | Promise<T>,
  options: UntilOptions = {},
): Promise<Exclude<T, false | null | undefined>> {
  const { timeoutMs = 10_000, everyMs = 10, what = 'the condition', explain } = options;
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    let failed = false;
    try {
      last = await look();
    } catch (error) {
      failed = true;
      last = error;
    }
    if (!failed && last !== false && last !== null && last !== undefined) {
      return last as Exclude<T, false | null | undefined>;
    }
    if (performance.now() >= deadline) {
      const seen = failed ? 'the last look threw' : `last seen: ${String(last)}`;
      const more = explain === undefined ? '' : `\n--- ${explain()}`;
      throw new Error(`${what}: not within ${timeoutMs} ms (${seen})${more}`, failed ? { cause: last } : {});
    }
    await sleep(everyMs);
  }
}
