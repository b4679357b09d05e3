/**
 * HBA file (auth_type = hba): which method for which client. PgBouncer's subset of pg_hba.conf: no groups, no host
 * names, no samehost / samenet. Pure: files named with `@` come in through a function. A bad line is reported and
 * skipped, as PgBouncer does; the first line that matches decides.
 */
import type { Diagnostic } from '../config/types.ts';
import { type HbaField, type HbaLine, type HbaToken, hbaLines, hbaNameList } from './hba-tokens.ts';
import {
  hasHostBits,
  type IpRange,
  inRange,
  parseAddress,
  parsePeerAddress,
  prefixMask,
} from './ip-range.ts';

export type HbaType = 'local' | 'host' | 'hostssl' | 'hostnossl';
export type HbaMethod = 'trust' | 'reject' | 'md5' | 'password' | 'peer' | 'cert' | 'scram-sha-256' | 'ldap';

export interface HbaNames {
  readonly all: boolean;
  /** Databases only: the database named like the user. */
  readonly sameUser: boolean;
  /** Databases only: physical replication. */
  readonly replication: boolean;
  readonly names: ReadonlySet<string>;
}

export interface HbaRule {
  readonly type: HbaType;
  readonly databases: HbaNames;
  readonly users: HbaNames;
  /** null = every address, and all of `local`. */
  readonly range: IpRange | null;
  readonly method: HbaMethod;
  /** `map` for peer and cert; LDAP's own for ldap. */
  readonly options: ReadonlyMap<string, string>;
  /** 1-based. */
  readonly line: number;
}

export interface HbaRequest {
  /** local = unix socket. */
  readonly type: 'local' | 'host';
  readonly tls: boolean;
  readonly database: string;
  readonly user: string;
  /** IP address of the client; null for local. */
  readonly address: string | null;
  /** Logical replication is an ordinary connection to its database. */
  readonly replication: 'none' | 'logical' | 'physical';
}

/** The text of `@name`, which stands in `file`; null when it cannot be read. Relative names: next to `file`. */
export type ReadInclude = (name: string, file: string) => string | null;

export interface HbaFile {
  readonly rules: readonly HbaRule[];
  readonly diagnostics: readonly Diagnostic[];
}

const TYPES: ReadonlySet<string> = new Set<HbaType>(['local', 'host', 'hostssl', 'hostnossl']);
const METHODS: ReadonlySet<string> = new Set<HbaMethod>([
  'trust',
  'reject',
  'md5',
  'password',
  'peer',
  'cert',
  'scram-sha-256',
  'ldap',
]);
const LDAP_OPTIONS: ReadonlySet<string> = new Set([
  'ldapserver',
  'ldapport',
  'ldapscheme',
  'ldaptls',
  'ldapbinddn',
  'ldapbindpasswd',
  'ldapbasedn',
  'ldapsearchattribute',
  'ldapsearchfilter',
  'ldapprefix',
  'ldapsuffix',
  'ldapurl',
]);
const MAP_OPTION: ReadonlySet<string> = new Set(['map']);
const NO_OPTIONS: ReadonlySet<string> = new Set();
const MAX_INCLUDE_DEPTH = 10;

/** What is wrong with a line, thrown inside this file only. */
class BadLine extends Error {}

const isType = (text: string): text is HbaType => TYPES.has(text);
const isMethod = (text: string): text is HbaMethod => METHODS.has(text);

/** Reads a whole file. `file` is its name, for diagnostics and for `readInclude`. Never throws. */
export function parseHba(text: string, file: string, readInclude: ReadInclude = () => null): HbaFile {
  const rules: HbaRule[] = [];
  const diagnostics: Diagnostic[] = [];
  for (const line of hbaLines(text)) {
    const warn = (message: string): void => {
      diagnostics.push({
        level: 'warning',
        file,
        line: line.line,
        message: `hba line ${line.line}: ${message}`,
      });
    };
    try {
      rules.push(parseLine(line, file, readInclude, warn));
    } catch (err) {
      if (!(err instanceof BadLine)) throw err;
      warn(err.message);
    }
  }
  return { rules, diagnostics };
}

function parseLine(
  { line, fields, problem }: HbaLine,
  file: string,
  readInclude: ReadInclude,
  warn: (message: string) => void,
): HbaRule {
  if (problem !== null) throw new BadLine(problem);
  const type = single(fields[0], 'unknown type');
  if (!isType(type)) throw new BadLine('unknown type');
  const databases = parseNames(fields[1], 'database', file, readInclude);
  const users = parseNames(fields[2], 'user', file, readInclude);
  const where = type === 'local' ? { range: null, next: 3 } : parseRange(fields, 3);
  if (where.range !== null && hasHostBits(where.range)) warn('address does not match mask');
  const method = single(fields[where.next], 'did not find method');
  if (!isMethod(method)) throw new BadLine(`unsupported method: ${method}`);
  if (method === 'peer' && type !== 'local')
    warn('peer works on unix sockets only: this line refuses everybody');
  if (method === 'cert' && type !== 'hostssl' && type !== 'host') {
    warn('cert works over TLS only: this line refuses everybody');
  }
  const options = parseOptions(method, fields.slice(where.next + 1));
  return { type, databases, users, range: where.range, method, options, line };
}

