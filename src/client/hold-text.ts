/** Why a held unit did not get a node in time, as people should read it. */
import type { ClusterRuntime } from '../routing/cluster-runtime.ts';

/**
 * `stale` = replicas do take reads, but none is known to be fresh enough for this one. `node` = the one that a hint has
 * asked for; null = any.
 */
export function holdText(
  runtime: ClusterRuntime,
  wanted: 'primary' | 'replica' | 'stale',
  node: string | null,
): string {
  const { view, name } = runtime;
  if (node !== null) {
    const known = runtime.nodes.get(node);
    return known === undefined
      ? `there is no node "${node}" in cluster "${name}"`
      : `node "${node}" is ${known.view.state}`;
  }
  const since =
    view === null || view.noPrimarySinceAt === 0 ? '' : ` since ${clockTime(view.noPrimarySinceAt)}`;
  if (wanted === 'primary') return `no primary available in cluster "${name}"${since}`;
  const replicas =
    wanted === 'replica'
      ? `no replica available in cluster "${name}"`
      : `no replica of cluster "${name}" is known to have replayed what this read must see`;
  return runtime.primary === null ? `${replicas}, and there is no primary${since}` : replicas;
}

/** hh:mm:ss, local time. */
function clockTime(at: number): string {
  return new Date(at).toTimeString().slice(0, 8);
}
