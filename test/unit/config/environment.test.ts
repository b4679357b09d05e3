/** `${NAME}` in values. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expandEnvironment } from '../../../src/config/environment.ts';

const env = { A: 'x y', B_2: '$&', EMPTY: '', REF: '$' + '{A}' };
// written apart from the braces, which would be a template's
const braced = (name: string): string => `$${'{'}${name}}`;

test('variables are put in once, as they are', () => {
  assert.deepEqual(expandEnvironment('plain $A $', env), { text: 'plain $A $', problem: null });
  assert.deepEqual(expandEnvironment(`<${braced('A')}${braced('B_2')}>`, env), {
    text: '<x y$&>',
    problem: null,
  });
  assert.equal(
    expandEnvironment(braced('REF'), env).text,
    braced('A'),
    'what is put in is not looked at again',
  );
  assert.deepEqual(expandEnvironment(`$${braced('A')}`, env), { text: braced('A'), problem: null });
});

test('what is missing is named, no value is told', () => {
  for (const [text, problem] of [
    [braced('NOPE'), 'environment variable NOPE is not set'],
    [braced('EMPTY'), 'environment variable EMPTY is empty'],
    [`${braced('A')}${braced('NOPE')}${braced('EMPTY')}`, 'environment variable NOPE is not set'],
    [braced('9'), `$${'{'} without NAME and }`],
    [braced('A').slice(0, -1), `$${'{'} without NAME and }`],
    [braced('toString'), 'environment variable toString is not set'],
  ] as const) {
    assert.equal(expandEnvironment(text, env).problem, problem, text);
  }
});
