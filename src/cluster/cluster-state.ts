/**
 * One cluster as a value that changes: all nodes, who is the primary, what was announced. Observations go in, views and
 * events come out; it knows neither sockets nor timers, so every story can be told to it in a test.
 */
import type { ClusterSettings, NodeTarget } from '../config/effective-routing.ts';
import type { ClusterView, NodeView } from '../routing/cluster-view.ts';
import { type ClusterEvent, type ClusterEventName, clockTime } from './events.ts';
import { LagClock } from './lag-clock.ts';
import {
  type Limits,
  type NodeFacts,
  type NodeRecord,
  type Now,
  newNode,
  next,
  type Observation,
  whyOut,
} from './node-state.ts';
import { type Standby, syncStateOf } from './observe-sql.ts';
import { type ClusterMemory, type Judgement, judge } from './topology.ts';

/** What a person has set; kept over RELOAD and restart. */
export interface Override {
  readonly detached: boolean;
  /** null = as configured. */
  readonly weight: number | null;
}

export const NO_OVERRIDE: Override = { detached: false, weight: null };

/** `answer` without what the cluster adds, or one of the failures. */
export type Check =
  | {
      readonly kind: 'answer';
      readonly facts: NodeFacts;
      readonly heartbeatLagMs?: number | null;
      /** See Observation. */
      readonly beganAt?: number;
      readonly connectedAt?: number;
    }
  | { readonly kind: 'failure'; readonly error: string }
  | { readonly kind: 'slow'; readonly error: string };

interface Lag {
  readonly lagMs: number | null;
  readonly lagBytes: number | null;
}

const UNKNOWN_LAG: Lag = { lagMs: null, lagBytes: null };

export class ClusterState {
  settings: ClusterSettings;
  memory: ClusterMemory;
  /** Of the primary, at its last answer. */
  standbys: readonly Standby[] = [];
  readonly overrides: Map<string, Override>;
  readonly #nodes = new Map<string, NodeRecord>();
  readonly #lag = new LagClock();
  /** As of each replica's own last answer: newer answers of the primary do not make it look late. */
  readonly #lagSeen = new Map<string, Lag>();
  readonly #heartbeatLag = new Map<string, number | null>();
  #settled = false;
  #version = 0;
  #signature = '';
  #noPrimarySinceAt: number;
  /** The primary that listeners were last told to be up; `up` false = they were told that it is down. */
  #announced: { readonly name: string; readonly up: boolean };
  /** Nothing of the primary has been told since start: what is told first, happened before. */
  #remembered: boolean;
  #usable: string | null = null;

  constructor(
    settings: ClusterSettings,
    memory: ClusterMemory,
    primaryWasUp: boolean,
    overrides: ReadonlyMap<string, Override>,
    now: Now,
  ) {
    this.settings = settings;
    this.memory = memory;
    this.overrides = new Map(overrides);
    this.#announced = { name: memory.primary, up: primaryWasUp && memory.primary !== '' };
    this.#remembered = memory.primary !== '';
    this.#noPrimarySinceAt = now.wall;
    this.#adoptNodes(now);
  }

  /** Name of the usable primary; null = none. */
  get primary(): string | null {
    return this.#usable;
  }

  /** Whether listeners believe that there is a primary: what is told after a restart continues from here. */
  get primaryToldUp(): boolean {
    return this.#announced.up;
  }

  get settled(): boolean {
    return this.#settled;
  }

  node(name: string): NodeRecord | undefined {
    return this.#nodes.get(name);
  }

  /** RELOAD: nodes come and go, the rest stays what it is. */
  reconfigure(settings: ClusterSettings, now: Now): ClusterEvent[] {
    const before = this.settings;
    this.settings = settings;
    const moved = settings.nodes.filter((node) => {
      const old = before.nodes.find((one) => one.name === node.name);
      return old !== undefined && (old.host !== node.host || old.port !== node.port);
    });
    // another address is another node, until it has shown who it is
    for (const node of moved) this.#nodes.delete(node.name);
    this.#adoptNodes(now);
    return this.#settle(now);
  }

