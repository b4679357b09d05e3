/**
 * From what is believed about each node to who is the primary: pure. There is never more than one; the known one is
 * given up only for a higher timeline, or when it is down or no longer writable, so traffic never alternates.
 */
import type { NodeRecord, Role } from './node-state.ts';

/** What a cluster is, beyond its nodes of the moment; kept over RELOAD and restart. */
export interface ClusterMemory {
  /** The last known primary, '' = none yet. */
  readonly primary: string;
  /** Its timeline: nothing older is ever accepted again. 0 = not known. */
  readonly timeline: number;
  /** '' = not known. */
  readonly systemId: string;
}

export const NO_MEMORY: ClusterMemory = { primary: '', timeline: 0, systemId: '' };

export interface Judgement {
  readonly role: Role;
  readonly why: string;
  readonly foreign: boolean;
  /** A replica that follows another timeline than the primary's. */
  readonly otherTimeline: boolean;
}

export interface Topology {
  readonly memory: ClusterMemory;
  /** By name of the node; only nodes that answer. */
  readonly judgements: ReadonlyMap<string, Judgement>;
}

export interface TopologyOptions {
  /** Every node has been asked since start: roles may be given. */
  readonly settled: boolean;
  /** Nodes of a logical replication are different systems and have no common timeline. */
  readonly physical: boolean;
}

/** Roles of all nodes. `nodes` in the order of the configuration: it decides between equals. */
export function judge(
  nodes: readonly NodeRecord[],
  before: ClusterMemory,
  options: TopologyOptions,
): Topology {
  const { physical } = options;
  // at start nothing is decided by who answers first: an old primary may be quicker than its successor
  if (!options.settled) return { memory: before, judgements: new Map() };
  const systemId = physical ? rightSystem(nodes, before) : '';
  const sameSystem = systemId === before.systemId || before.systemId === '';
  // another system has other timelines
  const memory: ClusterMemory = sameSystem ? { ...before, systemId } : { ...NO_MEMORY, systemId };
  const judgements = new Map<string, Judgement>();
  const writable: NodeRecord[] = [];
  for (const node of nodes) {
    const { facts } = node;
    // what a node that is down said last is no more true
    if (facts === null || node.health !== 'up') continue;
    if (physical && systemId !== '' && facts.systemId !== '' && facts.systemId !== systemId) {
      const why = `its system identifier is ${facts.systemId}, that of the cluster ${systemId}`;
      judgements.set(node.name, { role: 'conflict', why, foreign: true, otherTimeline: false });
    } else if (!facts.inRecovery) {
      writable.push(node);
    }
  }
  const primary = choosePrimary(writable, memory, physical);
  const timeline = primary?.facts?.timeline ?? 0;
  const after: ClusterMemory =
    primary === null
      ? // an identity is taken from a primary only: a stranger may be the first to answer
        sameSystem
        ? before
        : memory
      : { primary: primary.name, timeline: Math.max(timeline, physical ? memory.timeline : 0), systemId };
  for (const node of writable) {
    if (node === primary) {
      judgements.set(node.name, { role: 'primary', why: '', foreign: false, otherTimeline: false });
    } else {
      judgements.set(node.name, conflict(node, primary, after));
    }
  }
  for (const node of nodes) {
    if (node.facts?.inRecovery !== true || node.health !== 'up' || judgements.has(node.name)) continue;
    const otherTimeline = physical && followsOther(node, primary, after);
    judgements.set(node.name, { role: 'replica', why: '', foreign: false, otherTimeline });
  }
  return { memory: after, judgements };
}

/** The identifier that every node must have; '' = not known yet. */
function rightSystem(nodes: readonly NodeRecord[], memory: ClusterMemory): string {
  const answered = nodes.filter((node) => node.health === 'up' && (node.facts?.systemId ?? '') !== '');
  if (memory.systemId !== '') {
    // all of them answer and all say the same other one: somebody has built this cluster anew (pg_upgrade)
    const [first] = answered;
    const other = first?.facts?.systemId ?? '';
    const allNew =
      answered.length === nodes.length && answered.every((node) => node.facts?.systemId === other);
    return allNew && other !== '' ? other : memory.systemId;
  }
  const votes = new Map<string, number>();
  for (const node of answered) {
    const id = node.facts?.systemId ?? '';
    // between two halves, the one that has a primary
    votes.set(id, (votes.get(id) ?? 0) + (node.facts?.inRecovery === false ? 1.5 : 1));
  }
  let best = '';
  for (const [id, count] of votes) if (count > (votes.get(best) ?? 0)) best = id;
  return best;
}

/** The node that takes the writes; null = there is none. A failing one stays it until it counts as down. */
function choosePrimary(
  writable: readonly NodeRecord[],
  memory: ClusterMemory,
  physical: boolean,
): NodeRecord | null {
  const timelineOf = (node: NodeRecord): number => (physical ? (node.facts?.timeline ?? 0) : 0);
  const alive = writable.filter((node) => {
    const timeline = timelineOf(node);
    return timeline === 0 || timeline >= memory.timeline;
  });
  const known = alive.find((node) => node.name === memory.primary) ?? null;
  let best = known;
  // a timeline that it does not tell any more (rights taken away) is the one it had; who never told any stays
  let highest = known === null ? -1 : timelineOf(known) || memory.timeline || Number.POSITIVE_INFINITY;
  for (const node of alive) {
    // a node that a person has taken out is not put in by us
    if (node.detached || node === known || timelineOf(node) <= highest) continue;
    best = node;
    highest = timelineOf(node);
  }
  return best;
}

function conflict(node: NodeRecord, primary: NodeRecord | null, memory: ClusterMemory): Judgement {
  return { role: 'conflict', why: whyConflict(node, primary, memory), foreign: false, otherTimeline: false };
}

function whyConflict(node: NodeRecord, primary: NodeRecord | null, memory: ClusterMemory): string {
  const timeline = node.facts?.timeline ?? 0;
  if (primary === null) {
    return `it takes writes, but its timeline ${timeline} is older than the last known one (${memory.timeline})`;
  }
  const timelines = `(timeline ${timeline} and ${memory.timeline})`;
  // as in every switchover: the old primary goes down, and its last answer is all that there is
  if (node.failures > 0)
    return `it was primary and does not answer now, the primary is ${primary.name} ${timelines}`;
  return `it takes writes beside the primary ${primary.name} ${timelines}`;
}

/** Positions on two timelines cannot be compared: such a replica may have records that the primary never wrote. */
function followsOther(node: NodeRecord, primary: NodeRecord | null, memory: ClusterMemory): boolean {
  const timeline = node.facts?.timeline ?? 0;
  if (timeline === 0 || memory.timeline === 0 || node.facts?.logical === true) return false;
  return primary === null ? timeline < memory.timeline : timeline !== memory.timeline;
}
