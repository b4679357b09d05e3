/**
 * What is believed about one node, as a pure reducer: `next(state, observation, now)`. Time, sockets and the other
 * nodes are somebody else's business: a check reports what it saw, topology.ts reports which role that makes.
 */
import type { NodeState } from '../routing/cluster-view.ts';
import type { ClusterEventName } from './events.ts';

/** States of a node and the moves between them (docs/states.md shows the same table; a test compares). */
export const NODE_MOVES: Readonly<Record<NodeState, readonly NodeState[]>> = {
  /** Not checked yet. */
  starting: ['primary', 'replica', 'lagging', 'down', 'detached', 'conflict'],
  /** Takes writes. */
  primary: ['replica', 'lagging', 'down', 'detached', 'conflict'],
  /** Takes reads. */
  replica: ['primary', 'lagging', 'down', 'detached', 'conflict'],
  /** A replica too far behind, or one that does not follow the primary: no reads. */
  lagging: ['primary', 'replica', 'down', 'detached', 'conflict'],
  /** fail_threshold checks have failed. */
  down: ['primary', 'replica', 'lagging', 'detached', 'conflict'],
  /** Taken out by a person. */
  detached: ['starting', 'primary', 'replica', 'lagging', 'down', 'conflict'],
  /** Writable beside the primary, or of another system: no traffic. */
  conflict: ['primary', 'replica', 'lagging', 'down', 'detached'],
};

/** What an answered check says. */
export interface NodeFacts {
  /** The node's role: in recovery, or what role_query or Patroni says. */
  readonly inRecovery: boolean;
  /** A replica that is none by PostgreSQL's means (role_query over logical replication): it has no replay position. */
  readonly logical: boolean;
  /** 0 = not known. */
  readonly timeline: number;
  /** '' = not known. */
  readonly systemId: string;
  /** Primary: insert position, replica: received. Normalised, as all positions here. */
  readonly writtenLsn: number;
  readonly replayedLsn: number;
  /** The walreceiver runs. */
  readonly streaming: boolean;
  readonly upstream: string;
  /** Age of the last replayed transaction by the node's own clock; null = not known. */
  readonly replayAgeMs: number | null;
  /** recovery_min_apply_delay. */
  readonly applyDelayMs: number;
  /** What Patroni says of the lag, where the positions cannot be asked; null = nothing. */
  readonly reportedLagBytes: number | null;
  /** 0 = not known. */
  readonly segmentBytes: number;
  readonly blockBytes: number;
}

export type Role = 'unknown' | 'primary' | 'replica' | 'conflict';

export interface NodeRecord {
  readonly name: string;
  readonly state: NodeState;
  readonly sinceAt: number;
  readonly health: 'unknown' | 'up' | 'down';
  readonly role: Role;
  /** Why it is `conflict`, '' otherwise. */
  readonly why: string;
  /** Of another system: its conflict is called refused_node. */
  readonly foreign: boolean;
  readonly detached: boolean;
  /** Of the last answer. */
  readonly facts: NodeFacts | null;
  readonly lagMs: number | null;
  readonly lagBytes: number | null;
  /** Beyond the limits, with hysteresis. */
  readonly behind: boolean;
  /** Consecutive answers without a walreceiver while the primary was well. */
  readonly unfollowed: number;
  /** It follows the primary (or there is none to follow). */
  readonly following: boolean;
  /** It was down, and its caches have not been warmed since (warmup_query). */
  readonly cold: boolean;
  readonly failures: number;
  readonly slowChecks: number;
  readonly lastError: string;
  readonly lastErrorAt: number;
  readonly lastCheckAt: number;
  /** See NodeView. */
  readonly answeredFrom: number;
  readonly connectedAt: number;
  /** Monotonic; see NodeView. */
  readonly readySinceMs: number;
  /** Announced as serving reads; null = never said anything. */
  readonly serving: boolean | null;
}

export type Observation =
  /** `primaryWell`: the primary answered its last check, so a missing walreceiver is the replica's own fault. */
  | {
      readonly kind: 'answer';
      readonly facts: NodeFacts;
      readonly primaryWell: boolean;
      /** Wall ms of its begin, and of the begin of the connection that it came on. */
      readonly beganAt?: number | undefined;
      readonly connectedAt?: number | undefined;
    }
  | { readonly kind: 'failure'; readonly error: string }
  /** The check failed, but clients' queries on the node still finish. */
  | { readonly kind: 'slow'; readonly error: string }
  /** What topology.ts makes of all nodes together. Of a replica: lag null = cannot be told now, what was holds. */
  | {
      readonly kind: 'judged';
      readonly role: Role;
      readonly why: string;
      readonly foreign: boolean;
      readonly otherTimeline: boolean;
      readonly lagMs: number | null;
      readonly lagBytes: number | null;
      /** There is no primary: whether the walreceiver runs says nothing. */
      readonly orphaned: boolean;
    }
  | { readonly kind: 'detached'; readonly on: boolean }
  /** Its warmup_query is over. */
  | { readonly kind: 'warmed' };

