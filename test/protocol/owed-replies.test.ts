/** The ring of owed replies against a plain array that does the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  INVENT,
  KIND,
  OWED_CLOSE,
  OWED_COPY_END,
  OWED_EXECUTE,
  OWED_FUNCTION,
  OWED_PARSE,
  OWED_QUERY,
  OWED_SYNC,
  type OwedReference,
  OwedReplies,
  SWALLOW,
} from '../../src/server/owed-replies.ts';
import { StatementRegistry } from '../../src/server/statements.ts';

const statement = new StatementRegistry().acquire(Buffer.from('select 1\0\0\0'));

interface Item {
  readonly item: number;
  readonly reference: OwedReference;
}

const isTicket = ({ reference }: Item): boolean => reference !== null && !reference.internal;
const isReady = ({ item, reference }: Item): boolean =>
  reference === null && [OWED_SYNC, OWED_QUERY, OWED_FUNCTION].includes(item & KIND);

class Model {
  items: Item[] = [];
  /** Items after which a Sync was pushed and not dropped. */
  get unsure(): number {
    const lastSync = this.items.findLastIndex(
      ({ item, reference }) => (item & KIND) === OWED_SYNC && reference === null,
    );
    return this.items.slice(0, Math.max(0, lastSync)).filter(isTicket).length;
  }

  get readies(): number {
    return this.items.filter(isReady).length;
  }

  dropSyncsOfCopy(): { dropped: number; ended: boolean } {
    const end = this.items.findIndex(({ item }, i) => i > 0 && (item & KIND) === OWED_COPY_END);
    const until = end < 0 ? this.items.length : end;
    const before = this.items.length;
    this.items = this.items.filter(({ item }, i) => i === 0 || i >= until || (item & KIND) !== OWED_SYNC);
    return { dropped: before - this.items.length, ended: end >= 0 };
  }
}

const ticket = (clientName: string | null): OwedReference => ({ internal: false, statement, clientName });
const internal: OwedReference = { internal: true, onRow() {}, onDone() {} };

const item = fc.constantFrom<Item>(
  { item: OWED_PARSE, reference: ticket('a') },
  { item: OWED_PARSE | INVENT, reference: ticket('b') },
  { item: OWED_CLOSE | SWALLOW, reference: ticket(null) },
  { item: OWED_QUERY | SWALLOW, reference: internal },
  { item: OWED_QUERY, reference: null },
  { item: OWED_FUNCTION, reference: null },
  { item: OWED_EXECUTE, reference: null },
  { item: OWED_COPY_END, reference: null },
  { item: OWED_SYNC, reference: null },
  { item: OWED_SYNC, reference: null },
);
const step = fc.oneof(
  { weight: 6, arbitrary: item },
  { weight: 4, arbitrary: fc.constant('pop' as const) },
  { weight: 1, arbitrary: fc.constant('copy' as const) },
);

test('pushes, pops and copies in any order', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const owed = new OwedReplies();
      const model = new Model();
      for (const one of steps) {
        if (one === 'pop') {
          if (model.items.length === 0) continue;
          owed.pop();
          model.items.shift();
        } else if (one === 'copy') {
          if (((model.items[0]?.item ?? 0) & KIND) !== OWED_EXECUTE) continue;
          const { dropped, ended } = model.dropSyncsOfCopy();
          assert.equal(owed.dropSyncsOfCopy(), ended);
          assert.equal(owed.droppedSyncs, dropped);
        } else {
          owed.push(one.item, one.reference);
          model.items.push(one);
        }
        assert.equal(owed.length, model.items.length);
        assert.equal(owed.peek(), model.items[0]?.item ?? 0);
        assert.equal(owed.reference(), model.items[0]?.reference ?? null);
        assert.equal(owed.readies, model.readies);
        assert.equal(owed.unsure, model.unsure);
        model.items.forEach(({ item: kind, reference }, i) => {
          assert.equal(owed.at(i), kind);
          assert.equal(owed.referenceAt(i), reference);
        });
      }
      owed.clear();
      assert.deepEqual([owed.length, owed.unsure, owed.readies, owed.peek()], [0, 0, 0, 0]);
    }),
    { numRuns: 2000 },
  );
});
