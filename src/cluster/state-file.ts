/**
 * `state_file`: what must outlive a restart. The last known topology, so that a change that happened meanwhile is told
 * once and an old primary is not believed; and what people have set (DETACH, SET WEIGHT). Written when it changes, by
 * renaming a complete file over the old one.
 */
import { readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import type { Log } from '../util/log.ts';
import { describeError, errorCode } from '../util/system-error.ts';
import type { Override } from './cluster-state.ts';
import type { ClusterMemory } from './topology.ts';

export interface SavedCluster {
  readonly memory: ClusterMemory;
  /** Listeners were last told that it is up. */
  readonly primaryUp: boolean;
  readonly overrides: ReadonlyMap<string, Override>;
}

const FORMAT = 1;

export class StateFile {
  readonly #path: string;
  readonly #log: Log;
  #written = '';
  #failed = '';

  /** `path` '' = nothing is kept. */
  constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
  }

  get path(): string {
    return this.#path;
  }

  /** What was saved; empty when there is no file. One that cannot be read is told and ignored. */
  read(): Map<string, SavedCluster> {
    if (this.#path === '') return new Map();
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') {
        this.#log.warning(`state_file ${this.#path} ignored: ${describeError(error)}`);
      }
      return new Map();
    }
    try {
      const found = readState(JSON.parse(text));
      this.#written = stateText(found);
      return found;
    } catch (error) {
      const why = error instanceof SyntaxError ? 'it is no JSON' : describeError(error);
      this.#log.warning(`state_file ${this.#path} ignored: ${why}`);
      return new Map();
    }
  }

  /** Writes when something has changed. A failure is told once, and tried again with the next change. */
  write(clusters: ReadonlyMap<string, SavedCluster>): void {
    if (this.#path === '') return;
    const text = stateText(clusters);
    if (text === this.#written) return;
    const temporary = `${this.#path}.tmp`;
    try {
      // not flushed: this thread may carry clients' bytes, and a file that a power cut empties is ignored at start
      writeFileSync(temporary, text, { mode: 0o600 });
      renameSync(temporary, this.#path);
      this.#written = text;
      this.#failed = '';
    } catch (error) {
      const why = describeError(error);
      if (why !== this.#failed) this.#log.error(`cannot write state_file ${this.#path}: ${why}`);
      this.#failed = why;
      try {
        unlinkSync(temporary);
      } catch {
        // it was never made
      }
    }
  }
}

function stateText(clusters: ReadonlyMap<string, SavedCluster>): string {
  const document: Record<string, unknown> = {};
  for (const [name, { memory, primaryUp, overrides }] of clusters) {
    const nodes: Record<string, Override> = {};
    for (const [node, { detached, weight }] of overrides) {
      if (detached || weight !== null) nodes[node] = { detached, weight };
    }
    document[name] = { ...memory, primaryUp, nodes };
  }
  return `${JSON.stringify({ format: FORMAT, clusters: document }, null, 2)}\n`;
}

function readState(document: unknown): Map<string, SavedCluster> {
  if (!isObject(document) || document['format'] !== FORMAT || !isObject(document['clusters'])) {
    throw new Error('it is not a state file of this version');
  }
  const found = new Map<string, SavedCluster>();
  for (const [name, value] of Object.entries(document['clusters'])) {
    if (!isObject(value)) throw new Error(`cluster "${name}" is not an object`);
    const { primary, timeline, systemId, primaryUp, nodes } = value;
    if (
      typeof primary !== 'string' ||
      typeof systemId !== 'string' ||
      typeof primaryUp !== 'boolean' ||
      !isCount(timeline)
    ) {
      throw new Error(`cluster "${name}" is incomplete`);
    }
    const overrides = new Map<string, Override>();
    for (const [node, set] of Object.entries(isObject(nodes) ? nodes : {})) {
      if (!isObject(set)) continue;
      const { weight } = set;
      overrides.set(node, {
        detached: set['detached'] === true,
        weight: typeof weight === 'number' && weight >= 0 && Number.isFinite(weight) ? weight : null,
      });
    }
    found.set(name, { memory: { primary, timeline, systemId }, primaryUp, overrides });
  }
  return found;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
