/** SHOW HELP, made from the tables of views and commands. */
import type { ErrorFields } from '../wire/backend.ts';
import { WEIGHT_USAGE } from './cluster-commands.ts';
import type { Usage } from './command.ts';
import { COMMANDS } from './commands.ts';
import { TYPES } from './encode.ts';
import { EXPLAIN_USAGE } from './explain.ts';
import type { ResultColumn, Row } from './outcome.ts';
import type { View } from './view.ts';
import { VIEW_LINES } from './views.ts';

export const SET_USAGE: Usage = {
  text: 'SET key = arg',
  doc: 'Changes a setting until the next RELOAD (`SET key TO arg` as well; `SHOW CONFIG` says which can be changed).',
};

export const HELP_USAGE: Usage = {
  text: 'SHOW HELP <view>',
  doc: 'The columns of a view: type, meaning, and the values of columns that have a closed set of them.',
  own: true,
  open: true,
};

/** Usages in the order of SHOW HELP: PgBouncer's, then our own. */
export function usages(): Usage[] {
  const all = [SET_USAGE, ...COMMANDS.flatMap((c) => c.usages), WEIGHT_USAGE, EXPLAIN_USAGE, HELP_USAGE];
  return [...all.filter((u) => u.own !== true), ...all.filter((u) => u.own === true)];
}

/** The NOTICE that answers SHOW HELP; each line of its DETAIL begins with a newline and a tab, as PgBouncer's. */
export function helpNotice(): ErrorFields {
  const shows = VIEW_LINES.map((line, i) => {
    const names = line.filter((v) => v.unavailable === null).map((v) => v.name);
    return `SHOW ${(i === 0 ? ['HELP', ...names] : names).join('|')}`;
  });
  const lines = [...shows, ...usages().flatMap((u) => (u.removed === true ? [] : [u.text]))];
  return {
    severity: 'NOTICE',
    sqlstate: '00000',
    message: 'Console usage',
    detail: lines.map((line) => `\n\t${line}`).join(''),
  };
}

export const HELP_COLUMNS: readonly ResultColumn[] = [
  { name: 'column', type: 'text' },
  { name: 'type', type: 'text' },
  { name: 'description', type: 'text' },
];

/** SHOW HELP <view>: a row for each column, and one below it for each of its values (`state = idle`). */
export function helpRows(view: View): Row[] {
  return view.columns.flatMap((c): Row[] => [
    [c.name, TYPES[c.type].name, c.doc],
    ...Object.entries(c.values ?? {}).map(([value, doc]): Row => [`${c.name} = ${value}`, 'value', doc]),
  ]);
}
