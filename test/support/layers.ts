/**
 * The one table of who may import whom (docs/architecture.md), and what is made of it: biome.json and the table
 * in the document. test/unit/rules.test.ts proves that both files are what this file makes and that the linter
 * reports every edge that the table does not allow. After a change: `npm run layers`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Layer {
  /** Rooms that may be imported. */
  readonly may: readonly string[];
  /** Of those, the ones from which only types may come (`import type`), so that nothing is coupled at run time. */
  readonly typesOnly?: readonly string[];
  /** One line for the document. */
  readonly holds: string;
}

export const LAYERS: Readonly<Record<string, Layer>> = {
  util: { may: [], holds: 'errors (one table), clock, log port, histogram, small structures' },
  wire: { may: ['util'], holds: 'bytes <-> messages; pure, no sockets' },
  sql: { may: ['util'], holds: 'text -> facts; pure' },
  net: {
    may: ['util'],
    holds: 'sockets behind one interface: reading into shared buffers, writing, back-pressure',
  },
  config: { may: ['util'], holds: 'files -> one frozen Config with file:line diagnostics' },
  observe: { may: ['util', 'config'], holds: 'log, metrics registry, query statistics' },
  auth: { may: ['util', 'wire', 'config'], holds: 'who is this client, how to log in to a server' },
  routing: { may: ['util', 'config', 'sql'], holds: 'facts + session + ClusterView -> Route; pure' },
  server: { may: ['util', 'net', 'wire', 'config', 'auth'], holds: 'ONE server connection' },
  cluster: {
    may: ['util', 'net', 'wire', 'config', 'auth', 'server', 'routing', 'control'],
    typesOnly: ['routing', 'control'],
    holds: 'nodes observed: role, lag, topology',
  },
  events: {
    may: ['util', 'config', 'cluster'],
    holds: 'one event stream: triggers, webhook, mail, status file',
  },
  control: {
    may: ['util', 'config', 'routing'],
    typesOnly: ['config', 'routing'],
    holds: 'what supervisor and workers say to each other',
  },
  pool: {
    may: ['util', 'net', 'wire', 'config', 'auth', 'server', 'observe', 'control'],
    typesOnly: ['control'],
    holds: 'many servers: wait queue, link and unlink, registry, janitor',
  },
  client: {
    may: ['util', 'net', 'wire', 'config', 'sql', 'auth', 'server', 'pool', 'routing', 'observe', 'control'],
    holds: 'ONE client: login, session, relay, prepared statements, cancel',
  },
  worker: {
    may: [
      'util',
      'net',
      'wire',
      'config',
      'sql',
      'auth',
      'server',
      'pool',
      'routing',
      'client',
      'observe',
      'control',
    ],
    holds: 'the data plane put together: listeners, sweep, snapshots and commands for the control plane',
  },
  admin: {
    may: ['util', 'wire', 'config', 'sql', 'control', 'cluster', 'events', 'observe'],
    holds: 'the console: views and commands',
  },
  http: {
    may: ['util', 'config', 'control', 'cluster', 'events', 'observe'],
    holds: 'metrics, health doors, status',
  },
  cli: {
    may: ['util', 'net', 'config', 'observe', 'control', 'cluster'],
    holds: 'argv, pidfile, signals, becoming a daemon: the process around the program',
  },
  demo: { may: ['util', 'wire'], holds: 'the clusters of `npm start` and of the tests' },
};

/** Files beside the rooms: composition roots, which may import every room and which no room may import. */
export const ROOTS: readonly string[] = ['main.ts', 'supervisor.ts'];

/** Folders beside src/ that nothing in src/ may import. */
export const OUTSIDE: readonly string[] = ['test', 'bench', 'dist'];

const WIDTH = 110;

type Json = string | number | boolean | readonly Json[] | { readonly [key: string]: Json };

function restricted(includes: readonly string[], groups: readonly string[], message: string): Json {
  const options = { patterns: [{ group: groups, message }] };
  return { includes, linter: { rules: { style: { noRestrictedImports: { level: 'error', options } } } } };
}

/** The text after which a room may not reach: for its lint message and the document. */
export function allowedText(layer: Layer): string {
  const names = layer.may.map((name) => (layer.typesOnly?.includes(name) ? `${name} (types)` : name));
  return names.length > 0 ? names.join(', ') : 'nothing';
}

