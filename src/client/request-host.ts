/** What a request stream needs of its client. */
import type { Counters } from '../control/port.ts';
import type { Transport } from '../net/transport.ts';
import type { ServerConnection } from '../server/server-connection.ts';
import type { PreparedNames } from './prepared.ts';
import type { SessionWatch } from './session-watch.ts';
import type { UnitRouter } from './unit-router.ts';

/** The client that owns the stream. */
export interface RequestHost {
  readonly transport: Transport;
  readonly server: ServerConnection | null;
  readonly counters: Counters;
  readonly prepared: PreparedNames;
  /** 0 = prepared statements pass through unchanged. */
  readonly maxPrepared: number;
  /** Session mode: sees the statements that go by; else null. */
  readonly watch: SessionWatch | null;
  /** Decides where units go; null = the database belongs to no cluster. */
  readonly router: UnitRouter | null;
  /** Status of a ReadyForQuery without a server. */
  readonly idleStatus: number;
  /** The next unit waits for the answer to this one: on a replica, and where this one might as well run on one. */
  readonly oneUnitAtATime: boolean;
  /** The unit waits for something else than a server; it is held, and looked at again. */
  awaitCluster(): void;
  readonly maxPacketSize: number;
  readonly disablePqexec: boolean;
  /**
   * Links a server for the next message. Null = not now: the rest is held, and `resumeHeld` comes later (or the
   * client is gone).
   */
  acquire(): ServerConnection | null;
  /** Bytes (SET) that must precede the next message to the server; taken by the stream. */
  setup: Buffer | null;
  /** A linked client with nothing outstanding begins a query. */
  onRequest(): void;
  /** Terminate, or the end of the connection in an orderly way. */
  onTerminate(): void;
  /** A message that was forwarded in parts is complete now. */
  onMessageComplete(): void;
}
