/** A loaded configuration, frozen, and the lookups in it that need more than one of its parts. */
import { autoDatabase, CONSOLE_NAMES } from './entries.ts';
import type { Settings } from './options.ts';
import type { PassLine } from './passfile.ts';
import type { ClusterEntry, DatabaseEntry, NodeEntry, PeerEntry, RouteRule, UserEntry } from './types.ts';

export interface Config {
  /** As given on the command line. */
  readonly path: string;
  readonly settings: Settings;
  readonly databases: ReadonlyMap<string, DatabaseEntry>;
  /** The `*` entry; its dbname is '' unless it names one. See `databaseFor`. */
  readonly fallback: DatabaseEntry | null;
  readonly users: ReadonlyMap<string, UserEntry>;
  readonly peers: ReadonlyMap<number, PeerEntry>;
  /** With those that host lists with `route=` make, named after the (first) database with that list. */
  readonly clusters: ReadonlyMap<string, ClusterEntry>;
  /** Of all clusters; names are unique among all of them. */
  readonly nodes: ReadonlyMap<string, NodeEntry>;
  /** [routes], in the order of the file. */
  readonly routes: readonly RouteRule[];
  /** Lines of each `passfile`, by path. */
  readonly passfiles: ReadonlyMap<string, readonly PassLine[]>;
  /** True when [pgbouncer] (or SET) says pool_mode: then it holds for databases of clusters too. */
  readonly hasPoolMode: boolean;
  /** User -> secret of auth_file. */
  readonly userlist: ReadonlyMap<string, string>;
  /** Lists as they were written, by option name: SHOW CONFIG gives them back unchanged. */
  readonly listTexts: ReadonlyMap<string, string>;
}

/** The names under which the console answers. */
export function isConsoleDatabase(config: Config, name: string): boolean {
  return CONSOLE_NAMES.includes(name) || (name !== '' && name === config.settings.adminDatabase);
}

/** The entry of a database: the configured one, else one made from `*`, else null. Not for console names. */
export function databaseFor(config: Config, name: string): DatabaseEntry | null {
  const entry = config.databases.get(name);
  if (entry !== undefined) return entry;
  return config.fallback === null || isConsoleDatabase(config, name)
    ? null
    : autoDatabase(config.fallback, name);
}
