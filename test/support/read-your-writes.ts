/**
 * Clients for the randomised read-your-writes test: each owns a row, writes growing numbers into it in every way there is,
 * reads rows back in every way there is, and knows what it must not see. Only what was acknowledged counts.
 */
import { RawClient, RawError } from './raw-client.ts';
import * as raw from './raw-messages.ts';

/** A row's story as its owner knows it. */
export interface Row {
  readonly id: number;
  /** Written, and acknowledged. */
  acked: number;
  /** Ever sent to be committed: nothing above it may be seen. */
  tried: number;
  /** How it was written last, for the message. */
  how: string;
}

/** Shared by all clients of a run. */
export interface Run {
  readonly port: number;
  readonly rows: readonly Row[];
  /** From 0 up to 1. */
  readonly random: () => number;
  /** Units that were asked for. */
  operations: number;
  readonly wanted: number;
  /** A primary is lost, or has just been: errors that say so are nobody's fault. */
  failingOver: boolean;
  readonly counts: Map<string, number>;
  /** Port → reads answered there. */
  readonly readsAt: Map<string, number>;
  /** What must never happen, in words. */
  readonly wrong: string[];
}

/** What a client may be told while its primary is lost. Never 25006. */
const LOST = new Set(['57P01', '57P02', '57P03', '08006', '08003', '08000', '08P01', '58000', '25P02']);
const DIRTY = 1_000_000_000;
/** Writers and readers by turns: who has not written for a while may be served by replicas that are behind. */
const MOODS = [0.6, 0.2, 0.03, 0];
const MOOD_OPERATIONS = 40;
/** With read_consistency = database one writer is enough to keep all from replicas: they rest together. */
const SHARED_MOOD_OPERATIONS = 600;
const TIMEOUT_MS = 60_000;

const WRITES = [
  'simple',
  'extended',
  'prepared',
  'block',
  'pipelined block',
  'function',
  'batch',
  'rollback',
  'chain',
  'procedure',
  'packet',
] as const;
const READS = ['simple', 'extended', 'prepared', 'read only block', 'block', 'several', 'cte'] as const;

export interface ClientOptions {
  readonly database: string;
  readonly row: Row;
  /** Reads these rows too: read_consistency = database. */
  readonly others: readonly Row[];
  /** The control: read_consistency = eventual, whose stale reads show that there is something to be seen. */
  readonly mayBeStale: boolean;
}

export class ConsistencyClient {
  readonly #run: Run;
  readonly #options: ClientOptions;
  #client: RawClient | null = null;
  #prepared = new Set<string>();
  /** A new connection knows nothing of what the old one has written: it writes before it reads its own row. */
  #mustWrite = true;
  #mood = MOODS[0] ?? 0;
  #moodLeft = MOOD_OPERATIONS;

  constructor(run: Run, options: ClientOptions) {
    this.#run = run;
    this.#options = options;
  }

  /** Works until enough has been done by all. */
  async work(): Promise<void> {
    const run = this.#run;
    while (run.operations < run.wanted && run.wrong.length < 20) {
      run.operations += 1;
      try {
        const client = await this.#connected();
        if (this.#mustWrite || run.random() < this.#shareOfWrites()) await this.#write(client);
        else await this.#read(client);
      } catch (error) {
        await this.#failed(error);
      }
    }
    this.#client?.destroy();
  }

  #shareOfWrites(): number {
    const { operations } = this.#run;
    if (this.#options.others.length > 0)
      return Math.floor(operations / SHARED_MOOD_OPERATIONS) % 2 === 0 ? 0.3 : 0;
    this.#moodLeft -= 1;
    if (this.#moodLeft <= 0) {
      this.#moodLeft = MOOD_OPERATIONS;
      this.#mood = this.#one(MOODS);
    }
    return this.#mood;
  }

  async #connected(): Promise<RawClient> {
    const { database } = this.#options;
    this.#client ??= await RawClient.login({ port: this.#run.port }, { user: 'postgres', database });
    return this.#client;
  }

