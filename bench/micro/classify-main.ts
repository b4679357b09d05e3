/**
 * What it costs to know the facts of a text: `node dist/bench/micro/classify-main.js`. Prints microseconds per look-up,
 * the lowest tenth of many rounds (the rest is what else the machine does). Each text is made anew, as one that comes
 * from a socket is: its hash is not known yet.
 */
import { classify } from '../../src/sql/classify.ts';
import { FactCache } from '../../src/sql/fact-cache.ts';
import { normalise } from '../../src/sql/lexer.ts';
import { loadParser } from '../../src/sql/parse.ts';

const ROUNDS = 101;
const TEXTS = 1000;

const PREPARED =
  'SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.status = $1 AND ' +
  'o.created_at > $2 AND c.region = $3 AND o.total > $4 ORDER BY o.created_at DESC LIMIT $5';

function withLiterals(i: number): string {
  return (
    `SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.status = 'paid-${i}' AND ` +
    `o.created_at > '2024-01-01' AND c.region = 'north ${i % 7}' AND o.total > ${i}.50 ORDER BY 1 LIMIT 10`
  );
}

function short(i: number): string {
  return `SELECT abalance FROM pgbench_accounts WHERE aid = ${i};`;
}

/** As from a socket: a flat string whose hash has not been computed. */
function fresh(text: string): string {
  return Buffer.from(text, 'latin1').latin1Slice();
}

function measure(
  name: string,
  count: number,
  text: (i: number) => string,
  use: (text: string) => unknown,
): void {
  const times: number[] = [];
  let sink = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const texts = Array.from({ length: count }, (_, i) => fresh(text(round * count + i)));
    const from = performance.now();
    for (const one of texts) if (use(one) !== undefined) sink++;
    times.push(((performance.now() - from) * 1000) / count);
  }
  times.sort((a, b) => a - b);
  const low = times[Math.floor(times.length / 10)] ?? 0;
  const length = text(0).length;
  console.log(
    `${name.padEnd(44)} ${String(length).padStart(4)} B ${low.toFixed(3).padStart(8)} us  (${sink})`,
  );
}

await loadParser();
const map = new Map<string, number>([[PREPARED, 1]]);
measure(
  'Map.get of a new string',
  TEXTS,
  () => PREPARED,
  (text) => map.get(text),
);
measure('lexer, no literals', TEXTS, () => PREPARED, normalise);
measure('lexer, literals', TEXTS, withLiterals, normalise);
measure('lexer, literals, short', TEXTS, short, normalise);
const cache = new FactCache(8_000_000);
measure(
  'look-up, exact',
  TEXTS,
  () => PREPARED,
  (text) => cache.lookup(text),
);
measure(
  'look-up, fixed literals',
  TEXTS,
  () => withLiterals(1),
  (text) => cache.lookup(text),
);
measure('look-up, other literals', TEXTS, withLiterals, (text) => cache.lookup(text));
measure('look-up, other literals, short', TEXTS, short, (text) => cache.lookup(text));
measure('cold: parse and classify', 50, withLiterals, (text) => classify(text, normalise(text).text));
measure(
  'cold: first word decides',
  TEXTS,
  (i) => `INSERT INTO orders VALUES (${i}, 'x', now())`,
  (text) => classify(text, normalise(text).text),
);
console.log(`hits ${cache.hits}, exact ${cache.exactHits}, misses ${cache.misses}, parses ${cache.parses}`);
console.log(`cache ${cache.bytes} bytes by its own estimate`);
