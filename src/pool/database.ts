/** One database entry at run time: its switches, its pools, its client and server counts. */
import type { DatabaseEntry } from '../config/types.ts';
import type { Counters } from '../control/port.ts';
import { newCounters } from './counters.ts';
import type { Pool } from './pool.ts';

export class Database {
  readonly name: string;
  entry: DatabaseEntry;
  /** Made from the `*` entry; forgotten after autodb_idle_timeout. */
  auto: boolean;
  /** PAUSE of this database or of everything is in force: nothing is opened or given out. */
  paused = false;
  /** PAUSE (or KILL) of this database by name. */
  pausedByName = false;
  disabled = false;
  /** Left the configuration: new clients are refused, existing ones told. */
  removed = false;
  /** By pool user. */
  readonly pools = new Map<string, Pool>();
  servers = 0;
  clients = 0;
  /** Counters of pools that are gone; the pools' own come on top. */
  readonly retired: Counters = newCounters();
  /** Snapshot at the last stats_period boundary and the one before. */
  previous: Counters = newCounters();
  current: Counters = newCounters();
  /** For round robin over hosts. */
  nextHost = 0;
  idleSinceMs = 0;
  /** Called when the last server of the database has gone (PAUSE), or a stale one (WAIT_CLOSE). */
  readonly watchers = new Set<() => void>();

  constructor(entry: DatabaseEntry, name: string, auto: boolean) {
    this.name = name;
    this.entry = entry;
    this.auto = auto;
  }

  /** A server has closed: lets the waiting commands look again. */
  notifyWatchers(): void {
    if (this.watchers.size === 0) return;
    for (const watcher of [...this.watchers]) watcher();
  }
}
