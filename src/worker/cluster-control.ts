/** What the console and HTTP may see and do with clusters (control/cluster-port.ts): the worker's rows, the monitors' hands. */
import type {
  ClusterControl,
  ClusterRow,
  DecisionRow,
  ExplainRow,
  LearnedRow,
  NodeRow,
  RouteRow,
  ShadowRow,
} from '../control/cluster-port.ts';
import { CommandError } from '../control/port.ts';
import {
  clusterRows,
  decisionRows,
  explainRows,
  learnedRows,
  nodeRows,
  routeRows,
  shadowRows,
} from './cluster-rows.ts';
import type { Worker } from './worker.ts';

/** The monitors, as far as people command them. Its errors are told as they are. */
export interface ClusterHands {
  detach(node: string): void;
  attach(node: string): void;
  setWeight(node: string, weight: number): void;
  redetect(cluster: string | null): { readonly done: Promise<void>; cancel(): void };
}

const DRAIN_POLL_MS = 50;

export class WorkerClusterControl implements ClusterControl {
  readonly #worker: Worker;
  readonly #hands: ClusterHands;

  constructor(worker: Worker, hands: ClusterHands) {
    this.#worker = worker;
    this.#hands = hands;
  }

  nodes(): NodeRow[] {
    return nodeRows(this.#worker);
  }

  clusters(): ClusterRow[] {
    return clusterRows(this.#worker);
  }

  routes(): RouteRow[] {
    return routeRows(this.#worker);
  }

  learned(): LearnedRow[] {
    return learnedRows(this.#worker);
  }

  shadow(): ShadowRow[] {
    return shadowRows(this.#worker);
  }

  decisions(): DecisionRow[] {
    return decisionRows(this.#worker);
  }

  explainRoute(sql: string, database: string | null): ExplainRow[] {
    return explainRows(this.#worker, sql, database);
  }

  detach(node: string): void {
    told(() => this.#hands.detach(node));
  }

  attach(node: string): void {
    told(() => this.#hands.attach(node));
  }

  setWeight(node: string, weight: number): void {
    told(() => this.#hands.setWeight(node, weight));
  }

  redetect(cluster: string | null): { readonly done: Promise<void>; cancel(): void } {
    return told(() => this.#hands.redetect(cluster));
  }

  drain(node: string): { readonly done: Promise<void>; cancel(): void } {
    this.detach(node);
    let timer: NodeJS.Timeout | undefined;
    let end = (): void => {};
    const done = new Promise<void>((resolve) => {
      end = resolve;
      const look = (): void => {
        if (!this.#busy(node)) resolve();
        else timer = setTimeout(look, DRAIN_POLL_MS);
      };
      look();
    });
    return {
      done,
      cancel: () => {
        clearTimeout(timer);
        end();
      },
    };
  }

  /** Clients still have servers on it. */
  #busy(node: string): boolean {
    for (const pool of this.#worker.pools.pools()) {
      const { cluster } = pool.database.entry;
      if (pool.node?.name !== node && `${cluster}.${pool.node?.name}` !== node) continue;
      for (const server of pool.servers) if (server.peer !== null) return true;
    }
    return false;
  }
}

/** The monitors' refusals in the console's form. */
function told<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new CommandError(error instanceof Error ? error.message : String(error), '42704');
  }
}
