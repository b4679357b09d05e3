/**
 * SET. `SET key = value` changes a setting of the pooler until the next RELOAD; SETs of PostgreSQL's own variables,
 * which drivers send on connecting, are answered and ignored.
 */
import { CommandError } from '../control/port.ts';
import { PoolerError } from '../util/errors.ts';
import type { ErrorFields } from '../wire/backend.ts';
import type { Token } from './grammar.ts';
import { isOverlong, isWord } from './grammar.ts';
import type { Environment, Outcome } from './outcome.ts';
import { done } from './outcome.ts';

/**
 * Variables of PostgreSQL that a driver may set. None may be the name of a setting of the pooler, or that could
 * not be set any more: transaction_timeout is PgBouncer's.
 */
const IGNORED_VARIABLES: ReadonlySet<string> = new Set([
  'application_name',
  'bytea_output',
  'client_encoding',
  'client_min_messages',
  'datestyle',
  'default_transaction_isolation',
  'default_transaction_read_only',
  'escape_string_warning',
  'extra_float_digits',
  'idle_in_transaction_session_timeout',
  'intervalstyle',
  'jit',
  'lc_messages',
  'lock_timeout',
  'row_security',
  'search_path',
  'standard_conforming_strings',
  'statement_timeout',
  'synchronous_commit',
  'timezone',
]);

/** `SET x …` without a variable: SET SESSION CHARACTERISTICS …, SET TRANSACTION …, SET NAMES …, SET TIME ZONE …. */
const IGNORED_PHRASES: readonly (readonly string[])[] = [
  ['session', 'characteristics', 'as', 'transaction'],
  ['transaction'],
  ['names'],
  ['time', 'zone'],
];

export const SET_IGNORED: ErrorFields = { severity: 'NOTICE', sqlstate: '00000', message: 'SET ignored' };

/** PgBouncer takes such a SET in silence. */
const needsRestart = (key: string): ErrorFields => ({
  severity: 'NOTICE',
  sqlstate: '00000',
  message: `${key} can be changed by a restart only; nothing has changed`,
});

/** Runs the words after SET. `wrong` makes `invalid command`. */
export function runSet(words: readonly Token[], env: Environment, wrong: () => PoolerError): Outcome {
  const phrase = IGNORED_PHRASES.find(
    (p) => words.length > p.length && p.every((w, i) => isWord(words[i], w)),
  );
  if (phrase !== undefined) return done('SET', [SET_IGNORED]);
  // SET SESSION x / SET LOCAL x are PostgreSQL's; with `=` next they would be settings of that name
  const scoped = isWord(words[0], 'session') || isWord(words[0], 'local');
  const isScope = scoped && words[1]?.kind !== 'symbol' && !isWord(words[1], 'to');
  const [key, equals, ...value] = isScope ? words.slice(1) : words;
  if (key === undefined || key.kind === 'symbol' || key.kind === 'string') throw wrong();
  if (!(equals?.kind === 'symbol' && equals.text === '=') && !isWord(equals, 'to')) throw wrong();
  if (isOverlong(key.text)) throw new CommandError('bad arguments');
  const text = valueText(value);
  if (text === null) throw wrong();
  if (IGNORED_VARIABLES.has(key.text.toLowerCase())) return done('SET', [SET_IGNORED]);
  if (isScope) throw wrong();
  if (!env.who.admin) throw new PoolerError('adminNeeded');
  env.log.log(`SET ${key.text} command issued`);
  env.port.set(key.text, text);
  const isFixed = env.port.config().some((row) => row.key === key.text && !row.changeable);
  return done(`SET ${key.text}=${text}`, isFixed ? [needsRestart(key.text)] : []);
}

/** One value, or several with commas between; null when it is neither. */
function valueText(tokens: readonly Token[]): string | null {
  if (tokens.length % 2 === 0) return null;
  const values: string[] = [];
  for (const [i, token] of tokens.entries()) {
    const isComma = token.kind === 'symbol' && token.text === ',';
    if (i % 2 === 1) {
      if (!isComma) return null;
    } else if (token.kind === 'symbol' && token.text !== '*') {
      return null;
    } else {
      values.push(token.text);
    }
  }
  return values.join(', ');
}
