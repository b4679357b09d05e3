/** Memory of idle clients: a fresh pooler each time, logged-in clients that do nothing, resident memory before and after. */
import { setTimeout as sleep } from 'node:timers/promises';
import { DATABASE, TRUST_USER } from '../support/backend.ts';
import type { Bench, Group, Line, OpenGroup, Target } from '../support/line.ts';
import type { BenchOptions } from '../support/options.ts';
import { startPooler } from '../support/pooler.ts';
import { RawConnection } from '../support/raw-connection.ts';
import type { Sample } from '../support/results.ts';

/** Logins at a time: below every listen backlog. */
const AT_ONCE = 50;
const SETTLE_MS = 1_500;

async function connectAll(port: number, count: number): Promise<RawConnection[]> {
  const clients: RawConnection[] = [];
  try {
    while (clients.length < count) {
      const some = Math.min(AT_ONCE, count - clients.length);
      const opening = Array.from({ length: some }, () => RawConnection.open(port, TRUST_USER, DATABASE));
      for (const result of await Promise.allSettled(opening)) {
        if (result.status === 'rejected') throw result.reason;
        clients.push(result.value);
      }
    }
    return clients;
  } catch (error) {
    for (const client of clients) client.close();
    throw error;
  }
}

async function measure(bench: Bench, target: Target): Promise<Sample> {
  const program = bench.programs.find((one) => one.name === target.name);
  if (program === undefined) throw new Error(`${target.name} is not a pooler`);
  const { port: backendPort } = bench.backend;
  const userlist = [`"${TRUST_USER}" ""`];
  const pooler = await startPooler(program, { backendPort, auth: 'trust', userlist, scratch: bench.scratch });
  let clients: RawConnection[] = [];
  try {
    // one client first: what the first login allocates once is not the price of a client
    clients = await connectAll(pooler.port, 1);
    await clients[0]?.query('select 1');
    await sleep(SETTLE_MS);
    const before = pooler.residentKb();
    clients.push(...(await connectAll(pooler.port, bench.options.idleClients)));
    await sleep(SETTLE_MS);
    const after = pooler.residentKb();
    if (before === null || after === null) throw new Error('memory cannot be read here (no /proc)');
    return { value: (after - before) / bench.options.idleClients, cpu: null };
  } finally {
    for (const client of clients) client.close();
    await pooler.stop();
  }
}

export function idleGroup(options: BenchOptions): Group {
  const line: Line = {
    name: `idle ${options.idleClients}`,
    units: { value: 'kB/client', cpu: null, biggerIsBetter: false },
    once: true,
    absent: (_bench, target) =>
      target.name === 'direct' ? 'a server process per client is another order of size' : null,
    measure,
  };
  // each measurement starts its own pooler; here only the names are needed
  const open = async (bench: Bench): Promise<OpenGroup> => ({
    targets: bench.programs.map((program) => ({ name: program.name, port: 0, cpu: () => null })),
    failed: {},
    close: async () => {},
  });
  return { lines: [line], open };
}
