/**
 * Which node a read goes to. One chooser per cluster and set of routing settings, with the state of its own round
 * robin. Nothing is allocated for a choice: the lists are rebuilt when nodes come, go or change their weight.
 */
import type { RoutingSettings } from '../config/effective-routing.ts';
import { type Candidates, pickFastest, pickLeastBusy, pickWeighted, wouldPickWeighted } from './balance.ts';
import type { ClusterRuntime } from './cluster-runtime.ts';
import { type Reason, reasonId } from './reasons.ts';
import type { RoutedNode } from './routed-node.ts';

const BALANCED = reasonId('balanced');
const WEIGHTED_PRIMARY = reasonId('weighted primary');
const NONE_ELIGIBLE = reasonId('no replica eligible');
const NOT_FRESH = reasonId('not fresh');

/** Share of its weight that a node has when it comes back. */
const RAMP_START = 0.1;

/** Why a node is not a candidate; '' = it is one. */
type Rejection = string;
const ROLE = 'primary';
const STATE = 'state';
const NOT_STREAMING = 'not streaming from the primary';
const NO_WEIGHT = 'weight 0';
const BANNED = 'banned after a failure';
const LAG = 'lag';
const STALE = 'has not replayed the bound yet';

export interface NodeExplanation {
  readonly node: string;
  readonly eligible: boolean;
  /** Why not; of an eligible one its share of the reads. */
  readonly why: string;
}

