/**
 * What drivers, pools and psql say to any PostgreSQL on connecting, on checking that a connection lives, and on
 * giving it back: transaction blocks, SELECT 1, SHOW of a variable, DISCARD ALL … The console has no transactions
 * and no variables; it answers so that they go on, and changes nothing.
 */
import type { ErrorFields } from '../wire/backend.ts';
import type { Token } from './grammar.ts';
import { isWord } from './grammar.ts';
import type { Cell, ColumnType, Environment, Outcome, ResultColumn, Row } from './outcome.ts';
import { done } from './outcome.ts';

/** A result with fixed columns. */
export interface Canned {
  readonly columns: readonly ResultColumn[];
  rows(env: Environment): readonly Row[];
}

function one(name: string, type: ColumnType, value: (env: Environment) => Cell): Canned {
  return { columns: [{ name, type }], rows: (env) => [[value(env)]] };
}

/** PgBouncer's five, then those that drivers ask for. */
const VARIABLES: Readonly<Record<string, (env: Environment) => string>> = {
  client_encoding: () => 'UTF-8',
  default_transaction_isolation: () => 'read committed',
  standard_conforming_strings: () => 'on',
  datestyle: () => 'ISO',
  timezone: () => 'GMT',
  server_version: (env) => env.serverVersion,
  server_encoding: () => 'UTF8',
  is_superuser: () => 'on',
  transaction_isolation: () => 'read committed',
  transaction_read_only: () => 'off',
  default_transaction_read_only: () => 'off',
  in_hot_standby: () => 'off',
  integer_datetimes: () => 'on',
  intervalstyle: () => 'postgres',
  search_path: () => '',
  application_name: () => '',
  extra_float_digits: () => '1',
  statement_timeout: () => '0',
  max_identifier_length: () => '63',
};

/** SHOW of a variable of PostgreSQL; null for any other word. */
export function showVariable(words: readonly Token[]): Canned | null {
  const text = words.map((w) => w.text.toLowerCase()).join(' ');
  const name =
    text === 'transaction isolation level'
      ? 'transaction_isolation'
      : text === 'time zone'
        ? 'timezone'
        : text;
  const value = Object.hasOwn(VARIABLES, name) ? VARIABLES[name] : undefined;
  if (value === undefined || words.some((w) => w.kind === 'symbol' || w.kind === 'string')) return null;
  return one(name, 'text', value);
}

const SELECTS: Readonly<Record<string, Canned>> = {
  'version ( )': one('version', 'text', (env) => env.version),
  current_user: one('current_user', 'text', (env) => env.who.user),
  session_user: one('session_user', 'text', (env) => env.who.user),
  user: one('user', 'text', (env) => env.who.user),
  current_role: one('current_role', 'text', (env) => env.who.user),
  'current_database ( )': one('current_database', 'text', (env) => env.adminDatabases[0] ?? 'pgbouncer'),
  current_catalog: one('current_catalog', 'text', (env) => env.adminDatabases[0] ?? 'pgbouncer'),
  // there is no schema, and NULL is what PostgreSQL says then
  'current_schema ( )': one('current_schema', 'text', () => null),
  current_schema: one('current_schema', 'text', () => null),
  'pg_backend_pid ( )': one('pg_backend_pid', 'int4', (env) => env.who.pid),
  'pg_is_in_recovery ( )': one('pg_is_in_recovery', 'bool', () => false),
  'pg_advisory_unlock_all ( )': one('pg_advisory_unlock_all', 'text', () => ''),
};

/** postgres.js asks for array types before its first query; there are none. */
const ARRAY_TYPES = /^b\.oid , b\.typarray from (pg_catalog\.)?pg_type /;

/** The SELECTs that are no SHOW. `words` are those after SELECT; null for any other. */
export function cannedSelect(words: readonly Token[]): Canned | null {
  const named = isWord(words.at(-2), 'as') && words.length > 2 ? words.at(-1)?.text : undefined;
  const body = named === undefined ? words : words.slice(0, -2);
  const canned = literal(body) ?? known(body);
  const column = canned?.columns[0];
  if (named === undefined || canned === null || column === undefined) return canned;
  return { ...canned, columns: [{ ...column, name: named }] };
}

function literal(words: readonly Token[]): Canned | null {
  const [only, ...more] = words;
  if (only === undefined || more.length > 0) return null;
  const { kind, text } = only;
  if (kind === 'string') return one('?column?', 'text', () => text);
  const isNumber = kind === 'word' && /^-?\d{1,9}$/.test(text);
  return isNumber ? one('?column?', 'int4', () => Number(text)) : null;
}

function known(words: readonly Token[]): Canned | null {
  if (words.some((w) => w.kind === 'parameter')) return null;
  const text = words.map((w) => (w.kind === 'string' ? `'${w.text}'` : w.text.toLowerCase())).join(' ');
  const key = text.replace(/^pg_catalog\./, '');
  if (Object.hasOwn(SELECTS, key)) return SELECTS[key] ?? null;
  if (!ARRAY_TYPES.test(text)) return null;
  const columns: ResultColumn[] = ['oid', 'typarray'].map((name) => ({ name, type: 'oid' }));
  return { columns, rows: () => [] };
}

const notice = (message: string): ErrorFields => ({ severity: 'NOTICE', sqlstate: '00000', message });
const NO_TRANSACTIONS = notice('the console has no transactions: commands take effect at once');

/** Statements by their first words, without a result set; null when it is none of them. */
export function courtesy(tokens: readonly Token[]): Outcome | null {
  const [first, second, third] = tokens;
  if (first?.kind !== 'word') return null;
  switch (first.text.toLowerCase()) {
    case 'begin':
      return done('BEGIN', [NO_TRANSACTIONS], { kind: 'begin' });
    case 'start':
      return isWord(second, 'transaction')
        ? done('START TRANSACTION', [NO_TRANSACTIONS], { kind: 'begin' })
        : null;
    case 'commit':
    case 'end':
      return done('COMMIT', [], { kind: 'end' });
    case 'abort':
      return done('ROLLBACK', [], { kind: 'end' });
    case 'rollback':
      return rollback(tokens);
    case 'savepoint':
      return tokens.length === 2 ? done('SAVEPOINT') : null;
    case 'release':
      return tokens.length >= 2 && tokens.length <= 3 ? done('RELEASE') : null;
    case 'discard':
      return isWord(second, 'all') ? done('DISCARD ALL', [], { kind: 'deallocate', name: null }) : null;
    case 'deallocate':
      return deallocate(isWord(second, 'prepare') ? third : second);
    case 'reset':
      return second === undefined ? null : done('RESET');
    case 'close':
      return isWord(second, 'all') ? done('CLOSE CURSOR ALL') : null;
    case 'unlisten':
      return second === undefined ? null : done('UNLISTEN');
    default:
      return null;
  }
}

/** ROLLBACK TO a savepoint stays in the block. */
function rollback(tokens: readonly Token[]): Outcome {
  const toSavepoint = tokens.some((t) => isWord(t, 'to'));
  return done('ROLLBACK', toSavepoint ? [NO_TRANSACTIONS] : [], toSavepoint ? null : { kind: 'end' });
}

function deallocate(what: Token | undefined): Outcome | null {
  if (what === undefined || what.kind === 'symbol') return null;
  if (isWord(what, 'all')) return done('DEALLOCATE ALL', [], { kind: 'deallocate', name: null });
  return done('DEALLOCATE', [], { kind: 'deallocate', name: what.text });
}
