/**
 * Files -> one frozen Config and a list of everything that was found. A file with an error gives no Config at all:
 * nothing is applied by halves, unlike PgBouncer. Reads synchronously; called at start and at RELOAD only.
 */
import { readCluster, readNode, readRoute } from './cluster-entries.ts';
import { clusterWarnings } from './cluster-warnings.ts';
import type { Config } from './config.ts';
import { CONSOLE_NAMES, type ReadDatabase, readDatabase, readPeer, readUser } from './entries.ts';
import type { Environment } from './environment.ts';
import { frozenMap } from './frozen-map.ts';
import type { Place } from './lines.ts';
import { at, readConfigLines } from './lines.ts';
import { linkClusters } from './link-clusters.ts';
import { didYouMean, nearest } from './nearest.ts';
import type { Option } from './option.ts';
import type { Settings } from './options.ts';
import { findOption, makeSettings, optionNames } from './options.ts';
import { type PassLine, readPassfile } from './passfile.ts';
import type { ClusterEntry, Diagnostic, NodeEntry, PeerEntry, RouteRule, UserEntry } from './types.ts';
import { readUserlist } from './userlist.ts';

export type { Config } from './config.ts';

export interface LoadOptions {
  /** The running configuration: its users stay when auth_file cannot be read at RELOAD. */
  readonly previous?: Config;
  /** For `${NAME}`; default: that of the process. */
  readonly env?: Environment;
}

const SECTIONS = [
  'pgbouncer',
  'pgconcierge',
  'databases',
  'users',
  'peers',
  'clusters',
  'nodes',
  'routes',
] as const;
type Section = (typeof SECTIONS)[number];

/** What stops a value that its type has let pass; null = nothing. */
function refusal(row: Option, value: unknown): string | null {
  if (row.name === 'auth_dbname' && typeof value === 'string' && CONSOLE_NAMES.includes(value)) {
    return `cannot use the reserved "${value}" database as an auth_dbname`;
  }
  return null;
}

/** Checks one value of [pgbouncer]; `reason` is for a hint. Used by the loader and by SET. */
export function parseOption(
  row: Option,
  text: string,
): { readonly value: unknown; readonly reason?: never } | { readonly reason: string } {
  const value = row.type.parse(text);
  if (value === undefined) return { reason: `${row.name} is ${row.type.label}` };
  const reason = refusal(row, value);
  return reason === null ? { value } : { reason };
}

/** Collects what the lines say. */
class Loader {
  readonly diagnostics: Diagnostic[] = [];
  readonly values = new Map<Option, unknown>();
  readonly listTexts = new Map<string, string>();
  readonly databases = new Map<string, ReadDatabase>();
  readonly users = new Map<string, UserEntry>();
  readonly peers = new Map<number, PeerEntry>();
  readonly clusters = new Map<string, ClusterEntry>();
  readonly nodes = new Map<string, NodeEntry>();
  readonly routes = new Map<string, RouteRule>();
  hasBadNodes = false;
  readonly #seen = new Map<string, Place>();
  readonly #env: Environment;
  #section: Section | null = null;
  #mainHeaders = 0;

  constructor(env: Environment) {
    this.#env = env;
  }

  /** Where `section/key` was set last. */
  get places(): ReadonlyMap<string, Place> {
    return this.#seen;
  }

  get hasMain(): boolean {
    return this.#mainHeaders > 0 || this.#seen.has('[pgconcierge]');
  }

  header(name: string, place: Place): void {
    this.#section = SECTIONS.find((known) => known === name) ?? null;
    if (this.#section === null) {
      const message = `invalid section "${name}" in configuration ${at(place)}`;
      this.diagnostics.push({ level: 'error', ...place, message, ...didYouMean(name, SECTIONS) });
    } else if (name === 'pgconcierge') {
      this.#seen.set('[pgconcierge]', place);
    } else if (name === 'pgbouncer' && ++this.#mainHeaders > 1) {
      this.#resetSettings(place);
    }
  }

  /** Every further [pgbouncer] header puts all settings back to their defaults, as in PgBouncer. */
  #resetSettings(place: Place): void {
    if (this.values.size > 0) {
      const message = `another [pgbouncer] section resets the settings above it to their defaults ${at(place)}`;
      this.diagnostics.push({
        level: 'warning',
        ...place,
        message,
        hint: 'write all settings under one header',
      });
    }
    this.values.clear();
    this.listTexts.clear();
    for (const key of [...this.#seen.keys()]) if (key.startsWith('pgbouncer/')) this.#seen.delete(key);
  }

  assignment(key: string, value: string, place: Place): void {
    const section = this.#section === 'pgconcierge' ? 'pgbouncer' : this.#section;
    if (section === null) return;
    this.#noteDuplicate(`${section}/${key}`, key, place);
    if (section === 'pgbouncer') this.#setting(key, value, place);
    else this.#entry(section, key, value, place);
  }

  #entry(
    section: Exclude<Section, 'pgbouncer' | 'pgconcierge'>,
    key: string,
    value: string,
    place: Place,
  ): void {
    const found = this.diagnostics;
    const env = this.#env;
    switch (section) {
      case 'databases':
        keep(this.databases, readDatabase(key, value, place, found), key);
        return;
      case 'users':
        keep(this.users, readUser(key, value, place, found), key);
        return;
      case 'peers': {
        const peer = readPeer(key, value, place, found);
        keep(this.peers, peer, peer?.id ?? 0);
        return;
      }
      case 'clusters':
        keep(this.clusters, readCluster(key, value, place, found, env), key);
        return;
      case 'nodes': {
        const node = readNode(key, value, place, found, env);
        this.hasBadNodes ||= node === null;
        keep(this.nodes, node, key);
        return;
      }
      case 'routes':
        // the later line counts, in its own place: the first rule that fits decides
        this.routes.delete(key);
        keep(this.routes, readRoute(key, value, place, found, env), key);
    }
  }

