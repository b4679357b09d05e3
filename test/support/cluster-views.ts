/** What the tests of changing clusters ask the console again and again. */
import assert from 'node:assert/strict';
import type { PostgresInstance } from '../../src/demo/postgres-instance.ts';
import type { Daemon } from './daemon.ts';
import type { Admin, ViewRow } from './scenario.ts';
import { until } from './until.ts';

/** A stopped node starts again as a replica of `primary`, on the data that it has. */
export async function comeBackAsReplica(node: PostgresInstance, primary: PostgresInstance): Promise<void> {
  node.becomeReplica(`host=127.0.0.1 port=${primary.port} user=postgres application_name=${node.name}`);
  await node.start();
}

/** The row of SHOW CLUSTERS. */
export async function clusterRow(admin: Admin): Promise<ViewRow> {
  const [row] = await admin.show('CLUSTERS');
  if (row === undefined) throw new Error('no cluster in SHOW CLUSTERS');
  return row;
}

/** `pg1 primary, pg2 replica`. */
export async function nodeStates(admin: Admin): Promise<string> {
  const rows = await admin.show('NODES');
  return rows.map((row) => `${row.text('name')} ${row.text('state')}`).join(', ');
}

/** The row of SHOW NODES. */
export async function nodeRow(admin: Admin, name: string): Promise<ViewRow> {
  const row = (await admin.show('NODES')).find((one) => one.text('name') === name);
  if (row === undefined) throw new Error(`no node ${name} in SHOW NODES`);
  return row;
}

export async function untilNodes(admin: Admin, states: string, timeoutMs = 15_000): Promise<void> {
  let seen = '';
  await until(
    async () => {
      seen = await nodeStates(admin);
      return seen === states;
    },
    { timeoutMs },
  ).catch((error: unknown) => {
    throw new Error(`never "${states}", last "${seen}"`, { cause: error });
  });
}

/** The usable primary; null = there is none. */
export async function untilPrimary(admin: Admin, name: string | null): Promise<void> {
  await until(async () => (await clusterRow(admin)).text('primary') === name, {
    timeoutMs: 15_000,
    what: `primary ${name}`,
  });
}

/** So many clients wait for a primary. */
export async function untilHeld(admin: Admin, count: number): Promise<void> {
  await until(async () => (await clusterRow(admin)).int('held') === count, {
    timeoutMs: 15_000,
    what: `${count} held clients`,
  });
}

/** So many clients of `database` wait for a server, wherever. */
export async function untilWaiting(admin: Admin, count: number, database = 'app'): Promise<void> {
  const waiting = async () =>
    (await admin.of('CLIENTS', database)).filter((row) => row.text('state') === 'waiting').length;
  await until(async () => (await waiting()) === count, { timeoutMs: 15_000, what: `${count} waiting` });
}

/** Lines of the log so far with this in it. */
export function told(daemon: Daemon, pattern: RegExp): readonly string[] {
  return daemon.log.lines().filter((line) => pattern.test(line));
}

/** Exactly so many: the log comes by another way than the console's answers, and may be behind them. */
export async function assertTold(daemon: Daemon, pattern: RegExp, times: number): Promise<void> {
  await until(() => told(daemon, pattern).length >= times, { what: `${times} lines with ${pattern}` });
  assert.equal(told(daemon, pattern).length, times);
}
