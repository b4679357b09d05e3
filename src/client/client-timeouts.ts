/** The timeouts of a client that has a server (pgbouncer.md §17); checked by the sweep. */
import type { Pool } from '../pool/pool.ts';
import type { ErrorCode } from '../util/errors.ts';
import type { Client } from './client.ts';

/** Which one has run out, null = none. */
export function expired(client: Client, nowMs: number): ErrorCode | null {
  const { server } = client;
  if (server === null) return null;
  const { limits } = client.pool as Pool;
  const over = (limitMs: number, sinceMs: number): boolean => limitMs > 0 && nowMs - sinceMs >= limitMs;
  const running = server.replies.owed.length > 0;
  if (running && over(limits.queryTimeoutMs, client.requestMs)) return 'queryTimeout';
  if (!running && server.ready) return null;
  if (over(limits.transactionTimeoutMs, client.transactionMs)) return 'transactionTimeout';
  const lastMs = Math.max(client.readyMs, client.requestMs);
  return !running && over(limits.idleTransactionTimeoutMs, lastMs) ? 'idleTransactionTimeout' : null;
}
