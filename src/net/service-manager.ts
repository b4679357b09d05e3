/**
 * systemd: sockets passed to us (socket activation) and the news that we tell it (sd_notify). Node has no datagram unix
 * sockets, so that the news go through systemd's own helper; the unit needs `NotifyAccess=all`. Without systemd both
 * do nothing.
 */
import { execFile } from 'node:child_process';
import type { Log } from '../util/log.ts';

const FIRST_PASSED_FD = 3;
const HELPER_TIMEOUT_MS = 5000;

/**
 * Descriptors passed by the service manager to this very process. The variables are removed, so that no child takes them
 * for its own; call once.
 */
export function takePassedDescriptors(env: NodeJS.ProcessEnv = process.env): number[] {
  const pid = env['LISTEN_PID'];
  const count = env['LISTEN_FDS'];
  delete env['LISTEN_PID'];
  delete env['LISTEN_FDS'];
  delete env['LISTEN_FDNAMES'];
  if (pid === undefined || count === undefined || Number(pid) !== process.pid) return [];
  if (!/^\d{1,4}$/.test(count)) return [];
  return Array.from({ length: Number(count) }, (_, i) => FIRST_PASSED_FD + i);
}

/** True when this start was given sockets: then listen_addr and unix_socket_dir do not count. */
export function hasPassedDescriptors(env: NodeJS.ProcessEnv = process.env): boolean {
  return Number(env['LISTEN_PID']) === process.pid && Number(env['LISTEN_FDS']) > 0;
}

/**
 * Tells the service manager, e.g. `notifyServiceManager(['READY=1', 'STATUS=…'], log)`. Resolves when it has been told;
 * never rejects: a missing helper is one warning, the pooler goes on.
 */
export function notifyServiceManager(assignments: readonly string[], log: Log): Promise<void> {
  if (!process.env['NOTIFY_SOCKET']) return Promise.resolve();
  return new Promise((resolve) => {
    const args = [...assignments, `MAINPID=${process.pid}`];
    execFile('systemd-notify', args, { timeout: HELPER_TIMEOUT_MS }, (error) => {
      if (error !== null) {
        log.warning(
          `could not notify the service manager (systemd-notify): ${error.message.split('\n')[0] ?? ''}`,
        );
      }
      resolve();
    });
  });
}
