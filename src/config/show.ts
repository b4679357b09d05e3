/** The loaded configuration for people: SHOW CONFIG, SET, and what a RELOAD changes. Values in, values out. */

import type { Config } from './config.ts';
import { frozenMap } from './frozen-map.ts';
import { isSecret, parseOption } from './load.ts';
import type { Option } from './option.ts';
import { findOption, makeSettings, OPTIONS, settingOf } from './options.ts';
import { readPassfile } from './passfile.ts';
import type { DatabaseEntry, Diagnostic, RouteRule } from './types.ts';

/** A row of SHOW CONFIG (the same shape as in control/port.ts). */
export interface ConfigRow {
  readonly key: string;
  readonly value: string | null;
  readonly default: string | null;
  readonly changeable: boolean;
}

/** How SHOW CONFIG prints a value: times in seconds as %g, lookups by name, lists as written, unix_socket_mode 511. */
function shown(config: Config, row: Option): string | null {
  return config.listTexts.get(row.name) ?? row.type.format(settingOf(config.settings, row));
}

/** All settings in PgBouncer's order, then the new ones. */
export function showConfig(config: Config): ConfigRow[] {
  return OPTIONS.map((row) => ({
    key: row.name,
    value: shown(config, row),
    default: row.defaultText,
    changeable: !row.restart,
  }));
}

/**
 * SET of the console. Restart-only keys (and conffile) are accepted without effect, as PgBouncer does; the change
 * lives until the next RELOAD. `error` says why, for the log; the client gets PgBouncer's `SET failed`.
 */
export function setOption(
  config: Config,
  key: string,
  value: string,
): { readonly config: Config; readonly error?: never } | { readonly error: string } {
  const row = findOption(key);
  if (row === undefined) return { error: `unknown parameter: pgbouncer/${key}` };
  const parsed = parseOption(row, value);
  if (parsed.reason !== undefined) {
    const shownValue = isSecret(key) ? '********' : value;
    return { error: `invalid value "${shownValue}" for parameter ${key}: ${parsed.reason}` };
  }
  if (row.restart || row.name === 'conffile') return { config };
  if (row.name === 'admin_database' && config.databases.has(value)) {
    return { error: `database name "${value}" is reserved` };
  }
  let { passfiles } = config;
  if (row.name === 'passfile' && value !== '') {
    const found: Diagnostic[] = [];
    const lines = readPassfile(value, found);
    if (lines === null) return { error: found[0]?.message ?? 'cannot read it' };
    passfiles = frozenMap(new Map(passfiles).set(value, lines));
  }
  const listTexts = new Map(config.listTexts);
  if (row.type.asWritten === true) listTexts.set(row.name, value);
  return {
    config: Object.freeze({
      ...config,
      settings: makeSettings(new Map([[row, parsed.value]]), config.settings),
      hasPoolMode: config.hasPoolMode || row.name === 'pool_mode',
      passfiles,
      listTexts: frozenMap(listTexts),
    }),
  };
}

/**
 * The configuration to run with after a RELOAD: `next`, but restart-only settings keep the value of `old`. `kept`
 * names those whose new value waits for a restart.
 */
export function mergeReload(old: Config, next: Config): { readonly config: Config; readonly kept: string[] } {
  const rows = OPTIONS.filter((row) => row.restart);
  const kept = rows.filter((row) => !sameSetting(old, next, row)).map((row) => row.name);
  const listTexts = new Map(next.listTexts);
  for (const row of rows) {
    const written = old.listTexts.get(row.name);
    if (written === undefined) listTexts.delete(row.name);
    else listTexts.set(row.name, written);
  }
  const values = new Map(rows.map((row) => [row, settingOf(old.settings, row)]));
  const settings = makeSettings(values, next.settings);
  return { config: Object.freeze({ ...next, settings, listTexts: frozenMap(listTexts) }), kept };
}

function sameSetting(a: Config, b: Config, row: Option): boolean {
  return row.type.format(settingOf(a.settings, row)) === row.type.format(settingOf(b.settings, row));
}

export interface Changes {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly string[];
}

export interface ConfigDiff {
  /** Settings with another value, restart-only ones included. */
  readonly settings: readonly string[];
  /** The restart-only ones among them. */
  readonly restartOnly: readonly string[];
  /** `*` stands for the fallback entry. */
  readonly databases: Changes;
  /** Those of `databases.changed` whose servers have to be closed when they come back. */
  readonly reconnect: readonly string[];
  readonly users: Changes;
  readonly peers: Changes;
  readonly clusters: Changes;
  readonly nodes: Changes;
  /** A rule that has moved counts as changed: the first that fits decides. */
  readonly routes: Changes;
  /** Users whose secret in auth_file came, went or changed. */
  readonly secrets: Changes;
}

/** Text of an entry without its position, for comparison. */
function contents(entry: object | string): string {
  return JSON.stringify(entry, (key, value: unknown) =>
    key === 'at'
      ? undefined
      : value instanceof Map
        ? [...value]
        : value instanceof RegExp
          ? String(value)
          : value,
  );
}

function changes<K, V extends object | string>(old: ReadonlyMap<K, V>, next: ReadonlyMap<K, V>): Changes {
  const removed = [...old.keys()].filter((key) => !next.has(key)).map(String);
  const added: string[] = [];
  const changed: string[] = [];
  for (const [key, entry] of next) {
    const before = old.get(key);
    if (before === undefined) added.push(String(key));
    else if (contents(before) !== contents(entry)) changed.push(String(key));
  }
  return { added, removed, changed };
}

/** Rules with their rank, which is part of what they mean. */
function numbered(rules: readonly RouteRule[]): ReadonlyMap<string, object> {
  return new Map(rules.map((rule, rank) => [rule.name, { ...rule, rank }]));
}

/** Configured databases together with the fallback under `*`. */
function withFallback(config: Config): ReadonlyMap<string, DatabaseEntry> {
  return config.fallback === null ? config.databases : new Map(config.databases).set('*', config.fallback);
}

/** What `next` changes. */
export function diffConfig(old: Config, next: Config): ConfigDiff {
  const different = OPTIONS.filter((row) => !sameSetting(old, next, row));
  const before = withFallback(old);
  const after = withFallback(next);
  const databases = changes(before, after);
  return {
    settings: different.map((row) => row.name),
    restartOnly: different.filter((row) => row.restart).map((row) => row.name),
    databases,
    reconnect: databases.changed.filter((name) => {
      const a = before.get(name);
      const b = after.get(name);
      return a !== undefined && b !== undefined && databaseNeedsReconnect(a, b);
    }),
    users: changes(old.users, next.users),
    peers: changes(old.peers, next.peers),
    clusters: changes(old.clusters, next.clusters),
    nodes: changes(old.nodes, next.nodes),
    routes: changes(numbered(old.routes), numbered(next.routes)),
    secrets: changes(old.userlist, next.userlist),
  };
}

/**
 * True when servers made for `a` are not what `b` asks for: where they are, who they are, how they were prepared. Of a
 * database of a cluster only the cluster counts as the place: which nodes it has, and in which role, is not the
 * entry's business, nor where statements go.
 */
export function databaseNeedsReconnect(a: DatabaseEntry, b: DatabaseEntry): boolean {
  const identity = (entry: DatabaseEntry): string =>
    contents({
      cluster: entry.cluster,
      hosts: entry.cluster === null ? entry.hosts : [],
      port: entry.cluster === null ? entry.port : 0,
      dbname: entry.dbname,
      user: entry.user,
      password: entry.password,
      connectQuery: entry.connectQuery,
      startupParameters: entry.startupParameters,
    });
  return identity(a) !== identity(b);
}
