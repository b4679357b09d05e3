/**
 * Random clients of a routed database: pipelines of simple and extended units, blocks whose BEGIN is deferred, READ ONLY
 * blocks, statements that a replica refuses or dies of, while roles, freshness and replay change at random. Every
 * client sees byte for byte what it would see alone on one private server, and every write is done once.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GUARD_OFF } from '../../src/server/reply-guard.ts';
import { comparable, show } from './compare.ts';
import { ModelCluster } from './model-cluster.ts';
import { routedScript, type Say } from './routed-scripts.ts';
import { type Event, RoutedSim, type SimClient } from './routed-sim.ts';

const RUNS = Number(process.env['PGC_FUZZ_RUNS'] ?? 150);

/** After so many moves nothing happens any more but bytes. */
const RESTLESS = 1000;

interface Course {
  readonly settings: Readonly<Record<string, string | number>>;
  readonly scripts: readonly (readonly Say[])[];
  /** What moves, by how many bytes, and what happens then. */
  readonly moves: readonly (readonly [which: number, limit: number, event: Event])[];
  readonly highWater: number;
}

/** What a client sees, and what is written, without a proxy. */
function direct(bursts: readonly Buffer[]): { replies: Buffer[]; counts: Record<string, number> } {
  const cluster = new ModelCluster(['one']);
  const postgres = cluster.backend('one', true);
  const replies = bursts.map((burst) => {
    postgres.receive(burst);
    return postgres.take();
  });
  return { replies, counts: cluster.counts() };
}

function render(scripts: readonly (readonly Say[])[]): Buffer[][] {
  let id = 0;
  const next = (): number => ++id;
  return scripts.map((bursts, i) => bursts.map((say) => say(`c${i}`, next)));
}

async function run(course: Course): Promise<void> {
  const bursts = render(course.scripts);
  try {
    await play(course, bursts);
  } catch (error) {
    const scripts = bursts.map((all, i) => `client ${i}: ${all.map(show).join('\n   then ')}`);
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(`${scripts.join('\n')}\n${JSON.stringify({ ...course, scripts: 0 })}\n${text}`, {
      cause: error,
    });
  }
}

async function play(course: Course, bursts: readonly (readonly Buffer[])[]): Promise<void> {
  const routed = await RoutedSim.start(course.settings);
  const { sim, cluster } = routed;
  try {
    const clients: SimClient[] = [];
    for (const _ of bursts) clients.push(await sim.login());
    sim.serverHighWater = course.highWater;
    for (const { transport } of [...clients, ...sim.servers]) transport.highWater = course.highWater;
    const expected = bursts.map(direct);
    const next = bursts.map(() => 0);
    let move = 0;
    let quiet = 0;
    let healed = false;
    for (;;) {
      clients.forEach((client, i) => {
        const at = next[i] ?? 0;
        const want = expected[i]?.replies.slice(0, at).reduce((sum, one) => sum + one.length, 0) ?? 0;
        const burst = bursts[i]?.[at];
        if (burst === undefined || client.received.length < want) return;
        next[i] = at + 1;
        client.transport.arrive(burst);
      });
      const [which, limit, event] = course.moves[move++ % course.moves.length] ?? [0, 65_536, 'none'];
      if (!healed && move < RESTLESS) routed.happen(event, which + move);
      if (sim.step(clients, which + move, limit)) {
        quiet = 0;
        if (move > 100_000) throw new Error('it never becomes quiet');
        continue;
      }
      await new Promise(setImmediate);
      quiet += 1;
      if (quiet <= 3) continue;
      if (healed) break;
      healed = true;
      quiet = 0;
      routed.heal();
    }
    clients.forEach((client, i) => {
      const want = comparable(Buffer.concat(expected[i]?.replies ?? []));
      const got = comparable(client.received);
      if (got.equals(want)) return;
      assert.equal(show(got), show(want), `client ${i}; closed: ${sim.closes.join(', ')}\n${where(routed)}`);
      assert.fail('different bytes');
    });
    assert.deepEqual(cluster.misrouted, []);
    assert.deepEqual(cluster.counts(), Object.assign({}, ...expected.map(({ counts }) => counts)));
    atRest(routed);
  } finally {
    sim.end();
  }
}

/** For the message of a failure. */
function where({ sim }: RoutedSim): string {
  const pools = [...sim.pools.pools()].map((pool) => {
    const servers = [...pool.servers].map((one) => `${one.state} ${one.replies.owed.length}`).join(', ');
    return `${pool.node?.name ?? 'hall'} ${pool.role}: ${pool.waiters.count} wait, servers ${servers}`;
  });
  const clients = [...sim.clients.clients].map(
    (one) => `${one.phase} ${one.routing?.hold} ${one.requests.pending}`,
  );
  return [...pools, ...clients].join('\n');
}

/** Nothing is left of anything. */
function atRest({ sim }: RoutedSim): void {
  for (const client of sim.clients.clients) {
    assert.equal(client.phase, 'idle');
    assert.equal(client.server, null);
    assert.equal(client.requests.pending, 0);
    assert.equal(client.requests.bodyLeft, 0);
    assert.equal(client.routing?.unit.length, 0, 'a copy of a unit is kept');
    assert.equal(client.routing?.hold, '');
    assert.equal(client.routing?.begin, null);
  }
  for (const node of sim.desk.runtimes.get('main')?.nodes.values() ?? [])
    assert.equal(node.inFlight, 0, `in flight on ${node.name}`);
  for (const pool of sim.pools.pools()) {
    assert.equal(pool.waiters.count, 0);
    for (const server of pool.servers) {
      assert.equal(server.state, 'idle');
      assert.equal(server.replies.owed.length, 0);
      assert.equal(server.replies.guard.state, GUARD_OFF);
      assert.equal(server.replies.guard.back.length, 0);
    }
  }
  for (const client of [...sim.clients.clients]) client.leave('the end');
  const used = [...sim.pools.pools()].flatMap((pool) => [...pool.servers]).map((one) => one.statements.size);
  assert.equal(sim.clients.clients.size, 0);
  assert.ok(sim.pools.statements.size <= used.reduce((sum, one) => sum + one, 0), 'statements leak');
}

const events = (...names: readonly Event[]): fc.Arbitrary<Event> =>
  fc.oneof(
    { weight: 30, arbitrary: fc.constant<Event>('none') },
    ...names.map((name) => ({ weight: 1, arbitrary: fc.constant(name) })),
  );

const moves = (event: fc.Arbitrary<Event>) =>
  fc.array(
    fc.tuple(
      fc.nat(60),
      fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 300 }), fc.constant(65_536)),
      event,
    ),
    { minLength: 1, maxLength: 80 },
  );

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
        { numRuns: RUNS, includeErrorInReport: true, endOnFailure: process.env['PGC_NO_SHRINK'] === '1' },
      );
    });
  }
}
