/** What is wrong with the clusters right now, told to whoever logs in to the console. One line each. */
import type { ClusterControl, ClusterRow, NodeRow } from '../control/cluster-port.ts';
import { localTime } from './local-time.ts';

/** More lines than this are not read at a login. */
const LINES_SHOWN = 20;

const since = (atMs: number): string => (atMs > 0 ? ` since ${localTime(atMs)}` : '');

function clusterLines(cluster: ClusterRow): string[] {
  if (cluster.primary !== null) return [];
  const clients = cluster.held === 1 ? '1 client waits' : `${cluster.held} clients wait`;
  const held = cluster.held > 0 ? `, ${clients} for one` : '';
  return [`cluster "${cluster.name}" has no primary${since(cluster.noPrimarySinceAt)}${held}`];
}

function nodeLines(node: NodeRow): string[] {
  const lines: string[] = [];
  const place = `node "${node.name}" of cluster "${node.cluster}"`;
  const error = node.lastError === '' ? '' : `: ${node.lastError}`;
  if (node.state === 'down') lines.push(`${place} is down${since(node.sinceAt)}${error}`);
  if (node.state === 'conflict')
    lines.push(`${place} is in conflict${since(node.sinceAt)}, it is not used${error}`);
  if (node.state === 'detached' || node.override.includes('detached')) {
    // a node in trouble may be detached as well: `since` is then that of the trouble
    const from = node.state === 'detached' ? since(node.sinceAt) : '';
    lines.push(`${place} is detached by hand${from}, ATTACH ${node.name} ends it`);
  }
  if (node.override.includes('weight')) lines.push(`${place} has weight ${node.weight} by hand (SET WEIGHT)`);
  return lines;
}

/** No primary, nodes that are down or in conflict, and what was changed by hand; empty = all is well. */
export function clusterWarnings(control: ClusterControl): string[] {
  const lines = [...control.clusters().flatMap(clusterLines), ...control.nodes().flatMap(nodeLines)];
  if (lines.length <= LINES_SHOWN) return lines;
  const more = lines.length - LINES_SHOWN + 1;
  return [...lines.slice(0, LINES_SHOWN - 1), `… and ${more} more: SHOW NODES`];
}
