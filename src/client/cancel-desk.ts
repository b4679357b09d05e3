/**
 * Finds the client that a CancelRequest is meant for and passes it on: to its server, to its console session, out of
 * the queue, or to the peer that gave the key out (pgbouncer.md §15). Whatever happens, the asker learns nothing:
 * its connection is closed without an answer.
 */
import type net from 'node:net';
import { Transport } from '../net/transport.ts';
import type { Log } from '../util/log.ts';
import { CODE_CANCEL } from '../wire/codes.ts';
import { cancelKeyId, decrementTtl, peerOfKey } from './cancel-key.ts';
import type { Client } from './client.ts';
import type { ClientRegistry } from './client-registry.ts';
import { failHeldUnit } from './routed-unit.ts';

/** How long a peer may take to accept a forwarded request. */
const FORWARD_TIMEOUT_MS = 10_000;

/** What a queued statement is told that is canceled; its client stays connected. */
const CANCELED = {
  severity: 'ERROR',
  sqlstate: '57014',
  message: 'canceling statement due to user request',
} as const;

export class CancelDesk {
  readonly #registry: ClientRegistry;
  readonly #log: Log;
  readonly #byKey = new Map<string, Client>();
  /** Forwarded to a peer and not yet over, by peer id. */
  readonly forwarding = new Map<number, number>();

  constructor(registry: ClientRegistry, log: Log) {
    this.#registry = registry;
    this.#log = log;
  }

  register(client: Client): void {
    this.#byKey.set(client.cancelKey, client);
  }

  unregister(client: Client): void {
    if (client.cancelKey !== '') this.#byKey.delete(client.cancelKey);
  }

  /** `asker` came with a CancelRequest; `bytes` = process id and secret. */
  request(asker: Client, bytes: Buffer): void {
    asker.moveTo('cancel');
    const { peerId } = this.#registry.config.settings;
    if (bytes.length < 8) {
      asker.leave('failed cancel request');
      return;
    }
    const target = this.#byKey.get(cancelKeyId(bytes, peerId));
    if (target !== undefined) this.#cancel(asker, target);
    else if (peerId > 0) this.#forward(asker, bytes, peerId);
    else asker.leave('failed cancel request');
  }

  #cancel(asker: Client, target: Client): void {
    if (target.console !== null) {
      target.console.onCancel();
      asker.leave('cancel request for console client');
      return;
    }
    if (target.phase === 'waiting') {
      failHeldUnit(target, CANCELED);
      asker.leave('cancel request for waiting client');
      return;
    }
    const server = target.server;
    // while its variables are being set there is nothing of the client's to cancel
    if (
      target.phase !== 'linked' ||
      server === null ||
      server.replies.owed.length === 0 ||
      target.pool === null
    ) {
      asker.leave('cancel request for idle client');
      return;
    }
    target.canceling += 1;
    const started = target.pool.cancel(
      server,
      () => target.server === server && server.replies.owed.length > 0,
      () => {
        target.canceling -= 1;
        asker.leave('successfully sent cancel request');
      },
    );
    if (started) return;
    target.canceling -= 1;
    asker.leave('too many cancel requests for the pool');
  }

  /** The key belongs to a client of another process of this group. */
  #forward(asker: Client, bytes: Buffer, ownId: number): void {
    const { peerId, ttl } = peerOfKey(bytes);
    const peer = peerId === ownId ? undefined : this.#registry.config.peers.get(peerId);
    if (peer === undefined || peer.host === '') {
      asker.leave('could not find peer to forward request to');
      return;
    }
    if (ttl === 0) {
      asker.leave('failed to forward cancel request because its TTL was exhausted');
      return;
    }
    const limit = peer.poolSize ?? this.#registry.config.settings.defaultPoolSize;
    const running = this.forwarding.get(peerId) ?? 0;
    if (running >= 2 * limit) {
      asker.leave('too many cancel requests for the peer');
      return;
    }
    this.forwarding.set(peerId, running + 1);
    const head = Buffer.alloc(8);
    head.writeUInt32BE(8 + bytes.length, 0);
    head.writeUInt32BE(CODE_CANCEL, 4);
    const packet = Buffer.concat([head, decrementTtl(bytes)]);
    const where: net.NetConnectOpts = peer.host.startsWith('/')
      ? { path: `${peer.host}/.s.PGSQL.${peer.port}` }
      : { host: peer.host, port: peer.port };
    const done = (reason: string): void => {
      clearTimeout(timer);
      this.forwarding.set(peerId, (this.forwarding.get(peerId) ?? 1) - 1);
      if (reason !== '') this.#log.warning(`peer ${peerId}: ${reason}`);
      asker.leave('forwarded cancel request');
    };
    const transport = Transport.connect(
      where,
      {
        onData: () => {},
        onDrain: () => {},
        onGone: (reason) => done(reason === '' ? '' : `cancel request: ${reason}`),
      },
      () => transport.writeOwned(packet),
    );
    const timer = setTimeout(() => {
      transport.destroy();
      done('cancel request: timeout');
    }, FORWARD_TIMEOUT_MS);
  }
}
