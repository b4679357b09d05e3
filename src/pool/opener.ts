/**
 * Opens servers: where to (host list, node, unix socket), the name resolved, the login put together. Ends in the
 * pool's onOpened or onOpenFailed, maybe later (DNS).
 */
import type { Config } from '../config/load.ts';
import { Resolver } from '../net/resolver.ts';
import type { ServerTls } from '../server/login.ts';
import { type ServerAddress, ServerConnection } from '../server/server-connection.ts';
import type { StatementRegistry } from '../server/statements.ts';
import type { TrackedParameters } from '../server/variables.ts';
import type { Clock } from '../util/clock.ts';
import type { Pool } from './pool.ts';
import { serverTls } from './server-tls.ts';

/** What the opener needs of the registry and of the worker behind it. */
export interface OpenerDeps {
  readonly clock: Clock;
  readonly statements: StatementRegistry;
  readonly tracked: TrackedParameters;
  readonly config: () => Config;
  readonly stopped: () => boolean;
  readonly pools: () => Iterable<Pool>;
  nextId(): number;
  /** Socket options and a first line of log for a new connection. */
  onConnecting(server: ServerConnection, pool: Pool): void;
}

export class ServerOpener {
  readonly resolver: Resolver;
  tls: ServerTls;
  readonly #deps: OpenerDeps;

  constructor(deps: OpenerDeps) {
    this.#deps = deps;
    const s = deps.config().settings;
    this.resolver = new Resolver(s.dnsMaxTtlMs, s.dnsNxdomainTtlMs, () => deps.clock.now());
    this.resolver.onAddressGone = (_name, address) => this.#addressGone(address);
    this.tls = serverTls(s);
  }

  open(pool: Pool): void {
    const entry = pool.database.entry;
    const hosts = pool.node === null ? entry.hosts : pool.node.host === '' ? [] : [pool.node.host];
    if (hosts.length === 0) {
      this.#connect(pool, this.#deps.config().settings.unixSocketDir, '');
      return;
    }
    const at = pool.database.nextHost % hosts.length;
    if (entry.loadBalanceHosts === 'round-robin') pool.database.nextHost += 1;
    const host = hosts[at] as string;
    if (host.startsWith('/') || host.startsWith('@')) {
      this.#connect(pool, host, '');
      return;
    }
    try {
      const address = this.resolver.cached(host);
      if (address !== null) {
        this.#connect(pool, host, address);
        return;
      }
    } catch (error) {
      queueMicrotask(() => this.#openFailed(pool, error));
      return;
    }
    const { generation } = pool;
    this.resolver.resolve(host).then(
      (address) => {
        const { paused, removed } = pool.database;
        // after a RELOAD the name may not be the database's any more
        if (this.#deps.stopped() || paused || removed || generation !== pool.generation)
          pool.onOpenFailed('', true);
        else this.#connect(pool, host, address);
      },
      (error: unknown) => this.#openFailed(pool, error),
    );
  }

  #openFailed(pool: Pool, error: unknown): void {
    pool.onOpenFailed(error instanceof Error ? error.message : String(error), false);
  }

  #addressGone(address: string): void {
    for (const pool of this.#deps.pools()) {
      for (const server of pool.servers) {
        if (server.address.address !== address) continue;
        server.closeNeeded = 'obsolete connection';
        if (server.peer === null) server.close('obsolete connection');
      }
    }
  }

  #connect(pool: Pool, host: string, address: string): void {
    const { entry } = pool.database;
    const port = pool.node?.port ?? entry.port;
    const unix = address === '';
    const where: ServerAddress = {
      host,
      address,
      port,
      unixPath: unix ? unixPath(host, port) : null,
    };
    const forced = entry.user !== null;
    const forcedSecret = forced && pool.user.name === entry.user ? entry.password : null;
    const secret = forcedSecret ?? pool.hall.secret ?? pool.user.secret;
    const parameters: Record<string, string> = { user: pool.user.name, database: entry.dbname };
    for (const [name, value] of entry.startupParameters) parameters[name] = value;
    const server = new ServerConnection(
      this.#deps.nextId(),
      pool,
      where,
      {
        credentials: { user: pool.user.name, secret, learned: pool.hall.learned ?? pool.user.learned },
        parameters,
        tls: this.tls,
        hostName: unix ? '' : host,
      },
      {
        registry: this.#deps.statements,
        tracked: this.#deps.tracked,
        maxPacketSize: this.#deps.config().settings.maxPacketSize,
      },
      pool.generation,
      this.#deps.clock.now(),
      this.#deps.clock.wall(),
    );
    pool.onOpened(server);
    this.#deps.onConnecting(server, pool);
  }
}

function unixPath(directory: string, port: number): string {
  const path = `${directory}/.s.PGSQL.${port}`;
  // an abstract name is written with a leading @ and meant with a leading NUL
  return directory.startsWith('@') ? `\0${path.slice(1)}` : path;
}
