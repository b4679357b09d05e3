/** What random clients of a cluster's database say: as scripts.ts, but in real SQL and with numbered writes. */
import fc from 'fast-check';
import * as wire from '../support/raw-messages.ts';
import { statementName } from './scripts.ts';

/** Makes the bytes for a client; `next` gives numbers that nobody else has. */
export type Say = (client: string, next: () => number) => Buffer;
/** A text of SQL. */
type Text = (client: string, next: () => number) => string;

const fixed =
  (sql: string): Text =>
  () =>
    sql;
const word = fc.constantFrom('a', 'b', 'c');

const plain: fc.Arbitrary<Text> = fc.oneof(
  word.map((w): Text => fixed(`select ${w}`)),
  fc.integer({ min: 0, max: 5 }).map((n): Text => fixed(`table rows${n}`)),
  fc.constant<Text>((client) => `select max(v) from ${client}`),
  fc.constantFrom(
    ...['select notice()', 'select fail()', 'copy t to stdout', 'show application_name', ''].map(fixed),
  ),
);
const read: fc.Arbitrary<Text> = fc.oneof(
  { weight: 9, arbitrary: plain },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      ...['/* pgconcierge: primary */ select h', '/* pgconcierge: replica */ select h'].map(fixed),
    ),
  },
);
const insert: Text = (client, next) => `insert into ${client} values (${next()})`;
const begin = fc.constantFrom(
  ...['begin', 'begin', 'begin read only', 'begin isolation level serializable'].map(fixed),
);
const end = fc.constantFrom(...['commit', 'rollback'].map(fixed));
const other: fc.Arbitrary<Text> = fc.oneof(
  word.map((w): Text => fixed(`set application_name = '${w}'`)),
  fc.constantFrom(
    ...[
      "set pgconcierge.route = 'primary'",
      "set pgconcierge.route = 'auto'",
      'reset pgconcierge.route',
      'bad',
    ].map(fixed),
  ),
);
const text = fc.oneof(
  { weight: 8, arbitrary: read },
  { weight: 4, arbitrary: fc.constant(insert) },
  { weight: 2, arbitrary: other },
);
/** A unit of its own: what comes behind the end of a block in one batch runs where the block has run. */
const control = fc.oneof(
  { weight: 2, arbitrary: begin },
  { weight: 2, arbitrary: end },
  { weight: 1, arbitrary: fc.constant(fixed('set transaction read only')) },
);

/** A replica refuses it, or dies of it: nothing else may be in its unit. */
const alone: fc.Arbitrary<Text> = fc
  .constantFrom('lie', 'lie_with_notice', 'lie_in_plan', 'dies', 'conflicts', 'conflicts_to_death')
  .map((what) => (client, next) => `select ${what}('${client}', ${next()})`);

const query =
  (sql: Text): Say =>
  (client, next) =>
    wire.query(sql(client, next));
const join =
  (parts: readonly Say[]): Say =>
  (client, next) =>
    Buffer.concat(parts.map((part) => part(client, next)));
const bytes = (...parts: readonly Buffer[]): Say => {
  const all = Buffer.concat(parts);
  return () => all;
};

const unnamed =
  (sql: Text): Say =>
  (client, next) =>
    Buffer.concat([
      wire.parse('', sql(client, next)),
      wire.describe('S', ''),
      wire.bind('', ''),
      wire.execute(''),
    ]);

const simple = fc.oneof(
  { weight: 6, arbitrary: text.map(query) },
  { weight: 3, arbitrary: control.map(query) },
  { weight: 2, arbitrary: alone.map(query) },
  {
    weight: 1,
    arbitrary: fc
      .array(fc.oneof(plain, fc.constant(insert)), { minLength: 2, maxLength: 3 })
      .map((all) => query((client, next) => all.map((one) => one(client, next)).join(';'))),
  },
  // a block whose BEGIN is not by itself
  {
    weight: 1,
    arbitrary: fc.tuple(fc.boolean(), fc.boolean()).map(
      ([first, reads]): Say =>
        (client, next) => {
          const sql = `begin;${reads ? 'select a' : insert(client, next)}`;
          return Buffer.concat([
            wire.query(first ? sql : `select z;${sql}`),
            wire.query(insert(client, next)),
            wire.query('commit'),
          ]);
        },
    ),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom('copy t from stdin', 'copy bad from stdin'), fc.integer({ min: 0, max: 4 }))
      .map(([sql, rows]) =>
        bytes(
          wire.query(sql),
          ...Array.from({ length: rows }, () => wire.copyData(Buffer.from('x'))),
          rows === 3 ? wire.copyFail('no more') : wire.copyDone(),
        ),
      ),
  },
  {
    weight: 1,
    arbitrary: fc.constant(
      bytes(wire.encode('F', wire.int32(1), wire.int16(0), wire.int16(0), wire.int16(0))),
    ),
  },
);

