/** Why a held unit did not get a node in time, as people should read it. */
import type { ClusterRuntime } from '../routing/cluster-runtime.ts';

/** `node` = the one that a hint has asked for; null = any. */
export function holdText(
  runtime: ClusterRuntime,
  wanted: 'primary' | 'replica',
  node: string | null,
): string {
  const { view } = runtime;
  if (node !== null) {
    const known = runtime.nodes.get(node);
    return known === undefined
      ? `there is no node "${node}" in cluster "${runtime.name}"`
      : `node "${node}" is ${known.view.state}`;
  }
  if (wanted === 'replica') return `no replica available in cluster "${runtime.name}"`;
  const since =
    view === null || view.noPrimarySinceAt === 0 ? '' : ` since ${clockTime(view.noPrimarySinceAt)}`;
  return `no primary available in cluster "${runtime.name}"${since}`;
}

/** hh:mm:ss, local time. */
function clockTime(at: number): string {
  return new Date(at).toTimeString().slice(0, 8);
}
