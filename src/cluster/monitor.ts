/**
 * Watches one cluster: a check of every node each check_interval and at once on hints, the LSN sampler, the heartbeat.
 * What the answers mean is cluster-state.ts's.
 */
import type { ClusterSettings, NodeTarget } from '../config/effective-routing.ts';
import type { ClusterSink } from '../control/cluster-port.ts';
import type { ClusterView } from '../routing/cluster-view.ts';
import type { Log } from '../util/log.ts';
import type { Check, ClusterState } from './cluster-state.ts';
import type { ClusterEvent } from './events.ts';
import { Heartbeat } from './heartbeat.ts';
import { LsnSampler, type SampledNode } from './lsn-sampler.ts';
import { CheckError, MonitorConnection, type MonitorDeps, type MonitorTarget } from './monitor-connection.ts';
import { NodeCheck } from './node-check.ts';
import { isColdOnly, type NodeFacts, type Now, whyOut } from './node-state.ts';
import { RoleSources } from './role-sources.ts';
import { WarmUp } from './warm-up.ts';

/** A refused check is repeated after this, and hints cause no more checks than one in this time. */
const RETRY_MS = 100;
/** So long roles wait at start for a node that does not answer. */
const SETTLE_MS = 1_000;

export interface MonitorHooks {
  readonly sink: ClusterSink;
  readonly log: Log;
  readonly deps: MonitorDeps;
  /** After each observation that changed something worth keeping. */
  readonly onChange: () => void;
  readonly onEvent: (event: ClusterEvent) => void;
  readonly unixSocketDir: () => string;
}

interface Watched {
  target: NodeTarget;
  readonly check: NodeCheck;
  readonly sample: MonitorConnection;
  /** The check that is under way. */
  running: Promise<void> | null;
  /** Another one right after it. */
  again: boolean;
  retry: NodeJS.Timeout | null;
  /** Monotonic start of the last check that was answered. */
  answeredMs: number;
  /** The last error that was logged. */
  toldError: string;
}

export class ClusterMonitor {
  readonly state: ClusterState;
  readonly #hooks: MonitorHooks;
  readonly #sampler: LsnSampler;
  readonly #nodes = new Map<string, Watched>();
  #heartbeat: Heartbeat;
  #beatConnection: MonitorConnection | null = null;
  #beatNode = '';
  readonly #sources: RoleSources;
  readonly #warmUp: WarmUp;
  #timer: NodeJS.Timeout | null = null;
  #settleTimer: NodeJS.Timeout | null = null;
  #troubleTimer: NodeJS.Timeout | null = null;
  #lastRoundMs = Number.NEGATIVE_INFINITY;
  #stopped = false;
  #geometry = 0;
  #toldPrimary = false;

  constructor(state: ClusterState, hooks: MonitorHooks) {
    this.state = state;
    this.#hooks = hooks;
    this.#heartbeat = new Heartbeat(state.settings.name, hooks.log);
    const { clock } = hooks.deps;
    this.#warmUp = new WarmUp(state.settings.name, hooks.log, hooks.deps);
    this.#sources = new RoleSources(hooks.log, () => clock.now());
    this.#sampler = new LsnSampler(
      {
        cluster: state.settings.name,
        sink: hooks.sink,
        now: () => clock.now(),
        nodes: () => this.#sampled(),
        connections: () => [...this.#nodes.values()].map((node) => node.sample),
        isPrimary: (name) => this.state.primary === name,
        onDoubt: () => this.doubt(),
        timeoutMs: () => this.state.settings.checkTimeoutMs,
      },
      state.settings.lsnIntervalMs,
    );
    this.#adoptNodes();
  }

