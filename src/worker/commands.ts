/**
 * The console's commands on the data plane: PAUSE, RESUME, DISABLE, ENABLE, KILL, RECONNECT, WAIT_CLOSE. All refuse
 * with PgBouncer's texts. Commands that wait look again whenever a server of the database has closed.
 */
import type { Client } from '../client/client.ts';
import type { ClientRegistry } from '../client/client-registry.ts';
import { CommandError, type PendingCommand } from '../control/port.ts';
import type { Database } from '../pool/database.ts';
import type { PoolRegistry } from '../pool/registry.ts';
import type { Waiter } from '../pool/waiter.ts';

/** How many clients a failed PAUSE … TIMEOUT names. */
const NAMED_CLIENTS = 10;

export class Commands {
  readonly #pools: PoolRegistry;
  readonly #clients: ClientRegistry;

  constructor(pools: PoolRegistry, clients: ClientRegistry) {
    this.#pools = pools;
    this.#clients = clients;
  }

  /** `timeoutMs` > 0: un-pauses and fails after that time, naming the clients it waited for. */
  pause(name: string | null, timeoutMs: number): PendingCommand {
    if (this.#clients.shuttingDown) throw new CommandError('pooler is shutting down');
    if (name === null && this.#pools.pausedAll) throw new CommandError('already suspended/paused');
    const databases = name === null ? [...this.#pools.databases.values()] : [this.#find(name, 'pause')];
    this.beginPause(name, databases);
    return wait(
      databases,
      () => databases.every((database) => database.servers === 0),
      timeoutMs,
      () => {
        const names = this.#holders(databases);
        this.resume(name);
        return `PAUSE timed out after ${timeoutMs / 1000} s and was undone; still held by: ${names}`;
      },
    );
  }

  /** Pauses without waiting; also the first half of SHUTDOWN WAIT_FOR_SERVERS and of SIGUSR1. */
  beginPause(name: string | null, databases = [...this.#pools.databases.values()]): void {
    if (name === null) this.#pools.pausedAll = true;
    for (const database of databases) {
      if (name !== null) database.pausedByName = true;
      database.paused = true;
      for (const pool of database.pools.values()) {
        pool.closeFree('pause mode');
        for (const server of [...pool.servers]) (server.peer as Waiter | null)?.onPause();
      }
    }
  }

  resume(name: string | null): void {
    if (this.#clients.shuttingDown) throw new CommandError('pooler is shutting down');
    if (name === null) {
      if (!this.#pools.pausedAll) throw new CommandError('pooler is not paused/suspended');
      this.#pools.pausedAll = false;
      for (const database of this.#pools.databases.values()) if (!database.pausedByName) this.#open(database);
      return;
    }
    const database = this.#find(name, 'resume');
    if (!database.pausedByName) throw new CommandError(`database ${name} is not paused`);
    database.pausedByName = false;
    if (!this.#pools.pausedAll) this.#open(database);
  }

  #open(database: Database): void {
    database.paused = false;
    for (const pool of database.pools.values()) {
      pool.serveWaiters();
      pool.wantServers();
    }
    // of a cluster: who came during the pause waits without a node, behind those who had one
    for (const pool of [...database.pools.values()]) if (this.#pools.isHall(pool)) pool.rerouteWaiters();
  }

  disable(name: string): void {
    this.#find(name, 'disable').disabled = true;
  }

  enable(name: string): void {
    this.#find(name, 'enable').disabled = false;
  }

  /** Drops clients and servers; the database stays paused until RESUME. */
  kill(name: string | null): void {
    const databases = name === null ? [...this.#pools.databases.values()] : [this.#find(name, 'kill')];
    this.beginPause(name, databases);
    this.#clients.endAll(
      'databaseRemoved',
      (client) => client.database !== null && databases.includes(client.database),
    );
    for (const database of databases) {
      for (const pool of database.pools.values()) {
        for (const server of [...pool.servers]) server.close('database removed');
      }
    }
  }

  killClient(id: number): void {
    for (const client of this.#clients.clients) {
      if (client.id !== id) continue;
      client.fail('adminDisconnect');
      return;
    }
    throw new CommandError('client not found');
  }

  reconnect(name: string | null): void {
    const databases = name === null ? [...this.#pools.databases.values()] : [this.#find(name, 'reconnect')];
    for (const database of databases) {
      for (const pool of database.pools.values()) pool.newGeneration('close_needed');
    }
  }

  waitClose(name: string | null): PendingCommand {
    const databases = name === null ? [...this.#pools.databases.values()] : [this.#find(name, 'wait in')];
    const clean = (database: Database): boolean =>
      [...database.pools.values()].every((pool) =>
        [...pool.servers].every((server) => !pool.isStale(server)),
      );
    return wait(
      databases,
      () => databases.every(clean),
      0,
      () => '',
    );
  }

  #find(name: string, verb: string): Database {
    if (this.#clients.isConsole(name)) {
      throw new CommandError(
        verb === 'reconnect' || verb === 'wait in'
          ? `cannot ${verb} admin db: ${name}`
          : `cannot ${verb} admin db: ${name}`,
      );
    }
    const database =
      this.#pools.databases.get(name) ??
      (verb === 'pause' || verb === 'disable' ? this.#pools.database(name) : null);
    if (database === null || database === undefined || database.removed)
      throw new CommandError(`no such database: ${name}`);
    return database;
  }

  /** Who keeps the servers: id, who, and why. */
  #holders(databases: readonly Database[]): string {
    const names: string[] = [];
    for (const client of this.#clients.clients) {
      if (client.server === null || client.database === null || !databases.includes(client.database))
        continue;
      names.push(`client ${client.id} (${client.userName}@${client.addr}:${client.port}, ${why(client)})`);
    }
    const more = names.length - NAMED_CLIENTS;
    if (names.length === 0) return 'servers without a client';
    return names.slice(0, NAMED_CLIENTS).join(', ') + (more > 0 ? ` and ${more} more` : '');
  }
}

function why(client: Client): string {
  const server = client.server;
  if (server !== null && server.replies.owed.length > 0) return 'query running';
  if (server !== null && server.replies.status !== 0x49) return 'idle in transaction';
  const held = client.watch?.held ?? '';
  return held === '' ? 'session open' : held;
}

function wait(
  databases: readonly Database[],
  isDone: () => boolean,
  timeoutMs: number,
  onTimeout: () => string,
): PendingCommand {
  if (isDone()) return { done: Promise.resolve(), cancel: () => {} };
  let stop: () => void = () => {};
  const done = new Promise<void>((resolve, reject) => {
    let timer: NodeJS.Timeout | null = null;
    const look = (): void => {
      if (!isDone()) return;
      stop();
      resolve();
    };
    stop = () => {
      if (timer !== null) clearTimeout(timer);
      for (const database of databases) database.watchers.delete(look);
    };
    for (const database of databases) database.watchers.add(look);
    if (timeoutMs > 0) {
      timer = setTimeout(() => {
        stop();
        reject(new CommandError(onTimeout(), '57014'));
      }, timeoutMs);
    }
  });
  return { done, cancel: () => stop() };
}