export interface Limits {
  readonly failThreshold: number;
  /** 0 = no limit. */
  readonly maxLagMs: number;
  readonly recoverLagMs: number;
  readonly maxLagBytes: number;
  /** There is a warmup_query. */
  readonly warmUp: boolean;
}

export interface Now {
  /** Monotonic. */
  readonly ms: number;
  readonly wall: number;
}

/** An event of this node; the cluster's own (primary_*) are topology.ts's. */
export interface NodeEvent {
  readonly event: ClusterEventName;
  readonly old: NodeState;
  readonly new: NodeState;
  readonly text: string;
}

export interface Step {
  readonly node: NodeRecord;
  readonly events: readonly NodeEvent[];
}

/** A node that nothing is known about yet. */
export function newNode(name: string, detached: boolean, wall: number): NodeRecord {
  return {
    name,
    state: detached ? 'detached' : 'starting',
    sinceAt: wall,
    health: 'unknown',
    role: 'unknown',
    why: '',
    foreign: false,
    detached,
    facts: null,
    lagMs: null,
    lagBytes: null,
    behind: false,
    unfollowed: 0,
    following: true,
    cold: false,
    failures: 0,
    slowChecks: 0,
    lastError: '',
    lastErrorAt: 0,
    lastCheckAt: 0,
    answeredFrom: 0,
    connectedAt: 0,
    readySinceMs: 0,
    serving: null,
  };
}

/** The node after one observation, and what is to be told about it. Pure. */
export function next(node: NodeRecord, observation: Observation, now: Now, limits: Limits): Step {
  const after = changed(node, observation, now, limits);
  // an answer says what the node is; what that makes it in its cluster, the judgement that follows says
  return observation.kind === 'answer' ? { node: after, events: [] } : settle(node, after, now, limits);
}

function changed(node: NodeRecord, seen: Observation, now: Now, limits: Limits): NodeRecord {
  switch (seen.kind) {
    case 'answer': {
      const facts = withTimeline(node.facts, seen.facts);
      const missing = facts.inRecovery && !facts.streaming && !facts.logical;
      const unfollowed = !missing ? 0 : node.unfollowed + (seen.primaryWell ? 1 : 0);
      return {
        ...node,
        health: 'up',
        failures: 0,
        facts,
        unfollowed,
        lastCheckAt: now.wall,
        answeredFrom: seen.beganAt ?? now.wall,
        connectedAt: seen.connectedAt ?? 0,
      };
    }
    case 'failure': {
      const failures = node.failures + 1;
      const dead = failures >= limits.failThreshold;
      return {
        ...failed(node, seen.error, now),
        failures,
        health: dead ? 'down' : node.health,
        cold: node.cold || (dead && limits.warmUp),
      };
    }
    case 'slow':
      // clients prove that it lives; a node known as down has to answer for itself
      return { ...failed(node, seen.error, now), slowChecks: node.slowChecks + 1 };
    case 'detached':
      return { ...node, detached: seen.on, serving: null };
    case 'warmed':
      return { ...node, cold: false };
    case 'judged': {
      const { role, why, foreign } = seen;
      if (role !== 'replica')
        return { ...node, role, why, foreign, lagMs: null, lagBytes: null, cold: false };
      const lost = !seen.orphaned && node.unfollowed >= limits.failThreshold;
      return {
        ...node,
        role,
        why,
        foreign,
        lagMs: seen.lagMs,
        lagBytes: seen.lagBytes,
        behind: isBehind(node, seen.lagMs, seen.lagBytes, limits),
        following: !seen.otherTimeline && !isMasked(node.facts) && (seen.orphaned ? node.following : !lost),
        // without a primary, cold replicas are better than none
        cold: node.cold && !seen.orphaned,
      };
    }
  }
}

/**
 * A replica without a walreceiver tells the timeline of its last restartpoint, which may be older than the one that it
 * has followed to. What it has received since its start says that it is the same run of the same node: a restarted, cloned
 * or rewound one begins anew.
 */
function withTimeline(before: NodeFacts | null, facts: NodeFacts): NodeFacts {
  if (before === null || !before.inRecovery || !facts.inRecovery || facts.streaming || facts.logical)
    return facts;
  const sameRun =
    facts.systemId === before.systemId &&
    before.writtenLsn > 0 &&
    facts.writtenLsn >= before.writtenLsn &&
    facts.replayedLsn >= before.replayedLsn;
  return sameRun && facts.timeline < before.timeline ? { ...facts, timeline: before.timeline } : facts;
}

function failed(node: NodeRecord, error: string, now: Now): NodeRecord {
  return { ...node, lastError: error, lastErrorAt: now.wall, lastCheckAt: now.wall };
}

