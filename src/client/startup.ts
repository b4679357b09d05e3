/**
 * The startup packet of a client: parameters, `options`, protocol version (protocol-flow "Start-up";
 * pgbouncer.md §9). Pure: throws PoolerError for what must be refused.
 */
import type { TrackedParameters, Variables } from '../server/variables.ts';
import { PoolerError } from '../util/errors.ts';
import { PROTOCOL_3_2 } from '../wire/codes.ts';
import { readCString } from '../wire/fields.ts';

export interface StartupRequest {
  readonly user: string;
  readonly database: string;
  readonly replication: 'none' | 'logical' | 'physical';
  /** Tracked parameters that the client asked for. */
  readonly variables: Variables;
  readonly applicationName: string;
  /** `_pq_.` options, all unknown to us. */
  readonly unknownOptions: readonly string[];
  /** Minor version asked for. */
  readonly minor: number;
  /** The version to announce in NegotiateProtocolVersion, 0 = no need to negotiate. */
  readonly negotiate: number;
  /** `pgconcierge.…` settings: name (lower case) and value. */
  readonly own: ReadonlyMap<string, string>;
  /** Everything but user and database, for replication connections, which pass it on. */
  readonly parameters: ReadonlyMap<string, string>;
}

export interface StartupRules {
  readonly tracked: TrackedParameters;
  /** Lower case. */
  readonly ignored: ReadonlySet<string>;
}

const NEWEST_MINOR = PROTOCOL_3_2 & 0xffff;
const MAX_NAME = 127;
/** Settings of the proxy itself. */
const OWN = /^pgconcierge\./i;

/** `body` = the packet after its length: version, then NUL-terminated pairs and a final NUL. */
export function parseStartup(body: Buffer, rules: StartupRules): StartupRequest {
  const minor = body.readUInt16BE(2);
  if (body[body.length - 1] !== 0 || body.length < 5) throw new PoolerError('badStartupLayout');
  const parameters = new Map<string, string>();
  let at = 4;
  while (at < body.length - 1) {
    const name = readCString(body, at);
    const value = name === null ? null : readCString(body, name.next);
    if (name === null || value === null) throw new PoolerError('badStartupLayout');
    parameters.set(name.text, value.text);
    at = value.next;
  }
  if (at !== body.length - 1) throw new PoolerError('badStartupLayout');
  const user = parameters.get('user') ?? '';
  if (user === '') throw new PoolerError('noUsername');
  if (Buffer.byteLength(user) > MAX_NAME) throw new PoolerError('usernameTooLong');
  const named = parameters.get('database') ?? '';
  const replication = replicationKind(parameters.get('replication'));
  const wanted: Wanted = { values: [], unknown: [], own: new Map() };
  for (const [name, value] of parameters) {
    if (name === 'user' || name === 'database' || name === 'replication') continue;
    if (name.startsWith('_pq_.')) wanted.unknown.push(name);
    else if (name === 'options') {
      if (replication === 'none') takeOptions(value, rules, wanted);
    } else takeParameter(name, value, rules, wanted, replication !== 'none');
  }
  const unsupported = minor > NEWEST_MINOR;
  return {
    user,
    database: named === '' ? user : named,
    replication,
    variables: wanted.values,
    applicationName: parameters.get('application_name') ?? '',
    unknownOptions: wanted.unknown,
    own: wanted.own,
    minor: Math.min(minor, NEWEST_MINOR),
    negotiate: unsupported || wanted.unknown.length > 0 ? 0x30000 | Math.min(minor, NEWEST_MINOR) : 0,
    parameters,
  };
}

interface Wanted {
  values: (string | undefined)[];
  unknown: string[];
  own: Map<string, string>;
}

function takeParameter(
  name: string,
  value: string,
  rules: StartupRules,
  wanted: Wanted,
  lenient: boolean,
): void {
  if (rules.ignored.has(name.toLowerCase())) return;
  const i = rules.tracked.indexOf(name);
  if (i >= 0) setWanted(wanted, i, value);
  else if (OWN.test(name)) wanted.own.set(name.toLowerCase(), value);
  else if (!lenient) throw new PoolerError('unsupportedStartupParameter', name);
}

function setWanted(wanted: Wanted, i: number, value: string): void {
  while (wanted.values.length <= i) wanted.values.push(undefined);
  wanted.values[i] = value;
}

function replicationKind(value: string | undefined): 'none' | 'logical' | 'physical' {
  if (value === undefined) return 'none';
  const text = value.toLowerCase();
  if (text === 'database') return 'logical';
  return ['1', 'on', 'true', 'yes', 't', 'y'].includes(text) ? 'physical' : 'none';
}

/** `-c k=v`, `-ck=v`, `--k=v`; a backslash takes the next character as it is. */
function takeOptions(text: string, rules: StartupRules, wanted: Wanted): void {
  // `options` itself ignored: what we know is used, the rest is dropped
  const lenient = rules.ignored.has('options');
  const words = splitOptions(text);
  for (let i = 0; i < words.length; i++) {
    let setting = words[i] as string;
    if (setting === '-c') {
      i += 1;
      setting = words[i] ?? '';
    } else if (setting.startsWith('-c')) setting = setting.slice(2);
    else if (setting.startsWith('--')) setting = setting.slice(2);
    else if (lenient) continue;
    else throw new PoolerError('unsupportedOptions');
    const equals = setting.indexOf('=');
    if (equals <= 0) {
      if (lenient) continue;
      throw new PoolerError('unsupportedOptions');
    }
    // PostgreSQL takes - for _ in these names
    const name = setting.slice(0, equals).replaceAll('-', '_');
    if (rules.ignored.has(name.toLowerCase())) continue;
    const at = rules.tracked.indexOf(name);
    if (at >= 0) setWanted(wanted, at, setting.slice(equals + 1));
    else if (OWN.test(name)) wanted.own.set(name.toLowerCase(), setting.slice(equals + 1));
    else if (!lenient) throw new PoolerError('unsupportedOptionsParameter', name);
  }
}

function splitOptions(text: string): string[] {
  const words: string[] = [];
  let word = '';
  let inside = false;
  for (let i = 0; i < text.length; i++) {
    const ch = text[i] as string;
    if (ch === '\\' && i + 1 < text.length) {
      i += 1;
      word += text[i];
      inside = true;
    } else if (/\s/.test(ch)) {
      if (inside) words.push(word);
      word = '';
      inside = false;
    } else {
      word += ch;
      inside = true;
    }
  }
  if (inside) words.push(word);
  return words;
}
