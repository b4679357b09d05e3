/**
 * The whole data plane (clients, pools, servers, relay) without a socket: transports are FakeTransport, PostgreSQL is
 * ModelPostgres, and the test decides which bytes move when. Everything between is the real code.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mock } from 'node:test';
import { ClientRegistry } from '../../src/client/client-registry.ts';
import { type Config, loadConfig } from '../../src/config/load.ts';
import { Transport, type TransportHandler } from '../../src/net/transport.ts';
import { PoolRegistry } from '../../src/pool/registry.ts';
import { SILENT } from '../../src/util/log.ts';
import { ClusterDesk } from '../../src/worker/cluster-desk.ts';
import * as wire from '../support/raw-messages.ts';
import { FakeTransport } from './fake-transport.ts';
import { ModelPostgres } from './model-postgres.ts';

/** A configuration from text; `listen_addr` and files do not matter here. */
export function simConfig(
  settings: Readonly<Record<string, string | number>>,
  databases = '[databases]\napp = host=127.0.0.1 port=1',
): Config {
  const dir = mkdtempSync(join(tmpdir(), 'pgconcierge-sim-'));
  try {
    writeFileSync(join(dir, 'users.txt'), '"app" "app"\n');
    const lines = Object.entries({
      auth_type: 'trust',
      auth_file: join(dir, 'users.txt'),
      server_tls_sslmode: 'disable',
      ...settings,
    }).map(([name, value]) => `${name} = ${value}`);
    const ini = `${databases}\n[pgbouncer]\n${lines.join('\n')}\n`;
    writeFileSync(join(dir, 'sim.ini'), ini);
    const { config, diagnostics } = loadConfig(join(dir, 'sim.ini'));
    if (config === null) throw new Error(diagnostics.map((one) => one.message).join('\n'));
    return config;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

export interface SimClient {
  readonly transport: FakeTransport;
  /** Everything that has come since the login. */
  received: Buffer;
}

export interface SimServer {
  readonly transport: FakeTransport;
  readonly postgres: ModelPostgres;
  /** Where the pooler has connected to. */
  readonly port: number;
}

export class Sim {
  readonly pools: PoolRegistry;
  readonly clients: ClientRegistry;
  readonly desk: ClusterDesk;
  readonly servers: SimServer[] = [];
  readonly closes: string[] = [];
  nowMs = 1000;
  /** Of servers that are still to come. */
  serverHighWater = Number.POSITIVE_INFINITY;
  readonly #connecting: (() => void)[] = [];

  /** `model` makes the PostgreSQL behind a connection to this port. */
  constructor(config: Config, model: (port: number) => ModelPostgres = () => new ModelPostgres(false)) {
    mock.method(
      Transport,
      'connect',
      (where: { readonly port: number }, handler: TransportHandler, onConnect: () => void) => {
        const transport = new FakeTransport(handler);
        transport.highWater = this.serverHighWater;
        this.servers.push({ transport, postgres: model(where.port), port: where.port });
        this.#connecting.push(onConnect);
        return transport.asTransport;
      },
    );
    mock.method(Transport, 'adopt', (accepted: unknown, handler: TransportHandler) => {
      const transport = accepted as FakeTransport;
      transport.handler = handler;
      return transport.asTransport;
    });
    const clock = { now: () => this.nowMs, wall: () => this.nowMs };
    let id = 1;
    const shared = {
      clock,
      log: SILENT,
      nextId: () => id++,
      countClose: (reason: string) => {
        this.closes.push(reason);
      },
      tune: () => {},
    };
    this.pools = new PoolRegistry(config, { ...shared, serverLog: () => SILENT });
    this.desk = new ClusterDesk({ config, clock, log: SILENT });
    this.desk.serve(this.pools);
    this.clients = new ClientRegistry(config, this.pools, {
      ...shared,
      clientLog: () => SILENT,
      desks: this.desk.desks,
      openConsole: () => {
        throw new Error('no console here');
      },
    });
  }

  end(): void {
    this.pools.stopped = true;
    mock.restoreAll();
  }

  /** A client that has said nothing yet. */
  connect(): SimClient {
    const idle: TransportHandler = { onData() {}, onDrain() {}, onGone() {} };
    const transport = new FakeTransport(idle);
    this.clients.accept(transport as unknown as net.Socket, false);
    return { transport, received: Buffer.alloc(0) };
  }

  /** A client that is logged in; its welcome is thrown away. */
  async login(database = 'app'): Promise<SimClient> {
    const client = this.connect();
    client.transport.arrive(wire.startupMessage({ user: 'app', database }));
    for (let i = 0; i < 100; i++) {
      this.settle([client], 65_536);
      await Promise.resolve();
      if (client.received.length > 0 && client.received.at(-6) === 0x5a) {
        client.received = Buffer.alloc(0);
        return client;
      }
    }
    throw new Error(`no welcome, received: ${wire.typesOf(wire.splitMessages(client.received).messages)}`);
  }

  /** Something moves by one piece of at most `limit` bytes: `which` of all that could. False = all is quiet. */
  step(clients: readonly SimClient[], which: number, limit: number): boolean {
    const moves: (() => boolean)[] = [];
    for (const onConnect of this.#connecting.splice(0)) onConnect();
    for (const client of clients) {
      moves.push(() => client.transport.deliver(limit));
      moves.push(() => {
        const bytes = client.transport.take();
        client.received = Buffer.concat([client.received, bytes]);
        return bytes.length > 0;
      });
    }
    for (const { transport, postgres } of this.servers) {
      // what was written before the end has still left
      if (transport.closed && transport.pending === 0) continue;
      moves.push(() => {
        const bytes = transport.take();
        postgres.receive(bytes);
        transport.arrive(postgres.take());
        return bytes.length > 0;
      });
      // a server that has ended is read to its end first
      if (postgres.dead && !transport.closed && transport.arrived === 0)
        moves.push(() => {
          transport.closed = true;
          transport.handler.onGone('');
          return true;
        });
      moves.push(() => transport.deliver(limit));
    }
    for (let i = 0; i < moves.length; i++) {
      const move = moves[(which + i) % moves.length];
      if (move?.() === true) return true;
    }
    return this.#connecting.length > 0;
  }

  /** Moves everything in order until all is quiet. */
  settle(clients: readonly SimClient[], limit: number): void {
    for (let i = 0; this.step(clients, i, limit); i++) {
      if (i > 1_000_000) throw new Error('it never becomes quiet');
    }
  }
}