/** A column that has to be one word. */
function single(field: HbaField | undefined, problem: string): string {
  const [token] = field ?? [];
  if (token === undefined || field?.length !== 1) throw new BadLine(problem);
  return token.text;
}

function parseNames(
  field: HbaField | undefined,
  what: 'database' | 'user',
  file: string,
  readInclude: ReadInclude,
): HbaNames {
  if (field === undefined) throw new BadLine(`did not find ${what}`);
  const found = { all: false, sameUser: false, replication: false, names: new Set<string>() };
  const add = (token: HbaToken, parent: string, depth: number): void => {
    const { text, quoted } = token;
    if (quoted) found.names.add(text);
    else if (text === 'all') found.all = true;
    else if (what === 'database' && text === 'sameuser') found.sameUser = true;
    else if (what === 'database' && text === 'replication') found.replication = true;
    else if (text.startsWith('@')) addFile(text.slice(1), parent, depth);
    else if (text.startsWith('+')) throw new BadLine(`groups are not supported: ${text}`);
    else if (what === 'database' && (text === 'samerole' || text === 'samegroup')) {
      throw new BadLine(`${text} is not supported`);
    } else found.names.add(text);
  };
  const addFile = (name: string, parent: string, depth: number): void => {
    if (depth >= MAX_INCLUDE_DEPTH) throw new BadLine(`files nested too deep: @${name}`);
    const text = name === '' ? null : readInclude(name, parent);
    if (text === null) throw new BadLine(`could not read file: @${name}`);
    const list = hbaNameList(text);
    if (list === null) throw new BadLine(`unterminated quoted string in file: @${name}`);
    for (const token of list) add(token, name, depth + 1);
  };
  for (const token of field) add(token, file, 0);
  return found;
}

/** Address column(s) from `at` on; `next` is the column after them. */
function parseRange(
  fields: readonly HbaField[],
  at: number,
): { readonly range: IpRange | null; readonly next: number } {
  const text = single(fields[at], 'did not find address');
  if (text === 'all' && fields[at]?.[0]?.quoted === false) return { range: null, next: at + 1 };
  const slash = text.indexOf('/');
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === null) throw new BadLine(`failed to parse address - ${text}`);
  if (slash >= 0) {
    const mask = prefixMask(text.slice(slash + 1), address.length);
    if (mask === null) throw new BadLine(`failed to parse address - ${text}`);
    return { range: { address, mask }, next: at + 1 };
  }
  const maskText = single(fields[at + 1], 'did not find mask');
  const mask = parseAddress(maskText);
  if (mask === null || mask.length !== address.length)
    throw new BadLine(`failed to parse mask - ${maskText}`);
  return { range: { address, mask }, next: at + 2 };
}

function parseOptions(method: HbaMethod, fields: readonly HbaField[]): ReadonlyMap<string, string> {
  const options = new Map<string, string>();
  const allowed =
    method === 'ldap' ? LDAP_OPTIONS : method === 'peer' || method === 'cert' ? MAP_OPTION : NO_OPTIONS;
  for (const field of fields) {
    // an unquoted comma belongs to the value here: ldapbasedn=dc=example,dc=net
    const text = field.map((token) => token.text).join(',');
    const equals = text.indexOf('=');
    const name = text.slice(0, Math.max(0, equals));
    // the text may hold a password: only the name is told
    if (!allowed.has(name)) throw new BadLine(`unsupported parameters${name === '' ? '' : `: ${name}`}`);
    options.set(name, text.slice(equals + 1));
  }
  return options;
}

/** The first rule for this client; null = none (`no authentication method is found`). */
export function matchHba(rules: readonly HbaRule[], request: HbaRequest): HbaRule | null {
  const address = request.address === null ? null : parsePeerAddress(request.address);
  return rules.find((rule) => matches(rule, request, address)) ?? null;
}

function matches(rule: HbaRule, request: HbaRequest, address: Buffer | null): boolean {
  if ((rule.type === 'local') !== (request.type === 'local')) return false;
  if (rule.type === 'hostssl' && !request.tls) return false;
  if (rule.type === 'hostnossl' && request.tls) return false;
  if (rule.range !== null && (address === null || !inRange(rule.range, address))) return false;
  if (!rule.users.all && !rule.users.names.has(request.user)) return false;
  const { databases } = rule;
  // physical replication has no database: `all` does not cover it
  if (request.replication === 'physical') return databases.replication;
  return (
    databases.all ||
    (databases.sameUser && request.database === request.user) ||
    databases.names.has(request.database)
  );
}
