/**
 * How one of several candidates is taken. All work on the reused lists of the chooser; a weight of 0 = not a
 * candidate. Smooth weighted round robin is exact: 1:3 over 1000 choices gives 250/750, without bursts.
 */
import type { RoutedNode } from './routed-node.ts';

/** The lists that a choice works on, by the same index. */
export interface Candidates {
  nodes: readonly RoutedNode[];
  /** Effective weight; 0 = not a candidate of this choice. */
  weights: Float64Array;
  /** State of the smooth weighted round robin. */
  current: Float64Array;
}

/** A service time that nobody has confirmed for this long counts half. */
const HALF_LIFE_MS = 1000;

/** Weighted round robin; null = no candidate. */
export function pickWeighted(candidates: Candidates): RoutedNode | null {
  const { nodes, weights, current } = candidates;
  let best = -1;
  let most = 0;
  let total = 0;
  for (let i = 0; i < nodes.length; i++) {
    const weight = weights[i] ?? 0;
    if (weight === 0) continue;
    total += weight;
    const value = (current[i] ?? 0) + weight;
    current[i] = value;
    if (best < 0 || value > most) {
      best = i;
      most = value;
    }
  }
  if (best < 0) return null;
  current[best] = most - total;
  return nodes[best] ?? null;
}

/** The node that `pickWeighted` would take. */
export function wouldPickWeighted(candidates: Candidates): RoutedNode | null {
  const { nodes, weights, current } = candidates;
  let best: RoutedNode | null = null;
  let most = 0;
  for (const [i, node] of nodes.entries()) {
    const weight = weights[i] ?? 0;
    const value = (current[i] ?? 0) + weight;
    if (weight === 0 || (best !== null && value <= most)) continue;
    best = node;
    most = value;
  }
  return best;
}

/** Of two drawn by weight, the one with fewer units in flight per weight. */
export function pickLeastBusy(candidates: Candidates, random: () => number): RoutedNode | null {
  const first = draw(candidates, random, -1);
  const second = draw(candidates, random, first);
  if (second < 0) return candidates.nodes[first] ?? null;
  return candidates.nodes[load(candidates, second) < load(candidates, first) ? second : first] ?? null;
}

/** Of two drawn by weight, the one that should answer first: service time × queue per weight. */
export function pickFastest(candidates: Candidates, random: () => number, nowMs: number): RoutedNode | null {
  const { nodes, weights } = candidates;
  const first = draw(candidates, random, -1);
  const second = draw(candidates, random, first);
  const one = nodes[first];
  const other = nodes[second];
  if (one === undefined || other === undefined) return one ?? null;
  const oneUs = serviceUs(one, nowMs);
  const otherUs = serviceUs(other, nowMs);
  // not known of one of them: only the queues can be compared
  const known = oneUs > 0 && otherUs > 0;
  const a = ((known ? oneUs : 1) * (one.inFlight + 1)) / (weights[first] ?? 1);
  const b = ((known ? otherUs : 1) * (other.inFlight + 1)) / (weights[second] ?? 1);
  return b < a ? other : one;
}

/** Fades with time, so that a node which was slow once is tried again. */
function serviceUs(node: RoutedNode, nowMs: number): number {
  return (node.serviceUs * HALF_LIFE_MS) / (HALF_LIFE_MS + Math.max(0, nowMs - node.lastAnswerMs));
}

function load({ nodes, weights }: Candidates, i: number): number {
  return (nodes[i]?.inFlight ?? 0) / (weights[i] ?? 1);
}

/** Index of a candidate drawn by weight among all but `without`; -1 = none. */
function draw({ weights }: Candidates, random: () => number, without: number): number {
  let total = 0;
  for (let i = 0; i < weights.length; i++) if (i !== without) total += weights[i] ?? 0;
  let point = random() * total;
  let last = -1;
  for (let i = 0; i < weights.length; i++) {
    const weight = weights[i] ?? 0;
    if (i === without || weight === 0) continue;
    last = i;
    if (point < weight) return i;
    point -= weight;
  }
  return last;
}
