/** One run of random clients through a RoutedSim: what happened, beside what one private server would have said. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { BLOCK_FAILED } from '../../src/client/client-routing.ts';
import { GUARD_OFF } from '../../src/server/reply-guard.ts';
import { splitMessages } from '../support/raw-messages.ts';
import { show } from './compare.ts';
import { ModelCluster } from './model-cluster.ts';
import type { Say } from './routed-scripts.ts';
import { type Event, RoutedSim, type SimClient } from './routed-sim.ts';

/** After so many moves nothing happens any more but bytes. */
const RESTLESS = 1000;

export interface Course {
  readonly settings: Readonly<Record<string, string | number>>;
  readonly scripts: readonly (readonly Say[])[];
  /** What moves, by how many bytes, and what happens then. */
  readonly moves: readonly (readonly [which: number, limit: number, event: Event])[];
  readonly highWater: number;
}

/** What a client sees, and what is written, without a proxy. */
export interface Direct {
  readonly replies: readonly Buffer[];
  /** After each burst: how often each write was committed. */
  readonly counts: readonly Record<string, number>[];
}

export interface Played {
  readonly routed: RoutedSim;
  readonly clients: readonly SimClient[];
  readonly bursts: readonly (readonly Buffer[])[];
  readonly expected: readonly Direct[];
}

function direct(bursts: readonly Buffer[]): Direct {
  const cluster = new ModelCluster(['one']);
  const postgres = cluster.backend('one', true);
  const counts: Record<string, number>[] = [];
  const replies = bursts.map((burst) => {
    postgres.receive(burst);
    counts.push(cluster.counts());
    return postgres.take();
  });
  return { replies, counts };
}

function render(scripts: readonly (readonly Say[])[]): Buffer[][] {
  let id = 0;
  const next = (): number => ++id;
  return scripts.map((bursts, i) => bursts.map((say) => say(`c${i}`, next)));
}

/** Plays the course and has it judged; a failure tells in words what the clients said. */
export async function run(course: Course, judge: (played: Played) => void): Promise<void> {
  const bursts = render(course.scripts);
  try {
    await play(course, bursts, judge);
  } catch (error) {
    const scripts = bursts.map((all, i) => `client ${i}: ${all.map(show).join('\n   then ')}`);
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(`${scripts.join('\n')}\n${JSON.stringify({ ...course, scripts: 0 })}\n${text}`, {
      cause: error,
    });
  }
}

/** How many ReadyForQuery there are. */
export function readies(bytes: Buffer): number {
  return splitMessages(bytes).messages.filter(({ type }) => type === 'Z').length;
}

async function play(
  course: Course,
  bursts: readonly (readonly Buffer[])[],
  judge: (played: Played) => void,
): Promise<void> {
  const routed = await RoutedSim.start(course.settings);
  const { sim } = routed;
  try {
    const clients: SimClient[] = [];
    for (const _ of bursts) clients.push(await sim.login());
    sim.serverHighWater = course.highWater;
    for (const { transport } of [...clients, ...sim.servers]) transport.highWater = course.highWater;
    const expected = bursts.map(direct);
    const answers = expected.map(({ replies }) => replies.map(readies));
    const next = bursts.map(() => 0);
    let move = 0;
    let quiet = 0;
    let healed = false;
    for (;;) {
      clients.forEach((client, i) => {
        const at = next[i] ?? 0;
        const want = answers[i]?.slice(0, at).reduce((sum, one) => sum + one, 0) ?? 0;
        const burst = bursts[i]?.[at];
        if (burst === undefined || (at > 0 && readies(client.received) < want)) return;
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
      // a login has steps that are not bytes
      await new Promise(setImmediate);
      quiet += 1;
      if (quiet <= 5) continue;
      if (healed) break;
      healed = true;
      quiet = 0;
      routed.heal();
    }
    judge({ routed, clients, bursts, expected });
  } finally {
    sim.end();
  }
}

/** For the message of a failure. */
export function where({ sim }: RoutedSim): string {
  const pools = [...sim.pools.pools()].map((pool) => {
    const servers = [...pool.servers].map((one) => `${one.state} ${one.replies.owed.length}`).join(', ');
    return `${pool.node?.name ?? 'hall'} ${pool.role}: ${pool.waiters.count} wait, servers ${servers}`;
  });
  const clients = [...sim.clients.clients].map(
    (one) => `${one.id} ${one.phase} ${one.routing?.hold} ${one.requests.pending}`,
  );
  const closes = [...new Set(sim.closes)].join(', ');
  return [...pools, ...clients, `closed because: ${closes}`].join('\n');
}

/** Nothing is left of anything. */
export function atRest({ sim }: RoutedSim): void {
  for (const client of sim.clients.clients) {
    assert.equal(client.phase, 'idle');
    assert.equal(client.server, null);
    assert.equal(client.requests.pending, 0);
    assert.equal(client.requests.bodyLeft, 0);
    assert.equal(client.routing?.unit.length, 0, 'a copy of a unit is kept');
    assert.equal(client.routing?.hold, '');
    // the reply to its last ROLLBACK may have been lost with a server: then it is in a failed block still
    if (client.routing?.block !== BLOCK_FAILED) assert.equal(client.routing?.begin, null);
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

export const events = (...names: readonly Event[]): fc.Arbitrary<Event> =>
  fc.oneof(
    { weight: 30, arbitrary: fc.constant<Event>('none') },
    ...names.map((name) => ({ weight: 1, arbitrary: fc.constant(name) })),
  );

export const moves = (event: fc.Arbitrary<Event>) =>
  fc.array(
    fc.tuple(
      fc.nat(60),
      fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 300 }), fc.constant(65_536)),
      event,
    ),
    { minLength: 1, maxLength: 80 },
  );
