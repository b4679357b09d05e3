/** What a pool sees of a client: somebody who waits for a server, or for the pool's first welcome. */
import type { ServerConnection, ServerPeer } from '../server/server-connection.ts';
import type { ErrorFields } from '../wire/backend.ts';

export interface Waiter extends ServerPeer {
  readonly id: number;
  /** Monotonic ms since when it waits; 0 = it does not (a cancelled entry of the queue). */
  waitingSinceMs: number;
  /** The NOTICE of query_wait_notify has been sent for this wait. */
  waitNotified: boolean;
  /** The server is linked; whatever was held goes to it now. */
  onServerAssigned(server: ServerConnection): void;
  /** The wait is over without a server; the client is told and closed. */
  onWaitFailed(error: ErrorFields, reason: string): void;
  /** Still queued, but the place may be the wrong one now: look for another (databases of clusters). */
  onReroute(): void;
  /** query_wait_notify: tell the client that it is queued. */
  onWaitNotice(): void;
  /** The pool knows the server's parameters now (only for clients that wait in login). */
  onWelcome(): void;
  /** The database is paused: give an idle session back if it holds no state. */
  onPause(): void;
  /** Own timeouts of a linked client. */
  sweep(nowMs: number): void;
}
