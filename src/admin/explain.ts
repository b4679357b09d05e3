/**
 * EXPLAIN ROUTE: where a statement would go, and why. It changes nothing, so stats users may ask; the SQL is never run.
 */
import { CommandError } from '../control/port.ts';
import type { PoolerError } from '../util/errors.ts';
import type { Usage } from './command.ts';
import type { Token } from './grammar.ts';
import { isOverlong, isWord, substitute } from './grammar.ts';
import type { Plan, ResultColumn } from './outcome.ts';
import { result } from './outcome.ts';

export const EXPLAIN_USAGE: Usage = {
  text: 'EXPLAIN ROUTE [FOR <db>] <sql>',
  doc: 'Where the statement would go and why; it is not run. All of the rest of the query is the SQL, without quotes around it. FOR names the database; it may be left out when only one is routed.',
  own: true,
  open: true,
};

const COLUMNS: readonly ResultColumn[] = [
  { name: 'item', type: 'text' },
  { name: 'value', type: 'text' },
];

/** `words` are the tokens after EXPLAIN. Throws PoolerError (`wrong`) or CommandError. */
export function planExplain(words: readonly Token[], parameters: number, wrong: () => PoolerError): Plan {
  const [route, ...rest] = words;
  if (!isWord(route, 'route')) throw wrong();
  const named = isWord(rest[0], 'for');
  const database = named ? rest[1] : undefined;
  const sql = rest.at(-1);
  if (sql === undefined || rest.length !== (named ? 3 : 1) || database?.kind === 'symbol') {
    throw new CommandError('usage: EXPLAIN ROUTE [FOR <db>] <sql>', '42601');
  }
  return {
    columns: COLUMNS,
    parameters,
    run(env, values) {
      const [text] = substitute([sql], values);
      const [name] = database === undefined ? [] : substitute([database], values);
      if (name !== undefined && isOverlong(name.text)) throw new CommandError('bad arguments');
      const rows = env.port.explainRoute(text?.text ?? '', name?.text ?? null);
      return result(
        'EXPLAIN',
        rows.map((row) => [row.item, row.value]),
      );
    },
  };
}
