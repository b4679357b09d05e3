/**
 * One cluster as the data plane routes by it: the newest view, a RoutedNode per node, freshness and what was learned.
 * Pure state: the worker feeds it with what the monitors say and with what happens to units.
 */
import type { ClusterSettings } from '../config/effective-routing.ts';
import type { ClusterView, NodeView } from './cluster-view.ts';
import { Freshness } from './freshness.ts';
import { Learned } from './learned.ts';
import { RoutedNode } from './routed-node.ts';

const LEARNED_ENTRIES = 1000;
const LEARNED_AGE_MS = 24 * 3600 * 1000;

export class ClusterRuntime {
  readonly name: string;
  /** Replaced by RELOAD. */
  settings: ClusterSettings;
  readonly nodes = new Map<string, RoutedNode>();
  view: ClusterView | null = null;
  /** The usable primary. */
  primary: RoutedNode | null = null;
  readonly freshness = new Freshness();
  readonly learned = new Learned(LEARNED_ENTRIES, LEARNED_AGE_MS);
  /** Grows when nodes come, go or change their weight: choosers rebuild their lists. */
  nodesVersion = 0;
  /** Name and timeline of the last primary there was, also while there is none. */
  #lastPrimary = '';
  #lastTimeline = 0;

  constructor(name: string, settings: ClusterSettings) {
    this.name = name;
    this.settings = settings;
  }

  /** Takes a new view; cheap when nothing has changed. True when roles, addresses or usable nodes changed. */
  onView(view: ClusterView): boolean {
    const before = this.view;
    this.view = view;
    let changed = before === null || before.primary !== view.primary || before.timeline !== view.timeline;
    for (const node of view.nodes) if (this.#onNode(node)) changed = true;
    if (this.nodes.size !== view.nodes.length) {
      const names = new Set(view.nodes.map((node) => node.name));
      for (const name of this.nodes.keys()) if (!names.has(name)) this.nodes.delete(name);
      this.nodesVersion += 1;
      changed = true;
    }
    this.#keepOrder(view);
    this.primary = view.primary === null ? null : (this.nodes.get(view.primary) ?? null);
    this.#watchHistory(view);
    return changed;
  }

  /** The order of the configuration, which numbers the nodes: one that a RELOAD brings (back) came last. */
  #keepOrder(view: ClusterView): void {
    let i = 0;
    let same = true;
    for (const name of this.nodes.keys()) same = view.nodes[i++]?.name === name && same;
    if (same) return;
    const nodes = view.nodes.flatMap(({ name }) => this.nodes.get(name) ?? []);
    this.nodes.clear();
    for (const node of nodes) this.nodes.set(node.name, node);
    this.nodesVersion += 1;
  }

  /** Monitor: a replica has replayed up to `lsn`. */
  onReplayed(node: string, lsn: number): void {
    const routed = this.nodes.get(node);
    if (routed !== undefined) routed.replayedLsn = lsn;
  }

  #onNode(view: NodeView): boolean {
    const node = this.nodes.get(view.name);
    if (node === undefined) {
      this.nodes.set(view.name, new RoutedNode(view));
      this.nodesVersion += 1;
      return true;
    }
    const old = node.view;
    if (old === view) return false;
    node.view = view;
    if (old.weight !== view.weight) this.nodesVersion += 1;
    const moved = old.host !== view.host || old.port !== view.port;
    const otherHistory = old.timeline !== view.timeline || old.systemId !== view.systemId;
    // any of these may be a restart or another data directory, which may open below what was replayed before
    if (moved || otherHistory || old.state !== view.state || view.failures > old.failures)
      node.replayedLsn = 0;
    const became = usable(view) && !usable(old);
    // whatever the ban was for is over: the node is another one, or has come back
    if (moved || became) node.succeeded();
    return moved || old.state !== view.state || usable(view) !== usable(old) || old.zone !== view.zone;
  }

  #watchHistory(view: ClusterView): void {
    // 0 = the timeline is not known at the moment
    if (view.primary === null || (view.timeline === 0 && view.primary === this.#lastPrimary)) return;
    if (this.#lastPrimary !== view.primary || this.#lastTimeline !== view.timeline) {
      if (this.#lastPrimary !== '') this.freshness.onPrimaryChange();
      this.#lastPrimary = view.primary;
      this.#lastTimeline = view.timeline;
    }
  }
}

/** May take units at all, as far as the monitor knows. */
function usable(view: NodeView): boolean {
  return view.state === 'primary' || (view.state === 'replica' && view.streaming);
}
