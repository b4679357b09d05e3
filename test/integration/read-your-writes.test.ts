/**
 * No stale read, ever: many clients write and read in every form, while replicas pause and resume their replay at random
 * or are killed, one applies late, and primaries are stopped, or killed, and replaced. Replication is synchronous to any
 * one replica (flushed there, not replayed: replicas are as stale as ever), and the replica that has received most is
 * promoted, so that what was acknowledged is there after every failover and must be seen.
 *
 * PGC_OPERATIONS: fewer, for a quick look. PGC_SEED: the same choices again (not the same timing).
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { PostgresInstance } from '../../src/demo/postgres-instance.ts';
import { withCluster } from '../support/postgres.ts';
import { RawClient } from '../support/raw-client.ts';
import { ConsistencyClient, type Row, type Run, seeded } from '../support/read-your-writes.ts';
import { nodeAt, routedDaemon } from '../support/routed.ts';
import { untilNodes } from '../support/routed-client.ts';
import { Admin } from '../support/scenario.ts';
import { until } from '../support/until.ts';

const OPERATIONS = Number(process.env['PGC_OPERATIONS'] ?? 100_000);
/** After which share of the operations a node is lost: the primary is stopped or killed, or a replica is. */
const EVENTS = [
  { at: 0.08, what: 'replica' },
  { at: 0.2, what: 'stop' },
  { at: 0.32, what: 'replica' },
  { at: 0.44, what: 'crash' },
  { at: 0.56, what: 'replica' },
  { at: 0.68, what: 'stop' },
  { at: 0.8, what: 'crash' },
  { at: 0.9, what: 'replica' },
] as const;
const CLIENTS = 24;
const PAUSE_EVERY = 250;
const SETTLED = 60_000;

let cluster: PostgresCluster;

before(async () => {
  cluster = await withCluster(3, {
    settings: { synchronous_standby_names: 'ANY 1 (*)', max_connections: 200, wal_keep_size: '256MB' },
  });
  cluster.node('pg4').configure({ recovery_min_apply_delay: '150ms' });
  const { primary } = cluster;
  await cluster.sql(
    primary,
    'CREATE TABLE rw (id integer PRIMARY KEY, v bigint NOT NULL) WITH (fillfactor = 20)',
  );
  await cluster.sql(primary, `INSERT INTO rw SELECT n, 0 FROM generate_series(1, ${CLIENTS}) n`);
  await cluster.sql(
    primary,
    `CREATE FUNCTION bump(which integer, new bigint) RETURNS void LANGUAGE sql
       AS 'UPDATE rw SET v = new WHERE id = which'`,
  );
  await cluster.sql(
    primary,
    `CREATE PROCEDURE save(which integer, new bigint) LANGUAGE plpgsql
       AS $$ BEGIN UPDATE rw SET v = new WHERE id = which; COMMIT; RAISE 'saved'; END $$`,
  );
  await cluster.waitCaughtUp();
});

async function one(node: PostgresInstance, sql: string): Promise<string> {
  return (await cluster.sql(node, sql)).rows[0]?.[0] ?? '';
}

function states(): string {
  const { primary } = cluster;
  return cluster.nodes.map((node) => `${node.name} ${node === primary ? 'primary' : 'replica'}`).join(', ');
}

function replicaBy(random: () => number): PostgresInstance {
  const { replicas } = cluster;
  const node = replicas[Math.floor(random() * replicas.length)];
  assert.ok(node);
  return node;
}

/** A replica is killed and comes back: it may open again below what it had replayed. */
async function restart(random: () => number): Promise<void> {
  const node = replicaBy(random);
  await node.kill();
  await node.start();
  await cluster.waitStreaming(node);
}

/** Stops the primary, or kills it, and promotes the replica that has received most; the others follow it. */
async function failover(how: 'stop' | 'crash'): Promise<void> {
  const old = cluster.primary;
  const replicas = [...cluster.replicas];
  for (const node of replicas) await cluster.sql(node, 'SELECT pg_wal_replay_resume()');
  if (how === 'stop') await old.stop('fast');
  else await old.kill();
  // nothing comes any more
  for (const node of replicas) {
    await until(
      async () =>
        (await one(node, "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'")) === '0',
    );
  }
  const received = await Promise.all(
    replicas.map(async (node) => ({
      node,
      lsn: Number(await one(node, "SELECT pg_last_wal_receive_lsn() - '0/0'::pg_lsn")),
    })),
  );
  received.sort((a, b) => b.lsn - a.lsn);
  const [next, ...others] = received.map(({ node }) => node);
  assert.ok(next);
  await cluster.promote(next);
  // commits wait for the first that follows
  for (const node of others) await cluster.follow(node, next);
  await cluster.reclone(old, next);
}

