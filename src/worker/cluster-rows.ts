/** Clusters as the console and HTTP see them: rows of the views, EXPLAIN ROUTE. Commands go to the monitors. */
import type { Client } from '../client/client.ts';
import { effectivePoolMode } from '../config/effective.ts';
import type {
  ClusterRow,
  DecisionRow,
  ExplainRow,
  LearnedRow,
  NodeRow,
  RouteRow,
  ShadowRow,
} from '../control/cluster-port.ts';
import { CommandError } from '../control/port.ts';
import type { ClusterRuntime } from '../routing/cluster-runtime.ts';
import { explainRoute } from '../routing/explain.ts';
import { formatLsn } from '../routing/lsn-text.ts';
import { reasonName } from '../routing/reasons.ts';
import type { RoutedNode } from '../routing/routed-node.ts';
import type { Worker } from './worker.ts';

export function nodeRows(worker: Worker): NodeRow[] {
  return [...worker.clusters.runtimes.values()].flatMap((runtime) => clusterNodes(worker, runtime));
}

function clusterNodes(worker: Worker, runtime: ClusterRuntime): NodeRow[] {
  const now = worker.clock.now();
  let next: RoutedNode | null = null;
  for (const { runtime: own, chooser } of worker.clusters.desks.databases.values())
    if (own === runtime) next ??= chooser.peek(now);
  const nodes = [...runtime.nodes.values()];
  const total = nodes.reduce((sum, node) => sum + node.view.weight, 0);
  return nodes.map((node): NodeRow => {
    const { view } = node;
    // what was measured before it went down is not how it is
    const down = view.state === 'down';
    return {
      cluster: runtime.name,
      name: node.name,
      host: view.host,
      port: view.port,
      zone: view.zone,
      state: view.state,
      weight: view.weight,
      share: total === 0 ? 0 : view.weight / total,
      readOnly: view.inRecovery === true,
      timeline: view.timeline,
      systemId: view.systemId,
      writtenLsn: lsnText(view.writtenLsn),
      replayedLsn: lsnText(Math.max(view.replayedLsn, node.replayedLsn)),
      lagMs: down ? null : view.lagMs,
      lagBytes: down ? null : view.lagBytes,
      streaming: view.streaming && !down,
      upstream: view.upstream,
      syncState: view.syncState,
      override: view.override,
      banned: !node.mayServe(now),
      sinceAt: view.sinceAt,
      lastCheckAt: view.lastCheckAt,
      lastError: view.lastError,
      lastErrorAt: view.lastErrorAt,
      slowChecks: view.slowChecks,
      reads: node.reads,
      writes: node.writes,
      inFlight: node.inFlight,
      serviceUs: node.serviceUs,
      nextRead: node === next,
    };
  });
}

function lsnText(lsn: number): string {
  return lsn === 0 ? '' : formatLsn(lsn);
}

export function clusterRows(worker: Worker): ClusterRow[] {
  const now = worker.clock.now();
  const { config, clusters } = worker;
  return [...clusters.runtimes.values()].map((runtime): ClusterRow => {
    const { view } = runtime;
    const entry = config.clusters.get(runtime.name);
    let eligible = 0;
    for (const node of runtime.nodes.values())
      if (node.view.state === 'replica' && node.view.streaming && node.view.weight > 0 && node.mayServe(now))
        eligible += 1;
    return {
      name: runtime.name,
      primary: view?.primary ?? null,
      timeline: view?.timeline ?? 0,
      systemId: view?.systemId ?? '',
      nodes: runtime.nodes.size,
      eligible,
      noPrimarySinceAt: view?.noPrimarySinceAt ?? 0,
      held: heldClients(worker, runtime),
      samples: runtime.freshness.nextSample - 1,
      readConsistency: entry?.readConsistency ?? config.settings.readConsistency,
      balance: entry?.balance ?? config.settings.balance,
    };
  });
}

function heldClients(worker: Worker, runtime: ClusterRuntime): number {
  let held = 0;
  for (const client of worker.clients.clients)
    if (client.phase === 'waiting' && client.routing?.hold === 'primary' && runtimeOf(client) === runtime)
      held += 1;
  return held;
}

function runtimeOf(client: Client): ClusterRuntime | null {
  return client.routing?.desk.shared.runtime ?? null;
}

export function routeRows(worker: Worker): RouteRow[] {
  return worker.clusters.log.rows();
}

export function learnedRows(worker: Worker): LearnedRow[] {
  return [...worker.clusters.runtimes.values()].flatMap((runtime) => runtime.learned.rows());
}

export function shadowRows(worker: Worker): ShadowRow[] {
  return [...worker.clusters.desks.databases].map(([database, { shadow }]) => ({ database, ...shadow.row }));
}

export function decisionRows(worker: Worker): DecisionRow[] {
  const rows: DecisionRow[] = [];
  for (const runtime of worker.clusters.runtimes.values()) {
    for (const node of runtime.nodes.values()) {
      node.decisions.forEach((count, i) => {
        if (count === 0) return;
        const reason = reasonName(i >> 1);
        rows.push({
          cluster: runtime.name,
          class: i % 2 === 0 ? 'read' : 'write',
          reason,
          node: node.name,
          count,
        });
      });
    }
  }
  return rows;
}

/** EXPLAIN ROUTE: for a session of `database` that has set and written nothing. */
export function explainRows(worker: Worker, sql: string, database: string | null): ExplainRow[] {
  const routed = [...worker.config.databases.values()].filter((entry) => entry.cluster !== null);
  const [only] = routed;
  const name = database ?? (routed.length === 1 ? only?.name : undefined) ?? defaultDatabase(worker);
  if (name === undefined) {
    const names = routed.map((entry) => entry.name).join(', ');
    throw new CommandError(
      `say for which database: EXPLAIN ROUTE FOR database …`,
      '42602',
      names === '' ? null : `Databases of clusters: ${names}.`,
    );
  }
  const found = worker.pools.database(name);
  if (found === null) throw new CommandError(`no such database: ${name}`, '3D000');
  const desk = worker.clusters.desks.deskFor(found, '', '');
  if (desk === null)
    throw new CommandError(`database "${name}" belongs to no cluster: it is not routed`, '55000');
  const { shared, settings } = desk;
  return explainRoute({
    sql,
    classifier: shared.classifier,
    chooser: shared.chooser,
    runtime: shared.runtime,
    settings,
    sessionMode: effectivePoolMode(worker.config, found.entry, '') === 'session',
    boundLsn:
      settings.readConsistency === 'database' && shared.written.mark > 0
        ? Number.POSITIVE_INFINITY
        : shared.written.waitLsn,
    nowMs: worker.clock.now(),
  });
}

/** With several databases: the one with route=auto, when there is just one. */
function defaultDatabase(worker: Worker): string | undefined {
  const auto = [...worker.config.databases.values()].filter(
    (entry) => entry.cluster !== null && (entry.route === null || entry.route === 'auto'),
  );
  return auto.length === 1 ? auto[0]?.name : undefined;
}
