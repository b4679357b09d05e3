/** Config to the numbers of one pool. */

import {
  effectiveMinPoolSize,
  effectivePoolMode,
  effectivePoolSize,
  effectiveQueryWaitTimeoutMs,
  effectiveReservePoolSize,
  effectiveServerLifetimeMs,
  effectiveTimeouts,
  maxDbConnections,
  maxUserConnections,
} from '../config/effective.ts';
import type { Config } from '../config/load.ts';
import type { DatabaseEntry } from '../config/types.ts';
import type { PoolLimits } from './limits.ts';

/** `user` is the pool's: the forced user, or the client's. */
export function resolveLimits(config: Config, entry: DatabaseEntry, user: string): PoolLimits {
  const s = config.settings;
  const timeouts = effectiveTimeouts(config, user);
  const mode = effectivePoolMode(config, entry, user);
  const check = s.serverCheckQuery;
  return {
    mode,
    poolSize: effectivePoolSize(config, entry, user),
    minPoolSize: effectiveMinPoolSize(config, entry, user),
    reserveSize: effectiveReservePoolSize(config, entry, user),
    reserveTimeoutMs: s.reservePoolTimeoutMs,
    maxConnecting: s.maxConnecting,
    maxDbConnections: maxDbConnections(config, entry),
    maxUserConnections: maxUserConnections(config, user),
    queryWaitTimeoutMs: effectiveQueryWaitTimeoutMs(config, entry, user),
    queryWaitNotifyMs: s.queryWaitNotifyMs,
    queryTimeoutMs: timeouts.queryMs,
    idleTransactionTimeoutMs: timeouts.idleTransactionMs,
    transactionTimeoutMs: timeouts.transactionMs,
    clientIdleTimeoutMs: timeouts.clientIdleMs,
    serverLifetimeMs: effectiveServerLifetimeMs(config, entry),
    serverIdleTimeoutMs: s.serverIdleTimeoutMs,
    serverConnectTimeoutMs: s.serverConnectTimeoutMs,
    serverLoginRetryMs: s.serverLoginRetryMs,
    serverCheckDelayMs: s.serverCheckDelayMs,
    serverCheckQuery: check === '' ? null : check === '<empty>' ? '' : check,
    serverResetQuery: s.serverResetQuery,
    serverResetAlways: s.serverResetQueryAlways,
    serverFastClose: s.serverFastClose,
    roundRobin: s.serverRoundRobin,
    cancelWaitTimeoutMs: s.cancelWaitTimeoutMs,
    maxPreparedStatements: mode === 'session' ? 0 : s.maxPreparedStatements,
    connectQuery: entry.connectQuery,
    disablePqexec: s.disablePqexec,
    poolIdleTimeoutMs: s.poolIdleTimeoutMs,
    forcedUser: entry.user !== null,
  };
}
