/** One node: counters, moving average, and the half-open ban. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reasonId } from '../../../src/routing/reasons.ts';
import { RoutedNode } from '../../../src/routing/routed-node.ts';
import { nodeView } from './support.ts';

const BALANCED = reasonId('balanced');
const COMMAND = reasonId('command');

test('units are counted by class and reason', () => {
  const node = new RoutedNode(nodeView('pg2'));
  node.begin(0, true, BALANCED);
  node.begin(0, true, BALANCED);
  node.begin(0, false, COMMAND);
  assert.deepEqual([node.inFlight, node.reads, node.writes], [3, 2, 1]);
  assert.equal(node.decisions[BALANCED * 2], 2);
  assert.equal(node.decisions[BALANCED * 2 + 1], 0);
  assert.equal(node.decisions[COMMAND * 2 + 1], 1);
  node.end(50, 1000);
  node.aborted();
  node.aborted();
  node.aborted();
  assert.equal(node.inFlight, 0, 'never below zero');
  assert.equal(node.lastAnswerMs, 50, 'only an answer is an answer');
});

test('the service time is a moving average that starts with the first value', () => {
  const node = new RoutedNode(nodeView('pg2'));
  node.begin(0, true, BALANCED);
  node.end(1, 800);
  assert.equal(node.serviceUs, 800);
  node.end(2, 1600);
  assert.equal(node.serviceUs, 900);
});

test('a ban is half-open after its time: one unit may try, success lifts it', () => {
  const node = new RoutedNode(nodeView('pg2'));
  assert.equal(node.mayServe(0), true);
  node.failed(100, 1000);
  assert.equal(node.mayServe(1099), false);
  assert.equal(node.mayServe(1100), true);
  node.begin(1100, true, BALANCED);
  assert.equal(node.probing, true);
  assert.equal(node.mayServe(1101), false, 'one tries, the others stay away');
  node.end(1150, 500);
  assert.equal(node.bannedUntilMs, 0);
  assert.equal(node.mayServe(1151), true);
});

test('failures double the ban up to a bound, and those of one outage count once', () => {
  const node = new RoutedNode(nodeView('pg2'));
  node.failed(0, 1000);
  node.failed(1, 1000);
  node.failed(2, 1000);
  assert.equal(node.bannedUntilMs, 1000);
  let now = 1000;
  const bans: number[] = [];
  for (let i = 0; i < 6; i++) {
    node.claimProbe(now);
    node.failed(now, 1000);
    bans.push(node.bannedUntilMs - now);
    now = node.bannedUntilMs;
  }
  assert.deepEqual(bans, [2000, 4000, 8000, 16_000, 16_000, 16_000]);
  node.succeeded();
  node.failed(now, 1000);
  assert.equal(node.bannedUntilMs, now + 1000, 'a success forgets the doubling');
});

test('a try that is never heard of again does not block for ever', () => {
  const node = new RoutedNode(nodeView('pg2'));
  node.failed(0, 1000);
  node.claimProbe(1000);
  assert.equal(node.mayServe(1999), false);
  assert.equal(node.mayServe(2000), true);
});

test('ban_time 0: no bans', () => {
  const node = new RoutedNode(nodeView('pg2'));
  node.failed(5, 0);
  assert.equal(node.mayServe(5), true);
});

test('a failure makes the replayed position unknown', () => {
  const node = new RoutedNode(nodeView('pg2'));
  node.replayedLsn = 500;
  node.failed(0, 1000);
  assert.equal(node.replayedLsn, 0);
});
