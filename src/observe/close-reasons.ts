/**
 * Close reasons as label values. Reasons that quote something (a database name, an error of a server) are counted
 * under their template, so that a client cannot fill the metric with names; the number of different ones is bounded.
 */
import { ERRORS } from '../util/errors.ts';
import { OTHER } from './pool-totals.ts';

interface Template {
  readonly text: string;
  readonly before: string;
  readonly after: string;
}

const TEMPLATES: readonly Template[] = Object.values(ERRORS)
  .filter((row) => row.text.includes('%s'))
  .map((row) => {
    const at = row.text.indexOf('%s');
    return { text: row.text, before: row.text.slice(0, at), after: row.text.slice(at + 2) };
  });

/** `no such database: nope` -> `no such database: %s`; other texts as they are. */
function reasonLabel(reason: string): string {
  for (const { text, before, after } of TEMPLATES) {
    const long = reason.length >= before.length + after.length;
    if (long && reason.startsWith(before) && reason.endsWith(after)) return text;
  }
  return reason;
}

/** Counts by label, at most `max` of them by name (the first ones seen: counters are never forgotten, so that is stable). */
export function countsByReason(counts: ReadonlyMap<string, number>, max: number): Map<string, number> {
  const out = new Map<string, number>();
  for (const [reason, count] of counts) {
    const label = reasonLabel(reason);
    const shown = out.has(label) || out.size < max ? label : OTHER;
    out.set(shown, (out.get(shown) ?? 0) + count);
  }
  return out;
}
