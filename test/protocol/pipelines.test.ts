/**
 * Random clients with colliding statement names, random pipelines, random cuts and random order of all deliveries,
 * on one or two servers: every client sees byte for byte what it would see alone on a server of its own.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { typesOf } from '../support/raw-messages.ts';
import { comparable, show } from './compare.ts';
import { ModelPostgres } from './model-postgres.ts';
import { type Burst, pipelinedScript, waitingScript } from './scripts.ts';
import { Sim, type SimClient, simConfig } from './sim.ts';

const RUNS = Number(process.env['PGC_FUZZ_RUNS'] ?? 150);

/** What a client sees without a pooler. */
function direct(bursts: readonly Burst[]): Buffer[] {
  const postgres = new ModelPostgres(true);
  return bursts.map((burst) => {
    postgres.receive(burst);
    return postgres.take();
  });
}

interface Course {
  readonly settings: Readonly<Record<string, string | number>>;
  readonly scripts: readonly (readonly Burst[])[];
  /** Which of all possible moves is made, and by how many bytes. */
  readonly moves: readonly (readonly [which: number, limit: number])[];
  readonly highWater: number;
}

/** The failure, with what the clients said in words. */
async function run(course: Course): Promise<void> {
  try {
    await play(course);
  } catch (error) {
    const scripts = course.scripts.map((bursts, i) => `client ${i}: ${bursts.map(show).join('\n   then ')}`);
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(`${scripts.join('\n')}\n${JSON.stringify({ ...course, scripts: 0 })}\n${text}`, {
      cause: error,
    });
  }
}

async function play(course: Course): Promise<void> {
  const sim = new Sim(simConfig(course.settings));
  try {
    const clients: SimClient[] = [];
    for (const _ of course.scripts) clients.push(await sim.login());
    for (const { transport } of [...clients, ...sim.servers]) transport.highWater = course.highWater;
    const expected = course.scripts.map(direct);
    const next = course.scripts.map(() => 0);
    let move = 0;
    let quiet = 0;
    for (;;) {
      // who has been answered in full goes on
      clients.forEach((client, i) => {
        const at = next[i] ?? 0;
        const want = expected[i]?.slice(0, at).reduce((sum, one) => sum + one.length, 0) ?? 0;
        const burst = course.scripts[i]?.[at];
        if (burst === undefined || client.received.length < want) return;
        next[i] = at + 1;
        client.transport.arrive(burst);
      });
      const [which, limit] = course.moves[move++ % course.moves.length] ?? [0, 65_536];
      if (sim.step(clients, which + move, limit)) {
        quiet = 0;
        continue;
      }
      // a login has steps that are not bytes
      await new Promise(setImmediate);
      quiet += 1;
      if (quiet > 3) break;
    }
    clients.forEach((client, i) => {
      const want = comparable(Buffer.concat(expected[i] ?? []));
      const got = comparable(client.received);
      if (got.equals(want)) return;
      assert.equal(show(got), show(want), `client ${i}; closed: ${sim.closes.join(', ')}`);
      assert.fail('different bytes');
    });
    for (const client of sim.clients.clients) {
      assert.equal(client.phase, 'idle');
      assert.equal(client.server, null);
      assert.equal(client.requests.pending, 0);
      assert.equal(client.requests.bodyLeft, 0);
    }
    for (const pool of sim.pools.pools()) {
      assert.equal(pool.waiters.count, 0);
      for (const server of pool.servers) {
        assert.equal(server.state, 'idle', typesOf(sim.servers[0]?.postgres.messages ?? []));
        assert.equal(server.replies.owed.length, 0);
        assert.equal(server.replies.copyIn, false);
      }
    }
    const max = Number(course.settings['max_prepared_statements']);
    for (const { postgres } of sim.servers) {
      // the new one is there for a moment before the oldest goes
      assert.ok(postgres.mostStatements <= max + 1, `${postgres.mostStatements} statements on a server`);
    }
    for (const client of [...sim.clients.clients]) client.leave('the end');
    const used = [...sim.pools.pools()]
      .flatMap((pool) => [...pool.servers])
      .map((one) => one.statements.size);
    assert.equal(sim.clients.clients.size, 0);
    assert.ok(sim.pools.statements.size <= used.reduce((sum, one) => sum + one, 0), 'statements leak');
  } finally {
    sim.end();
  }
}

const moves = fc.array(
  fc.tuple(
    fc.nat(40),
    fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 300 }), fc.constant(65_536)),
  ),
  { minLength: 1, maxLength: 60 },
);

for (const [how, script] of [
  ['that wait for each batch', waitingScript],
  ['that pipeline over several Syncs', pipelinedScript],
] as const) {
  for (const poolSize of [1, 2]) {
    test(`three clients ${how}, pool_size ${poolSize}, few statements per server`, async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(script, { minLength: 3, maxLength: 3 }),
          moves,
          fc.constantFrom(1, 2, 3, 100),
          fc.constantFrom(64, 1000, Number.POSITIVE_INFINITY),
          (scripts, order, max, highWater) =>
            run({
              settings: {
                pool_mode: 'transaction',
                default_pool_size: poolSize,
                max_prepared_statements: max,
              },
              scripts,
              moves: order,
              highWater,
            }),
        ),
        { numRuns: RUNS, includeErrorInReport: true },
      );
    });
  }
}
