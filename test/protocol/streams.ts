/** One RequestStream and one ReplyStream on their own, with everything around them recorded. */

import { PreparedNames } from '../../src/client/prepared.ts';
import type { RequestHost } from '../../src/client/request-host.ts';
import { RequestStream } from '../../src/client/request-stream.ts';
import { newCounters } from '../../src/pool/counters.ts';
import type { ReplyPeer } from '../../src/server/reply-events.ts';
import { ReplyStream } from '../../src/server/reply-stream.ts';
import type { ServerConnection } from '../../src/server/server-connection.ts';
import { ServerStatements, StatementRegistry } from '../../src/server/statements.ts';
import { FakeTransport } from './fake-transport.ts';

const silent = { onData() {}, onDrain() {}, onGone() {} };

/** Kinds and flags of what is owed, oldest first. */
export function owedItems(replies: ReplyStream): number[] {
  return Array.from({ length: replies.owed.length }, (_, i) => replies.owed.at(i));
}

export interface Replies {
  readonly stream: ReplyStream;
  readonly fromServer: FakeTransport;
  readonly toClient: FakeTransport;
  /** Every callback in order, as text. */
  readonly calls: string[];
}

/** A server's stream linked to a client. */
export function newReplies(): Replies {
  const calls: string[] = [];
  const call =
    (name: string) =>
    (...args: readonly unknown[]): void => {
      calls.push(
        `${name}(${args.map((arg) => (typeof arg === 'object' ? JSON.stringify(arg) : arg)).join(', ')})`,
      );
    };
  const fromServer = new FakeTransport(silent);
  const toClient = new FakeTransport(silent);
  const stream = new ReplyStream(fromServer.asTransport, {
    onReady: call('ready'),
    onParameter: call('parameter'),
    onServerError: call('error'),
    onBroken: (reason) => {
      stream.peer = null;
      call('broken')(reason);
    },
    onParseLost: () => call('parseLost')(),
    onCloseLost: () => call('closeLost')(),
    onStatementsDropped: call('dropped'),
  });
  const peer: ReplyPeer = {
    transport: toClient.asTransport,
    prepared: {
      lost: (name) => call('lost')(name),
      restore: (name) => call('restore')(name),
      clear: call('clear'),
    },
    awaitsStatements: false,
    onServerParameter: (name) => {
      call('peerParameter')(name);
      return true;
    },
    onStatementsCertain: call('certain'),
  };
  stream.peer = peer;
  fromServer.handler = { ...silent, onData: (buffer, n) => stream.onData(buffer, n) };
  return { stream, fromServer, toClient, calls };
}

export interface Requests {
  readonly stream: RequestStream;
  readonly fromClient: FakeTransport;
  readonly toServer: FakeTransport;
  readonly replies: ReplyStream;
  readonly calls: string[];
}

/** A client's stream; `linked` = it has a server from the start, else it gets one when it asks. */
export function newRequests(options: {
  linked: boolean;
  maxPrepared: number;
  maxPacketSize?: number;
}): Requests {
  const calls: string[] = [];
  const { stream: replies, fromServer: toServer, toClient: fromClient } = newReplies();
  const registry = new StatementRegistry();
  const server = {
    transport: toServer.asTransport,
    replies,
    statements: new ServerStatements(registry),
  } as unknown as ServerConnection;
  let linked = options.linked;
  const host: RequestHost = {
    transport: fromClient.asTransport,
    get server() {
      return linked ? server : null;
    },
    counters: newCounters(),
    prepared: new PreparedNames(registry),
    watch: null,
    router: null,
    idleStatus: 0x49,
    oneUnitAtATime: false,
    awaitCluster: () => {},
    maxPrepared: options.maxPrepared,
    maxPacketSize: options.maxPacketSize ?? 0x7fffffff,
    disablePqexec: false,
    setup: null,
    acquire: () => {
      linked = true;
      calls.push('acquire');
      return server;
    },
    onRequest: () => {
      calls.push('request');
    },
    onTerminate: () => {
      calls.push('terminate');
    },
    onMessageComplete: () => {},
  };
  const stream = new RequestStream(host);
  fromClient.handler = { ...silent, onData: (buffer, n) => stream.onData(buffer, n) };
  return { stream, fromClient, toServer, replies, calls };
}

/** Delivers everything that has arrived in pieces that end at `cuts`. */
export function deliverCut(transport: FakeTransport, cuts: readonly number[]): void {
  let at = 0;
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    if (cut <= at) continue;
    while (at < cut && transport.arrived > 0) {
      const before = transport.arrived;
      if (!transport.deliver(cut - at)) return;
      at += before - transport.arrived;
    }
  }
  while (transport.deliver(65_536));
}
