/** Stories about one pool, as data: who gets which server, what is opened and closed, and in which order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PoolLimits } from '../../src/pool/limits.ts';
import { type Step, tell } from './pool-story.ts';

interface Story {
  readonly name: string;
  readonly limits?: Partial<PoolLimits>;
  readonly steps: readonly Step[];
  readonly events: readonly string[];
}

const STORIES: readonly Story[] = [
  {
    name: 'first come, first served; a freed server goes straight to the oldest waiter',
    limits: { poolSize: 1 },
    steps: [
      ['ask', 'a'],
      ['login'],
      ['ask', 'b'],
      ['ask', 'c'],
      ['release', 'a'],
      ['ask', 'd'],
      ['release', 'b'],
      ['release', 'c'],
    ],
    events: ['open s1', 'a gets s1', 'b gets s1', 'c gets s1', 'd gets s1'],
  },
  {
    name: 'who has left the queue is passed over',
    limits: { poolSize: 1 },
    steps: [['ask', 'a'], ['login'], ['ask', 'b'], ['ask', 'c'], ['leave', 'b'], ['release', 'a']],
    events: ['open s1', 'a gets s1', 'c gets s1'],
  },
  {
    name: 'max_connecting bounds the logins in flight; each success lets the next begin',
    limits: { poolSize: 10, maxConnecting: 2 },
    steps: [
      ['ask', 'a'],
      ['ask', 'b'],
      ['ask', 'c'],
      ['ask', 'd'],
      ['login'],
      ['wait', 100],
      ['login'],
      ['login'],
      ['wait', 100],
      ['login'],
    ],
    events: ['open s1', 'open s2', 'a gets s1', 'open s3', 'b gets s2', 'c gets s3', 'open s4', 'd gets s4'],
  },
  {
    name: 'the reserve opens only for who has waited reserve_pool_timeout, and no further',
    limits: { poolSize: 1, reserveSize: 1, reserveTimeoutMs: 5000 },
    steps: [
      ['ask', 'a'],
      ['login'],
      ['ask', 'b'],
      ['ask', 'c'],
      ['wait', 4900],
      ['wait', 200],
      ['login'],
      ['wait', 6000],
    ],
    events: ['open s1', 'a gets s1', 'open s2', 'b gets s2'],
  },
  {
    name: 'query_wait_timeout ends a wait, query_wait_notify tells before',
    limits: { poolSize: 1, queryWaitTimeoutMs: 2000, queryWaitNotifyMs: 500 },
    steps: [
      ['ask', 'a'],
      ['login'],
      ['ask', 'b'],
      ['wait', 400],
      ['wait', 200],
      ['wait', 600],
      ['wait', 900],
      ['release', 'a'],
    ],
    events: ['open s1', 'a gets s1', 'b is told that it is queued', 'b fails query_wait_timeout'],
  },
  {
    name: 'PAUSE closes what is idle at once and what is held when it comes back; nothing is opened until RESUME',
    steps: [
      ['ask', 'a'],
      ['login'],
      ['ask', 'b'],
      ['login'],
      ['release', 'b'],
      ['pause'],
      ['ask', 'c'],
      ['wait', 1000],
      ['release', 'a'],
      ['wait', 1000],
      ['resume'],
      ['login'],
    ],
    events: [
      'open s1',
      'a gets s1',
      'open s2',
      'b gets s2',
      's2 closed: pause mode',
      's1 closed: pause mode',
      'open s3',
      'c gets s3',
    ],
  },
  {
    name: 'a new generation closes the idle server now, the held one at its release, and hands out neither again',
    steps: [
      ['ask', 'a'],
      ['login'],
      ['ask', 'b'],
      ['login'],
      ['release', 'b'],
      ['renew', 'close_needed'],
      ['ask', 'c'],
      ['release', 'a'],
      ['login'],
    ],
    events: [
      'open s1',
      'a gets s1',
      'open s2',
      'b gets s2',
      's2 closed: close_needed',
      'open s3',
      's1 closed: close_needed',
      'c gets s3',
    ],
  },
  {
    name: 'a refused login fails everybody who waits when there is no other server',
    steps: [
      ['ask', 'a'],
      ['ask', 'b'],
      ['refuse', '28P01'],
    ],
    events: [
      'open s1',
      'open s2',
      'a fails refused with 28P01',
      'b fails refused with 28P01',
      's1 closed: server login failed',
    ],
  },
  {
    name: 'a server that is starting up (57P03) or out of reach keeps them waiting, and is tried again after server_login_retry',
    limits: { maxConnecting: 1, serverLoginRetryMs: 15_000 },
    steps: [
      ['ask', 'a'],
      ['refuse', '57P03'],
      ['wait', 14_000],
      ['wait', 1100],
      ['refuse', ''],
      ['wait', 15_100],
      ['login'],
    ],
    events: [
      'open s1',
      's1 closed: server login failed',
      'open s2',
      's2 closed: server login failed',
      'open s3',
      'a gets s3',
    ],
  },
  {
    name: 'server_lifetime: closings are spaced by lifetime / pool_size',
    limits: { poolSize: 2, serverLifetimeMs: 10_000, serverIdleTimeoutMs: 0 },
    steps: [
      ['ask', 'a'],
      ['login'],
      ['ask', 'b'],
      ['login'],
      ['release', 'a'],
      ['release', 'b'],
      ['wait', 10_100],
      ['wait', 4000],
      ['wait', 1100],
    ],
    events: [
      'open s1',
      'a gets s1',
      'open s2',
      'b gets s2',
      's1 closed: server lifetime over',
      's2 closed: server lifetime over',
    ],
  },
  {
    name: 'the last server used is the first given out; with server_round_robin the longest idle one',
    limits: { roundRobin: true },
    steps: [
      ['ask', 'a'],
      ['login'],
      ['ask', 'b'],
      ['login'],
      ['release', 'a'],
      ['release', 'b'],
      ['ask', 'c'],
    ],
    events: ['open s1', 'a gets s1', 'open s2', 'b gets s2', 'c gets s1'],
  },
  {
    name: 'LIFO without server_round_robin',
    steps: [
      ['ask', 'a'],
      ['login'],
      ['ask', 'b'],
      ['login'],
      ['release', 'a'],
      ['release', 'b'],
      ['ask', 'c'],
    ],
    events: ['open s1', 'a gets s1', 'open s2', 'b gets s2', 'c gets s2'],
  },
];

for (const { name, limits, steps, events } of STORIES) {
  test(name, () => {
    assert.deepEqual(tell(steps, limits), events);
  });
}
