/**
 * A load that runs while a cluster changes: clients that write and read in a loop through the proxy, and remember what
 * was acknowledged, what went wrong and where it ran.
 */
import assert from 'node:assert/strict';
import pg from 'pg';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { PostgresInstance } from '../../src/demo/postgres-instance.ts';
import type { Daemon } from './daemon.ts';
import { withCluster } from './postgres.ts';
import { until } from './until.ts';

/** What one turn of a client does. */
export type LoadKind = 'insert' | 'block' | 'prepared' | 'read';

/** The role `app` and a table `w` that it writes to. Run once on the primary. */
export async function prepareLoad(cluster: PostgresCluster): Promise<void> {
  const { primary } = cluster;
  await cluster.sql(primary, 'CREATE ROLE app LOGIN');
  await cluster.sql(primary, 'CREATE TABLE w (id bigserial PRIMARY KEY, client int, n int)');
  await cluster.sql(primary, 'GRANT ALL ON w, w_id_seq TO app');
  await cluster.waitCaughtUp();
}

/** A new cluster with the table `w`, and its nodes. */
export async function loadedCluster(replicas: number): Promise<[PostgresCluster, ...PostgresInstance[]]> {
  const cluster = await withCluster(replicas);
  await prepareLoad(cluster);
  return [cluster, ...cluster.nodes];
}

export class LoadClient {
  readonly kind: LoadKind;
  readonly number: number;
  /** Turns that were answered. */
  turns = 0;
  /** Numbers of rows whose commit was acknowledged. */
  readonly acknowledged: number[] = [];
  readonly errors: string[] = [];
  /** Port of the server that the last turn ran on. */
  lastPort = '';
  /** Ports in the order in which they were met, without repetitions. */
  readonly ports: string[] = [];
  /** Its connection was ended, and not by us. */
  lost = false;
  readonly #client: pg.Client;
  #stop = false;
  #running: Promise<void> | null = null;
  #n = 0;

  constructor(daemon: Daemon, database: string, kind: LoadKind, number: number) {
    this.kind = kind;
    this.number = number;
    this.#client = new pg.Client({ connectionString: daemon.url(database) });
    this.#client.on('error', (error) => this.errors.push(`connection: ${error.message}`));
    this.#client.on('end', () => {
      this.lost ||= !this.#stop;
    });
  }

  async start(): Promise<void> {
    await this.#client.connect();
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop = true;
    await this.#running;
    if (!this.lost) await this.#client.end();
  }

  async #run(): Promise<void> {
    while (!this.#stop && !this.lost) {
      try {
        await this.#turn();
        this.turns += 1;
      } catch (error) {
        const code = error instanceof pg.DatabaseError ? `${error.code} ` : '';
        this.errors.push(`${this.kind}: ${code}${error instanceof Error ? error.message : String(error)}`);
        if (this.errors.length > 20) return;
        // a block that was lost is over only when its client says so
        if (this.kind === 'block') await this.#client.query('ROLLBACK').catch(() => {});
      }
    }
  }

  async #turn(): Promise<void> {
    const client = this.#client;
    if (this.kind === 'read') {
      const { rows } = await client.query<{ port: number }>(
        'SELECT inet_server_port() AS port FROM w LIMIT 1',
      );
      if (rows[0] !== undefined) this.#at(rows[0].port);
      return;
    }
    const n = ++this.#n;
    let rows: { port: number }[];
    if (this.kind === 'prepared') {
      const text = 'INSERT INTO w (client, n) VALUES ($1, $2) RETURNING inet_server_port() AS port';
      ({ rows } = await client.query<{ port: number }>({ name: 'ins', text, values: [this.number, n] }));
    } else {
      const text = `INSERT INTO w (client, n) VALUES (${this.number}, ${n}) RETURNING inet_server_port() AS port`;
      if (this.kind === 'block') await client.query('BEGIN');
      ({ rows } = await client.query<{ port: number }>(text));
      if (this.kind === 'block') await client.query('COMMIT');
    }
    assert.ok(rows[0]);
    this.#at(rows[0].port);
    this.acknowledged.push(n);
    // its own write is there, wherever this runs
    const seen = await client.query<{ n: number }>(`SELECT max(n) AS n FROM w WHERE client = ${this.number}`);
    if ((seen.rows[0]?.n ?? 0) < n) this.errors.push(`stale: ${seen.rows[0]?.n} after ${n}`);
  }

  #at(port: number): void {
    this.lastPort = String(port);
    if (this.ports.at(-1) !== this.lastPort) this.ports.push(this.lastPort);
  }
}

export class Load {
  readonly clients: readonly LoadClient[];

  private constructor(clients: readonly LoadClient[]) {
    this.clients = clients;
  }

  /** One client for each of `kinds`, all running when this returns. */
  static async start(
    t: { after(fn: () => void | Promise<void>): void },
    daemon: Daemon,
    kinds: readonly LoadKind[],
    database = 'app',
  ): Promise<Load> {
    const load = new Load(kinds.map((kind, i) => new LoadClient(daemon, database, kind, i + 1)));
    t.after(() => load.stop());
    await Promise.all(load.clients.map((client) => client.start()));
    return load;
  }

  /** Every client that has not lost its connection has been served `turns` times more. */
  async more(turns: number, timeoutMs = 30_000): Promise<void> {
    const from = this.clients.map((client) => client.turns);
    const lagging = (): LoadClient[] =>
      this.clients.filter((client, i) => !client.lost && client.turns < (from[i] ?? 0) + turns);
    await until(() => lagging().length === 0, { timeoutMs }).catch((error: unknown) => {
      const who = lagging().map((c) => `${c.kind} ${c.number}: ${c.turns} turns, ${c.errors.join('; ')}`);
      throw new Error(`these were not served ${turns} times more: ${who.join(' | ')}`, { cause: error });
    });
  }

  get errors(): string[] {
    return this.clients.flatMap((client) => client.errors);
  }

  /** Clients that lost their connection. */
  get lost(): readonly LoadClient[] {
    return this.clients.filter((client) => client.lost);
  }

  async stop(): Promise<void> {
    await Promise.all(this.clients.map((client) => client.stop()));
  }

  /** Every write that was acknowledged is on the primary, once. */
  async assertKept(cluster: PostgresCluster): Promise<void> {
    const { rows } = await cluster.sql(cluster.primary, 'SELECT client, n, count(*) FROM w GROUP BY 1, 2');
    const there = new Map(rows.map(([client, n, count]) => [`${client}/${n}`, count]));
    for (const { number, acknowledged } of this.clients)
      for (const n of acknowledged)
        assert.equal(there.get(`${number}/${n}`), '1', `row ${n} of client ${number}`);
  }
}
