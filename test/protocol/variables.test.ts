/**
 * What a server is told so that it has a client's parameters: values come from clients, so the SQL must be nothing but
 * assignments of literals, whatever the values are. Read back here by a small reader of PostgreSQL's literals, written
 * apart from the code.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { difference, TrackedParameters, type Variables } from '../../src/server/variables.ts';

const tracked = new TrackedParameters(['work_mem']);
const SEARCH_PATH = tracked.indexOf('search_path');

interface Assignment {
  readonly name: string;
  readonly values: readonly string[];
}

/** Reads `SET a='x','y';SET b=E'z';` and throws on anything else; true whatever standard_conforming_strings is. */
function readAssignments(sql: string): Assignment[] {
  const found: Assignment[] = [];
  let at = 0;
  const expect = (text: string): void => {
    assert.equal(sql.slice(at, at + text.length), text, `at ${at} of ${sql}`);
    at += text.length;
  };
  const literal = (): string => {
    const escaped = sql[at] === 'E';
    if (escaped) at += 1;
    expect("'");
    let value = '';
    for (;;) {
      const ch = sql[at];
      assert.ok(ch !== undefined, `a literal without an end: ${sql}`);
      at += 1;
      if (ch === "'") {
        if (sql[at] !== "'") return value;
        at += 1;
        value += "'";
      } else if (ch === '\\') {
        assert.ok(escaped, `a backslash outside of E'': ${sql}`);
        assert.equal(sql[at], '\\', `an escape that is no backslash: ${sql}`);
        at += 1;
        value += '\\';
      } else value += ch;
    }
  };
  while (at < sql.length) {
    expect('SET ');
    const name = /^[A-Za-z_]+/.exec(sql.slice(at))?.[0] ?? '';
    assert.ok(tracked.indexOf(name) >= 0, `unknown parameter '${name}' in ${sql}`);
    at += name.length;
    expect('=');
    const values = [literal()];
    while (sql[at] === ',') {
      at += 1;
      values.push(literal());
    }
    expect(';');
    found.push({ name, values });
  }
  return found;
}

/** PostgreSQL's SplitIdentifierString: names, quoted or folded (ASCII only); null = not a list. */
function splitIdentifiers(text: string): string[] | null {
  const space = (ch: string | undefined): boolean => ch !== undefined && ' \t\n\r\f\v'.includes(ch);
  const names: string[] = [];
  let at = 0;
  const skip = (): void => {
    while (space(text[at])) at += 1;
  };
  skip();
  if (at === text.length) return [];
  for (;;) {
    let name = '';
    if (text[at] === '"') {
      for (;;) {
        at += 1;
        if (at >= text.length) return null;
        if (text[at] === '"') {
          if (text[at + 1] !== '"') break;
          at += 1;
        }
        name += text[at];
      }
      at += 1;
    } else {
      while (at < text.length && text[at] !== ',' && !space(text[at])) name += text[at++];
      if (name === '') return null;
      name = name.replace(/[A-Z]/g, (ch) => ch.toLowerCase());
    }
    names.push(name);
    skip();
    if (at === text.length) return names;
    if (text[at] !== ',') return null;
    at += 1;
    skip();
  }
}

const nasty = fc.array(
  fc.constantFrom(
    'a',
    'B',
    "'",
    '"',
    '\\',
    ',',
    ';',
    ' ',
    '\n',
    '$',
    '--',
    '/*',
    'Ä',
    '\u2028',
    "';DROP TABLE x;--",
    'E',
  ),
  { maxLength: 12 },
);
const value = fc.oneof(
  nasty.map((parts) => parts.join('')),
  fc.string({ unit: 'binary', maxLength: 20 }).map((text) => text.replaceAll('\0', '')),
);

function set(i: number, text: string): Variables {
  return Object.assign(new Array<string | undefined>(tracked.names.length).fill(undefined), { [i]: text });
}

const nothing: Variables = tracked.names.map(() => 'no value is like this one'.repeat(10));

test('whatever a value is, it arrives as that value and nothing else is run', () => {
  fc.assert(
    fc.property(fc.nat(tracked.names.length - 1), value, (i, text) => {
      fc.pre(i !== SEARCH_PATH);
      const found = difference(tracked, set(i, text), nothing);
      assert.ok(found !== null);
      assert.deepEqual(readAssignments(found.sql), [{ name: tracked.names[i], values: [text] }]);
    }),
    { numRuns: 3000 },
  );
});

test('search_path: a list stays the list that PostgreSQL would read, anything else is one literal', () => {
  fc.assert(
    fc.property(value, (text) => {
      const found = difference(tracked, set(SEARCH_PATH, text), nothing);
      assert.ok(found !== null);
      const [one, ...others] = readAssignments(found.sql);
      assert.deepEqual(others, []);
      const names = splitIdentifiers(text);
      if (names !== null && names.length > 0) assert.deepEqual(one?.values, names);
      else assert.deepEqual(one?.values, [text]);
    }),
    { numRuns: 5000 },
  );
});

for (const [text, values] of [
  ['"$user", public', ['$user', 'public']],
  ['"A b","c""d"', ['A b', 'c"d']],
  ['Public , PG_catalog', ['public', 'pg_catalog']],
  ['', ['']],
  ['public; DROP TABLE x', ['public; DROP TABLE x']],
  ["public'; DROP TABLE x; --", ["public'; DROP TABLE x; --"]],
  ['"public"; DROP TABLE x', ['"public"; DROP TABLE x']],
  ['"open', ['"open']],
  ["x\\'; DROP TABLE y; --", ["x\\'; DROP TABLE y; --"]],
  ['public/**/,x', ['public/**/', 'x']],
  ['a.b,c(d)', ['a.b', 'c(d)']],
] as const) {
  test(`search_path ${JSON.stringify(text)}`, () => {
    const found = difference(tracked, set(SEARCH_PATH, text), nothing);
    assert.ok(found !== null);
    assert.deepEqual(readAssignments(found.sql), [{ name: 'search_path', values }]);
  });
}

test('only what differs is set, and only what both sides know', () => {
  const anyValue = fc.oneof(fc.constant(undefined), fc.constantFrom('a', 'A', 'b', "it's"));
  const variables = fc.array(anyValue, { minLength: tracked.names.length, maxLength: tracked.names.length });
  fc.assert(
    fc.property(variables, variables, (client, server) => {
      const found = difference(tracked, client, server);
      const named = found === null ? [] : readAssignments(found.sql).map(({ name }) => name);
      tracked.names.forEach((name, i) => {
        const wanted = client[i];
        const present = server[i];
        const differs =
          wanted !== undefined && present !== undefined && !tracked.sameValue(i, wanted, present);
        assert.equal(named.includes(name), differs, name);
      });
      assert.equal(found?.keys.length ?? 0, named.length);
      assert.equal(found?.assumable ?? true, !named.includes('session_authorization'));
      assert.equal(difference(tracked, client, client), null);
    }),
    { numRuns: 1000 },
  );
});
