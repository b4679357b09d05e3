/** A loaded configuration, frozen, and the lookups in it that need more than one of its parts. */
import { autoDatabase, CONSOLE_NAMES } from './entries.ts';
import type { Settings } from './options.ts';
import type { DatabaseEntry, PeerEntry, UserEntry } from './types.ts';

export interface Config {
  /** As given on the command line. */
  readonly path: string;
  readonly settings: Settings;
  readonly databases: ReadonlyMap<string, DatabaseEntry>;
  /** The `*` entry; its dbname is '' unless it names one. See `databaseFor`. */
  readonly fallback: DatabaseEntry | null;
  readonly users: ReadonlyMap<string, UserEntry>;
  readonly peers: ReadonlyMap<number, PeerEntry>;
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