  #noteDuplicate(name: string, key: string, place: Place): void {
    const before = this.#seen.get(name);
    if (before !== undefined) {
      const message = `parameter ${key} is set again in configuration ${at(place)}, the later value counts`;
      this.diagnostics.push({
        level: 'info',
        ...place,
        message,
        hint: `first set in ${before.file}:${before.line}`,
      });
    }
    this.#seen.set(name, place);
  }

  #setting(key: string, value: string, place: Place): void {
    const shown = isSecret(key) ? '********' : value;
    const invalid = `invalid value "${shown}" for parameter ${key} in configuration ${at(place)}`;
    const row = findOption(key);
    if (row === undefined) {
      const message = `unknown parameter: pgbouncer/${key}`;
      this.diagnostics.push({ level: 'error', ...place, message, ...didYouMean(key, optionNames()) });
      this.diagnostics.push({ level: 'error', ...place, message: invalid });
      return;
    }
    const parsed = parseOption(row, value);
    if (parsed.reason !== undefined) {
      this.diagnostics.push({ level: 'error', ...place, message: invalid, hint: parsed.reason });
      return;
    }
    this.values.set(row, parsed.value);
    if (row.type.asWritten === true) this.listTexts.set(row.name, value);
    if (row.status === 'accepted') {
      const message = `parameter ${row.name} is accepted but has no meaning here ${at(place)}`;
      this.diagnostics.push({ level: 'info', ...place, message });
    }
  }

  /** What can be judged only when everything has been read. */
  checkWhole(path: string, settings: Settings): void {
    const error = (message: string, place: Partial<Place> = {}): void => {
      this.diagnostics.push({ level: 'error', file: path, line: 0, ...place, message });
    };
    if (!this.hasMain) error('load_init_file: main section missing from config file');
    const admin = settings.adminDatabase;
    if (admin !== '' && this.databases.has(admin))
      error(`database name "${admin}" is reserved`, this.#seen.get(`databases/${admin}`));
  }
}

/** True for settings, known or not, whose value nobody is to read. `passfile` is a path. */
export function isSecret(key: string): boolean {
  const meant = findOption(key) === undefined ? (nearest(key, optionNames()) ?? key) : key;
  return [key, meant].some((name) => /pas{1,3}w|pwd|secret/i.test(name));
}

function keep<K, V>(map: Map<K, V>, entry: V | null, key: K): void {
  if (entry !== null) map.set(key, entry);
}

/**
 * Reads the file with what it includes, and auth_file. `config` is null when there is any diagnostic of level
 * `error`. Never throws for what is in the files.
 */
export function loadConfig(
  path: string,
  options: LoadOptions = {},
): { readonly config: Config | null; readonly diagnostics: Diagnostic[] } {
  const loader = new Loader(options.env ?? process.env);
  const { diagnostics } = loader;
  const lines = readConfigLines(path, diagnostics);
  const unreadable = lines.length === 0 && diagnostics.length > 0;
  for (const line of lines) {
    if (line.kind === 'section') loader.header(line.name, line.place);
    else loader.assignment(line.key, line.value, line.place);
  }
  const conffile = findOption('conffile');
  if (conffile !== undefined) loader.values.set(conffile, path);
  const settings = makeSettings(loader.values);
  if (!unreadable) loader.checkWhole(path, settings);
  const read =
    settings.authFile === null ? new Map<string, string>() : readUserlist(settings.authFile, diagnostics);
  const userlist =
    read === null ? (options.previous?.userlist ?? frozenMap(new Map<string, string>())) : frozenMap(read);
  const linked = linkClusters(loader, diagnostics);
  const passfiles = readPassfiles([settings, ...loader.clusters.values()], diagnostics);
  if (diagnostics.some((found) => found.level === 'error')) return { config: null, diagnostics };

  const fallback = linked.databases.get('*') ?? null;
  linked.databases.delete('*');
  const config: Config = Object.freeze({
    path,
    settings,
    databases: frozenMap(linked.databases),
    fallback,
    users: frozenMap(loader.users),
    peers: frozenMap(loader.peers),
    clusters: frozenMap(linked.clusters),
    nodes: frozenMap(linked.nodes),
    routes: Object.freeze([...loader.routes.values()]),
    passfiles,
    hasPoolMode: [...loader.values.keys()].some((row) => row.name === 'pool_mode'),
    userlist,
    listTexts: frozenMap(loader.listTexts),
  });
  diagnostics.push(...clusterWarnings(config));
  return { config, diagnostics };
}

function readPassfiles(
  owners: readonly { readonly passfile: string | null }[],
  diagnostics: Diagnostic[],
): ReadonlyMap<string, readonly PassLine[]> {
  const found = new Map<string, readonly PassLine[]>();
  for (const path of new Set(owners.map((owner) => owner.passfile))) {
    const lines = path === null ? null : readPassfile(path, diagnostics);
    if (path !== null && lines !== null) found.set(path, lines);
  }
  return frozenMap(found);
}

/** One line for a log or a terminal: message, position when the message lacks it, hint. */
export function formatDiagnostic(found: Diagnostic): string {
  const where =
    found.line > 0 && !found.message.includes(`${found.file}:${found.line}`)
      ? ` (${found.file}:${found.line})`
      : '';
  return `${found.message}${where}${found.hint === undefined ? '' : ` [${found.hint}]`}`;
}
