/** What the texts and statement names of a batch that has just been scanned mean (unit-scan.ts). One for each client. */
import type { Verdict } from '../routing/classifier.ts';
import type { CachedFacts } from '../sql/fact-cache.ts';
import type { Client } from './client.ts';
import type { ClientRouting } from './client-routing.ts';
import { batch } from './unit-scan.ts';

export class BatchVerdicts {
  readonly #client: Client;
  readonly #routing: ClientRouting;
  /** The last text of the batch that was judged; '' = none, it was Parsed in an earlier one. */
  text = '';
  /** The client's unnamed statement, Parsed in an earlier batch. */
  #unnamed: Verdict | null = null;

  constructor(client: Client, routing: ClientRouting) {
    this.#client = client;
    this.#routing = routing;
  }

  /** What the i-th name or text of the batch means; null = a statement that is not known here. */
  of(buffer: Buffer, i: number): Verdict | null {
    const item = batch.items[i];
    if (item === undefined) return null;
    const { classifier } = this.#routing.desk.shared;
    if (item.kind === 'text') {
      this.text = buffer.latin1Slice(item.from, item.to);
      const verdict = classifier.classify(this.text);
      if (item.unnamed) {
        this.#unnamed = verdict;
        this.#routing.parsesUnnamed = true;
      }
      return verdict;
    }
    if (item.unnamed) {
      this.#routing.wantsUnnamed = !this.#routing.parsesUnnamed;
      return this.#unnamed;
    }
    const statement = this.#client.prepared.findAt(buffer, item.from, item.to);
    // Parsed earlier in this very batch: its text has been judged
    if (statement === null) return this.#parsedBefore(buffer, i, buffer.latin1Slice(item.from, item.to));
    if (batch.count === 1) this.text = statement.text;
    statement.memo ??= classifier.classify(statement.text).cached;
    return classifier.recall(statement.memo as CachedFacts);
  }

  #parsedBefore(buffer: Buffer, before: number, name: string): Verdict | null {
    for (let i = before - 1; i >= 0; i--) {
      const item = batch.items[i];
      if (item?.kind !== 'text') continue;
      const start = item.from - 1 - name.length;
      if (start > 0 && buffer.latin1Slice(start, item.from - 1) === name) return this.of(buffer, i);
    }
    return null;
  }
}
