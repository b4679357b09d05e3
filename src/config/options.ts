/**
 * THE table of the settings of [pgbouncer]: parsers, defaults, scope, what needs a restart, documentation. The type
 * `Settings`, SHOW CONFIG, SET, docs/config.md, the sample file and "did you mean" all come from it.
 * To add a setting, add a row in the options-*.ts file of its group (own: true) and run document-main.
 */
import type { Option } from './option.ts';
import { ACCESS_OPTIONS } from './options-access.ts';
import { CLUSTER_OPTIONS } from './options-clusters.ts';
import { GENERAL_OPTIONS } from './options-general.ts';
import { NETWORK_OPTIONS } from './options-network.ts';
import { SERVER_OPTIONS } from './options-server.ts';

type Row =
  | (typeof GENERAL_OPTIONS)[number]
  | (typeof ACCESS_OPTIONS)[number]
  | (typeof SERVER_OPTIONS)[number]
  | (typeof NETWORK_OPTIONS)[number]
  | (typeof CLUSTER_OPTIONS)[number];

type Camel<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<Camel<Tail>>}`
  : S;

/**
 * The values of [pgbouncer], keyed in camelCase; times are milliseconds and end in `Ms` (also the ones that
 * PgBouncer holds as whole seconds: statsPeriodMs, queryWaitNotifyMs, tcpKeepidleMs, tcpKeepintvlMs).
 */
export type Settings = {
  readonly [O in Row as `${Camel<O['name']>}${O['type']['suffix']}`]: Exclude<
    ReturnType<O['type']['parse']>,
    undefined
  >;
};

/** Groups as the documentation shows them. */
export const OPTION_GROUPS: readonly { readonly title: string; readonly rows: readonly Option[] }[] = [
  { title: 'Process, listening, pools, limits, console', rows: GENERAL_OPTIONS },
  { title: 'Authentication and logging', rows: ACCESS_OPTIONS },
  { title: 'Servers and timeouts', rows: SERVER_OPTIONS },
  { title: 'DNS, TLS, network, HTTP', rows: NETWORK_OPTIONS },
  { title: 'Clusters and routing', rows: CLUSTER_OPTIONS },
];

/** Place in SHOW CONFIG: PgBouncer's alphabetical order with its one exception, then what is new here. */
function rank(row: Option): string {
  const name =
    row.name === 'pool_mode'
      ? 'pool_idle_timeout'
      : row.name === 'pool_idle_timeout'
        ? 'pool_mode'
        : row.name;
  return `${row.own ? 1 : 0}${name}`;
}

/** All rows in the order of SHOW CONFIG. */
export const OPTIONS: readonly Option[] = OPTION_GROUPS.flatMap((group) => group.rows).sort((a, b) =>
  rank(a) < rank(b) ? -1 : 1,
);

const BY_NAME: ReadonlyMap<string, Option> = new Map(OPTIONS.map((row) => [row.name, row]));

/** Other spellings that are accepted in the file and by SET. */
const ALIASES: ReadonlyMap<string, string> = new Map([['service_name', 'job_name']]);

/** The row of a setting, or undefined for an unknown name. */
export function findOption(name: string): Option | undefined {
  return BY_NAME.get(ALIASES.get(name) ?? name);
}

/** Names for "did you mean". */
export function optionNames(): Iterable<string> {
  return BY_NAME.keys();
}

const KEYS: ReadonlyMap<Option, string> = new Map(
  OPTIONS.map((row) => {
    const camel = row.name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
    return [row, `${camel}${row.type.suffix}`];
  }),
);

/** The key of Settings that holds a row's value. */
function keyOf(row: Option): string {
  return KEYS.get(row) ?? row.name;
}

/** The value of a row's default. */
export function defaultValue(row: Option): unknown {
  if (row.defaultText === null) return row.type.empty;
  const value = row.type.parse(row.defaultText);
  if (value === undefined) throw new TypeError(`bad default of option ${row.name}`);
  return value;
}

/** Value of one row. */
export function settingOf(settings: Settings, row: Option): unknown {
  return (settings as Readonly<Record<string, unknown>>)[keyOf(row)];
}

/** Frozen settings: `base` (or the defaults) with `values` put over it. */
export function makeSettings(values: ReadonlyMap<Option, unknown>, base?: Settings): Settings {
  const all: Record<string, unknown> = {};
  for (const row of OPTIONS) {
    all[keyOf(row)] = values.has(row)
      ? values.get(row)
      : base === undefined
        ? defaultValue(row)
        : settingOf(base, row);
  }
  return Object.freeze(all) as Settings;
}

/** Settings of an empty [pgbouncer] section. */
export const DEFAULT_SETTINGS: Settings = makeSettings(new Map());
