import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LagClock } from '../../../src/cluster/lag-clock.ts';
import { formatLsn, normaliseLsn, parseLsn } from '../../../src/cluster/lsn.ts';

const SEGMENT = 16 * 1024 * 1024;

test('positions to numbers and back', () => {
  for (const text of ['0/0', '0/1', '16/B374D848', '1/0', '1FFFFF/FFFFFFFF']) {
    assert.equal(formatLsn(parseLsn(text)), text);
  }
  assert.equal(parseLsn('16/B374D848'), 0x16 * 2 ** 32 + 0xb374d848);
  assert.equal(parseLsn('1FFFFF/FFFFFFFF'), 2 ** 53 - 1);
  for (const text of [null, '', '0', '0/', 'x/1', '0/123456789', '0/1 ']) assert.equal(parseLsn(text), 0);
});

test('right behind a page header is the page boundary, right behind a segment header the segment boundary', () => {
  const page = 5 * 8192;
  assert.equal(normaliseLsn(page + 24, SEGMENT), page);
  assert.equal(normaliseLsn(3 * SEGMENT + 40, SEGMENT), 3 * SEGMENT);
  // a page's header is the short one, a segment's the long one
  assert.equal(normaliseLsn(page + 40, SEGMENT), page + 40);
  assert.equal(normaliseLsn(3 * SEGMENT + 24, SEGMENT), 3 * SEGMENT + 24);
  for (const lsn of [page, page + 23, page + 25, page + 48, 3 * SEGMENT, 3 * SEGMENT + 41]) {
    assert.equal(normaliseLsn(lsn, SEGMENT), lsn);
  }
  assert.equal(normaliseLsn(0, SEGMENT), 0);
});

test('other sizes of segments and pages', () => {
  assert.equal(normaliseLsn(SEGMENT / 16 + 40, SEGMENT / 16), SEGMENT / 16);
  assert.equal(normaliseLsn(16_384 * 3 + 24, SEGMENT, 16_384), 16_384 * 3);
  assert.equal(normaliseLsn(8192 * 3 + 24, SEGMENT, 16_384), 8192 * 3 + 24);
  // nothing known of segments: only pages
  assert.equal(normaliseLsn(8192 + 24, 0), 8192);
});

test('lag in time: never more than since the primary was last seen where the replica is', () => {
  const clock = new LagClock();
  assert.equal(clock.behindMs(100, 5_000, 0), null);
  clock.see(100, 1_000);
  clock.see(100, 2_000);
  clock.see(200, 3_000);
  assert.equal(clock.behindMs(200, 99_000, 4_000), 0);
  assert.equal(clock.behindMs(100, 99_000, 4_000), 2_000);
  assert.equal(clock.behindMs(150, 500, 4_000), 500);
  assert.equal(clock.behindMs(150, null, 4_000), 2_000);
  assert.equal(clock.behindMs(50, 99_000, 4_000), 99_000);
  assert.equal(clock.behindMs(0, 99_000, 4_000), null);
  clock.reset();
  assert.equal(clock.position, 0);
});

test('a long history gets coarser and never too short', () => {
  const clock = new LagClock();
  for (let i = 0; i < 10_000; i++) clock.see(1_000 + i, i * 1_000);
  const lag = clock.behindMs(1_000 + 5_000, null, 10_000_000) ?? 0;
  assert.ok(lag === 0 || lag >= 10_000_000 - 5_000_000 - 1);
  assert.equal(clock.behindMs(1_000 + 9_998, null, 10_000_000), 10_000_000 - 9_998_000);
});
