/** What random clients say: fast-check arbitraries of whole, legal client streams in the language of ModelPostgres. */
import fc from 'fast-check';
import * as wire from '../support/raw-messages.ts';

const word = fc.constantFrom('a', 'b', 'c');
/** Short, colliding between clients; some long, some not ASCII. */
const LONG = 'n'.repeat(300);
export const statementName = fc.constantFrom('s1', 's2', 's3', 's1 ', 'ß', LONG);

const plain = fc.oneof(
  word.map((w) => `select ${w}`),
  fc.integer({ min: 0, max: 5 }).map((n) => `rows ${n}`),
  fc.constantFrom('show', 'notice', 'copyout', 'fail', ''),
);
const control = fc.constantFrom('begin', 'commit', 'rollback');
const app = word.map((w) => `app ${w}`);
const statementText = fc.oneof(
  { weight: 6, arbitrary: plain },
  { weight: 1, arbitrary: fc.constant('bad') },
  { weight: 1, arbitrary: control },
  { weight: 1, arbitrary: app },
);

const data = fc
  .array(fc.integer({ min: 1, max: 40 }), { maxLength: 4 })
  .map((sizes) => sizes.map((size) => wire.copyData(Buffer.alloc(size, 0x61))));
const copyEnd = fc.constantFrom(wire.copyDone(), wire.copyFail('no more'));
/** The client's part of a COPY, sent without waiting for the server's answer. */
const copyInput = fc.tuple(data, copyEnd).map(([pieces, end]) => Buffer.concat([...pieces, end]));
const copySql = fc.constantFrom('copyin', 'copyin', 'copybad');

const simple = fc.oneof(
  { weight: 5, arbitrary: plain.map(wire.query) },
  { weight: 2, arbitrary: control.map(wire.query) },
  { weight: 1, arbitrary: app.map(wire.query) },
  {
    weight: 1,
    arbitrary: fc.array(plain, { minLength: 2, maxLength: 3 }).map((all) => wire.query(all.join(';'))),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(copySql, copyInput, fc.boolean())
      .map(([sql, input, more]) => Buffer.concat([wire.query(more ? `${sql};select z` : sql), input])),
  },
  {
    weight: 1,
    arbitrary: fc.constant(wire.encode('F', wire.int32(1), wire.int16(0), wire.int16(0), wire.int16(0))),
  },
);

/** One self-contained piece of an extended batch: it uses no unnamed thing that it has not made. */
const extended = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.tuple(statementName, statementText).map(([name, sql]) => wire.parse(name, sql)),
  },
  {
    weight: 5,
    arbitrary: fc
      .tuple(statementName, fc.integer({ min: 0, max: 2 }))
      .map(([name, rows]) => Buffer.concat([wire.bind('', name, ['v']), wire.execute('', rows)])),
  },
  { weight: 2, arbitrary: statementName.map((name) => wire.describe('S', name)) },
  {
    weight: 2,
    arbitrary: statementName.map((name) =>
      Buffer.concat([wire.bind('p', name), wire.describe('P', 'p'), wire.execute('p'), wire.close('P', 'p')]),
    ),
  },
  { weight: 2, arbitrary: statementName.map((name) => wire.close('S', name)) },
  {
    weight: 2,
    arbitrary: statementText.map((sql) =>
      Buffer.concat([wire.parse('', sql), wire.describe('S', ''), wire.bind('', ''), wire.execute('')]),
    ),
  },
  { weight: 1, arbitrary: fc.constant(wire.flush()) },
);

/** COPY by the extended protocol, as drivers do it: a Sync before the data is there, which the server ignores. */
const extendedCopy = fc
  .tuple(copySql, copyInput, fc.boolean(), fc.boolean())
  .map(([sql, input, early, named]) =>
    Buffer.concat([
      wire.parse(named ? `copy ${sql}` : '', sql),
      wire.bind('', named ? `copy ${sql}` : ''),
      wire.execute(''),
      ...(early ? [wire.sync()] : []),
      input,
      wire.sync(),
      ...(named ? [wire.close('S', `copy ${sql}`), wire.sync()] : []),
    ]),
  );

const batch = fc
  .array(extended, { minLength: 1, maxLength: 6 })
  .map((parts) => Buffer.concat([...parts, wire.sync()]));

/** All statements of the session are dropped; the answer is awaited before more is sent. */
const dropAll = fc.constantFrom(wire.query('discard'), wire.query('deallocate'));

/** What a client sends before it waits for everything to be answered. */
export type Burst = Buffer;

const rollback = wire.query('rollback');

/** Bursts of which each ends outside of a transaction. `syncs` = batches of one burst at most. */
function lives(syncs: number): fc.Arbitrary<Burst[]> {
  const parts = fc.oneof(
    { weight: 3, arbitrary: simple },
    { weight: 5, arbitrary: batch },
    { weight: 1, arbitrary: extendedCopy },
  );
  const burst = fc.oneof(
    {
      weight: 12,
      arbitrary: fc.array(parts, { minLength: 1, maxLength: syncs }).map((all) => Buffer.concat(all)),
    },
    { weight: 1, arbitrary: dropAll },
  );
  return fc
    .array(burst, { minLength: 1, maxLength: 6 })
    .map((bursts) => bursts.map((one) => Buffer.concat([one, rollback])));
}

/** A client that waits for the answers of each batch. */
export const waitingScript: fc.Arbitrary<Burst[]> = lives(1);
/** A client that sends several batches, Syncs and all, before it reads. */
export const pipelinedScript: fc.Arbitrary<Burst[]> = lives(4);
