/** A FIFO/LIFO queue on a ring, for idle servers and waiting clients: O(1) at both ends, no garbage per operation. */
export class Deque<T> {
  #ring: (T | undefined)[] = new Array(16);
  #head = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  pushBack(item: T): void {
    if (this.#size === this.#ring.length) this.#grow();
    this.#ring[(this.#head + this.#size) & (this.#ring.length - 1)] = item;
    this.#size += 1;
  }

  pushFront(item: T): void {
    if (this.#size === this.#ring.length) this.#grow();
    this.#head = (this.#head - 1) & (this.#ring.length - 1);
    this.#ring[this.#head] = item;
    this.#size += 1;
  }

  popFront(): T | undefined {
    if (this.#size === 0) return undefined;
    const item = this.#ring[this.#head];
    this.#ring[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#ring.length - 1);
    this.#size -= 1;
    return item;
  }

  popBack(): T | undefined {
    if (this.#size === 0) return undefined;
    const at = (this.#head + this.#size - 1) & (this.#ring.length - 1);
    const item = this.#ring[at];
    this.#ring[at] = undefined;
    this.#size -= 1;
    return item;
  }

  peekFront(): T | undefined {
    return this.#size === 0 ? undefined : this.#ring[this.#head];
  }

  /** Removes the first occurrence; O(n), for closings only. */
  remove(item: T): boolean {
    const mask = this.#ring.length - 1;
    for (let i = 0; i < this.#size; i++) {
      if (this.#ring[(this.#head + i) & mask] !== item) continue;
      for (let j = i; j < this.#size - 1; j++) {
        this.#ring[(this.#head + j) & mask] = this.#ring[(this.#head + j + 1) & mask];
      }
      this.#ring[(this.#head + this.#size - 1) & mask] = undefined;
      this.#size -= 1;
      return true;
    }
    return false;
  }

  /** Front to back. */
  *[Symbol.iterator](): Generator<T> {
    const mask = this.#ring.length - 1;
    for (let i = 0; i < this.#size; i++) yield this.#ring[(this.#head + i) & mask] as T;
  }

  #grow(): void {
    const old = this.#ring;
    const next: (T | undefined)[] = new Array(old.length * 2);
    for (let i = 0; i < this.#size; i++) next[i] = old[(this.#head + i) & (old.length - 1)];
    this.#ring = next;
    this.#head = 0;
  }
}