  /** All nodes have been asked, or the time for it is over. */
  settle(now: Now): ClusterEvent[] {
    if (this.#settled) return [];
    this.#settled = true;
    return this.#settle(now);
  }

  /** A check of a node is over. */
  observe(name: string, check: Check, now: Now): ClusterEvent[] {
    const node = this.#nodes.get(name);
    if (node === undefined) return [];
    if (check.kind === 'answer') {
      this.#heartbeatLag.set(name, check.heartbeatLagMs ?? null);
      const primary = this.#usable === null ? undefined : this.#nodes.get(this.#usable);
      const primaryWell = primary !== undefined && primary.failures === 0;
      const events = this.#step(
        name,
        {
          kind: 'answer',
          facts: check.facts,
          primaryWell,
          beganAt: check.beganAt,
          connectedAt: check.connectedAt,
        },
        now,
      );
      if (name === this.#usable && !check.facts.inRecovery) this.#lag.see(check.facts.writtenLsn, now.ms);
      this.#lagSeen.set(name, this.#lagOf(name, check.facts, now));
      return inOrder([...events, ...this.#settle(now)]);
    }
    return inOrder([...this.#step(name, check, now), ...this.#settle(now)]);
  }

  /** The warmup_query of a node is over. One that fails again will have to be warmed again. */
  warmed(name: string, now: Now): ClusterEvent[] {
    const node = this.#nodes.get(name);
    if (node === undefined || node.health !== 'up' || node.failures > 0) return [];
    return this.#step(name, { kind: 'warmed' }, now);
  }

  /** A person takes a node out or puts it back, or changes its weight. */
  override(name: string, change: Partial<Override>, now: Now): ClusterEvent[] {
    const override = { ...(this.overrides.get(name) ?? NO_OVERRIDE), ...change };
    this.overrides.set(name, override);
    if (this.#nodes.get(name)?.detached === override.detached) return this.#settle(now);
    const events = this.#step(name, { kind: 'detached', on: override.detached }, now);
    return [...events, ...this.#settle(now)];
  }

  view(): ClusterView {
    const nodes = this.settings.nodes.map((target) => this.#nodeView(target));
    const { primary: _known, ...identity } = this.memory;
    const parts = nodes.map((n) => [n.name, n.host, n.port, n.zone, n.weight, n.state, n.streaming].join());
    const signature = [this.#usable ?? '', this.memory.timeline, ...parts].join(';');
    if (signature !== this.#signature) {
      this.#signature = signature;
      this.#version += 1;
    }
    return {
      name: this.settings.name,
      version: this.#version,
      primary: this.#usable,
      ...identity,
      noPrimarySinceAt: this.#usable === null ? this.#noPrimarySinceAt : 0,
      nodes,
    };
  }

  limits(): Limits {
    const { failThreshold, maxLagMs, recoverLagMs, maxLagBytes, warmupQuery } = this.settings;
    return { failThreshold, maxLagMs, recoverLagMs, maxLagBytes, warmUp: warmupQuery !== '' };
  }

  #adoptNodes(now: Now): void {
    const names = new Set(this.settings.nodes.map((node) => node.name));
    for (const name of this.#nodes.keys()) {
      if (names.has(name)) continue;
      this.#nodes.delete(name);
      this.#heartbeatLag.delete(name);
      this.#lagSeen.delete(name);
    }
    for (const name of names) {
      if (this.#nodes.has(name)) continue;
      this.#nodes.set(name, newNode(name, this.overrides.get(name)?.detached ?? false, now.wall));
    }
  }

  /** Gives every node its role and tells what has changed. */
  #settle(now: Now): ClusterEvent[] {
    const nodes = this.settings.nodes.flatMap((target) => this.#nodes.get(target.name) ?? []);
    this.#settled ||= nodes.every((node) => node.lastCheckAt > 0);
    const { roleQuery, lagSource } = this.settings;
    const physical = roleQuery === '' || lagSource === 'wal';
    const before = this.memory.primary;
    const { memory, judgements } = judge(nodes, this.memory, { settled: this.#settled, physical });
    this.memory = memory;
    if (memory.primary !== before) {
      this.#lag.reset();
      this.standbys = [];
      const { facts } = this.#nodes.get(memory.primary) ?? { facts: null };
      if (facts !== null) this.#lag.see(facts.writtenLsn, now.ms);
      for (const node of nodes)
        if (node.facts !== null) this.#lagSeen.set(node.name, this.#lagOf(node.name, node.facts, now));
    }
    const chosen = this.#nodes.get(memory.primary);
    const orphaned = chosen === undefined || chosen.health !== 'up' || chosen.facts?.inRecovery !== false;
    const events: ClusterEvent[] = [];
    for (const [name, judgement] of judgements) {
      events.push(...this.#step(name, this.#judged(name, judgement, orphaned), now));
    }
    return inOrder([...this.#announce(now), ...events]);
  }

  #judged(name: string, judgement: Judgement, orphaned: boolean): Observation {
    const lag =
      orphaned || judgement.role !== 'replica' ? UNKNOWN_LAG : (this.#lagSeen.get(name) ?? UNKNOWN_LAG);
    return { kind: 'judged', ...judgement, ...lag, orphaned };
  }

  #lagOf(name: string, facts: NodeFacts, now: Now): Lag {
    const { position } = this.#lag;
    const { replayedLsn, replayAgeMs } = facts;
    const lagBytes =
      position === 0 || replayedLsn === 0 ? facts.reportedLagBytes : Math.max(0, position - replayedLsn);
    const lagMs =
      this.settings.lagSource === 'heartbeat'
        ? (this.#heartbeatLag.get(name) ?? null)
        : this.#lag.behindMs(replayedLsn, replayAgeMs, now.ms);
    return { lagMs, lagBytes };
  }

  #step(name: string, observation: Observation, now: Now): ClusterEvent[] {
    const before = this.#nodes.get(name);
    if (before === undefined) return [];
    const { node, events } = next(before, observation, now, this.limits());
    this.#nodes.set(name, node);
    return events.map(({ event, old, new: to, text }) => ({
      ...this.#event(event, name, now),
      old,
      new: to,
      text: `node ${name} of cluster ${this.settings.name}: ${text}`,
    }));
  }

  #event(event: ClusterEventName, node: string, now: Now): Omit<ClusterEvent, 'text' | 'old' | 'new'> {
    return {
      at: now.wall,
      cluster: this.settings.name,
      event,
      node,
      timeline: this.memory.timeline,
      missed: false,
    };
  }

  /** primary_up and primary_down, each once. */
  #announce(now: Now): ClusterEvent[] {
    const known = this.#nodes.get(this.memory.primary);
    const usable = known?.state === 'primary' ? known.name : null;
    if (usable === null && this.#usable !== null) this.#noPrimarySinceAt = now.wall;
    const downSince = this.#noPrimarySinceAt;
    this.#usable = usable;
    const { name: told, up } = this.#announced;
    const missed = this.#remembered;
    const old = this.#nodes.get(told);
    const { name: cluster } = this.settings;
    const events: ClusterEvent[] = [];
    // nothing is known of it yet
    if (!this.#settled || (usable === null && up && old?.state === 'starting')) return [];
    if (usable !== told && up && (usable === null || old?.state !== 'conflict')) {
      const why = whyDown(old);
      const text = `primary ${told} of cluster ${cluster} is down: ${why}`;
      events.push({ ...this.#event('primary_down', told, now), old: told, new: usable ?? '', text, missed });
      this.#announced = { name: told, up: false };
      this.#remembered = false;
    }
    if (usable === null) return events;
    if (usable !== told || !up) {
      const first = told === '';
      this.#announced = { name: usable, up: true };
      const { timeline } = this.memory;
      const since = up || first ? '' : `, after ${told} was down since ${clockTime(downSince)}`;
      const text =
        told === usable
          ? `primary ${usable} of cluster ${cluster} is back (timeline ${timeline})${since}`
          : `${usable} is the primary of cluster ${cluster} now (timeline ${timeline})${since}`;
      // who the primary is at the very first look is no change
      if (!first) {
        events.push({ ...this.#event('primary_up', usable, now), old: told, new: usable, text, missed });
      }
    }
    this.#remembered = false;
    return events;
  }

  /** Why it is in a state in which it does not serve; else its last failure, however old. */
  #whyNot(node: NodeRecord): string {
    if (node.state === 'conflict') return node.why;
    return node.state === 'lagging' ? whyOut(node, this.limits()) : node.lastError;
  }

  #nodeView(target: NodeTarget): NodeView {
    const node = this.#nodes.get(target.name) ?? newNode(target.name, false, 0);
    const override = this.overrides.get(target.name) ?? NO_OVERRIDE;
    const { facts } = node;
    return {
      name: target.name,
      host: target.host,
      port: target.port,
      zone: target.zone,
      weight: override.weight ?? target.weight,
      state: node.state,
      inRecovery: facts?.inRecovery ?? null,
      sinceAt: node.sinceAt,
      readySinceMs: node.readySinceMs,
      timeline: facts?.timeline ?? 0,
      systemId: facts?.systemId ?? '',
      writtenLsn: facts?.writtenLsn ?? 0,
      replayedLsn: facts?.replayedLsn ?? 0,
      lagMs: node.lagMs,
      lagBytes: node.lagBytes,
      streaming: node.role === 'replica' && node.following,
      upstream: facts?.upstream ?? '',
      syncState: node.role === 'replica' ? syncStateOf(this.standbys, target.name, target.host) : '',
      override: override.detached ? 'detached' : override.weight === null ? '' : 'weight',
      lastError: this.#whyNot(node),
      lastErrorAt: node.lastErrorAt,
      lastCheckAt: node.lastCheckAt,
      answeredFrom: node.answeredFrom,
      connectedAt: node.connectedAt,
      slowChecks: node.slowChecks,
      failures: node.failures,
    };
  }
}

/** Downs before ups, else as they came. */
function inOrder(events: readonly ClusterEvent[]): ClusterEvent[] {
  const up = (one: ClusterEvent): boolean => one.event.endsWith('_up');
  return [...events.filter((one) => !up(one)), ...events.filter(up)];
}

function whyDown(node: NodeRecord | undefined): string {
  if (node === undefined) return 'it is no node of the configuration any more';
  if (node.state === 'detached') return 'it was taken out by a person (DETACH)';
  if (node.state === 'down') return `${node.failures} checks failed, the last one with: ${node.lastError}`;
  if (node.facts?.inRecovery === true) return 'it is a replica now';
  if (node.failures > 0) return `its last check failed: ${node.lastError}`;
  return node.why === '' ? 'it takes no writes any more' : node.why;
}
