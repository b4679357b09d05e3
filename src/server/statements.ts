/**
 * Protocol-level prepared statements shared by all clients. A client's name maps to one proxy-wide statement
 * (query text + parameter types); each server knows which of them it has. An entry lives while a client or a
 * server uses it.
 */
export class Statement {
  /** The name on every server, as bytes without the NUL. */
  readonly name: Buffer;
  /** The whole Parse message with that name. */
  readonly parseMessage: Buffer;
  /** The whole Close message with that name. */
  readonly closeMessage: Buffer;
  readonly key: string;
  uses = 0;
  /** What a routed database's clients know of its text; made and used by the room client. */
  memo: unknown = undefined;

  constructor(id: number, key: string, rest: Buffer) {
    this.key = key;
    this.name = Buffer.from(`PGCONCIERGE_${id}`);
    const n = this.name.length;
    const message = Buffer.allocUnsafe(1 + 4 + n + 1 + rest.length);
    message[0] = 0x50;
    message.writeUInt32BE(message.length - 1, 1);
    this.name.copy(message, 5);
    message[5 + n] = 0;
    rest.copy(message, 6 + n);
    this.parseMessage = message;
    const close = Buffer.alloc(1 + 4 + 1 + n + 1);
    close[0] = 0x43;
    close.writeUInt32BE(close.length - 1, 1);
    close[5] = 0x53;
    this.name.copy(close, 6);
    this.closeMessage = close;
  }

  /** The query, bytes as characters. */
  get text(): string {
    return this.key.slice(0, this.key.indexOf('\0'));
  }
}

export class StatementRegistry {
  readonly #byKey = new Map<string, Statement>();
  #next = 1;

  get size(): number {
    return this.#byKey.size;
  }

  /** `rest` = the Parse body after the name's NUL: query text, NUL, parameter types. Takes one use. */
  acquire(rest: Buffer): Statement {
    const key = rest.latin1Slice(0, rest.length);
    let statement = this.#byKey.get(key);
    if (statement === undefined) {
      statement = new Statement(this.#next++, key, rest);
      this.#byKey.set(key, statement);
    }
    statement.uses += 1;
    return statement;
  }

  /** One use more, also of a statement whose last one was released a moment ago. */
  addUse(statement: Statement): void {
    if (statement.uses === 0 && !this.#byKey.has(statement.key)) this.#byKey.set(statement.key, statement);
    statement.uses += 1;
  }

  release(statement: Statement): void {
    statement.uses -= 1;
    if (statement.uses === 0 && this.#byKey.get(statement.key) === statement)
      this.#byKey.delete(statement.key);
  }
}

/** The statements that one server has, with an LRU bound. */
export class ServerStatements {
  readonly #registry: StatementRegistry;
  /** Statement -> tick of its last use. */
  readonly #known = new Map<Statement, number>();
  #tick = 0;

  constructor(registry: StatementRegistry) {
    this.#registry = registry;
  }

  get size(): number {
    return this.#known.size;
  }

  /** True when the server has it; marks it as used now. */
  touch(statement: Statement): boolean {
    if (!this.#known.has(statement)) return false;
    this.#known.set(statement, ++this.#tick);
    return true;
  }

  add(statement: Statement): void {
    if (!this.#known.has(statement)) this.#registry.addUse(statement);
    this.#known.set(statement, ++this.#tick);
  }

  /** Forgets one (its Parse failed or was skipped, or it was closed). */
  remove(statement: Statement): void {
    if (this.#known.delete(statement)) this.#registry.release(statement);
  }

  /** The least recently used one when there are more than `max`, else null. */
  victim(max: number): Statement | null {
    if (this.#known.size <= max) return null;
    let oldest: Statement | null = null;
    let least = Number.POSITIVE_INFINITY;
    for (const [statement, tick] of this.#known) {
      if (tick < least) {
        least = tick;
        oldest = statement;
      }
    }
    return oldest;
  }

  /** Forgets all (DISCARD ALL, DEALLOCATE ALL, the connection's end). */
  clear(): void {
    for (const statement of this.#known.keys()) this.#registry.release(statement);
    this.#known.clear();
  }
}
