/** What `pgconcierge check` has to say: one line per item, and what the exit status becomes. */
export type Verdict = 'OK' | 'WARN' | 'FAILED';

export interface Finding {
  readonly verdict: Verdict;
  /** What was looked at: `cluster main, node pg1 (10.0.0.1:5432)`. */
  readonly item: string;
  readonly text: string;
}

export const ok = (item: string, text: string): Finding => ({ verdict: 'OK', item, text });
export const warn = (item: string, text: string): Finding => ({ verdict: 'WARN', item, text });
export const failed = (item: string, text: string): Finding => ({ verdict: 'FAILED', item, text });

/** The lines and a sum. Texts may come from servers: line breaks and control characters in them are flattened. */
export function reportText(findings: readonly Finding[]): string {
  const lines = findings.map(
    ({ verdict, item, text }) => `${verdict.padEnd(6)} ${flat(item)}: ${flat(text)}`,
  );
  const count = (verdict: Verdict): number => findings.filter((one) => one.verdict === verdict).length;
  lines.push(`${count('OK')} OK, ${count('WARN')} WARN, ${count('FAILED')} FAILED`);
  return `${lines.join('\n')}\n`;
}

function flat(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\u0000-\u001f\u007f]+/g, ' ');
}

/** False when the exit status has to be 1. */
export function passed(findings: readonly Finding[]): boolean {
  return findings.every((one) => one.verdict !== 'FAILED');
}
