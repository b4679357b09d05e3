/**
 * A backend has been ended on command (57P01) before its client has seen anything of the reply. Somebody may have meant
 * that one, then its statement stays ended; or its node is being stopped, then a read goes elsewhere (FAILOVER.md). The
 * backend says the same in both cases: the monitor's next check of the node tells.
 */
import type { ClusterRuntime } from '../routing/cluster-runtime.ts';
import { reasonId } from '../routing/reasons.ts';
import type { RoutedNode } from '../routing/routed-node.ts';
import type { ErrorFields } from '../wire/backend.ts';
import type { ClientRouting } from './client-routing.ts';

export interface NodeDoubt {
  readonly node: RoutedNode;
  /** What the client is told if it was the backend alone. */
  readonly error: ErrorFields;
  /** Wall ms. */
  readonly sinceAt: number;
}

const NODE_LOST = reasonId('node lost');
/** With check_timeout = 0. */
const DEFAULT_LIMIT_MS = 5000;

/** A node that is being stopped takes no login from the moment when it ends its backends: a check that begins later fails. */
export function whatEnded(
  { node, sinceAt }: NodeDoubt,
  runtime: ClusterRuntime,
): 'node' | 'backend' | 'not told' {
  const view = runtime.nodes.get(node.name)?.view;
  if (view === undefined || view.state === 'down' || view.state === 'starting') return 'node';
  // or it is back already: then the connection of its checks is a new one
  if (view.lastErrorAt >= sinceAt || view.connectedAt >= sinceAt) return 'node';
  return view.answeredFrom > sinceAt ? 'backend' : 'not told';
}

/** The unit that runs on a replica may have to go elsewhere: it is held until that is known. False = it was seen, or moved once. */
export function mayDoubt(routing: ClientRouting, error: ErrorFields): boolean {
  const { node, unit, onReplica, desk } = routing;
  if (routing.lost || unit.length === 0 || !onReplica) return false;
  // promoted meanwhile: a function that only says that it reads may have written there
  if (node === null || node === desk.shared.runtime.primary) return false;
  routing.doubt = { node, error, sinceAt: routing.client.registry.clock.wall() };
  routing.again = true;
  return true;
}

/** The node is going down: the unit looks for another one. False = it is not, or nobody knows yet. */
export function goesElsewhere(routing: ClientRouting, doubt: NodeDoubt): boolean {
  if (whatEnded(doubt, routing.desk.shared.runtime) !== 'node') return false;
  routing.lost = true;
  routing.exclude = doubt.node;
  routing.reason = NODE_LOST;
  routing.doubt = null;
  routing.holdUntilMs = 0;
  return true;
}

/** How long the answer is waited for, ms. Without one it was the backend. */
export function doubtLimitMs({ settings: { checkTimeoutMs } }: ClusterRuntime): number {
  return checkTimeoutMs > 0 ? checkTimeoutMs : DEFAULT_LIMIT_MS;
}
