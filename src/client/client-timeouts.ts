/** The timeouts of a client that has a server (pgbouncer.md §17); checked by the sweep. */
import type { Pool } from '../pool/pool.ts';
import type { ErrorCode } from '../util/errors.ts';
import type { Client } from './client.ts';

/** Which one has run out, null = none. With server_fast_close, the end of an idle session whose server is to go. */
export function expired(client: Client, nowMs: number): ErrorCode | null {
  const { server } = client;
  if (server === null) return null;
  const pool = client.pool as Pool;
  const { limits } = pool;
  const over = (limitMs: number, sinceMs: number): boolean => limitMs > 0 && nowMs - sinceMs >= limitMs;
  const running = server.replies.owed.length > 0;
  if (running && over(limits.queryTimeoutMs, client.requestMs)) return 'queryTimeout';
  if (!running && server.ready) {
    const unwanted = limits.mode === 'session' && limits.serverFastClose && pool.isStale(server);
    return unwanted && client.requests.bodyLeft === 0 ? 'databaseChanged' : null;
  }
  if (over(limits.transactionTimeoutMs, client.transactionMs)) return 'transactionTimeout';
  const lastMs = Math.max(client.readyMs, client.requestMs);
  return !running && over(limits.idleTransactionTimeoutMs, lastMs) ? 'idleTransactionTimeout' : null;
}