/** Strictly above a limit → behind; at or below what `recover_lag` says (bytes: half) → not behind. */
function isBehind(node: NodeRecord, lagMs: number | null, lagBytes: number | null, limits: Limits): boolean {
  const { maxLagMs, recoverLagMs, maxLagBytes } = limits;
  const delay = node.facts?.applyDelayMs ?? 0;
  // a delayed replica is never current for long: it does not come and go with each pause of the primary
  if (maxLagMs > 0 && delay > maxLagMs) return true;
  const lateBy = (lag: number | null, max: number, recover: number): boolean => {
    if (max <= 0) return false;
    if (lag === null) return node.behind;
    return node.behind ? lag > recover : lag > max;
  };
  // when only one of the two is known, it alone decides
  const bytesKnown = lagBytes !== null || lagMs === null || maxLagMs <= 0;
  const timeKnown = lagMs !== null || lagBytes === null || maxLagBytes <= 0;
  return (
    (timeKnown && lateBy(lagMs, maxLagMs, Math.min(recoverLagMs, maxLagMs))) ||
    (bytesKnown && lateBy(lagBytes, maxLagBytes, maxLagBytes / 2))
  );
}

/** It takes writes, but Patroni or its HTTP check says that it does not lead: nobody's primary and nobody's replica. */
function isMasked(facts: NodeFacts | null): boolean {
  if (facts === null || !facts.inRecovery || facts.logical) return false;
  return facts.replayedLsn === 0 && facts.writtenLsn > 0;
}

function stateOf(node: NodeRecord): NodeState {
  if (node.detached) return 'detached';
  if (node.health === 'down') return 'down';
  // not judged yet, or failing before it ever answered
  if (node.health === 'unknown' || node.role === 'unknown')
    return node.state === 'detached' ? 'starting' : node.state;
  if (node.role === 'primary' || node.role === 'conflict') return node.role;
  return node.behind || !node.following || node.cold ? 'lagging' : 'replica';
}

/** Moves to the state that the facts make, and finds what that means to others. */
function settle(before: NodeRecord, node: NodeRecord, now: Now, limits: Limits): Step {
  const state = stateOf(node);
  if (state === before.state) return { node, events: [] };
  if (!NODE_MOVES[before.state].includes(state)) {
    throw new Error(`node state: ${before.state} -> ${state} is not a move`);
  }
  const serves = state === 'replica';
  const moved: NodeRecord = {
    ...node,
    state,
    sinceAt: now.wall,
    readySinceMs: serves && before.state !== 'starting' ? now.ms : 0,
    serving: state === 'detached' || state === 'starting' ? null : serves,
  };
  const event = (name: ClusterEventName, text: string): Step => ({
    node: moved,
    events: [{ event: name, old: before.state, new: state, text }],
  });
  if (state === 'conflict') return event(node.foreign ? 'refused_node' : 'conflict', node.why);
  if (serves && before.serving === false) return event('replica_up', 'it takes reads again');
  if ((state === 'lagging' || state === 'down') && before.serving === true) {
    return event('replica_down', whyOut(moved, limits));
  }
  return { node: moved, events: [] };
}

/** It could take reads, were it not for its warmup_query. */
export function isColdOnly(node: NodeRecord): boolean {
  return node.cold && node.state === 'lagging' && !node.behind && node.following;
}

/** Why a replica serves no reads, for people. */
export function whyOut(node: NodeRecord, limits: Limits): string {
  if (isColdOnly(node)) return 'its warmup_query runs';
  if (node.state === 'down') return `${node.failures} checks failed: ${node.lastError}`;
  if (isMasked(node.facts)) return 'it takes writes, but it is said not to be the primary';
  if (!node.following) {
    return node.unfollowed >= limits.failThreshold
      ? 'its walreceiver does not run'
      : 'it does not follow the timeline of the primary';
  }
  const delay = node.facts?.applyDelayMs ?? 0;
  if (limits.maxLagMs > 0 && delay > limits.maxLagMs) {
    return `recovery_min_apply_delay is ${delay / 1000} s, max_lag ${limits.maxLagMs / 1000} s`;
  }
  if (node.lagMs !== null && limits.maxLagMs > 0 && node.lagMs > limits.maxLagMs) {
    return `it is ${(node.lagMs / 1000).toFixed(1)} s behind, max_lag is ${limits.maxLagMs / 1000} s`;
  }
  // it was further behind, and is not back yet
  const recoverMs = Math.min(limits.recoverLagMs, limits.maxLagMs);
  if (node.lagMs !== null && limits.maxLagMs > 0 && node.lagMs > recoverMs) {
    return `it is ${(node.lagMs / 1000).toFixed(1)} s behind, it takes reads again at ${recoverMs / 1000} s (recover_lag)`;
  }
  return `it is ${node.lagBytes ?? 0} bytes behind, max_lag_bytes is ${limits.maxLagBytes}`;
}
