/** docs/states.md shows the tables of states as they are in the code. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { CLIENT_MOVES } from '../../src/client/client-states.ts';
import { NODE_MOVES } from '../../src/cluster/node-state.ts';
import { SERVER_MOVES } from '../../src/server/server-states.ts';
import { REPOSITORY } from '../support/layers.ts';

/** The first two columns of the table whose first heading is `heading`. */
function documented(heading: string): Record<string, string[]> {
  const lines = readFileSync(path.join(REPOSITORY, 'docs/states.md'), 'utf8').split('\n');
  const from = lines.findIndex((line) => line.startsWith(`| ${heading} |`));
  assert.ok(from >= 0, `no table "${heading}" in docs/states.md`);
  const moves: Record<string, string[]> = {};
  for (const line of lines.slice(from + 2)) {
    if (!line.startsWith('|')) break;
    const [, state = '', next = ''] = line.split('|').map((cell) => cell.trim());
    moves[state] = next === '–' ? [] : next.split(', ');
  }
  return moves;
}

for (const [what, moves] of [
  ['client', CLIENT_MOVES],
  ['server', SERVER_MOVES],
  ['node', NODE_MOVES],
] as const) {
  test(`docs/states.md shows the moves of a ${what}`, () => {
    assert.deepEqual(documented(what), moves);
  });
}

for (const [what, moves] of [
  ['client', CLIENT_MOVES],
  ['server', SERVER_MOVES],
] as const) {
  test(`every state of a ${what} can be reached, ends in closed, and nothing leaves closed`, () => {
    const table: Readonly<Record<string, readonly string[]>> = moves;
    const reached = new Set<string>(Object.keys(table).slice(0, 1));
    for (const state of reached) for (const next of table[state] ?? []) reached.add(next);
    assert.deepEqual([...reached].sort(), Object.keys(table).sort());
    for (const [state, next] of Object.entries(table)) {
      if (state === 'closed') assert.deepEqual(next, []);
      else assert.ok(next.includes('closed'), `${state} cannot be closed`);
    }
  });
}
