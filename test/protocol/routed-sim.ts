/**
 * The data plane in front of a ModelCluster: the test is its monitor and its misfortune. What the monitor would say
 * (roles, samples, replay) comes when the test says so, and a connection dies at any byte.
 */

import type { NodeState, NodeView } from '../../src/routing/cluster-view.ts';
import { loadParser } from '../../src/sql/parse.ts';
import { errorResponse } from '../support/fake-server.ts';
import { ModelCluster } from './model-cluster.ts';
import { Sim, type SimClient, type SimServer, simConfig } from './sim.ts';

export const NODES = ['pg1', 'pg2', 'pg3'] as const;
const FIRST_PORT = 5001;

/** What the test may do between two moves of bytes. */
export type Event =
  | 'none'
  | 'sample'
  | 'ask'
  | 'answer'
  | 'replay'
  | 'primary'
  | 'node'
  | 'lagging'
  | 'swap'
  | 'tick'
  | 'kill'
  | 'crash';

export class RoutedSim {
  readonly cluster = new ModelCluster(NODES);
  readonly sim: Sim;
  /** Of the checks of every node, for `tell`. */
  readonly checks = { answeredFrom: 0, connectedAt: 0, lastErrorAt: 0 };
  readonly #states = new Map<string, NodeState>();
  #withPrimary = true;
  #version = 0;
  #timeline = 1;
  #samples = 0;
  /** A sample that is on its way, with what the primary said. */
  #asked: { readonly number: number; readonly lsn: number } | null = null;

  private constructor(settings: Readonly<Record<string, string | number>>) {
    const config = simConfig(
      { primary_wait_timeout: 0, query_wait_timeout: 0, server_login_retry: 0.01, ...settings },
      [
        '[clusters]',
        'main = check_user=app',
        '[nodes]',
        ...NODES.map((name, i) => `${name} = cluster=main host=127.0.0.1 port=${FIRST_PORT + i}`),
        '[databases]',
        'app = cluster=main dbname=postgres',
        'app_ro = cluster=main dbname=postgres route=replica',
      ].join('\n'),
    );
    this.sim = new Sim(config, (port) => this.cluster.backend(NODES[port - FIRST_PORT] ?? '', false));
    for (const name of NODES) this.#states.set(name, name === 'pg1' ? 'primary' : 'replica');
    const stable = ['lie', 'lie_with_notice', 'lie_in_plan', 'dies', 'conflicts', 'conflicts_to_death'];
    this.sim.desk.onCatalog('main', 'postgres', {
      version: 1,
      functions: [...stable, 'notice', 'fail'].map((name) => ({ schema: 'public', name, volatile: false })),
      unlogged: [],
    });
    this.tell();
    this.#sample();
  }

  static async start(settings: Readonly<Record<string, string | number>>): Promise<RoutedSim> {
    await loadParser();
    return new RoutedSim(settings);
  }

  /** What the monitor knows, to the data plane. */
  tell(): void {
    this.#version += 1;
    const primary = this.#withPrimary ? this.cluster.primary : null;
    const nodes = NODES.map((name, i): NodeView => {
      const state = this.#states.get(name) ?? 'down';
      return {
        name,
        host: '127.0.0.1',
        port: FIRST_PORT + i,
        zone: '',
        weight: 1,
        state: state === 'primary' && primary === null ? 'down' : state,
        inRecovery: name !== this.cluster.primary,
        sinceAt: 0,
        readySinceMs: 0,
        timeline: this.#timeline,
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
        lastErrorAt: this.checks.lastErrorAt,
        lastCheckAt: 0,
        answeredFrom: this.checks.answeredFrom,
        connectedAt: this.checks.connectedAt,
        slowChecks: 0,
        failures: 0,
      };
    });
    this.sim.desk.onView({
      name: 'main',
      version: this.#version,
      primary,
      timeline: this.#timeline,
      systemId: '7',
      noPrimarySinceAt: primary === null ? 1 : 0,
      nodes,
    });
  }

