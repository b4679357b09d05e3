/** The settings of one pool, resolved once from config (user over database over global) and again at RELOAD. */
import type { PoolMode } from '../config/types.ts';

export interface PoolLimits {
  readonly mode: PoolMode;
  readonly poolSize: number;
  readonly minPoolSize: number;
  readonly reserveSize: number;
  readonly reserveTimeoutMs: number;
  readonly maxConnecting: number;
  readonly maxDbConnections: number;
  readonly maxUserConnections: number;
  readonly queryWaitTimeoutMs: number;
  readonly queryWaitNotifyMs: number;
  readonly queryTimeoutMs: number;
  readonly idleTransactionTimeoutMs: number;
  readonly transactionTimeoutMs: number;
  readonly clientIdleTimeoutMs: number;
  readonly serverLifetimeMs: number;
  readonly serverIdleTimeoutMs: number;
  readonly serverConnectTimeoutMs: number;
  readonly serverLoginRetryMs: number;
  readonly serverCheckDelayMs: number;
  /** null = no check; '' = an empty simple query. */
  readonly serverCheckQuery: string | null;
  /** '' = none. */
  readonly serverResetQuery: string;
  readonly serverResetAlways: boolean;
  readonly serverFastClose: boolean;
  readonly roundRobin: boolean;
  readonly cancelWaitTimeoutMs: number;
  /** 0 = prepared statements pass through unchanged. */
  readonly maxPreparedStatements: number;
  readonly connectQuery: string | null;
  readonly disablePqexec: boolean;
  readonly poolIdleTimeoutMs: number;
  /** A pool with a forced user keeps its minimum without clients. */
  readonly forcedUser: boolean;
}
