/** Values for the tests of routing: views, settings, and a fact cache that says what a test wants. */
import type { ClusterSettings, RoutingSettings } from '../../../src/config/effective-routing.ts';
import { ClusterRuntime } from '../../../src/routing/cluster-runtime.ts';
import type { ClusterView, NodeView } from '../../../src/routing/cluster-view.ts';
import type { RoutedNode } from '../../../src/routing/routed-node.ts';
import type { CachedFacts } from '../../../src/sql/fact-cache.ts';
import type { SqlFacts, SqlName } from '../../../src/sql/facts.ts';

export function nodeView(name: string, more: Partial<NodeView> = {}): NodeView {
  return {
    name,
    host: name,
    port: 5432,
    zone: '',
    weight: 1,
    state: 'replica',
    inRecovery: true,
    sinceAt: 0,
    readySinceMs: 0,
    timeline: 1,
    systemId: '7',
    writtenLsn: 0,
    replayedLsn: 0,
    lagMs: 0,
    lagBytes: 0,
    streaming: true,
    upstream: '',
    syncState: '',
    override: '',
    lastError: '',
    lastErrorAt: 0,
    lastCheckAt: 0,
    answeredFrom: 0,
    connectedAt: 0,
    slowChecks: 0,
    failures: 0,
    ...more,
  };
}

/** The first node that is in state primary is the primary. */
export function clusterView(nodes: readonly NodeView[], more: Partial<ClusterView> = {}): ClusterView {
  return {
    name: 'main',
    version: 1,
    primary: nodes.find((node) => node.state === 'primary')?.name ?? null,
    timeline: 1,
    systemId: '7',
    noPrimarySinceAt: 0,
    nodes,
    ...more,
  };
}

export function clusterSettings(more: Partial<ClusterSettings> = {}): ClusterSettings {
  return {
    name: 'main',
    checkUser: 'monitor',
    checkPassword: null,
    checkDbname: 'postgres',
    checkIntervalMs: 1000,
    checkTimeoutMs: 5000,
    failThreshold: 3,
    patroniUrl: '',
    roleQuery: '',
    lagSource: 'wal',
    maxLagMs: 10_000,
    maxLagBytes: 0,
    recoverLagMs: 5000,
    lsnIntervalMs: 100,
    slowStartMs: 0,
    warmupQuery: '',
    banTimeMs: 1000,
    nodes: [],
    ...more,
  };
}

export function routingSettings(more: Partial<RoutingSettings> = {}): RoutingSettings {
  return {
    route: 'auto',
    readConsistency: 'session',
    staleRead: 'primary',
    staleReadWaitMs: 1000,
    balance: 'weighted',
    readFromPrimary: 'fallback',
    writeFunctions: [],
    readFunctions: [],
    maxLagMs: 0,
    maxLagBytes: 0,
    routeShadow: false,
    primaryWaitTimeoutMs: 30_000,
    zone: '',
    ...more,
  };
}

/** A runtime with pg1 as primary and these replicas, all of which have replayed up to 1000. */
export function runtimeOf(
  replicas: readonly NodeView[],
  settings: Partial<ClusterSettings> = {},
  primary: Partial<NodeView> = {},
): ClusterRuntime {
  const runtime = new ClusterRuntime('main', clusterSettings(settings));
  runtime.onView(clusterView([nodeView('pg1', { state: 'primary', ...primary }), ...replicas]));
  for (const replica of replicas) runtime.onReplayed(replica.name, 1000);
  return runtime;
}

export function nodeOf(runtime: ClusterRuntime, name: string): RoutedNode {
  const node = runtime.nodes.get(name);
  if (node === undefined) throw new Error(`no node ${name}`);
  return node;
}

export function sqlName(text: string): SqlName {
  const dot = text.indexOf('.');
  return dot < 0 ? { schema: null, name: text } : { schema: text.slice(0, dot), name: text.slice(dot + 1) };
}

export function factsOf(more: Partial<SqlFacts> = {}): SqlFacts {
  return {
    rule: '',
    command: 'SELECT',
    changesData: false,
    functions: [],
    relations: [],
    control: null,
    own: null,
    altersCatalog: false,
    ...more,
  };
}

/** Facts by text; the same object for the same text, as the real cache gives. */
export class ScriptedCache {
  readonly #entries = new Map<string, CachedFacts>();

  set(text: string, facts: Partial<SqlFacts>): void {
    const normalised = { text, hint: null };
    this.#entries.set(text, { facts: factsOf(facts), normalised, slot: undefined });
  }

  /** A SELECT that calls these functions, named `f` or `schema.f`. */
  calls(...functions: string[]): string {
    const text = `SELECT ${functions.join('(), ')}()`;
    if (!this.#entries.has(text)) this.set(text, { functions: functions.map(sqlName) });
    return text;
  }

  /** A SELECT that reads this relation. */
  reads(relation: string): string {
    const text = `SELECT FROM ${relation}`;
    if (!this.#entries.has(text)) this.set(text, { relations: [sqlName(relation)] });
    return text;
  }

  lookup(text: string): CachedFacts {
    const found = this.#entries.get(text);
    if (found === undefined) throw new Error(`no facts for ${text}`);
    return found;
  }
}

/** Random numbers that are the same in every run (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
