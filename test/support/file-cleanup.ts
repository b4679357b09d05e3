/**
 * What must happen after the last test of a file. node:test's `after` belongs to whatever runs when it is called (in a
 * `before` hook it fires at the end of that hook), so it is called here once, while the file is being loaded.
 * Import this only from tests: it makes node:test report at exit.
 */
import { after } from 'node:test';

const steps: (() => Promise<void>)[] = [];

after(async () => {
  const failures: unknown[] = [];
  for (const step of steps.splice(0).reverse()) {
    try {
      await step();
    } catch (error) {
      failures.push(error); // the others must still be ended
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, 'the clean-up after the last test failed');
});

/** `step` runs after the file's last test; the latest first. */
export function atEndOfFile(step: () => Promise<void>): void {
  steps.push(step);
}
