import assert from 'node:assert/strict';
import { test } from 'node:test';
import { handleSignal, type PoolerSignal, type SignalTarget } from '../../../src/cli/signals.ts';
import { SILENT } from '../../../src/util/log.ts';

/** What was done and logged, in order, for signals sent one after the other. */
function story(signals: readonly PoolerSignal[], started = true): string[] {
  const lines: string[] = [];
  let paused = false;
  let down = false;
  const target: SignalTarget = {
    reload: () => void lines.push('> reload'),
    pauseAll: () => {
      paused = true;
      lines.push('> pause');
    },
    resumeAll: () => {
      paused = false;
      lines.push('> resume');
    },
    shutdown: (mode) => {
      down = true;
      lines.push(`> shutdown ${mode}`);
    },
    isShuttingDown: () => down,
    isPaused: () => paused,
  };
  const log = { ...SILENT, log: (text: string) => void lines.push(text) };
  for (const signal of signals) {
    handleSignal(signal, started ? target : null, log, (code) => void lines.push(`> exit ${code}`));
  }
  return lines;
}

test('HUP', () => {
  assert.deepEqual(story(['SIGHUP']), ['got SIGHUP, re-reading config', '> reload']);
});

test('USR1 twice, USR2 twice', () => {
  assert.deepEqual(story(['SIGUSR1', 'SIGUSR1', 'SIGUSR2', 'SIGUSR2']), [
    'got SIGUSR1, pausing all activity',
    '> pause',
    'got SIGUSR1, but already paused/suspended',
    'got SIGUSR2, continuing from PAUSE',
    '> resume',
    'got SIGUSR2, but not paused/suspended',
  ]);
});

test('TERM waits for clients, again: at once; USR2 in between is ignored', () => {
  assert.deepEqual(story(['SIGTERM', 'SIGUSR2', 'SIGTERM']), [
    'got SIGTERM, shutting down, waiting for all clients disconnect',
    '> shutdown wait_for_clients',
    'got SIGUSR2 while shutting down, ignoring',
    'got SIGTERM while shutting down, fast exit',
    '> exit 0',
  ]);
});

test('INT waits for servers, again: at once', () => {
  assert.deepEqual(story(['SIGINT', 'SIGINT']), [
    'got SIGINT, shutting down, waiting for all servers connections to be released',
    '> shutdown wait_for_servers',
    'got SIGINT while shutting down, fast exit',
    '> exit 0',
  ]);
});

test('QUIT ends at once', () => {
  assert.deepEqual(story(['SIGQUIT']), ['got SIGQUIT, fast exit', '> exit 0']);
});

test('during the start only the ends count', () => {
  assert.deepEqual(story(['SIGHUP', 'SIGUSR1', 'SIGUSR2'], false), []);
  assert.deepEqual(story(['SIGTERM'], false), ['got SIGTERM while starting, fast exit', '> exit 0']);
});
