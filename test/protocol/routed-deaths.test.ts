/**
 * The same random clients, and connections that break at any byte, with or without a last word. Nobody sees what is
 * another's, nobody waits for an answer that never comes, what was answered before stands, and no write is done twice.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  errorFields,
  type RawMessage,
  readCstrs,
  rowFields,
  splitMessages,
} from '../support/raw-messages.ts';
import { comparable, show } from './compare.ts';
import { atRest, events, moves, type Played, readies, run, where } from './routed-course.ts';
import { routedScript } from './routed-scripts.ts';

const RUNS = Number(process.env['PGC_FUZZ_RUNS'] ?? 150);

/** Errors of a lost server (40001: a unit that was lost twice); the plain pools' clients are ended with a FATAL. */
function isLoss(message: RawMessage): boolean {
  if (message.type !== 'E') return false;
  const { code, severity } = errorFields(message);
  return severity === 'FATAL' || ['08006', '40001', '57P01', '57P02'].includes(code);
}

/** Ids of writes that a script may run more than once: of prepared statements. */
function repeatable(bursts: readonly Buffer[]): Set<number> {
  const ids = new Set<number>();
  for (const { type, body } of splitMessages(Buffer.concat(bursts)).messages) {
    const [name = '', sql = ''] = type === 'P' ? readCstrs(body.subarray(0, body.length - 2)) : [];
    const id = /(\d+)\)$/.exec(sql)?.[1];
    if (name !== '' && id !== undefined) ids.add(Number(id));
  }
  return ids;
}

function judge({ routed, clients, bursts, expected }: Played): void {
  const { cluster } = routed;
  const counts = cluster.counts();
  clients.forEach((client, i) => {
    const said = (): string => `client ${i}: ${show(client.received)}\n${where(routed)}`;
    const { messages, rest } = splitMessages(client.received);
    const ended = client.transport.closed;
    // a reply that was cut cannot go on, and nothing may follow it
    if (!ended) assert.equal(rest.length, 0, said());
    const direct = expected[i]?.replies ?? [];
    const loss = messages.findIndex(isLoss);
    if (!ended) assert.equal(readies(client.received), readies(Buffer.concat(direct)), said());
    const own = new RegExp(`^(c${i}|a|b|c|h|z|none|noticed|row \\d+|)$`);
    const ids = new Set<string>();
    for (const text of Buffer.concat(bursts[i] ?? [])
      .toString('latin1')
      .matchAll(/(\d+)\)/g))
      ids.add(text[1] ?? '');
    for (const message of messages) {
      if (message.type !== 'D') continue;
      const [value = ''] = rowFields(message);
      assert.ok(own.test(value ?? '') || ids.has(value ?? ''), `${value}, which is not its own: ${said()}`);
    }
    // bursts that were answered in full before anything was lost
    let whole = 0;
    let answered = 0;
    const before = loss < 0 ? messages.length : loss;
    const heard = messages.slice(0, before).filter(({ type }) => type === 'Z').length;
    for (const reply of direct) {
      answered += readies(reply);
      if (answered > heard) break;
      whole += 1;
    }
    const stands = Buffer.concat(direct.slice(0, whole));
    const got = client.received.subarray(0, stands.length);
    assert.equal(show(comparable(got)), show(comparable(stands)), said());
    const done = whole === 0 ? {} : (expected[i]?.counts[whole - 1] ?? {});
    const again = repeatable(bursts[i] ?? []);
    for (const [id, count] of Object.entries(done))
      if (again.has(Number(id))) assert.ok((counts[id] ?? 0) >= count, `write ${id} is lost; ${said()}`);
      else assert.equal(counts[id], count, `write ${id}; ${said()}`);
  });
  const again = repeatable(bursts.flat());
  for (const [id, count] of Object.entries(counts))
    if (!again.has(Number(id))) assert.equal(count, 1, `write ${id} was done ${count} times`);
  assert.deepEqual(cluster.misrouted, []);
  atRest(routed);
}

const misfortune = events(
  'sample',
  'sample',
  'replay',
  'primary',
  'node',
  'tick',
  'tick',
  'swap',
  'kill',
  'kill',
  'crash',
  'crash',
);

for (const [how, units] of [
  ['that wait for each unit', 1],
  ['that pipeline over several units', 4],
] as const) {
  test(`three routed clients ${how}, and servers that die`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(routedScript(units), { minLength: 3, maxLength: 3 }),
        moves(misfortune),
        fc.constantFrom(1, 2),
        fc.constantFrom(1, 2, 100),
        fc.constantFrom(64, Number.POSITIVE_INFINITY),
        (scripts, order, poolSize, max, highWater) =>
          run(
            {
              settings: {
                pool_mode: 'transaction',
                default_pool_size: poolSize,
                max_prepared_statements: max,
              },
              scripts,
              moves: order,
              highWater,
            },
            judge,
          ),
      ),
      { numRuns: RUNS, includeErrorInReport: true },
    );
  });
}