export class ReadChooser {
  /** Why the last choice went where it went. */
  reason: Reason = NONE_ELIGIBLE;
  /** In the last choice a replica was passed over only because it is not fresh enough. */
  stale = false;
  readonly #runtime: ClusterRuntime;
  readonly #settings: RoutingSettings;
  readonly #random: () => number;
  readonly #candidates: Candidates = {
    nodes: [],
    weights: new Float64Array(0),
    current: new Float64Array(0),
  };
  #version = -1;

  /** `random` gives 0 ≤ x < 1 for the balances that draw. */
  constructor(runtime: ClusterRuntime, settings: RoutingSettings, random: () => number = Math.random) {
    this.#runtime = runtime;
    this.#settings = settings;
    this.#random = random;
  }

  /**
   * The node for a read that must see everything up to `boundLsn` (0 = anything, Infinity = not known yet: primary
   * only), or null. `exclude` has just failed this read. Sets `reason` and `stale`.
   *
   * With stale_read = wait the caller looks at `reason`: `not fresh` means that waiting may help.
   */
  choose(boundLsn: number, nowMs: number, exclude: RoutedNode | null): RoutedNode | null {
    const found = this.#weigh(boundLsn, nowMs, exclude);
    if (!found) return this.#fallback(exclude);
    const node = this.#pick(nowMs);
    if (node === null) return this.#fallback(exclude);
    this.reason = node === this.#runtime.primary ? WEIGHTED_PRIMARY : BALANCED;
    if (node.bannedUntilMs !== 0) node.claimProbe(nowMs);
    return node;
  }

  /** Where a read would go next, without going there. Exact for `weighted`, else a good guess. */
  peek(nowMs: number, boundLsn = 0): RoutedNode | null {
    const { reason, stale } = this;
    const found = this.#weigh(boundLsn, nowMs, null);
    const node = found ? wouldPickWeighted(this.#candidates) : this.#fallback(null);
    this.reason = reason;
    this.stale = stale;
    return node;
  }

  /** May this node take a read with this bound now? The primary: only where it takes part by its weight. */
  eligible(node: RoutedNode, boundLsn: number, nowMs: number): boolean {
    return this.#rejection(node, boundLsn, nowMs) === '';
  }

  /** How many replicas may take an unbound read now. */
  countEligible(nowMs: number): number {
    let count = 0;
    for (const node of this.#runtime.nodes.values()) {
      if (node !== this.#runtime.primary && this.#rejection(node, 0, nowMs) === '') count += 1;
    }
    return count;
  }

  /** Every node of the cluster, in its order: may it take the read, and why not. Changes nothing. */
  explain(boundLsn: number, nowMs: number): NodeExplanation[] {
    const { reason, stale } = this;
    this.#weigh(boundLsn, nowMs, null);
    this.reason = reason;
    this.stale = stale;
    const { nodes, weights } = this.#candidates;
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return nodes.map((node, i) => {
      const rejection = this.#rejection(node, boundLsn, nowMs);
      const weight = weights[i] ?? 0;
      if (rejection !== '')
        return { node: node.name, eligible: false, why: this.#explainRejection(node, rejection) };
      if (weight === 0) {
        return { node: node.name, eligible: false, why: `another zone than ${this.#settings.zone}` };
      }
      return {
        node: node.name,
        eligible: true,
        why: `${((100 * weight) / total).toFixed(1)} % of the reads`,
      };
    });
  }

  /** Fills in the weights of this choice; false = nobody may take it. */
  #weigh(boundLsn: number, nowMs: number, exclude: RoutedNode | null): boolean {
    if (this.#version !== this.#runtime.nodesVersion) this.#rebuild();
    const { nodes, weights } = this.#candidates;
    const zone = this.#settings.zone;
    let any = false;
    let local = false;
    this.stale = false;
    for (let i = 0; i < nodes.length; i++) {
      const node = nodes[i] as RoutedNode;
      weights[i] = 0;
      if (node === exclude) continue;
      const rejection = this.#rejection(node, boundLsn, nowMs);
      if (rejection === '') {
        weights[i] = this.#weightOf(node, nowMs);
        any = true;
        if (zone !== '' && node.view.zone === zone) local = true;
      } else if (rejection === STALE) this.stale = true;
    }
    if (local) {
      for (let i = 0; i < nodes.length; i++) {
        if ((nodes[i] as RoutedNode).view.zone !== zone) weights[i] = 0;
      }
    }
    return any;
  }

  #pick(nowMs: number): RoutedNode | null {
    switch (this.#settings.balance) {
      case 'weighted':
        return pickWeighted(this.#candidates);
      case 'least_busy':
        return pickLeastBusy(this.#candidates, this.#random);
      case 'fastest':
        return pickFastest(this.#candidates, this.#random, nowMs);
    }
  }

  #fallback(exclude: RoutedNode | null): RoutedNode | null {
    this.reason = this.stale ? NOT_FRESH : NONE_ELIGIBLE;
    const { primary } = this.#runtime;
    if (this.#settings.readFromPrimary === 'never' || primary === exclude) return null;
    return primary;
  }

  /** In an order that ends with freshness: `stale` means that nothing else is wrong. */
  #rejection(node: RoutedNode, boundLsn: number, nowMs: number): Rejection {
    const { view } = node;
    const isPrimary = node === this.#runtime.primary;
    if (isPrimary) {
      if (this.#settings.readFromPrimary !== 'weighted') return ROLE;
    } else if (view.state !== 'replica') return STATE;
    else if (!view.streaming) return NOT_STREAMING;
    if (!(view.weight > 0)) return NO_WEIGHT;
    if (!node.mayServe(nowMs)) return BANNED;
    if (isPrimary) return '';
    const { maxLagMs, maxLagBytes } = this.#settings;
    if (maxLagMs > 0 && view.lagMs !== null && view.lagMs > maxLagMs) return LAG;
    if (maxLagBytes > 0 && view.lagBytes !== null && view.lagBytes > maxLagBytes) return LAG;
    return node.replayedLsn >= boundLsn ? '' : STALE;
  }

  /** A node that came back gets a tenth of its weight, growing to all of it over slow_start. */
  #weightOf(node: RoutedNode, nowMs: number): number {
    const { weight, readySinceMs } = node.view;
    const { slowStartMs } = this.#runtime.settings;
    if (readySinceMs === 0 || slowStartMs <= 0 || node === this.#runtime.primary) return weight;
    const done = (nowMs - readySinceMs) / slowStartMs;
    if (done >= 1) return weight;
    return weight * (RAMP_START + (1 - RAMP_START) * Math.max(0, done));
  }

  #rebuild(): void {
    const nodes = [...this.#runtime.nodes.values()];
    this.#candidates.nodes = nodes;
    this.#candidates.weights = new Float64Array(nodes.length);
    this.#candidates.current = new Float64Array(nodes.length);
    this.#version = this.#runtime.nodesVersion;
  }

  #explainRejection(node: RoutedNode, rejection: Rejection): string {
    const { view } = node;
    const { maxLagMs, maxLagBytes } = this.#settings;
    switch (rejection) {
      case ROLE:
        return `primary: reads only when no replica may serve (read_from_primary = ${this.#settings.readFromPrimary})`;
      case STATE:
        return view.lastError === '' ? `state ${view.state}` : `state ${view.state}: ${view.lastError}`;
      case LAG:
        return `lag ${view.lagMs ?? '?'} ms, ${view.lagBytes ?? '?'} bytes; max_lag ${maxLagMs} ms, max_lag_bytes ${maxLagBytes}`;
      default:
        return rejection;
    }
  }
}