/** The rooms that `room` may not import. */
export function forbidden(room: string): string[] {
  const layer = LAYERS[room];
  return Object.keys(LAYERS).filter((other) => other !== room && !layer?.may.includes(other));
}

/** A path under src/ as an import may write it, from any depth: `../wire/x.ts`, `../../src/wire/x.ts`. */
function reaching(target: string): string[] {
  return [`**/../${target}`, `**/src/${target}`];
}

function overrides(): Json[] {
  const outside = OUTSIDE.map((folder) => `**/../${folder}/**`);
  const rooms = Object.entries(LAYERS).map(([room, layer]) =>
    restricted(
      [`src/${room}/**`],
      [...forbidden(room).map((other) => `${other}/**`), ...ROOTS].flatMap(reaching).concat(outside),
      `src/${room} may import only: ${allowedText(layer)} (docs/architecture.md).`,
    ),
  );
  return [
    ...rooms,
    restricted(['src/*.ts'], outside, 'src may not import from test, bench or dist (docs/architecture.md).'),
  ];
}

/** As biome itself formats JSON (biome checks its own file too): lists of texts on one line where they fit. */
function printed(value: Json, indent: string): string {
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    const line = `[${value.map((one: Json) => JSON.stringify(one)).join(', ')}]`;
    const simple = value.every((one: Json) => typeof one !== 'object');
    if (simple && indent.length + '"patterns": '.length + line.length < WIDTH) return line;
    return `[\n${value.map((one: Json) => inner + printed(one, inner)).join(',\n')}\n${indent}]`;
  }
  if (typeof value !== 'object') return JSON.stringify(value);
  const rows = Object.entries(value).map(
    ([key, one]) => `${inner}${JSON.stringify(key)}: ${printed(one, inner)}`,
  );
  return `{\n${rows.join(',\n')}\n${indent}}`;
}

/** biome.json as this file wants it. */
export function biomeConfig(): string {
  const config: Json = {
    $schema: './node_modules/@biomejs/biome/configuration_schema.json',
    files: {
      includes: [
        'src/**',
        'test/**',
        'bench/**',
        '!bench/results',
        '.ci/**',
        '*.json',
        '!package-lock.json',
        '!biome.json',
      ],
    },
    formatter: { indentStyle: 'space', indentWidth: 2, lineWidth: WIDTH },
    javascript: { formatter: { quoteStyle: 'single', semicolons: 'always' } },
    linter: {
      rules: {
        preset: 'recommended',
        // tsconfig wants the brackets (noPropertyAccessFromIndexSignature)
        complexity: { useLiteralKeys: 'off' },
        suspicious: { noImportCycles: 'error', noExplicitAny: 'error' },
        style: { useImportType: 'error', noNonNullAssertion: 'error', noDefaultExport: 'error' },
      },
    },
    overrides: overrides(),
  };
  return `${printed(config, '')}\n`;
}

const BEGIN = '<!-- layers: made by test/support/layers.ts -->';
const END = '<!-- layers end -->';

/** `document` with the layer table between its two marks replaced. Throws when the marks are not there. */
export function withLayerTable(document: string): string {
  const from = document.indexOf(BEGIN);
  const to = document.indexOf(END);
  if (from < 0 || to < from) throw new Error(`marks "${BEGIN}" and "${END}" are missing`);
  const rows = Object.entries(LAYERS).map(
    ([room, layer]) => `| \`${room}/\` | ${layer.holds} | ${allowedText(layer)} |`,
  );
  const table = ['| room | holds | may import |', '|---|---|---|', ...rows].join('\n');
  return `${document.slice(0, from + BEGIN.length)}\n${table}\n${document.slice(to)}`;
}

/** Root of the repository, from dist/test/support. */
export const REPOSITORY = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

if (process.argv[1] === fileURLToPath(import.meta.url) && process.argv.includes('--write')) {
  const document = path.join(REPOSITORY, 'docs/architecture.md');
  writeFileSync(path.join(REPOSITORY, 'biome.json'), biomeConfig());
  writeFileSync(document, withLayerTable(readFileSync(document, 'utf8')));
  console.log('biome.json and docs/architecture.md written');
}
