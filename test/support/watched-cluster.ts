/** Clusters (the observer) over real PostgreSQL nodes, with a sink that records everything, for tests of src/cluster. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Clusters } from '../../src/cluster/clusters.ts';
import type { ClusterEvent } from '../../src/cluster/events.ts';
import type { Config } from '../../src/config/config.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { ClusterSink } from '../../src/control/cluster-port.ts';
import type { CatalogFacts, ClusterView, NodeView } from '../../src/routing/cluster-view.ts';
import { SYSTEM_CLOCK } from '../../src/util/clock.ts';
import type { Log } from '../../src/util/log.ts';
import { until } from './until.ts';

export interface WatchedNode {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** Further keys of [nodes]. */
  readonly keys?: string;
}

export interface WatchOptions {
  /** Keys of the entry in [clusters]. */
  readonly keys?: string;
  /** Lines of [pgbouncer]. */
  readonly settings?: readonly string[];
  readonly log?: (line: string) => void;
}

/** Records what the data plane would be told. */
export class RecordingSink implements ClusterSink {
  readonly views: ClusterView[] = [];
  /** In order: what was announced and what came in. */
  readonly samples: { readonly what: 'sent' | 'in'; readonly number: number; readonly lsn: number }[] = [];
  readonly replayed = new Map<string, number>();
  readonly catalogs: { readonly dbname: string; readonly facts: CatalogFacts | null }[] = [];
  segmentBytes = 0;
  /** What lastAnswerMs says. */
  answered: (node: string) => number = () => 0;

  onView(view: ClusterView): void {
    this.views.push(view);
  }
  onSampleSent(_cluster: string, number: number): void {
    this.samples.push({ what: 'sent', number, lsn: 0 });
  }
  onSample(_cluster: string, number: number, primaryLsn: number): void {
    this.samples.push({ what: 'in', number, lsn: primaryLsn });
  }
  onReplayed(_cluster: string, node: string, lsn: number): void {
    this.replayed.set(node, lsn);
  }
  onGeometry(_cluster: string, geometry: { readonly segmentBytes: number }): void {
    this.segmentBytes = geometry.segmentBytes;
  }
  onCatalog(_cluster: string, dbname: string, facts: CatalogFacts | null): void {
    this.catalogs.push({ dbname, facts });
  }
  lastAnswerMs(_cluster: string, node: string): number {
    return this.answered(node);
  }
}

export class WatchedCluster {
  readonly sink = new RecordingSink();
  readonly events: ClusterEvent[] = [];
  readonly lines: string[] = [];
  readonly clusters: Clusters;
  readonly #dir: string;
  #config: Config;

  constructor(nodes: readonly WatchedNode[], options: WatchOptions = {}) {
    this.#dir = mkdtempSync(join(tmpdir(), 'pgconcierge-watch-'));
    this.#config = this.load(nodes, options);
    const line = (level: string) => (text: string) => {
      this.lines.push(`${level} ${text}`);
      options.log?.(`${level} ${text}`);
    };
    const log: Log = {
      log: line('LOG'),
      warning: line('WARNING'),
      error: line('ERROR'),
      fatal: line('FATAL'),
      debug: line('DEBUG'),
      noise: line('NOISE'),
    };
    this.clusters = new Clusters({
      config: this.#config,
      sink: this.sink,
      log,
      clock: SYSTEM_CLOCK,
      tls: () => ({ mode: 'disable', options: {} }),
    });
    this.clusters.onEvent((event) => this.events.push(event));
    this.clusters.start();
  }

  /** A configuration with these nodes in cluster `main`. */
  load(nodes: readonly WatchedNode[], options: WatchOptions = {}): Config {
    const path = join(this.#dir, 'f.ini');
    const lines = [
      '[pgbouncer]',
      'listen_addr = 127.0.0.1',
      'auth_type = trust',
      ...(options.settings ?? []),
      '[clusters]',
      `main = check_user=postgres check_interval=0.2 ${options.keys ?? ''}`,
      '[nodes]',
      ...nodes.map(
        ({ name, host, port, keys = '' }) => `${name} = cluster=main host=${host} port=${port} ${keys}`,
      ),
      '[databases]',
      'app = cluster=main dbname=postgres',
    ];
    writeFileSync(path, `${lines.join('\n')}\n`);
    const { config, diagnostics } = loadConfig(path);
    assert.deepEqual(
      diagnostics.filter((found) => found.level === 'error').map((found) => found.message),
      [],
    );
    assert.ok(config);
    return config;
  }

  get view(): ClusterView {
    const [view] = this.clusters.views();
    assert.ok(view);
    return view;
  }

  node(name: string): NodeView {
    const found = this.view.nodes.find((node) => node.name === name);
    assert.ok(found, `no node ${name}`);
    return found;
  }

  /** `pg1 primary, pg2 replica`. */
  get states(): string {
    return this.view.nodes.map((node) => `${node.name} ${node.state}`).join(', ');
  }

  /** Names of events so far, `primary_up pg2`. */
  get told(): string[] {
    return this.events.map(({ event, node }) => `${event} ${node}`);
  }

  async untilStates(states: string, timeoutMs = 15_000): Promise<void> {
    await until(() => (this.states === states ? true : null), {
      timeoutMs,
      what: `states ${states}`,
    }).catch((error: unknown) => {
      const text = error instanceof Error ? error.message : String(error);
      throw new Error(`${text}; they are ${this.states}\n${this.lines.join('\n')}`);
    });
  }

  stop(): void {
    this.clusters.stop();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
