/**
 * What the driver and psql suites share: a PostgreSQL with a role and a database `app`, and the daemon before it with
 * that database as `tx` (transaction mode), as `one` (the same with a single server) and as `sess` (session mode). Few
 * servers on purpose, so that clients share them. The end of a test is checked on the console and in pg_stat_activity: nothing stays behind.
 */
import assert from 'node:assert/strict';
import { type Daemon, type DaemonConfig, withDaemon } from './daemon.ts';
import { type TestPostgres, type TestPostgresOptions, withPostgres } from './postgres.ts';
import { RawClient } from './raw-client.ts';
import { columnNames, errorFields, rowsOf } from './raw-messages.ts';
import { until } from './until.ts';

export type ProxiedDatabase = 'tx' | 'one' | 'sess';

/** For `for (const [database, mode] of POOL_MODES)`. */
export const POOL_MODES: readonly (readonly ['tx' | 'sess', string])[] = [
  ['tx', 'transaction'],
  ['sess', 'session'],
];

export interface ProxiedOptions {
  /** Of `tx` and `sess`, default 2. */
  readonly poolSize?: number;
  /** [pgbouncer], on top of ours. */
  readonly settings?: DaemonConfig['settings'];
  readonly userlist?: DaemonConfig['userlist'];
  readonly postgres?: Pick<TestPostgresOptions, 'settings'>;
}

export interface ProxiedAddress {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

export type ConsoleRow = Readonly<Record<string, string | null>>;

export class Proxied {
  readonly postgres: TestPostgres;
  readonly daemon: Daemon;
  readonly poolSize: number;

  constructor(postgres: TestPostgres, daemon: Daemon, poolSize: number) {
    this.postgres = postgres;
    this.daemon = daemon;
    this.poolSize = poolSize;
  }

  /** For clients that take their address in pieces. The console is entered as its administrator. */
  address(database: ProxiedDatabase | 'pgbouncer'): ProxiedAddress {
    const { host, port } = this.daemon;
    const user = database === 'pgbouncer' ? 'postgres' : 'app';
    return { host, port, user, password: user, database };
  }

  /** Rows of a console command, by column. Throws when it is refused. */
  async console(command: string): Promise<ConsoleRow[]> {
    const { user, password, database } = this.address('pgbouncer');
    const client = await RawClient.login(this.daemon, { user, password, database });
    try {
      const messages = await client.query(command);
      const error = messages.find(({ type }) => type === 'E');
      if (error !== undefined) throw new Error(`${command}: ${errorFields(error).message}`);
      const head = messages.find(({ type }) => type === 'T');
      const names = head === undefined ? [] : columnNames(head);
      return rowsOf(messages).map((row) =>
        Object.fromEntries(names.map((name, i): [string, string | null] => [name, row[i] ?? null])),
      );
    } finally {
      client.destroy();
    }
  }

  /** Rows as the superuser, past the proxy. */
  async rows(sql: string, database = 'app'): Promise<(string | null)[][]> {
    return (await this.postgres.sql(sql, database)).rows.map((row) => [...row]);
  }

  /**
   * Waits until no client holds or awaits a server of this database, and proves that none is stuck in a transaction,
   * that the pool never grew past its size, and that no client is left behind when `clients` is 0.
   */
  async assertQuiet(database: ProxiedDatabase, clients = 0): Promise<void> {
    await until(
      async () => {
        const pools = (await this.console('SHOW POOLS')).filter((row) => row['database'] === database);
        const busy = pools.flatMap((row) =>
          [
            'cl_waiting',
            'sv_active',
            'sv_tested',
            'sv_login',
            'cl_active_cancel_req',
            'sv_being_canceled',
          ].filter((column) => row[column] !== '0'),
        );
        if (busy.length > 0) throw new Error(`not quiet: ${JSON.stringify(pools)}`);
        const left = (await this.console('SHOW CLIENTS')).filter((row) => row['database'] === database);
        if (left.length !== clients) throw new Error(`${left.length} clients left: ${JSON.stringify(left)}`);
        return true;
      },
      { what: `database ${database} is quiet`, timeoutMs: 10_000, everyMs: 50 },
    );
    const servers = (await this.console('SHOW SERVERS')).filter((row) => row['database'] === database);
    const most = database === 'one' ? 1 : this.poolSize;
    assert.ok(servers.length <= most, `${servers.length} servers: ${JSON.stringify(servers)}`);
    const stuck = await this.rows(
      "SELECT pid, state, query FROM pg_stat_activity WHERE datname = 'app' AND usename = 'app' AND state <> 'idle'",
    );
    assert.deepEqual(stuck, [], 'a server is not idle');
  }
}

/** Started once for a test file (call it in a `before`), ended after its last test. */
export async function withProxied(options: ProxiedOptions = {}): Promise<Proxied> {
  const { poolSize = 2, userlist } = options;
  const postgres = await withPostgres({
    ...options.postgres,
    setup: ["CREATE ROLE app LOGIN PASSWORD 'app'", 'CREATE DATABASE app OWNER app'],
  });
  const target = `host=127.0.0.1 port=${postgres.port} dbname=app`;
  const daemon = await withDaemon({
    databases: {
      tx: `${target} pool_mode=transaction`,
      one: `${target} pool_mode=transaction pool_size=1`,
      sess: `${target} pool_mode=session`,
    },
    settings: {
      default_pool_size: poolSize,
      max_client_conn: 500,
      server_login_retry: 0.2,
      log_connections: 0,
      log_disconnections: 0,
      ...options.settings,
    },
    ...(userlist === undefined ? {} : { userlist }),
  });
  return new Proxied(postgres, daemon, poolSize);
}
