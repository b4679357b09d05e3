/** Settings, facts and a small theatre for clusters whose nodes exist in words only. */
import { ClusterState } from '../../../src/cluster/cluster-state.ts';
import type { ClusterEvent } from '../../../src/cluster/events.ts';
import type { NodeFacts } from '../../../src/cluster/node-state.ts';
import { type ClusterMemory, NO_MEMORY } from '../../../src/cluster/topology.ts';
import type { ClusterSettings } from '../../../src/config/effective-routing.ts';
import type { NodeState } from '../../../src/routing/cluster-view.ts';

export const WALL = 1_700_000_000_000;

export function settings(nodes: readonly string[], changes: Partial<ClusterSettings> = {}): ClusterSettings {
  return {
    name: 'main',
    checkUser: 'postgres',
    checkPassword: null,
    checkDbname: 'postgres',
    checkIntervalMs: 1_000,
    checkTimeoutMs: 5_000,
    failThreshold: 3,
    patroniUrl: '',
    roleQuery: '',
    lagSource: 'wal',
    maxLagMs: 10_000,
    maxLagBytes: 0,
    recoverLagMs: 5_000,
    lsnIntervalMs: 100,
    slowStartMs: 0,
    warmupQuery: '',
    banTimeMs: 5_000,
    nodes: nodes.map((name, i) => ({
      name,
      host: `10.0.0.${i + 1}`,
      port: 5432,
      weight: 1,
      zone: '',
      check: '',
    })),
    ...changes,
  };
}

const NOTHING: NodeFacts = {
  inRecovery: false,
  logical: false,
  timeline: 1,
  systemId: '7',
  writtenLsn: 1_000_000,
  replayedLsn: 0,
  streaming: false,
  upstream: '',
  replayAgeMs: null,
  applyDelayMs: 0,
  reportedLagBytes: null,
  segmentBytes: 16 * 1024 * 1024,
  blockBytes: 8192,
};

export function primaryFacts(changes: Partial<NodeFacts> = {}): NodeFacts {
  return { ...NOTHING, ...changes };
}

export function replicaFacts(changes: Partial<NodeFacts> = {}): NodeFacts {
  return {
    ...NOTHING,
    inRecovery: true,
    replayedLsn: 1_000_000,
    streaming: true,
    replayAgeMs: 0,
    ...changes,
  };
}

/** A cluster that is told what its checks saw; time passes by a second with each `tick`. */
export class Story {
  readonly state: ClusterState;
  readonly events: ClusterEvent[] = [];
  nowMs = 10_000;

  constructor(
    nodes: readonly string[],
    changes: Partial<ClusterSettings> = {},
    memory: ClusterMemory = NO_MEMORY,
    primaryWasUp = true,
  ) {
    this.state = new ClusterState(settings(nodes, changes), memory, primaryWasUp, new Map(), this.now);
  }

  get now(): { ms: number; wall: number } {
    return { ms: this.nowMs, wall: WALL + this.nowMs };
  }

  tick(ms = 1_000): this {
    this.nowMs += ms;
    return this;
  }

  primary(name: string, changes: Partial<NodeFacts> = {}): this {
    this.events.push(...this.state.observe(name, { kind: 'answer', facts: primaryFacts(changes) }, this.now));
    return this;
  }

  replica(name: string, changes: Partial<NodeFacts> = {}): this {
    this.events.push(...this.state.observe(name, { kind: 'answer', facts: replicaFacts(changes) }, this.now));
    return this;
  }

  fails(name: string, times = 1): this {
    for (let i = 0; i < times; i++) {
      this.events.push(
        ...this.state.observe(name, { kind: 'failure', error: 'Connection refused' }, this.now),
      );
    }
    return this;
  }

  slow(name: string): this {
    this.events.push(...this.state.observe(name, { kind: 'slow', error: 'no answer within 5 s' }, this.now));
    return this;
  }

  of(name: string): NodeState | undefined {
    return this.state.node(name)?.state;
  }

  /** `primary_up pg2`, all so far; the list starts anew. */
  told(): string[] {
    return this.events.splice(0).map(({ event, node }) => `${event} ${node}`);
  }
}