test(`${OPERATIONS} operations: no client ever reads less than what must be there`, {
  timeout: 280_000,
}, async (t) => {
  const seed = Number(process.env['PGC_SEED'] ?? Date.now() % 1_000_000);
  const random = seeded(seed);
  t.diagnostic(`PGC_SEED=${seed}`);
  const daemon = await routedDaemon(t, cluster, {
    databases: {
      strict: 'cluster=main dbname=postgres read_consistency=database',
      loose: 'cluster=main dbname=postgres read_consistency=eventual',
    },
    // what lags is not the subject: a paused replica serves whom it is fresh enough for
    settings: {
      max_lag: 0,
      lsn_interval: 0.02,
      check_interval: 0.1,
      fail_threshold: 2,
      ban_time: 0.2,
      primary_wait_timeout: 60,
      default_pool_size: 10,
      log_connections: 0,
      log_disconnections: 0,
    },
  });
  const admin = await Admin.login(t, daemon);
  await untilNodes(admin, 'pg1 primary, pg2 replica, pg3 replica, pg4 replica');
  const rows: Row[] = Array.from({ length: CLIENTS }, (_, i) => ({ id: i + 1, acked: 0, tried: 0, how: '' }));
  const run: Run = {
    port: daemon.port,
    rows,
    random,
    operations: 0,
    wanted: OPERATIONS,
    failingOver: false,
    counts: new Map(),
    readsAt: new Map(),
    wrong: [],
  };
  // some see what they have written themselves, some what any of them has written; the last ones take what comes
  const databaseOf = (i: number): string => (i < 12 ? 'app' : i < 22 ? 'strict' : 'loose');
  const clients = rows.map((row, i) => {
    const database = databaseOf(i);
    const others = database === 'strict' ? rows.filter((_, other) => databaseOf(other) === 'strict') : [];
    return new ConsistencyClient(run, { row, database, others, mayBeStale: database === 'loose' });
  });
  const over = () => run.operations >= run.wanted || run.wrong.length > 0;
  const reaches = async (operations: number): Promise<void> => {
    await until(() => over() || run.operations >= operations, { timeoutMs: SETTLED, everyMs: 5 });
  };

  /** Errors that say that a node was lost are nobody's fault while `work` goes on, and until all have heard of it. */
  const losing = async (work: () => Promise<void>): Promise<void> => {
    run.failingOver = true;
    await work();
    await untilNodes(admin, states(), SETTLED);
    await reaches(run.operations + 4 * CLIENTS);
    run.failingOver = false;
  };

  const trouble = async (): Promise<void> => {
    const due = [...EVENTS];
    for (let at = 0; !over(); at += PAUSE_EVERY) {
      await reaches(at);
      const [next] = due;
      if (next !== undefined && run.operations >= next.at * OPERATIONS && !over()) {
        due.shift();
        await losing(() => (next.what === 'replica' ? restart(random) : failover(next.what)));
      }
      const node = replicaBy(random);
      await cluster.sql(node, `SELECT pg_wal_replay_${random() < 0.6 ? 'pause' : 'resume'}()`);
    }
    for (const node of cluster.replicas) await cluster.sql(node, 'SELECT pg_wal_replay_resume()');
    assert.ok(due.length === 0 || run.wrong.length > 0, `${due.length} events have not happened`);
  };

  const ended = await Promise.allSettled([trouble(), ...clients.map((client) => client.work())]);
  const where = [...run.readsAt].map(([port, count]) => `${nodeAt(cluster, port)}: ${count}`);
  t.diagnostic(`reads: ${where.join(', ')}`);
  t.diagnostic(
    [...run.counts]
      .sort()
      .map(([what, count]) => `${what}: ${count}`)
      .join(', '),
  );
  assert.deepEqual(run.wrong, []);
  assert.deepEqual(
    ended.filter((one) => one.status === 'rejected').map((one) => String(one.reason)),
    [],
  );

  // nothing that was acknowledged was lost, and nothing that was rolled back is there
  const kept = await cluster.sql(cluster.primary, 'SELECT id, v FROM rw ORDER BY id');
  for (const [i, { acked, tried }] of rows.entries()) {
    const value = Number(kept.rows[i]?.[1]);
    assert.ok(
      value >= acked && value <= tried,
      `row ${i + 1}: ${value}, acknowledged ${acked}, tried ${tried}`,
    );
    assert.ok(acked > 0);
  }
  // there was something to be seen wrongly, and replicas were asked all the same
  assert.ok(
    (run.counts.get('stale') ?? 0) > 0,
    'the clients with eventual consistency have seen nothing stale',
  );
  const reads = [...run.readsAt.values()].reduce((sum, count) => sum + count, 0);
  assert.ok(reads > OPERATIONS / 3, String(reads));
  assert.equal(run.readsAt.size, cluster.nodes.length, where.join(', '));
  for (const [port, count] of run.readsAt)
    assert.ok(count > reads / 500, `${nodeAt(cluster, port)} served ${count}`);
});

test('healthy replicas serve at least 90 % of a mix that only reads', async (t) => {
  const daemon = await routedDaemon(t, cluster);
  const admin = await Admin.login(t, daemon);
  await untilNodes(admin, states());
  const readsAt = new Map<string, number>();
  const READS = 2000;
  let left = READS;
  const reader = async (): Promise<void> => {
    const client = await RawClient.login(daemon, { user: 'postgres', database: 'app' });
    for (; left > 0; left--) {
      const block = left % 5 === 0;
      if (block) await client.rows('BEGIN READ ONLY');
      const [row] = await client.rows(`SELECT inet_server_port(), v FROM rw WHERE id = ${left}`);
      const [where] = row === undefined ? ((await client.rows('SELECT inet_server_port()'))[0] ?? []) : row;
      if (block) await client.rows('COMMIT');
      readsAt.set(where ?? '', (readsAt.get(where ?? '') ?? 0) + 1);
    }
    client.destroy();
  };
  await Promise.all(Array.from({ length: 10 }, reader));
  const primary = readsAt.get(String(cluster.primary.port)) ?? 0;
  assert.ok(primary <= READS / 10, `${primary} of ${READS} were read on the primary`);
  assert.equal([...readsAt.keys()].filter((port) => port !== String(cluster.primary.port)).length, 3);
});
