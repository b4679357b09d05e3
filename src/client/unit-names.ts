/**
 * What the statement names that a unit makes or closes meant before it. A unit that is sent again finds them so again,
 * and one that is lost before its client has seen anything of the reply has not changed them.
 */
import type { Statement } from '../server/statements.ts';
import { F_CLOSE, F_PARSE } from '../wire/codes.ts';
import type { PreparedNames } from './prepared.ts';

const STATEMENT = 0x53;

export class UnitNames {
  readonly #prepared: PreparedNames;
  /** In the order in which the unit names them first; null = the name was free. */
  readonly #before = new Map<string, Statement | null>();

  constructor(prepared: PreparedNames) {
    this.#prepared = prepared;
  }

  /** Whole messages in [from, to). */
  note(buffer: Buffer, from: number, to: number): void {
    for (let at = from, next = at; at < to; at = next) {
      next = at + 1 + buffer.readUInt32BE(at + 1);
      const type = buffer[at];
      const closes = type === F_CLOSE && buffer[at + 5] === STATEMENT;
      if (type !== F_PARSE && !closes) continue;
      const nameAt = closes ? at + 6 : at + 5;
      const name = buffer.latin1Slice(nameAt, buffer.indexOf(0, nameAt));
      if (name !== '' && !this.#before.has(name)) this.#before.set(name, this.#prepared.find(name));
    }
  }

  /** All of them mean again what they did. */
  restore(): void {
    for (const [name, statement] of this.#before) {
      if (statement === null) this.#prepared.undo(name);
      else this.#prepared.restore(name, statement);
    }
  }

  forget(): void {
    if (this.#before.size > 0) this.#before.clear();
  }
}
