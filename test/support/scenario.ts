/**
 * What the scenario tests share: daemons and clients that end with their test, and an administrator who reads the
 * console's tables by column name.
 */
import type { TestContext } from 'node:test';
import { Daemon, type DaemonConfig, type DaemonOptions } from './daemon.ts';
import { RawClient, RawError, type RawLogin } from './raw-client.ts';
import { columnNames, query, type RawMessage, rowsOf, tagsOf } from './raw-messages.ts';
import { until } from './until.ts';

/** So many logins at a time: below the backlog of the listener. */
const LOGINS_AT_ONCE = 50;

/** `host=… port=… dbname=postgres` of a server on loopback, with more keys behind. */
export function target(server: { readonly port: number }, more = 'dbname=postgres'): string {
  return `host=127.0.0.1 port=${server.port} ${more}`;
}

/** A daemon of one test: auth_type trust, transaction mode, unless its settings say otherwise. */
export async function scenarioDaemon(
  t: TestContext,
  config: DaemonConfig,
  options: DaemonOptions = {},
): Promise<Daemon> {
  const settings = {
    auth_type: 'trust',
    pool_mode: 'transaction',
    server_login_retry: 0.2,
    ...config.settings,
  };
  const daemon = await Daemon.start({ ...config, settings }, options);
  t.after(() => daemon.destroy());
  return daemon;
}

/** A client of one test, logged in. */
export async function login(
  t: TestContext,
  daemon: { readonly port: number },
  database: string,
  more: Partial<RawLogin> = {},
): Promise<RawClient> {
  const client = await RawClient.login(daemon, { user: 'app', database, ...more });
  t.after(() => client.destroy());
  return client;
}

/** `count` of them. */
export async function logins(
  t: TestContext,
  daemon: { readonly port: number },
  count: number,
  database: string,
  more: Partial<RawLogin> = {},
): Promise<RawClient[]> {
  const clients: RawClient[] = [];
  while (clients.length < count) {
    const some = Math.min(LOGINS_AT_ONCE, count - clients.length);
    clients.push(
      ...(await Promise.all(Array.from({ length: some }, () => login(t, daemon, database, more)))),
    );
  }
  return clients;
}

/** Sends a simple query now; what comes back is for a later `answer`. */
export function ask(client: RawClient, sql: string): void {
  client.send(query(sql));
}

/** The rows of the query that `ask` sent; throws a RawError when it failed or the client was ended. */
export async function answer(client: RawClient, timeoutMs = 15_000): Promise<(string | null)[][]> {
  const messages = await client.until('ZE', timeoutMs);
  const error = messages.find(({ type }) => type === 'E');
  if (error !== undefined) throw new RawError(error);
  return rowsOf(messages);
}

/** The error that the client is told next; throws when a query ends without one. */
export async function refusal(client: RawClient, timeoutMs = 15_000): Promise<RawError> {
  const error = (await client.until('ZE', timeoutMs)).find(({ type }) => type === 'E');
  if (error === undefined) throw new Error('the query was answered, no error came');
  return new RawError(error);
}

/** The RawError that `work` ends with; throws when it ends well. */
export async function refused(work: Promise<unknown>): Promise<RawError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof RawError) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

/** A row of a console view. */
export class ViewRow {
  readonly values: ReadonlyMap<string, string | null>;

  constructor(names: readonly string[], values: readonly (string | null)[]) {
    this.values = new Map(names.map((name, i) => [name, values[i] ?? null]));
  }

  /** A column as text, NULL as null. Throws when there is no such column. */
  text(column: string): string | null {
    const value = this.values.get(column);
    if (value === undefined) throw new Error(`no column ${column} in ${[...this.values.keys()].join(', ')}`);
    return value;
  }

  int(column: string): number {
    return Number(this.text(column));
  }

  ints(...columns: readonly string[]): number[] {
    return columns.map((column) => this.int(column));
  }

  toString(): string {
    return JSON.stringify(Object.fromEntries(this.values));
  }
}

/** Somebody on the console. */
export class Admin {
  readonly client: RawClient;

  private constructor(client: RawClient) {
    this.client = client;
  }

  static async login(t: TestContext, daemon: { readonly port: number }, user = 'postgres'): Promise<Admin> {
    return new Admin(await login(t, daemon, 'pgbouncer', { user, password: user }));
  }

  /** Everything that a command is answered with; throws a RawError when it is refused. */
  async messages(command: string, timeoutMs = 15_000): Promise<RawMessage[]> {
    const messages = await this.client.query(command, timeoutMs);
    const error = messages.find(({ type }) => type === 'E');
    if (error !== undefined) throw new RawError(error);
    return messages;
  }

  /** Runs a command; its tag. */
  async run(command: string, timeoutMs = 15_000): Promise<string> {
    return tagsOf(await this.messages(command, timeoutMs)).join(',');
  }

  /** `SHOW view`. */
  async show(view: string): Promise<ViewRow[]> {
    const messages = await this.messages(`SHOW ${view}`);
    const head = messages.find(({ type }) => type === 'T');
    const names = head === undefined ? [] : columnNames(head);
    return rowsOf(messages).map((row) => new ViewRow(names, row));
  }

  /** The row of SHOW POOLS; throws when there is none. */
  async pool(database: string, user = 'app'): Promise<ViewRow> {
    const rows = await this.show('POOLS');
    const row = rows.find((one) => one.text('database') === database && one.text('user') === user);
    if (row === undefined) throw new Error(`no pool ${database}/${user} in ${rows.join(' ')}`);
    return row;
  }

  /** The rows of a view that belong to one database. */
  async of(view: 'CLIENTS' | 'SERVERS', database: string): Promise<ViewRow[]> {
    return (await this.show(view)).filter((row) => row.text('database') === database);
  }

  /** Waits until these columns of the pool have these values. */
  async untilPool(
    database: string,
    wanted: Readonly<Record<string, number>>,
    user = 'app',
    timeoutMs = 15_000,
  ): Promise<ViewRow> {
    let seen = '';
    const what = `pool ${database}/${user} with ${JSON.stringify(wanted)}`;
    try {
      return await until(
        async () => {
          const row = await this.pool(database, user);
          seen = row.toString();
          return Object.entries(wanted).every(([column, value]) => row.int(column) === value) ? row : null;
        },
        { timeoutMs, everyMs: 20, what },
      );
    } catch (error) {
      throw new Error(`${what} was not seen; last: ${seen}`, { cause: error });
    }
  }
}
