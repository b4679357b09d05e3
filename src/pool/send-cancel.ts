/** A cancel request of the pool's clients for one of its servers, and what becomes of the server after it. */
import type { ServerConnection } from '../server/server-connection.ts';
import { ServerCancel } from './cancel.ts';
import type { Pool } from './pool.ts';
import type { PoolHost } from './pool-host.ts';
import { closeReason } from './retire.ts';

/** Sends one for what runs on `server`; `done` when it is over. False = too many at once. */
export function sendCancel(
  pool: Pool,
  host: PoolHost,
  server: ServerConnection,
  stillWanted: () => boolean,
  done: () => void,
): boolean {
  if (pool.cancels.size >= 2 * Math.max(1, pool.limits.poolSize)) return false;
  const cancel: ServerCancel = new ServerCancel(server, host.now(), {
    stillWanted,
    onCancelDone: (sent, reason) => {
      pool.cancels.delete(cancel);
      host.serverLog(server, pool).debug(`cancel request: ${reason}`);
      // it may still arrive: what it would hit must not be another client's query
      if (sent && reason === 'cancel_wait_timeout') server.closeNeeded = reason;
      if (server.state === 'canceled' && server.cancelsInFlight === 0) afterCancel(pool, host, server);
      done();
    },
  });
  pool.cancels.add(cancel);
  return true;
}

function afterCancel(pool: Pool, host: PoolHost, server: ServerConnection): void {
  const now = host.now();
  const reason = closeReason(pool, server, now);
  if (reason !== '') {
    server.close(reason);
    return;
  }
  server.lastUsedMs = now;
  server.moveTo('tested');
  // an empty query flushes a signal that came too late for the query it was meant for
  server.runInternal('', () => {});
  if (server.resetDue) server.runChecked(pool.limits.serverResetQuery, 'reset query failed');
}
