/**
 * A small, bounded load through the proxy, as an application makes it that knows one database only: reads, READ ONLY
 * blocks, transfers in blocks, and writes that are read again at once. It counts; traffic-report.ts prints.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { SampleClient, type SampleClientOptions } from './sample-client.ts';
import { ACCOUNTS, COUNTERS, TELLERS } from './sample-data.ts';

const THINK_MS = 20;
const RECONNECT_MS = 500;
const READS_AGAIN = 15;
/** An answer that takes longer counts as an error. Whoever tries PAUSE by hand needs a while. */
const ANSWER_MS = 60_000;
/** What has not ended so long after the stop is given up. */
const STOP_MS = 1_000;

/** What the clients have seen since somebody put it back to zero. */
export interface TrafficSeen {
  /** Reads that did not show what the same client had written before. */
  stale: number;
  errors: number;
  lastError: string;
}

/** Nothing seen yet. */
export function newTraffic(): TrafficSeen {
  return { stale: 0, errors: 0, lastError: '' };
}

export interface TrafficOptions {
  /** Through the proxy, as the application. */
  readonly login: SampleClientOptions;
  readonly seen: TrafficSeen;
  readonly signal: AbortSignal;
}

type Work = (client: SampleClient, seen: TrafficSeen, id: number) => Promise<void>;

function pick(count: number): number {
  return 1 + Math.floor(Math.random() * count);
}

const readAccount = (): string => `SELECT owner, balance FROM accounts WHERE aid = ${pick(ACCOUNTS)}`;

const read: Work = async (client) => {
  await client.query(readAccount());
};

/** All of `statements` in one transaction, each a message of its own. */
async function block(client: SampleClient, begin: string, statements: readonly string[]): Promise<void> {
  await client.query(begin);
  try {
    for (const statement of statements) await client.query(statement);
    await client.query('COMMIT');
  } catch (error) {
    if (!client.closed) await client.query('ROLLBACK');
    throw error;
  }
}

/** A report: several reads that must see the same state. */
const report: Work = (client) =>
  block(client, 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY', [
    'SELECT sum(balance) FROM accounts',
    'SELECT count(*) FROM history',
  ]);

/** A transfer: looks first, then writes. */
const transfer: Work = (client) => {
  const delta = pick(200) - 100;
  const aid = pick(ACCOUNTS);
  const tid = pick(TELLERS);
  return block(client, 'BEGIN', [
    `SELECT balance FROM accounts WHERE aid = ${aid}`,
    `UPDATE accounts SET balance = balance + ${delta}, changed_at = now() WHERE aid = ${aid};
     UPDATE tellers SET balance = balance + ${delta} WHERE tid = ${tid};
     INSERT INTO history (tid, aid, delta) VALUES (${tid}, ${aid}, ${delta})`,
  ]);
};

/**
 * Writes, and reads what it has written: at once, when no replica has it yet, and a few more times while they get it.
 * None may answer with the old row.
 */
const readYourWrites: Work = async (client, seen, id) => {
  const row = `counters SET n = n + 1 WHERE cid = ${id}`;
  const written = (await client.query(`UPDATE ${row} RETURNING n`)).rows[0]?.[0] ?? '0';
  for (let i = 0; i < READS_AGAIN; i++) {
    const found = (await client.query(`SELECT n FROM counters WHERE cid = ${id}`)).rows[0]?.[0] ?? '0';
    if (Number(found) < Number(written)) seen.stale++;
    await sleep(THINK_MS);
  }
};

/** One client each. Counters belong to one client: nobody else writes what it reads again. */
const CLIENTS: readonly Work[] = [read, read, read, read, read, report, transfer, readYourWrites];

async function oneClient(
  work: Work,
  id: number,
  options: TrafficOptions,
  clients: Set<SampleClient>,
): Promise<void> {
  const { signal, seen } = options;
  let client: SampleClient | null = null;
  while (!signal.aborted) {
    try {
      if (client === null) {
        client = await SampleClient.connect({ ...options.login, queryTimeoutMs: ANSWER_MS });
        clients.add(client);
      }
      await work(client, seen, id);
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

/** Runs until `signal` is aborted; resolves when every client has said goodbye. */
export async function runTraffic(options: TrafficOptions): Promise<void> {
  // those that must be given up at the end
  const clients = new Set<SampleClient>();
  let giveUp: NodeJS.Timeout | undefined;
  const onStop = () => {
    giveUp = setTimeout(() => {
      for (const client of clients) client.destroy();
    }, STOP_MS);
  };
  options.signal.addEventListener('abort', onStop, { once: true });
  try {
    await Promise.all(CLIENTS.map((work, i) => oneClient(work, 1 + (i % COUNTERS), options, clients)));
  } finally {
    clearTimeout(giveUp);
    options.signal.removeEventListener('abort', onStop);
  }
}