  /** `which` chooses among what could be meant. */
  happen(event: Event, which: number): void {
    const replicas = NODES.filter((name) => name !== this.cluster.primary);
    const replica = replicas[which % replicas.length] ?? 'pg2';
    switch (event) {
      case 'none':
        return;
      case 'sample':
        this.#sample();
        return;
      case 'ask':
        this.#ask();
        return;
      case 'answer':
        this.#answer();
        return;
      case 'replay':
        this.#replay(replica);
        return;
      case 'primary':
        this.#withPrimary = !this.#withPrimary;
        this.tell();
        return;
      case 'node':
        this.#states.set(replica, this.#states.get(replica) === 'down' ? 'replica' : 'down');
        this.tell();
        return;
      case 'lagging':
        this.#states.set(replica, this.#states.get(replica) === 'lagging' ? 'replica' : 'lagging');
        this.tell();
        return;
      case 'swap':
        this.#swap(replica);
        return;
      case 'tick':
        this.sim.nowMs += 200;
        return;
      case 'kill':
        this.#kill(which);
        return;
      case 'crash':
        this.#crash(which);
        return;
    }
  }

  /** The connections to this node that are open. */
  serversOf(name: string): SimServer[] {
    const port = FIRST_PORT + (NODES as readonly string[]).indexOf(name);
    return this.sim.servers.filter((one) => one.port === port && !one.transport.closed);
  }

  /** This connection is gone, with what was on its way in both directions. */
  end({ transport, postgres }: SimServer): void {
    postgres.dead = true;
    transport.closed = true;
    transport.handler.onGone('');
  }

  /** Everything is well again, and everybody knows. */
  heal(): void {
    this.sim.nowMs += 600_000;
    this.#withPrimary = true;
    for (const name of NODES) this.#states.set(name, name === this.cluster.primary ? 'primary' : 'replica');
    this.tell();
    this.#sample();
    for (const name of NODES) this.#replay(name);
    for (const pool of this.sim.pools.pools()) pool.wantServers();
  }

  #ask(): void {
    this.#samples += 1;
    this.sim.desk.onSampleSent('main', this.#samples);
    this.#asked = { number: this.#samples, lsn: this.cluster.lsn };
  }

  #answer(): void {
    if (this.#asked === null) return;
    this.sim.desk.onSample('main', this.#asked.number, this.#asked.lsn);
    this.#asked = null;
  }

  #sample(): void {
    this.#ask();
    this.#answer();
    for (const name of NODES) this.sim.desk.onReplayed('main', name, this.cluster.replayed.get(name) ?? 0);
  }

  #replay(name: string): void {
    this.cluster.replayed.set(name, this.cluster.lsn);
    this.sim.desk.onReplayed('main', name, this.cluster.lsn);
  }

  /** A switchover: nothing runs on the primary at that moment, the other one has replayed everything. */
  #swap(to: string): void {
    const from = this.cluster.primary;
    const port = FIRST_PORT + (NODES as readonly string[]).indexOf(from);
    const busy = this.sim.servers.some(
      ({ transport, postgres, port: at }) =>
        at === port && !transport.closed && (postgres.busy || transport.arrived > 0 || transport.pending > 0),
    );
    const linked = [...this.sim.pools.pools()].some(
      (pool) => pool.node?.name === from && [...pool.servers].some((server) => server.peer !== null),
    );
    // of a connection that has died as a replica's nobody may think that it was the primary's
    const dying = this.serversOf(to).some(({ postgres }) => postgres.dead);
    if (busy || linked || dying || this.#states.get(to) === 'down') return;
    this.cluster.replayed.set(to, this.cluster.lsn);
    this.cluster.primary = to;
    this.#timeline += 1;
    this.#states.set(from, 'replica');
    this.#states.set(to, 'primary');
    this.#asked = null;
    this.tell();
  }

  /** The connection is gone, with what was on its way in both directions. */
  #kill(which: number): void {
    const alive = this.sim.servers.filter(({ transport, postgres }) => !transport.closed && !postgres.dead);
    const victim = alive[which % Math.max(1, alive.length)];
    if (victim === undefined) return;
    this.end(victim);
  }

  /** The node says so, and then the connection is gone. */
  #crash(which: number): void {
    const alive = this.sim.servers.filter(({ transport, postgres }) => !transport.closed && !postgres.dead);
    const victim = alive[which % Math.max(1, alive.length)];
    if (victim === undefined) return;
    victim.postgres.dead = true;
    victim.transport.arrive(errorResponse('57P02', 'the node crashes', 'FATAL'));
  }
}

export type { SimClient, SimServer };
