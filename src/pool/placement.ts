/** What pools ask about the clusters that their nodes belong to; the worker's root knows. */
import type { PoolRole } from './pool.ts';
import type { PoolNode } from './pool-node.ts';

export interface Placement {
  /** A node for the proxy's own queries (welcome, auth_query): the primary, else any replica in use; null = none. */
  anyNode(cluster: string): PoolNode | null;
  roleOf(cluster: string, node: string): PoolRole;
  /** A server of this node says whether it is in recovery. Why it must not be used; '' = as expected. */
  witness(cluster: string, node: string, inHotStandby: boolean): string;
  /** Traffic met trouble on this node: it should be looked at now. */
  trouble(cluster: string, node: string, what: 'refused' | 'lost'): void;
}

/** For a worker without clusters. */
export const NOWHERE: Placement = {
  anyNode: () => null,
  roleOf: () => 'none',
  witness: () => '',
  trouble: () => {},
};
