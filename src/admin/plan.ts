/**
 * A statement -> what running it will give (its columns, for Describe) and how to run it. Wrong statements are
 * refused here, so that Parse fails and not only Execute.
 */
import { CommandError } from '../control/port.ts';
import { PoolerError } from '../util/errors.ts';
import { setWeight, weightWords } from './cluster-commands.ts';
import { findCommand } from './commands.ts';
import type { Canned } from './courtesy.ts';
import { cannedSelect, courtesy, showVariable } from './courtesy.ts';
import { planExplain } from './explain.ts';
import type { Statement, Token } from './grammar.ts';
import { invalidCommand, isOverlong, isWord, substitute } from './grammar.ts';
import { HELP_COLUMNS, helpNotice, helpRows } from './help.ts';
import type { Environment, Outcome, Plan } from './outcome.ts';
import { done, Refusal, result } from './outcome.ts';
import { runSet } from './set.ts';
import type { View } from './view.ts';
import { findView } from './views.ts';

/** Throws PoolerError (invalidCommand) or CommandError when the statement is none of the console's. */
export function planStatement(statement: Statement): Plan {
  const [head, ...words] = statement.tokens;
  const { parameters } = statement;
  const wrong = (): PoolerError => invalidCommand(statement.source);
  if (head === undefined || (head.kind !== 'word' && head.kind !== 'identifier')) throw wrong();
  const name = head.text.toLowerCase();

  if (name === 'show' || name === 'select') return planShow(name === 'select', words, parameters, wrong);
  if (name === 'explain') return planExplain(words, parameters, wrong);
  if (name === 'set') {
    const weight = weightWords(words);
    if (weight !== null) return planWeight(weight, parameters);
    return { columns: null, parameters, run: (env, values) => runSet(substitute(words, values), env, wrong) };
  }
  const command = findCommand(name);
  if (command !== null) {
    const run = (env: Environment, values: readonly string[]): Outcome => {
      if (!env.who.admin) throw new PoolerError('adminNeeded');
      return command.run(substitute(words, values), env, wrong);
    };
    return { columns: null, parameters, run };
  }
  const answer = parameters === 0 ? courtesy(statement.tokens) : null;
  if (answer !== null) return { columns: null, parameters, run: () => answer };
  if (isOverlong(head.text)) throw new CommandError('bad arguments');
  throw wrong();
}

function planWeight(words: readonly [node: Token, weight: Token], parameters: number): Plan {
  return {
    columns: null,
    parameters,
    run(env, values) {
      if (!env.who.admin) throw new PoolerError('adminNeeded');
      return setWeight(substitute(words, values), env);
    },
  };
}

function planShow(
  isSelect: boolean,
  words: readonly Token[],
  parameters: number,
  wrong: () => PoolerError,
): Plan {
  if (parameters > 0) {
    if (isSelect && words.length > 1) throw wrong();
    throw new Refusal('a parameter cannot stand for the name of a view', '0A000', {
      hint: 'Write the name into the query: SHOW POOLS.',
    });
  }
  const select = isSelect ? cannedSelect(words) : null;
  if (select !== null) return planCanned(select, 'SELECT');
  const variable = showVariable(words);
  if (variable !== null) return planCanned(variable, 'SHOW');

  const [name, more, ...rest] = words;
  if (name === undefined || rest.length > 0 || !isName(name) || (more !== undefined && !isName(more)))
    throw wrong();
  if (isOverlong(name.text)) throw new CommandError('bad arguments');
  if (isWord({ ...name, kind: 'word' }, 'help')) return planHelp(more, wrong);
  const view = more === undefined ? findView(name.text) : null;
  if (view === null) throw wrong();
  return planView(view);
}

function isName(token: Token): boolean {
  return token.kind === 'word' || token.kind === 'identifier';
}

function planView(view: View): Plan {
  if (view.unavailable !== null) throw new CommandError(view.unavailable, '0A000');
  return { columns: view.columns, parameters: 0, run: (env) => result('SHOW', view.rows(env)) };
}

function planHelp(about: Token | undefined, wrong: () => PoolerError): Plan {
  if (about === undefined) return { columns: null, parameters: 0, run: () => done('SHOW', [helpNotice()]) };
  const view = findView(about.text);
  if (view === null) throw wrong();
  if (view.unavailable !== null) throw new CommandError(view.unavailable, '0A000');
  return { columns: HELP_COLUMNS, parameters: 0, run: () => result('SHOW', helpRows(view)) };
}

function planCanned(canned: Canned, tag: 'SELECT' | 'SHOW'): Plan {
  return {
    columns: canned.columns,
    parameters: 0,
    run(env) {
      const rows = canned.rows(env);
      return result(tag === 'SELECT' ? `SELECT ${rows.length}` : 'SHOW', rows);
    },
  };
}
