/** A client's server has answered everything: what is counted, and whether the server goes back to its pool. */
import type { Pool } from '../pool/pool.ts';
import { GUARD_RETRY } from '../server/reply-guard.ts';
import type { ServerConnection } from '../server/server-connection.ts';
import type { ErrorCode } from '../util/errors.ts';
import * as c from '../wire/codes.ts';
import type { Client } from './client.ts';
import { sendAgain } from './routed-unit.ts';
import { detachWhenClean } from './session-detach.ts';

/** `answered` = a ReadyForQuery has just come (else the last part of a message has just gone). */
export function serverReady(client: Client, server: ServerConnection, answered: boolean): void {
  const pool = client.pool as Pool;
  if (client.routing !== null && server.replies.guard.state === GUARD_RETRY) {
    sendAgain(client, client.routing, server);
    return;
  }
  const now = client.registry.clock.now();
  const status = server.replies.status;
  if (answered) {
    client.readyMs = now;
    pool.counters.queryTimeUs += (now - client.requestMs) * 1000;
    pool.counters.bytesSent += server.replies.forwarded;
    server.replies.forwarded = 0;
    if (status === c.TX_IDLE) {
      const us = (now - client.transactionMs) * 1000;
      pool.counters.xactTimeUs += us;
      pool.xactUs.observe(us);
    }
  }
  const mode = pool.limits.mode;
  if (mode === 'session' || status !== c.TX_IDLE) client.routing?.onCommitted();
  if (mode === 'session') {
    if (pool.database.paused && status === c.TX_IDLE) detachWhenClean(client, server);
    return;
  }
  if (status !== c.TX_IDLE) {
    if (client.requests.awaitsUnit) client.onStatementsCertain();
    if (mode !== 'statement') return;
    server.closeNeeded = 'transaction blocks not allowed in statement pooling mode';
    client.fail('statementModeBlock');
    return;
  }
  // a message that was forwarded in part must reach this server whole
  if (client.requests.bodyLeft > 0 || server.replies.copyIn) return;
  client.detach(server, pool.limits.serverResetAlways, now);
}

/** The client goes away: its server is kept only when nothing of the client is left on it. */
export function giveUp(client: Client, server: ServerConnection, linked: boolean): void {
  client.routing?.onServerLost();
  if (server.closed) return;
  server.peer = null;
  server.replies.peer = null;
  const pool = client.pool as Pool;
  if (!linked || !server.ready || client.requests.bodyLeft > 0 || server.replies.midMessage) {
    server.close(
      server.replies.owed.length > 0
        ? 'client disconnected with queries in progress'
        : 'client disconnect while server was not ready',
    );
    return;
  }
  const session = pool.limits.mode === 'session';
  pool.release(server, session || pool.limits.serverResetAlways, client.registry.clock.now());
}

/** What a client is told that goes with its server. */
export function codeForLostServer(reason: string): ErrorCode {
  if (reason === 'database removed') return 'databaseRemoved';
  return /^(unexpected |bad |packet too large)/.test(reason) ? 'serverProtocol' : 'serverCrashed';
}
