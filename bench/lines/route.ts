/**
 * What routing costs (PERFORMANCE.md, "route=auto against a plain entry"): the same reads on the same replica, once
 * through a plain entry that names it, once through route=auto in front of the primary and it. Two processes of
 * ourselves; the figure is the CPU of the proxy per transaction. pgbench -S sends other literals every time.
 */
import { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import { DATABASE, fill, makeUsers, TRUST_USER } from '../support/backend.ts';
import type { Bench, Group, Line, OpenGroup, Target } from '../support/line.ts';
import { type Pooler, startPooler } from '../support/pooler.ts';
import { measurePgbench } from './pgbench-lines.ts';

const CLIENTS = 32;

async function open(bench: Bench): Promise<OpenGroup> {
  const own = bench.programs.find(({ name }) => name === 'pgconcierge');
  if (own === undefined) throw new Error('the own program is always part of a bench');
  const cluster = await PostgresCluster.start({
    binaries: bench.backend.binaries,
    replicas: 1,
    settings: { max_connections: 300, shared_buffers: '256MB', autovacuum: false, max_wal_size: '2GB' },
  });
  const poolers: Pooler[] = [];
  const close = async (): Promise<void> => {
    for (const pooler of poolers) await pooler.stop();
    await cluster.destroy();
  };
  try {
    const [primary, replica] = cluster.nodes;
    if (primary === undefined || replica === undefined) throw new Error('the cluster has no replica');
    await makeUsers(primary.port);
    await fill(primary.port, bench.backend.pgbench, bench.options.scale);
    await cluster.waitCaughtUp(60_000);
    const common = { auth: 'trust', userlist: [`"${TRUST_USER}" ""`], scratch: bench.scratch } as const;
    const plain = await startPooler(own, { ...common, backendPort: replica.port });
    poolers.push(plain);
    const nodes = [primary, replica].map(
      (node, i) => `n${i + 1} = cluster=main host=127.0.0.1 port=${node.port}`,
    );
    const routed = await startPooler(own, {
      ...common,
      backendPort: primary.port,
      database: `cluster=main dbname=${DATABASE}`,
      sections: ['[clusters]', 'main = check_user=postgres', '[nodes]', ...nodes],
    });
    poolers.push(routed);
    const targets: Target[] = [
      { name: 'plain', port: plain.port, cpu: () => plain.cpu() },
      { name: 'pgconcierge', port: routed.port, cpu: () => routed.cpu() },
    ];
    return { targets, failed: {}, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** route=auto and a plain entry, in the three protocol modes. */
export function routeGroup(): Group {
  const lines = ['simple', 'extended', 'prepared'].map(
    (mode): Line => ({
      name: `route=auto ${mode} ${CLIENTS}`,
      units: { value: 'tps', cpu: 'µs/tx', biggerIsBetter: true },
      absent: () => null,
      measure: (bench, target, seconds) =>
        measurePgbench(bench, target, seconds, {
          clients: CLIENTS,
          user: TRUST_USER,
          args: ['-S', '-M', mode],
        }),
    }),
  );
  return { lines, open };
}
