/** "Did you mean": the nearest of a list of known names, for unknown keys and sections. */

/** Number of insertions, deletions, replacements and swaps of neighbours between two short words. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min((above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (above[j - 1] ?? 0) + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, (before[j - 2] ?? 0) + 1);
      }
      row.push(best);
    }
    before = above;
    above = row;
  }
  return above[b.length] ?? 0;
}

/** The known name nearest to `word`, or null when none is near enough to be a likely slip of the pen. */
export function nearest(word: string, known: Iterable<string>): string | null {
  if (word.length > 64) return null;
  const wanted = word.toLowerCase().replaceAll('-', '_');
  let best: string | null = null;
  let bestDistance = Math.max(2, Math.floor(wanted.length / 3)) + 1;
  for (const name of known) {
    const d = distance(wanted, name);
    if (d < bestDistance) {
      best = name;
      bestDistance = d;
    }
  }
  return best;
}

/** The hint for a diagnostic: `{ hint: 'did you mean x?' }`, or nothing to add. */
export function didYouMean(word: string, known: Iterable<string>): { readonly hint?: string } {
  const name = nearest(word, known);
  return name === null ? {} : { hint: `did you mean "${name}"?` };
}
