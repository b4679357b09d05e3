/**
 * A server that answers at once (support/instant-server-main.ts), so that the proxy's own core is what is saturated.
 * On two cores the client and that server still take their share: read the CPU column first.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { guardProcess, unguardProcess } from '../../src/demo/guard.ts';
import { TRUST_USER } from '../support/backend.ts';
import { type Bench, type Group, type Line, type OpenGroup, withoutPrepared } from '../support/line.ts';
import { openTargets } from '../support/targets.ts';
import { measurePgbench } from './pgbench-lines.ts';

const CLIENTS = 32;
const SERVER = path.resolve(
  path.dirname(fileURLToPath(import.meta.url)),
  '../support/instant-server-main.js',
);

async function open(bench: Bench): Promise<OpenGroup> {
  writeFileSync(scriptOf(bench), 'select 1;\n');
  const server = fork(SERVER, [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const { pid } = server;
  if (pid !== undefined) guardProcess(pid);
  server.once('exit', () => {
    if (pid !== undefined) unguardProcess(pid);
  });
  const stop = async (): Promise<void> => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    server.kill('SIGKILL');
    await once(server, 'exit');
  };
  try {
    const [port] = (await Promise.race([
      once(server, 'message'),
      once(server, 'exit').then(() => Promise.reject(new Error('the instant server ended at start'))),
    ])) as [number];
    const group = await openTargets(bench, {
      auth: 'trust',
      userlist: [`"${TRUST_USER}" ""`],
      backendPort: port,
    });
    return {
      ...group,
      close: async () => {
        await group.close();
        await stop();
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function scriptOf(bench: Bench): string {
  return path.join(bench.scratch, 'select1.sql');
}

export function instantGroup(): Group {
  const lines = ['simple', 'extended', 'prepared'].map(
    (mode): Line => ({
      name: `instant ${mode} ${CLIENTS}`,
      units: { value: 'tps', cpu: 'µs/tx', biggerIsBetter: true },
      absent: (bench, target) => (mode === 'prepared' ? withoutPrepared(bench, target) : null),
      measure: (bench, target, seconds) => {
        const args = ['-f', scriptOf(bench), '-M', mode];
        return measurePgbench(bench, target, seconds, { clients: CLIENTS, user: TRUST_USER, args });
      },
    }),
  );
  return { lines, open };
}
