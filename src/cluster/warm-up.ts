/**
 * `warmup_query`: run on a replica that comes back, on a connection of its own, before the node takes reads. How it ends
 * does not matter: a node that cannot be warmed is used cold.
 */
import type { Log } from '../util/log.ts';
import { MonitorConnection, type MonitorDeps, type MonitorTarget } from './monitor-connection.ts';

/** A query that hangs does not keep a node out for ever. */
const LIMIT_MS = 300_000;

export class WarmUp {
  readonly #cluster: string;
  readonly #log: Log;
  readonly #deps: MonitorDeps;
  readonly #running = new Map<string, MonitorConnection>();

  constructor(cluster: string, log: Log, deps: MonitorDeps) {
    this.#cluster = cluster;
    this.#log = log;
    this.#deps = deps;
  }

  /** Begins it, unless it runs already. `done` is called when it is over, and not after `end`. */
  begin(node: string, target: MonitorTarget, sql: string, done: () => void): void {
    if (this.#running.has(node)) return;
    if (sql === '') {
      done();
      return;
    }
    const { clock } = this.#deps;
    const startedMs = clock.now();
    const connection = new MonitorConnection(target, this.#deps);
    this.#running.set(node, connection);
    connection
      .query(sql, LIMIT_MS)
      .then(
        () => `was run (${((clock.now() - startedMs) / 1000).toFixed(1)} s)`,
        (error: unknown) => `has failed: ${error instanceof Error ? error.message : String(error)}`,
      )
      .then((how) => {
        // another one, or none, after `end`
        if (this.#running.get(node) !== connection) return;
        this.end(node);
        this.#log.log(`node ${node} of cluster ${this.#cluster}: warmup_query ${how}`);
        done();
      });
  }

  /** The node is not watched any more. */
  end(node: string): void {
    const connection = this.#running.get(node);
    this.#running.delete(node);
    connection?.close();
  }

  stop(): void {
    for (const node of [...this.#running.keys()]) this.end(node);
  }
}
