/**
 * PgBouncer's signals, with its words: HUP reload, USR1 pause, USR2 resume, TERM and INT graceful shutdown (again: at
 * once), QUIT at once. Node's own use of USR1 (its debugger) is displaced by the handler; main.ts takes the signals
 * before anything else is loaded.
 */
import type { ShutdownMode } from '../control/port.ts';
import type { Log } from '../util/log.ts';

/** What a signal can do to the running pooler. */
export interface SignalTarget {
  reload(): void;
  pauseAll(): void;
  resumeAll(): void;
  shutdown(mode: ShutdownMode): void;
  /** A graceful shutdown has begun. */
  isShuttingDown(): boolean;
  /** PAUSE or SUSPEND of everything is in force or on its way. */
  isPaused(): boolean;
}

export type PoolerSignal = 'SIGHUP' | 'SIGUSR1' | 'SIGUSR2' | 'SIGTERM' | 'SIGINT' | 'SIGQUIT';

export const POOLER_SIGNALS: readonly PoolerSignal[] = [
  'SIGHUP',
  'SIGUSR1',
  'SIGUSR2',
  'SIGTERM',
  'SIGINT',
  'SIGQUIT',
];

/** Obeys one signal. `target` null = still starting: only the ends count. `exit` ends the process. */
export function handleSignal(
  signal: PoolerSignal,
  target: SignalTarget | null,
  log: Log,
  exit: (code: number) => void,
): void {
  if (signal === 'SIGQUIT') {
    log.log('got SIGQUIT, fast exit');
    exit(0);
  } else if (signal === 'SIGTERM' || signal === 'SIGINT') {
    if (target === null || target.isShuttingDown()) {
      log.log(`got ${signal} while ${target === null ? 'starting' : 'shutting down'}, fast exit`);
      exit(0);
    } else {
      shutDown(signal, target, log);
    }
  } else if (target !== null) {
    control(signal, target, log);
  }
}

function shutDown(signal: 'SIGTERM' | 'SIGINT', target: SignalTarget, log: Log): void {
  if (signal === 'SIGTERM') {
    log.log('got SIGTERM, shutting down, waiting for all clients disconnect');
    target.shutdown('wait_for_clients');
  } else {
    log.log('got SIGINT, shutting down, waiting for all servers connections to be released');
    target.shutdown('wait_for_servers');
  }
}

function control(signal: 'SIGHUP' | 'SIGUSR1' | 'SIGUSR2', target: SignalTarget, log: Log): void {
  if (signal === 'SIGHUP') {
    log.log('got SIGHUP, re-reading config');
    target.reload();
  } else if (signal === 'SIGUSR1') {
    if (target.isPaused()) {
      log.log('got SIGUSR1, but already paused/suspended');
    } else {
      log.log('got SIGUSR1, pausing all activity');
      target.pauseAll();
    }
  } else if (target.isShuttingDown()) {
    log.log('got SIGUSR2 while shutting down, ignoring');
  } else if (!target.isPaused()) {
    log.log('got SIGUSR2, but not paused/suspended');
  } else {
    log.log('got SIGUSR2, continuing from PAUSE');
    target.resumeAll();
  }
}
