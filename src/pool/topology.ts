/**
 * A change of a cluster reaches its pools: a pool whose node has another role, or may not be used, is retired by
 * generation (nothing is torn from a running transaction), and everybody who waits looks for a place again, in order.
 */
import type { Pool, PoolRole } from './pool.ts';
import type { PoolNode } from './pool-node.ts';
import type { PoolRegistry } from './registry.ts';

/** One node as pools see it. */
export interface NodePlace {
  readonly node: PoolNode;
  readonly role: PoolRole;
}

/** `places`: every node of the cluster by name. Called by the worker for each change of roles, states or addresses. */
export function applyTopology(
  pools: PoolRegistry,
  cluster: string,
  places: ReadonlyMap<string, NodePlace>,
): void {
  for (const database of pools.databases.values()) {
    if (database.entry.cluster !== cluster) continue;
    const halls: Pool[] = [];
    for (const pool of [...database.pools.values()]) {
      if (pool.node === null) halls.push(pool);
      else place(pool, pool.node, places.get(pool.node.name));
    }
    for (const hall of halls) {
      hall.rerouteWaiters();
      hall.wantServers();
      if (hall.limits.minPoolSize > 0)
        for (const { node, role } of places.values()) if (role !== 'none') pools.poolOn(hall, node);
    }
  }
}

function place(pool: Pool, node: PoolNode, now: NodePlace | undefined): void {
  const role = now?.role ?? 'none';
  const moved = now !== undefined && (now.node.host !== node.host || now.node.port !== node.port);
  if (role === pool.role && !moved) return;
  const before = pool.role;
  pool.role = role;
  if (now !== undefined) pool.node = now.node;
  pool.retryAtMs = 0;
  pool.lastLoginError = null;
  pool.rerouteWaiters();
  // a node that comes into use has nothing to retire
  if (before !== 'none' || moved)
    pool.newGeneration(moved ? 'node address changed' : `node role changed: ${before} -> ${role}`);
}
