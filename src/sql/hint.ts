/** Routing hints: comments before the first keyword that say where the statement shall run. */
import type { Hint } from './facts.ts';

const OWN = /^\s*pgconcierge\s*:\s*(?:(primary|replica)|node\s*=\s*([^\s*/]+))\s*$/i;
/** pgpool's word for "not on a replica". */
const PGPOOL = /^\s*no\s+load\s+balance\s*$/i;

/** The first hint among the comments of text[from, to), which holds comments and blanks only. Called by the lexer. */
export function hintIn(text: string, from: number, to: number): Hint | null {
  const gap = text.slice(from, to);
  if (!/pgconcierge|load/i.test(gap)) return null;
  for (const comment of blockComments(gap)) {
    const hint = hintOf(comment);
    if (hint !== null) return hint;
  }
  return null;
}

function hintOf(comment: string): Hint | null {
  if (PGPOOL.test(comment)) return { kind: 'primary' };
  const found = OWN.exec(comment);
  if (found === null) return null;
  const [, word, node] = found;
  if (node !== undefined) return { kind: 'node', node };
  return { kind: word?.toLowerCase() === 'replica' ? 'replica' : 'primary' };
}

/** The insides of the outermost comments. The gap is known to be well formed. */
function* blockComments(gap: string): Generator<string> {
  let i = 0;
  while (i < gap.length) {
    if (gap.startsWith('--', i)) {
      while (i < gap.length && gap[i] !== '\n' && gap[i] !== '\r') i++;
    } else if (gap.startsWith('/*', i)) {
      const open = i + 2;
      let depth = 1;
      i = open;
      while (depth > 0 && i < gap.length) {
        if (gap.startsWith('*/', i)) {
          depth--;
          i += 2;
        } else if (gap.startsWith('/*', i)) {
          depth++;
          i += 2;
        } else i++;
      }
      yield gap.slice(open, i - 2);
    } else i++;
  }
}
