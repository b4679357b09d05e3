/**
 * auth_query: the secret of a user who is not in auth_file is asked from PostgreSQL, over a pooled server that is
 * logged in as auth_user (pgbouncer.md §7). Asked again at every login, as in PgBouncer. The query runs with the
 * server's own parameters, never with what a client has set (CVE-2025-12819).
 */
import { effectiveAuthLookup } from '../config/effective.ts';
import type { Config } from '../config/load.ts';
import type { Transport } from '../net/transport.ts';
import type { Database } from '../pool/database.ts';
import type { Pool } from '../pool/pool.ts';
import type { PoolRegistry } from '../pool/registry.ts';
import type { Waiter } from '../pool/waiter.ts';
import { OWED_BIND, OWED_EXECUTE, OWED_PARSE, OWED_SYNC, SWALLOW } from '../server/owed-replies.ts';
import type { ServerConnection } from '../server/server-connection.ts';
import { PoolerError } from '../util/errors.ts';
import type { Log } from '../util/log.ts';
import type { ErrorFields } from '../wire/backend.ts';
import { decodeRow } from '../wire/fields.ts';
import { bind, execute, parse, sync } from '../wire/frontend.ts';
import { welcomeDifference } from './welcome.ts';

/** Where and as whom the secrets of a database's users are asked; null = only auth_file counts. */
interface Desk {
  /** The pool asked; for a cluster the one of the node that is right at the moment. */
  pool: Pool;
  readonly query: string;
}

/** The secret of `user` for `database`: null = there is no such user, '' = one that never matches. */
export function askSecret(
  pools: PoolRegistry,
  config: Config,
  database: Database,
  user: string,
  log: Log,
): Promise<string | null> | null {
  const desk = findDesk(pools, config, database);
  if (desk === null) return null;
  return new Promise((resolve, reject) => {
    const asker = new AuthQuery(pools, desk, user, log, resolve, reject);
    asker.start();
  });
}

function findDesk(pools: PoolRegistry, config: Config, database: Database): Desk | null {
  const lookup = effectiveAuthLookup(config, database.entry);
  if (lookup.user === null || lookup.user === '') return null;
  const where = lookup.dbname === null || lookup.dbname === '' ? database : pools.database(lookup.dbname);
  if (where === null) {
    pools.log.error(`authentication database "${lookup.dbname}" is not configured`);
    throw new PoolerError('bouncerConfigError');
  }
  if (where.disabled) throw new PoolerError('authDatabaseDisabled', where.name);
  return { pool: pools.poolAs(where, pools.userOrNew(lookup.user)), query: lookup.query };
}

/** One look-up: waits for a server like a client, and gives it back at once. */
class AuthQuery implements Waiter {
  readonly id = 0;
  /** Nothing is forwarded to anybody: every answer is the proxy's own. */
  readonly transport = null as unknown as Transport;
  readonly prepared = { lost: () => {}, restore: () => {}, clear: () => {} };
  readonly awaitsStatements = false;
  waitingSinceMs = 0;
  waitNotified = true;
  readonly #pools: PoolRegistry;
  readonly #desk: Desk;
  readonly #user: string;
  readonly #log: Log;
  readonly #resolve: (secret: string | null) => void;
  readonly #reject: (error: Error) => void;
  #startedMs = 0;
  #server: ServerConnection | null = null;

  constructor(
    pools: PoolRegistry,
    desk: Desk,
    user: string,
    log: Log,
    resolve: (secret: string | null) => void,
    reject: (error: Error) => void,
  ) {
    this.#pools = pools;
    this.#desk = desk;
    this.#user = user;
    this.#log = log;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  start(): void {
    this.#acquire(this.#pools.now());
  }

  #acquire(sinceMs: number): void {
    this.#desk.pool = this.#pools.placeInternal(this.#desk.pool);
    const server = this.#desk.pool.acquire(this, this.#pools.now(), sinceMs);
    if (server !== null) this.onServerAssigned(server);
  }

  onServerAssigned(server: ServerConnection): void {
    this.#server = server;
    this.#startedMs = this.#pools.now();
    // the server is ours alone and forwards nothing: as if no client were linked
    server.replies.peer = null;
    const sets = welcomeDifference(this.#pools.tracked, this.#desk.pool, server);
    if (sets === null) {
      this.#ask(server);
      return;
    }
    server.runInternal(sets.sql, (error) => {
      if (error !== null) this.#fail(`cannot restore the server's parameters: ${error}`);
      else this.#ask(server);
    });
  }

  #ask(server: ServerConnection): void {
    const rows: (string | null)[][] = [];
    const { owed } = server.replies;
    const answer = {
      internal: true as const,
      onRow: (body: Buffer) => rows.push(decodeRow(body)),
      onDone: (error: string | null) => this.#onAnswer(error, rows),
    };
    owed.push(OWED_PARSE | SWALLOW, null);
    owed.push(OWED_BIND | SWALLOW, null);
    owed.push(OWED_EXECUTE | SWALLOW, answer);
    owed.push(OWED_SYNC | SWALLOW, answer);
    server.transport.writeOwned(
      Buffer.concat([
        parse('', this.#desk.query),
        bind({ portal: '', statement: '', values: [this.#user] }),
        execute('', 0),
        sync(),
      ]),
    );
  }

  #onAnswer(error: string | null, rows: readonly (string | null)[][]): void {
    if (error !== null) {
      this.#fail(error);
      return;
    }
    this.#giveBack();
    const row = rows[0];
    if (row === undefined || row[0] === null) {
      this.#resolve(null);
    } else if (row.length !== 2) {
      this.#fail(`expected 2 columns from auth_query, not ${row.length}`);
    } else if (row[0] !== this.#user) {
      this.#fail('auth_query response contained null or another user name');
    } else {
      this.#resolve(row[1] ?? '');
    }
  }

  #giveBack(): void {
    const server = this.#server;
    this.#server = null;
    if (server === null || server.closed) return;
    if (server.ready) this.#desk.pool.release(server, false, this.#pools.now());
    else server.close('auth_query left the server in a transaction');
  }

  #fail(reason: string): void {
    this.#log.error(`error in auth_query: ${reason}`);
    this.#giveBack();
    this.#reject(new PoolerError('bouncerConfigError'));
  }

  onWaitFailed(_error: ErrorFields, reason: string): void {
    this.#log.error(`error in auth_query: ${reason}`);
    this.#reject(new PoolerError('bouncerConfigError'));
  }

  onServerGone(_server: ServerConnection, reason: string): void {
    if (this.#server === null) return;
    this.#server = null;
    this.#fail(reason);
  }

  /** query_timeout counts here too. */
  sweep(nowMs: number): void {
    const limit = this.#desk.pool.limits.queryTimeoutMs;
    if (limit > 0 && nowMs - this.#startedMs >= limit) this.#server?.close('query timeout');
  }

  /** The place to ask may have moved. */
  onReroute(): void {
    const sinceMs = this.waitingSinceMs;
    this.#desk.pool.forget(this);
    this.#acquire(sinceMs);
  }

  onServerReady(): void {}
  onServerDrain(): void {}
  onServerParameter(): boolean {
    return false;
  }
  onStatementsCertain(): void {}
  onWaitNotice(): void {}
  onWelcome(): void {}
  onPause(): void {}
}
