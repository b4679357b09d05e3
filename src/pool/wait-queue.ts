/**
 * The clients that wait for a server of one pool, oldest first. A client that gives up is marked (waitingSinceMs 0)
 * and taken out, so that `count` and the order are always true.
 */
import { Deque } from '../util/deque.ts';
import type { Waiter } from './waiter.ts';

export class WaitQueue {
  readonly #entries = new Deque<Waiter>();

  get count(): number {
    return this.#entries.size;
  }

  add(waiter: Waiter, sinceMs: number): void {
    waiter.waitingSinceMs = sinceMs;
    this.#entries.pushBack(waiter);
  }

  oldest(): Waiter | null {
    return this.#entries.peekFront() ?? null;
  }

  /** The oldest waiter, who waits no longer. */
  shift(): Waiter | null {
    const waiter = this.#entries.popFront();
    if (waiter === undefined) return null;
    waiter.waitingSinceMs = 0;
    return waiter;
  }

  remove(waiter: Waiter): void {
    if (waiter.waitingSinceMs === 0) return;
    waiter.waitingSinceMs = 0;
    this.#entries.remove(waiter);
  }

  [Symbol.iterator](): Iterator<Waiter> {
    return this.#entries[Symbol.iterator]();
  }
}
