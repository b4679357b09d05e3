/** The registry as its pools see it. */
import type { ServerConnection } from '../server/server-connection.ts';
import type { Log } from '../util/log.ts';
import type { Pool } from './pool.ts';

/** What a pool needs from outside: time, log, and somebody who opens connections. */
export interface PoolHost {
  now(): number;
  readonly log: Log;
  /** Log prefix of a server, `S-0x…: db/user@host:port`. */
  serverLog(server: ServerConnection, pool: Pool): Log;
  /** Starts a connection for the pool; calls pool.onOpened or pool.onOpenFailed, maybe later (DNS). */
  open(pool: Pool): void;
  /** May one more server be opened under the limits of database and user? With `evict` idle ones elsewhere make room. */
  mayOpen(pool: Pool, evict: boolean): boolean;
  /** Counts closings by reason. */
  countClose(reason: string): void;
  /** log_connections. */
  readonly logConnections: boolean;
  /** A pool of a database in a cluster that has no node itself. */
  isHall(pool: Pool): boolean;
  /** Clients in login wait in a hall: some node's pool opens a server. */
  wantWelcome(hall: Pool): void;
  /** Why a server is not what its pool's node is thought to be (its in_hot_standby says otherwise); '' = it is. */
  witness(pool: Pool, server: ServerConnection): string;
  /** A server of a node could not be opened, or was lost. */
  onTrouble(pool: Pool, what: 'refused' | 'lost'): void;
  /** True while no server may be opened at all (shutdown). */
  readonly stopped: boolean;
}
