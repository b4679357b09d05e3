/** The one promise of fresh reads: the bound of a mark is never below what was committed before the mark. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Freshness } from '../../../src/routing/freshness.ts';

test('a mark waits for the next sample that is sent', () => {
  const freshness = new Freshness();
  assert.equal(freshness.boundOf(0), 0);
  assert.equal(freshness.pending, false);
  freshness.onSent(1);
  const mark = freshness.mark();
  assert.equal(mark, 2, 'sample 1 was asked before: it may not cover the unit');
  freshness.onSample(1, 100);
  assert.equal(freshness.boundOf(mark), Number.POSITIVE_INFINITY);
  assert.equal(freshness.pending, true);
  freshness.onSent(2);
  freshness.onSample(2, 150);
  assert.equal(freshness.boundOf(mark), 150);
  assert.equal(freshness.boundOf(1), 100);
  assert.equal(freshness.pending, false);
});

test('a lost sample is served by a later one, a late one is dropped', () => {
  const freshness = new Freshness();
  freshness.onSent(1);
  freshness.onSent(2);
  freshness.onSample(2, 200);
  freshness.onSample(1, 100);
  assert.equal(freshness.boundOf(1), 200);
  assert.equal(freshness.boundOf(2), 200);
});

test('useless samples are dropped: not announced, no position', () => {
  const freshness = new Freshness();
  freshness.onSample(5, 100);
  assert.equal(freshness.boundOf(1), Number.POSITIVE_INFINITY);
  freshness.onSent(1);
  freshness.onSample(1, 0);
  freshness.onSample(1, Number.NaN);
  assert.equal(freshness.boundOf(1), Number.POSITIVE_INFINITY);
});

test('very old marks are served by the oldest sample that is kept', () => {
  const freshness = new Freshness();
  for (let n = 1; n <= 10_000; n++) {
    freshness.onSent(n);
    freshness.onSample(n, n * 10);
  }
  assert.equal(freshness.boundOf(9_990), 99_900);
  const old = freshness.boundOf(1);
  assert.ok(old >= 10 && old <= 100_000 && Number.isFinite(old));
  assert.equal(freshness.boundOf(10_001), Number.POSITIVE_INFINITY);
});

test('after a change of the primary old positions and samples under way count no more', () => {
  const freshness = new Freshness();
  freshness.onSent(1);
  freshness.onSample(1, 5000);
  const mark = freshness.mark();
  freshness.onSent(2);
  freshness.onPrimaryChange();
  freshness.onSample(2, 5100);
  assert.equal(freshness.boundOf(mark), Number.POSITIVE_INFINITY, 'sample 2 is from the old primary');
  assert.equal(freshness.pending, true);
  freshness.onSent(3);
  freshness.onSample(3, 4000);
  assert.equal(freshness.boundOf(mark), 4000, 'what survived lies below');
  assert.equal(freshness.boundOf(1), 4000);
});

test('a position that falls without notice does not lower a bound', () => {
  const freshness = new Freshness();
  freshness.onSent(1);
  freshness.onSample(1, 5000);
  freshness.onSent(2);
  freshness.onSample(2, 4000);
  assert.equal(freshness.boundOf(2), 5000);
});

interface Commit {
  readonly lsn: number;
  readonly mark: number;
}

/** A primary, a monitor whose answers come late, out of order or never, and failovers that lose the last commits. */
class Simulation {
  readonly freshness = new Freshness();
  readonly commits: Commit[] = [];
  readonly #underWay: { number: number; lsn: number }[] = [];
  #lsn = 1;
  #number = 0;

  write(bytes: number): void {
    this.#lsn += bytes;
    this.commits.push({ lsn: this.#lsn, mark: this.freshness.mark() });
  }

  /** WAL that no client's mark covers: other databases, vacuum. */
  noise(bytes: number): void {
    this.#lsn += bytes;
  }

  send(): void {
    this.#number += 1;
    this.freshness.onSent(this.#number);
    this.#underWay.push({ number: this.#number, lsn: 0 });
  }

  /** The primary answers a sample now; the answer may still wait in a socket. */
  ask(index: number): void {
    const sample = this.#underWay[index % Math.max(1, this.#underWay.length)];
    if (sample !== undefined && sample.lsn === 0) sample.lsn = this.#lsn;
  }

  answer(index: number): void {
    if (this.#underWay.length === 0) return;
    const at = index % this.#underWay.length;
    this.ask(at);
    const [sample] = this.#underWay.splice(at, 1);
    if (sample !== undefined) this.freshness.onSample(sample.number, sample.lsn);
  }

  lose(index: number): void {
    if (this.#underWay.length > 0) this.#underWay.splice(index % this.#underWay.length, 1);
  }

  failover(lost: number): void {
    // what is under way has been answered by the old primary, or never will be
    for (let i = 0; i < this.#underWay.length; i++) this.ask(i);
    this.#lsn = Math.max(1, this.#lsn - lost);
    const survived = this.commits.filter((commit) => commit.lsn <= this.#lsn);
    this.commits.length = 0;
    this.commits.push(...survived);
    this.freshness.onPrimaryChange();
  }

  check(): void {
    for (const { lsn, mark } of this.commits) {
      const bound = this.freshness.boundOf(mark);
      assert.ok(bound >= lsn, `mark ${mark}: bound ${bound} is below the commit at ${lsn}`);
    }
  }
}

test('property: no bound is ever below a commit that it must cover', () => {
  const step = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constant('write' as const), n: fc.integer({ min: 1, max: 50 }) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('noise' as const), n: fc.integer({ min: 1, max: 50 }) }),
    },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('send' as const), n: fc.constant(0) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('ask' as const), n: fc.nat(9) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('answer' as const), n: fc.nat(9) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('lose' as const), n: fc.nat(9) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('failover' as const), n: fc.nat(120) }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const simulation = new Simulation();
      for (const { do: what, n } of steps) {
        simulation[what](n);
        simulation.check();
      }
      // and it is reached: one more sample serves every mark
      simulation.send();
      for (let i = 0; i < 300; i++) simulation.answer(0);
      simulation.check();
      assert.equal(simulation.freshness.pending, false);
      for (const { mark } of simulation.commits) {
        assert.ok(Number.isFinite(simulation.freshness.boundOf(mark)));
      }
    }),
    { numRuns: 1000 },
  );
});

test('property: the ring gives the lowest kept sample at or after the mark', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 2500 }), (gaps) => {
      const freshness = new Freshness();
      const kept: number[] = [];
      let number = 0;
      for (const gap of gaps) {
        number += gap;
        freshness.onSent(number);
        freshness.onSample(number, number * 8);
        kept.push(number);
      }
      const oldest = kept.slice(-1024)[0] ?? 0;
      for (let mark = Math.max(1, oldest - 5); mark <= number; mark += 7) {
        const serving = kept.find((one) => one >= mark && one >= oldest) ?? 0;
        assert.equal(freshness.boundOf(mark), serving * 8);
      }
    }),
    { numRuns: 30 },
  );
});
