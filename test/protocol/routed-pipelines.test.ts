/**
 * Random clients of a routed database: pipelines of simple and extended units, blocks whose BEGIN is deferred, READ ONLY
 * blocks, statements that a replica refuses or dies of, while roles, freshness and replay change at random. Every
 * client sees byte for byte what it would see alone on one private server, and every write is done once.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { comparable, show } from './compare.ts';
import { atRest, events, moves, type Played, run, where } from './routed-course.ts';
import { routedScript } from './routed-scripts.ts';

const RUNS = Number(process.env['PGC_FUZZ_RUNS'] ?? 150);

function asDirect({ routed, clients, expected }: Played): void {
  clients.forEach((client, i) => {
    const want = comparable(Buffer.concat(expected[i]?.replies ?? []));
    const got = comparable(client.received);
    if (got.equals(want)) return;
    assert.equal(show(got), show(want), `client ${i}\n${where(routed)}`);
    assert.fail('different bytes');
  });
  assert.deepEqual(routed.cluster.misrouted, []);
  assert.deepEqual(
    routed.cluster.counts(),
    Object.assign({}, ...expected.map(({ counts }) => counts.at(-1) ?? {})),
  );
  atRest(routed);
}

const changes = events(
  'sample',
  'sample',
  'ask',
  'answer',
  'replay',
  'replay',
  'primary',
  'node',
  'lagging',
  'tick',
  'swap',
);

for (const [how, units] of [
  ['that wait for each unit', 1],
  ['that pipeline over several units', 4],
] as const) {
  for (const poolSize of [1, 2]) {
    test(`three routed clients ${how}, pool_size ${poolSize}: as on a server of their own`, async () => {
      const script = routedScript(units);
      await fc.assert(
        fc.asyncProperty(
          fc.array(script, { minLength: 3, maxLength: 3 }),
          moves(changes),
          fc.constantFrom(1, 2, 3, 100),
          fc.constantFrom(64, 1000, Number.POSITIVE_INFINITY),
          (scripts, order, max, highWater) =>
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
              asDirect,
            ),
        ),
        { numRuns: RUNS, includeErrorInReport: true },
      );
    });
  }
}
