/** The table of all SHOW views, in the lines of SHOW HELP. */

import type { View } from './view.ts';
import { CLUSTERS, LEARNED, ROUTES, SHADOW } from './view-clusters.ts';
import { CLUSTER, NODES, POOL_NODES } from './view-nodes.ts';
import { DATABASES, PEER_POOLS, PEERS, POOLS, USERS } from './view-pools.ts';
import { CONFIG, DNS_HOSTS, DNS_ZONES, FDS, LISTS, MEM, STATE, VERSION } from './view-process.ts';
import { ACTIVE_SOCKETS, CLIENTS, SERVERS, SOCKETS } from './view-sockets.ts';
import { STATS, STATS_AVERAGES, STATS_TOTALS, TOTALS } from './view-stats.ts';

/** One list for each line of SHOW HELP (where `HELP` itself stands before the first). */
export const VIEW_LINES: readonly (readonly View[])[] = [
  [CONFIG, DATABASES, POOLS, CLIENTS, SERVERS, USERS, VERSION],
  [PEERS, PEER_POOLS],
  [FDS, SOCKETS, ACTIVE_SOCKETS, LISTS, MEM, STATE],
  [DNS_HOSTS, DNS_ZONES],
  [STATS, STATS_TOTALS, STATS_AVERAGES, TOTALS],
  [NODES, POOL_NODES, CLUSTERS, CLUSTER, ROUTES, LEARNED, SHADOW],
];

export const VIEWS: readonly View[] = VIEW_LINES.flat();

const BY_NAME: ReadonlyMap<string, View> = new Map(VIEWS.map((v) => [v.name, v]));

/** The view of this name, whatever its case. */
export function findView(name: string): View | null {
  return BY_NAME.get(name.toUpperCase()) ?? null;
}