const extended: fc.Arbitrary<Say> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.tuple(statementName, text).map(
      ([name, sql]): Say =>
        (client, next) =>
          wire.parse(name, sql(client, next)),
    ),
  },
  {
    weight: 6,
    arbitrary: fc
      .tuple(statementName, fc.integer({ min: 0, max: 2 }))
      .map(([name, rows]) => bytes(wire.bind('', name, ['v']), wire.execute('', rows))),
  },
  { weight: 2, arbitrary: statementName.map((name) => bytes(wire.describe('S', name))) },
  {
    weight: 2,
    arbitrary: statementName.map((name) =>
      bytes(wire.bind('p', name), wire.describe('P', 'p'), wire.execute('p'), wire.close('P', 'p')),
    ),
  },
  { weight: 2, arbitrary: statementName.map((name) => bytes(wire.close('S', name))) },
  { weight: 4, arbitrary: text.map(unnamed) },
  { weight: 1, arbitrary: fc.constant(bytes(wire.flush())) },
);

const batch = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .array(extended, { minLength: 1, maxLength: 6 })
      .map((parts) => join([...parts, bytes(wire.sync())])),
  },
  // closes and makes again a name that is needed before
  {
    weight: 2,
    arbitrary: fc
      .tuple(statementName, alone, read)
      .map(([name, sql, after]) =>
        join([
          bytes(wire.describe('S', name)),
          unnamed(sql),
          bytes(wire.close('S', name)),
          (client, next) => wire.parse(name, after(client, next)),
          bytes(wire.sync()),
        ]),
      ),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(alone, fc.boolean()).map(
      ([sql, named]): Say =>
        (client, next) => {
          const one = sql(client, next);
          const name = named ? one.replace(/\W+/g, '_') : '';
          return Buffer.concat([
            wire.parse(name, one),
            wire.bind('', name),
            wire.describe('P', ''),
            wire.execute(''),
            wire.sync(),
          ]);
        },
    ),
  },
  {
    weight: 2,
    arbitrary: fc.oneof(text, control).map((sql) => join([unnamed(sql), bytes(wire.sync())])),
  },
  // prepared in one batch, run in another one
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.oneof(control, other), fc.constantFrom([], [wire.sync()], [wire.flush()]), fc.boolean())
      .map(
        ([sql, apart, again]): Say =>
          (client, next) => {
            const one = sql(client, next);
            const name = `of its own: ${one}`;
            return Buffer.concat([
              ...(again ? [] : [wire.close('S', name), wire.sync()]),
              wire.parse(name, one),
              wire.describe('S', name),
              ...apart,
              wire.bind('', name),
              wire.describe('P', ''),
              wire.execute(''),
              wire.sync(),
            ]);
          },
      ),
  },
);

const block = fc
  .tuple(begin, fc.array(fc.oneof(batch, simple), { maxLength: 4 }), end)
  .map(([first, all, last]) => join([query(first), ...all, query(last)]));

const dropAll = fc.constantFrom(...['discard all', 'deallocate all'].map((sql) => query(fixed(sql))));

/** Bursts of which each ends outside of a transaction. `units` = of one burst at most. */
export function routedScript(units: number): fc.Arbitrary<Say[]> {
  const part = fc.oneof(
    { weight: 4, arbitrary: simple },
    { weight: 5, arbitrary: batch },
    { weight: 2, arbitrary: block },
  );
  const burst = fc.oneof(
    { weight: 12, arbitrary: fc.array(part, { minLength: 1, maxLength: units }).map(join) },
    { weight: 1, arbitrary: dropAll },
  );
  return fc
    .array(burst, { minLength: 1, maxLength: 6 })
    .map((bursts) => bursts.map((one) => join([one, query(fixed('rollback'))])));
}