  async #failed(error: unknown): Promise<void> {
    const run = this.#run;
    const client = this.#client;
    const lost = error instanceof RawError ? LOST.has(error.code) : client === null || client.ended;
    if (!run.failingOver || !lost) run.wrong.push(`${this.#name}: ${String(error)}`);
    this.#count(`error ${error instanceof RawError ? error.code : 'connection'}`);
    if (client === null) return;
    if (!client.ended && error instanceof RawError && error.severity !== 'FATAL') {
      // the client stays; a block that failed ends as the client says
      if (client.transactionStatus !== 'I') await client.query('ROLLBACK', TIMEOUT_MS).catch(() => {});
      if (!client.ended && client.transactionStatus === 'I') return;
    }
    client.destroy();
    this.#client = null;
    this.#prepared = new Set();
    this.#mustWrite = true;
  }

  get #name(): string {
    return `${this.#options.database}/${this.#options.row.id}`;
  }

  #count(what: string): void {
    const { counts } = this.#run;
    counts.set(what, (counts.get(what) ?? 0) + 1);
  }

  #one<T>(list: readonly T[]): T {
    return list[Math.floor(this.#run.random() * list.length)] as T;
  }

  // --- writes

  async #write(client: RawClient): Promise<void> {
    const { row } = this.#options;
    const how = this.#one(WRITES);
    if (how === 'rollback') {
      await client.rows('BEGIN', TIMEOUT_MS);
      await client.rows(`UPDATE rw SET v = ${DIRTY} WHERE id = ${row.id}`, TIMEOUT_MS);
      await client.rows('ROLLBACK', TIMEOUT_MS);
      this.#count('write rollback');
      return;
    }
    row.tried += 1;
    const value = row.tried;
    const update = `UPDATE rw SET v = ${value} WHERE id = ${row.id}`;
    const bound = 'UPDATE rw SET v = $1 WHERE id = $2';
    const values = [String(value), String(row.id)];
    switch (how) {
      case 'simple':
        await client.rows(update, TIMEOUT_MS);
        break;
      case 'extended':
        await this.#ask(client, raw.parse('', bound), raw.bind('', '', values), raw.execute(''), raw.sync());
        break;
      case 'prepared':
        await this.#execute(client, 'w', bound, values);
        break;
      case 'block':
        for (const sql of ['BEGIN', update, 'COMMIT']) await client.rows(sql, TIMEOUT_MS);
        break;
      case 'pipelined block':
        await this.#ask(
          client,
          ...['BEGIN', update, 'COMMIT'].flatMap((sql) => [
            raw.parse('', sql),
            raw.bind('', ''),
            raw.execute(''),
          ]),
          raw.sync(),
        );
        break;
      case 'chain':
        for (const sql of ['BEGIN', update, 'COMMIT AND CHAIN', 'SELECT 1', 'ROLLBACK'])
          await client.rows(sql, TIMEOUT_MS);
        break;
      case 'procedure':
        // it commits by itself, and fails
        await client.rows(`CALL save(${row.id}, ${value})`, TIMEOUT_MS).catch((error: unknown) => {
          if (!(error instanceof RawError) || error.code !== 'P0001') throw error;
        });
        break;
      case 'packet':
        await this.#packet(client, update, value);
        break;
      case 'function':
        await client.rows(`SELECT bump(${row.id}, ${value})`, TIMEOUT_MS);
        break;
      case 'batch':
        await client.rows(`SELECT 1; ${update}; SELECT 2`, TIMEOUT_MS);
        break;
    }
    row.acked = value;
    row.how = how;
    this.#mustWrite = false;
    this.#count(`write ${how}`);
  }

  /** A read, a write and a read in one packet: the second read is sent before the write is acknowledged. */
  async #packet(client: RawClient, update: string, value: number): Promise<void> {
    const select = `SELECT v, inet_server_port() FROM rw WHERE id = ${this.#options.row.id}`;
    client.send(raw.query('SELECT 1'), raw.query(update), raw.query(select));
    let seen: (string | null)[] = [];
    let failure: RawError | null = null;
    for (let i = 0; i < 3; i++) {
      const messages = await client.until('Z', TIMEOUT_MS);
      const error = messages.find(({ type }) => type === 'E');
      if (error !== undefined) failure ??= new RawError(error);
      [seen = []] = raw.rowsOf(messages);
    }
    if (failure !== null) throw failure;
    if (Number(seen[0]) === value) return;
    if (this.#options.mayBeStale) this.#count('stale');
    else
      this.#run.wrong.push(`${this.#name}: read in a packet at ${seen[1]}: ${seen[0]}, ${value} was written`);
  }

  // --- reads

  async #read(client: RawClient): Promise<void> {
    const run = this.#run;
    const { row: own, others } = this.#options;
    const row = others.length > 0 && run.random() < 0.5 ? this.#one(others) : own;
    const how = this.#one(READS);
    // what was acknowledged before the read is sent must be seen by it
    const least = row.acked;
    const [found] = await this.#readRow(client, row.id, how);
    const value = Number(found?.[0]);
    const port = found?.[1] ?? '';
    run.readsAt.set(port, (run.readsAt.get(port) ?? 0) + 1);
    this.#count(`read ${how}`);
    if (value < least && this.#options.mayBeStale) this.#count('stale');
    else if (value < least) {
      run.wrong.push(
        `${this.#name}: stale ${how} read of ${row.id} at ${port}: ${value}, ${least} was written by ${row.how}`,
      );
    } else if (!(value <= row.tried)) {
      run.wrong.push(`${this.#name}: ${how} read of ${row.id} at ${port}: ${value}, only ${row.tried} was`);
    }
  }

  async #readRow(client: RawClient, id: number, how: (typeof READS)[number]): Promise<(string | null)[][]> {
    const select = `SELECT v, inet_server_port() FROM rw WHERE id = ${id}`;
    const bound = 'SELECT v, inet_server_port() FROM rw WHERE id = $1';
    switch (how) {
      case 'simple':
        return client.rows(select, TIMEOUT_MS);
      case 'extended':
        return this.#ask(
          client,
          raw.parse('', bound),
          raw.bind('', '', [`${id}`]),
          raw.execute(''),
          raw.sync(),
        );
      case 'prepared':
        return this.#execute(client, 'r', bound, [`${id}`]);
      case 'read only block':
      case 'block': {
        await client.rows(how === 'block' ? 'BEGIN' : 'BEGIN READ ONLY', TIMEOUT_MS);
        const found = await client.rows(select, TIMEOUT_MS);
        await client.rows('COMMIT', TIMEOUT_MS);
        return found;
      }
      case 'several':
        return client.rows(`${select}; SELECT 1 WHERE false`, TIMEOUT_MS);
      case 'cte':
        return client.rows(`WITH x AS (${select}) SELECT * FROM x`, TIMEOUT_MS);
    }
  }

  /** With the statement prepared before, or now. */
  async #execute(
    client: RawClient,
    name: string,
    sql: string,
    values: readonly string[],
  ): Promise<(string | null)[][]> {
    const parse = this.#prepared.has(name) ? [] : [raw.parse(name, sql)];
    const found = await this.#ask(client, ...parse, raw.bind('', name, values), raw.execute(''), raw.sync());
    this.#prepared.add(name);
    return found;
  }

  async #ask(client: RawClient, ...bytes: readonly Buffer[]): Promise<(string | null)[][]> {
    client.send(...bytes);
    const messages = await client.until('Z', TIMEOUT_MS);
    const error = messages.find(({ type }) => type === 'E');
    if (error !== undefined) throw new RawError(error);
    return raw.rowsOf(messages);
  }
}

/** mulberry32: the same numbers for the same seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