  start(): void {
    this.#timer = setInterval(() => this.#round(), Math.max(1, this.state.settings.checkIntervalMs));
    this.#settleTimer = setTimeout(() => {
      this.#settleTimer = null;
      this.#told(this.state.settle(this.#now()));
    }, SETTLE_MS);
    this.#hooks.sink.onView(this.view());
    this.#round();
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    if (this.#settleTimer !== null) clearTimeout(this.#settleTimer);
    if (this.#troubleTimer !== null) clearTimeout(this.#troubleTimer);
    this.#sampler.stop();
    this.#warmUp.stop();
    this.#beatConnection?.close();
    for (const node of this.#nodes.values()) this.#close(node);
    this.#nodes.clear();
  }

  /** RELOAD: what stays the same goes on undisturbed. */
  reconfigure(settings: ClusterSettings): void {
    const events = this.state.reconfigure(settings, this.#now());
    this.#adoptNodes();
    this.#sampler.setInterval(settings.lsnIntervalMs);
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#round(), Math.max(1, settings.checkIntervalMs));
    this.#told(events);
    this.#round();
  }

  view(): ClusterView {
    return this.state.view();
  }

  wantSamples(): void {
    if (!this.#stopped) this.#sampler.want();
  }

  /** Traffic hints at trouble: all nodes are checked now, or as soon as the last hint's check is RETRY_MS old. */
  doubt(): void {
    if (this.#stopped || this.#troubleTimer !== null) return;
    const wait = this.#lastRoundMs + RETRY_MS - this.#now().ms;
    if (wait <= 0) {
      this.#round(true);
      return;
    }
    this.#troubleTimer = setTimeout(() => {
      this.#troubleTimer = null;
      this.#round(true);
    }, wait);
  }

  /** Resolves when every node has been checked by a check that began after this call. */
  async recheck(): Promise<void> {
    await Promise.all([...this.#nodes.values()].map((node) => this.#checkAfresh(node)));
  }

  override(node: string, change: { readonly detached?: boolean; readonly weight?: number | null }): void {
    this.#told(this.state.override(node, change, this.#now()));
  }

  /** How to connect to the primary's database; null = there is none. */
  primaryTarget(dbname: string): MonitorTarget | null {
    const primary = this.state.primary;
    const target = this.state.settings.nodes.find((node) => node.name === primary);
    return target === undefined ? null : { ...this.#targetOf(target), dbname };
  }

  #now(): Now {
    const { clock } = this.#hooks.deps;
    return { ms: clock.now(), wall: clock.wall() };
  }

  #targetOf(node: NodeTarget): MonitorTarget {
    const { checkUser, checkPassword, checkDbname } = this.state.settings;
    return {
      host: node.host,
      port: node.port,
      unixSocketDir: this.#hooks.unixSocketDir(),
      user: checkUser,
      password: node.checkPassword ?? checkPassword,
      dbname: checkDbname,
    };
  }

  #adoptNodes(): void {
    const { nodes, name } = this.state.settings;
    const { deps, log } = this.#hooks;
    for (const [known, watched] of this.#nodes) {
      const target = nodes.find((node) => node.name === known);
      if (target !== undefined && watched.check.connection.leadsTo(this.#targetOf(target))) continue;
      this.#close(watched);
      this.#nodes.delete(known);
      if (this.#beatNode === known) {
        this.#beatConnection?.close();
        this.#beatConnection = null;
      }
    }
    for (const target of nodes) {
      const known = this.#nodes.get(target.name);
      if (known !== undefined) {
        // weights and zones are the state's; the check of the node may have changed
        known.target = target;
        continue;
      }
      const where = this.#targetOf(target);
      const check = new NodeCheck(target.name, where, deps, (text) =>
        log.warning(`cluster ${name}: ${text}`),
      );
      const watched: Watched = {
        target,
        check,
        sample: new MonitorConnection(where, deps),
        running: null,
        again: false,
        retry: null,
        answeredMs: 0,
        toldError: '',
      };
      check.connection.onNews = () => this.doubt();
      this.#nodes.set(target.name, watched);
    }
  }

  #close(node: Watched): void {
    if (node.retry !== null) clearTimeout(node.retry);
    node.retry = null;
    node.check.connection.onNews = () => {};
    node.check.connection.close();
    node.sample.close();
    this.#warmUp.end(node.target.name);
  }

  #round(again = false): void {
    this.#lastRoundMs = this.#now().ms;
    for (const node of this.#nodes.values()) {
      if (node.running === null) this.#begin(node);
      else if (again) node.again = true;
    }
    this.#beat();
  }

  #begin(node: Watched): Promise<void> {
    if (node.retry !== null) clearTimeout(node.retry);
    node.retry = null;
    node.again = false;
    const running = this.#check(node).finally(() => {
      node.running = null;
      if (node.again && this.#watches(node)) this.#begin(node);
    });
    node.running = running;
    return running;
  }

  async #checkAfresh(node: Watched): Promise<void> {
    if (node.running !== null) {
      await node.running;
      // somebody else may have begun the next one already, after our call
    }
    await (node.running ?? (this.#watches(node) ? this.#begin(node) : undefined));
  }

  /** False after a RELOAD without it, and after the end. */
  #watches(node: Watched): boolean {
    return !this.#stopped && this.#nodes.get(node.target.name) === node;
  }

  /** Never rejects. */
  async #check(node: Watched): Promise<void> {
    const { ms: startedMs, wall: beganAt } = this.#now();
    const { name } = node.target;
    const { settings } = this.state;
    let check: Check;
    try {
      const heartbeat = settings.lagSource === 'heartbeat' ? this.#heartbeat : null;
      const { facts, standbys, heartbeatLagMs } = await this.#sources.ask(
        node.check,
        node.target,
        settings,
        heartbeat,
      );
      node.answeredMs = startedMs;
      if (this.state.primary === name && !facts.inRecovery) this.state.standbys = standbys;
      const { openedMs } = node.check.connection;
      const connectedAt = openedMs === 0 ? 0 : beganAt + openedMs - startedMs;
      check = { kind: 'answer', facts, heartbeatLagMs, beganAt, connectedAt };
    } catch (error) {
      const kind = error instanceof CheckError ? error.kind : 'lost';
      const text = error instanceof Error ? error.message : String(error);
      const gone = kind === 'refused' || kind === 'lost';
      const lives = !gone && this.#hooks.sink.lastAnswerMs(settings.name, name) > startedMs;
      check = { kind: lives ? 'slow' : 'failure', error: text };
    }
    if (!this.#watches(node)) return;
    const events = this.state.observe(name, check, this.#now());
    if (check.kind === 'answer') this.#tellGeometry(check.facts);
    this.#tellError(node, check);
    this.#told(events);
    this.#warm(node);
    const failures = this.state.node(name)?.failures ?? 0;
    if (check.kind === 'failure' && failures < settings.failThreshold && node.retry === null) {
      node.retry = setTimeout(() => {
        node.retry = null;
        if (node.running === null && this.#watches(node)) this.#begin(node);
      }, RETRY_MS);
    }
  }

  #warm(node: Watched): void {
    const { name } = node.target;
    const record = this.state.node(name);
    if (record === undefined || !isColdOnly(record)) return;
    this.#warmUp.begin(name, this.#targetOf(node.target), this.state.settings.warmupQuery, () =>
      this.#told(this.state.warmed(name, this.#now())),
    );
  }

  #told(events: readonly ClusterEvent[]): void {
    if (this.#stopped) return;
    // who hears of an event must find the new roles everywhere
    this.#hooks.sink.onView(this.view());
    this.#hooks.onChange();
    this.#tellFirst();
    for (const event of events) {
      const { log } = this.#hooks;
      if (event.event.endsWith('_up')) log.log(event.text);
      else log.warning(event.text);
      this.#hooks.onEvent(event);
    }
  }

  /** What was found at start, which is no event. */
  #tellFirst(): void {
    if (this.#toldPrimary || !this.state.settled) return;
    const view = this.view();
    if (view.primary === null && view.nodes.some((node) => node.state === 'starting')) return;
    this.#toldPrimary = true;
    const nodes = view.nodes.map((node) => `${node.name} ${node.state}`).join(', ');
    const text = `cluster ${view.name}: primary ${view.primary ?? 'unknown'}, timeline ${view.timeline}; ${nodes}`;
    if (view.primary === null) this.#hooks.log.warning(text);
    else this.#hooks.log.log(text);
    for (const { name, state } of view.nodes) {
      const record = this.state.node(name);
      if (state !== 'lagging' || record === undefined) continue;
      this.#hooks.log.log(
        `node ${name} of cluster ${view.name} takes no reads: ${whyOut(record, this.state.limits())}`,
      );
    }
  }

  /** Failing checks: one line for each new reason, not for each check. */
  #tellError(node: Watched, check: Check): void {
    const text = check.kind === 'answer' ? '' : check.error;
    if (text === node.toldError) return;
    node.toldError = text;
    if (text === '') return;
    const { name } = this.state.settings;
    const what = check.kind === 'slow' ? 'check failed, but its clients are served' : 'check failed';
    this.#hooks.log.warning(`node ${node.target.name} of cluster ${name}: ${what}: ${text}`);
  }

  #tellGeometry(facts: NodeFacts): void {
    const { segmentBytes } = facts;
    if (segmentBytes === 0 || segmentBytes === this.#geometry) return;
    this.#geometry = segmentBytes;
    this.#hooks.sink.onGeometry(this.state.settings.name, { segmentBytes });
  }

  #sampled(): SampledNode[] {
    const found: SampledNode[] = [];
    for (const [name, node] of this.#nodes) {
      const record = this.state.node(name);
      const facts = record?.facts ?? null;
      if (record === undefined || facts === null || facts.logical || facts.segmentBytes === 0) continue;
      const primary = this.state.primary === name;
      const replica = record.role === 'replica' && record.health === 'up';
      if (!primary && !replica) continue;
      found.push({
        name,
        primary,
        comparable: (openedMs) => {
          const now = this.state.node(name);
          return now?.role === 'replica' && now.following && node.answeredMs >= openedMs;
        },
        connection: node.sample,
        segmentBytes: facts.segmentBytes,
        blockBytes: facts.blockBytes,
      });
    }
    return found;
  }

  #beat(): void {
    const { settings, primary } = this.state;
    if (settings.lagSource !== 'heartbeat' || primary === null) return;
    const target = settings.nodes.find((node) => node.name === primary);
    if (target === undefined) return;
    if (this.#beatNode !== primary || this.#beatConnection === null) {
      this.#beatConnection?.close();
      this.#beatConnection = new MonitorConnection(this.#targetOf(target), this.#hooks.deps);
      this.#beatNode = primary;
      this.#heartbeat.reset();
    }
    const { clock } = this.#hooks.deps;
    void this.#heartbeat.beat(this.#beatConnection, settings.checkTimeoutMs, () => clock.now());
  }
}
