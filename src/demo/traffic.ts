/**
 * A small, bounded load through the proxy: a few clients that think between their transactions, half of them
 * transferring money on the primary, half of them reading. One line a second says how it goes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { SampleClient, type SampleClientOptions } from './sample-client.ts';
import { ACCOUNTS, TELLERS } from './sample-data.ts';

const CLIENTS_PER_DATABASE = 2;
const THINK_MS = 20;
const RECONNECT_MS = 500;
/** An answer that takes longer counts as an error. */
const ANSWER_MS = 5_000;
/** What has not ended so long after the stop is given up. */
const STOP_MS = 1_000;

interface Counters {
  reads: number;
  writes: number;
  errors: number;
  lastError: string;
  /** Milliseconds of each transaction of this second. */
  times: number[];
}

export interface TrafficOptions {
  /** Through the proxy, as the application. */
  readonly login: Omit<SampleClientOptions, 'database'>;
  /** Databases that take writes. */
  readonly writeTo: readonly string[];
  /** Databases that are only read. */
  readonly readFrom: readonly string[];
  readonly print: (line: string) => void;
  readonly signal: AbortSignal;
}

function pick(count: number): number {
  return 1 + Math.floor(Math.random() * count);
}

function transferSql(): string {
  const delta = pick(200) - 100;
  const aid = pick(ACCOUNTS);
  const tid = pick(TELLERS);
  return (
    `UPDATE accounts SET balance = balance + ${delta}, changed_at = now() WHERE aid = ${aid};` +
    `UPDATE tellers SET balance = balance + ${delta} WHERE tid = ${tid};` +
    `INSERT INTO history (tid, aid, delta) VALUES (${tid}, ${aid}, ${delta});`
  );
}

/** One transfer: a transaction of three messages, so that the proxy must keep the server for its length. */
async function transfer(client: SampleClient): Promise<void> {
  await client.query('BEGIN');
  try {
    await client.query(transferSql());
    await client.query('COMMIT');
  } catch (error) {
    if (!client.closed) await client.query('ROLLBACK');
    throw error;
  }
}

/** Clients that are connected, for those that must be given up at the end. */
type Clients = Set<SampleClient>;

async function oneClient(
  database: string,
  writes: boolean,
  options: TrafficOptions,
  seen: Counters,
  clients: Clients,
): Promise<void> {
  const { signal } = options;
  let client: SampleClient | null = null;
  while (!signal.aborted) {
    const startedAt = performance.now();
    try {
      if (client === null) {
        client = await SampleClient.connect({ ...options.login, database, queryTimeoutMs: ANSWER_MS });
        clients.add(client);
      }
      if (writes) await transfer(client);
      else await client.query(`SELECT owner, balance FROM accounts WHERE aid = ${pick(ACCOUNTS)}`);
      if (writes) seen.writes++;
      else seen.reads++;
      seen.times.push(performance.now() - startedAt);
      await sleep(THINK_MS);
    } catch (error) {
      if (signal.aborted) break;
      seen.errors++;
      seen.lastError = error instanceof Error ? error.message : String(error);
      if (client?.closed === true) {
        clients.delete(client);
        client = null;
      }
      await sleep(RECONNECT_MS);
    }
  }
  await client?.close();
}

function report(seen: Counters): string {
  const sorted = seen.times.sort((a, b) => a - b);
  const p99 = sorted[Math.floor(sorted.length * 0.99)] ?? 0;
  const clock = new Date().toTimeString().slice(0, 8);
  const counts = `tps ${seen.reads + seen.writes}  reads ${seen.reads}  writes ${seen.writes}  errors ${seen.errors}`;
  const why = seen.errors > 0 ? `  (${seen.lastError})` : '';
  return `${clock}  ${counts}  p99 ${p99.toFixed(1)} ms${why}`;
}

/** Runs until `signal` is aborted; resolves when every client has said goodbye. */
export async function runTraffic(options: TrafficOptions): Promise<void> {
  const seen: Counters = { reads: 0, writes: 0, errors: 0, lastError: '', times: [] };
  const timer = setInterval(() => {
    options.print(report(seen));
    Object.assign(seen, { reads: 0, writes: 0, errors: 0, lastError: '', times: [] });
  }, 1_000);
  const clients: Clients = new Set();
  const start = (database: string, writes: boolean) =>
    Array.from({ length: CLIENTS_PER_DATABASE }, () => oneClient(database, writes, options, seen, clients));
  let giveUp: NodeJS.Timeout | undefined;
  const onStop = () => {
    giveUp = setTimeout(() => {
      for (const client of clients) client.destroy();
    }, STOP_MS);
  };
  options.signal.addEventListener('abort', onStop, { once: true });
  try {
    await Promise.all([
      ...options.writeTo.flatMap((database) => start(database, true)),
      ...options.readFrom.flatMap((database) => start(database, false)),
    ]);
  } finally {
    clearInterval(timer);
    clearTimeout(giveUp);
    options.signal.removeEventListener('abort', onStop);
  }
}
