/** Random statements for the property tests of this room. */
import fc from 'fast-check';

/** Any literal of one kind; what the lexer makes of it; what must stand before or behind it. */
export const STRINGS = fc.oneof(
  fc.stringMatching(/^[^'\0\\]{0,12}$/).map((inside) => `'${inside}'`),
  fc.stringMatching(/^[^'\0\\]{0,6}$/).map((inside) => `'${inside}''${inside}'`),
  fc.constantFrom("'\\'", "'a\\\\'", "''", "''''", "'--'", "'/*'", "'$1'", "'one'\n 'two'", "'?'"),
  fc.constantFrom("E'\\''", "e'a\\\\'", "E'it''s'", "E'\\'' \n '\\' b'", "E'--'"),
  fc.constantFrom('$$$$', "$$'$$", '$a$ $$ $a$', '$a$$b$$a$', '$_x1$;$_x1$', '$$/*$$'),
);
export const NUMBERS = fc.oneof(
  fc.nat().map(String),
  fc.constantFrom(
    '1.5',
    '.5',
    '5.',
    '1e5',
    '1.5E-10',
    '1e+1',
    '0x1F',
    '0o17',
    '0b11',
    '1_000',
    '1_0.0_1e1_0',
  ),
);

/** What may stand between two tokens without changing them. */
export const GAPS = fc
  .array(
    fc.constantFrom(
      ' ',
      '  ',
      '\n',
      '\t',
      '\r\n',
      '\f',
      '/**/',
      '/* a */',
      '/*/* */ */',
      "-- ' \n",
      '--\n',
      "/* ' */",
    ),
    { minLength: 1, maxLength: 3 },
  )
  // a comment sign that is stuck to an operator would be another token
  .map((parts) => ` ${parts.join('')}`);

/** A piece of a statement: plain text, or the place of a literal. */
export type Piece = string | { readonly kind: 'string' | 'number' };
const STRING: Piece = { kind: 'string' };
const NUMBER: Piece = { kind: 'number' };

const VALUE: fc.Arbitrary<readonly Piece[]> = fc.oneof(
  fc.constant([STRING]),
  fc.constant([NUMBER]),
  fc.constantFrom('a', 'b.c', '"Q ""x"" ;"', '$1', '$2', 'NULL', 'größe').map((text) => [text]),
  fc.constantFrom('now', 'random', 'f', 's.g', '"F"').map((name) => [name, '(', NUMBER, ',', STRING, ')']),
);

const CONDITION: fc.Arbitrary<readonly Piece[]> = fc
  .tuple(VALUE, fc.constantFrom('=', '<>', '?', '@>', '- -', '<', '||', 'LIKE', '->>'), VALUE)
  .map(([left, operator, right]) => [...left, operator, ...right]);

const TABLE: fc.Arbitrary<readonly Piece[]> = fc
  .constantFrom('t', 's.u', '"T 2"', 't JOIN u ON true', 'g (1)')
  .map((t) => [t]);

const SELECT: fc.Arbitrary<readonly Piece[]> = fc
  .tuple(
    VALUE,
    TABLE,
    CONDITION,
    fc.constantFrom<readonly Piece[]>([], [], ['LIMIT', NUMBER], ['FOR UPDATE'], ['ORDER BY', NUMBER]),
  )
  .map(([value, table, condition, tail]) => [
    'SELECT',
    ...value,
    'FROM',
    ...table,
    'WHERE',
    ...condition,
    ...tail,
  ]);

const STATEMENT: fc.Arbitrary<readonly Piece[]> = fc.oneof(
  { weight: 4, arbitrary: SELECT },
  SELECT.map((inner) => ['WITH w AS (', ...inner, ') TABLE w']),
  SELECT.map((inner) => ['EXPLAIN', ...inner]),
  fc
    .tuple(fc.constantFrom('0', '1', "'off'", 'false', ''), SELECT)
    .map(([value, inner]) => [`EXPLAIN (ANALYZE ${value})`, ...inner]),
  fc.constantFrom('0', '1', "'off'", "'on'", '').map((value) => [`EXPLAIN (ANALYZE ${value}) DELETE FROM t`]),
  SELECT.map((inner) => ['COPY (', ...inner, ') TO STDOUT']),
  SELECT.map((inner) => ['COPY (', ...inner, ') TO', STRING]),
  CONDITION.map((condition) => ['DELETE FROM t WHERE', ...condition]),
  fc.constantFrom('primary', 'replica', 'auto').map((value) => [`SET pgconcierge.route = '${value}'`]),
  fc.constantFrom<readonly Piece[]>(
    ['SET app.x =', STRING],
    ['BEGIN'],
    ['COMMIT'],
    ['SHOW x'],
    ['VALUES (', NUMBER, ')'],
  ),
);

/** One statement or a few. */
export const STATEMENTS: fc.Arbitrary<readonly Piece[]> = fc.oneof(
  { weight: 4, arbitrary: STATEMENT },
  fc.tuple(STATEMENT, STATEMENT).map(([first, second]) => [...first, ';', ...second]),
);

/** The pieces as a text, with `gap` between them and literals from `string` and `number`. */
export function textOf(
  pieces: readonly Piece[],
  gap: () => string,
  string: () => string,
  number: () => string,
): string {
  return pieces
    .map((piece) => (typeof piece === 'string' ? piece : piece.kind === 'string' ? string() : number()))
    .reduce((text, piece) => (text === '' ? piece : `${text}${gap()}${piece}`), '');
}

/** Bits of syntax in any order: nearly never a statement, and sometimes a trap. */
export const RUBBLE: fc.Arbitrary<string> = fc
  .array(
    fc.constantFrom(
      ...[
        "'",
        "''",
        '"',
        '$',
        '$$',
        '$a$',
        '-',
        '--',
        '/',
        '/*',
        '*/',
        '*',
        '.',
        '..',
        '1',
        '12',
        '0x1F',
        '1e5',
        '1_0',
        '.5',
      ],
      ...[
        'a',
        'E',
        'e',
        "E'",
        'U&',
        "u&'",
        'U&"',
        'B',
        'N',
        'x',
        'select',
        'set ',
        'explain ',
        ';',
        '?',
        '?|',
        '&',
        '|',
      ],
      ...[
        ' ',
        '  ',
        '\n',
        '\t',
        '\\',
        '(',
        ')',
        ',',
        '=',
        '\xe9',
        '$1',
        '/* pgconcierge: primary */',
        '_',
        '::',
        '\r',
        '\v',
      ],
    ),
    { maxLength: 14 },
  )
  .map((parts) => parts.join(''));
