/** Where the traffic goes, a line a second: counts that the proxy has of its nodes, and what the clients have seen. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type ClusterCounts, fetchCounts } from './cluster-metrics.ts';
import type { TrafficSeen } from './traffic.ts';

const PERIOD_MS = 1_000;
const HEADER_EVERY = 20;
const NODE_HEADER = 'reads    % writes    lag';

/** What the columns mean, for the guide. */
export const TRAFFIC_LEGEND: readonly string[] = [
  'Traffic, per second: reads, their share and writes of each node; how far it is behind.',
  '  fallback  reads that went to the primary: no replica had replayed yet what the client had written before',
  '  stale     reads that did not show what the client had written before (never, if we are right)',
];

function bytes(count: number | null): string {
  if (count === null) return '-';
  if (count < 1_000) return `${count} B`;
  return count < 1_000_000 ? `${Math.round(count / 1_000)} kB` : `${Math.round(count / 1_000_000)} MB`;
}

/** The two lines above the columns. They name the roles, so they are printed again when those change. */
export function trafficHeader(counts: ClusterCounts): string[] {
  const blank = ' '.repeat(30);
  const titles = counts.nodes.map(({ name, state }) => `${name} ${state}`.padEnd(NODE_HEADER.length));
  return [
    `${blank} |${titles.join(' |')}`.trimEnd(),
    `time     fallback stale errors |${counts.nodes.map(() => NODE_HEADER).join(' |')}`,
  ];
}

/** One line: what has happened from `before` to `now`, which were `seconds` apart. */
export function trafficLine(
  before: ClusterCounts,
  now: ClusterCounts,
  seen: TrafficSeen,
  seconds: number,
): string {
  const old = new Map(before.nodes.map((node) => [node.name, node]));
  const moved = now.nodes.map(({ name, state, reads, writes, lagBytes }) => ({
    reads: reads - (old.get(name)?.reads ?? 0),
    writes: writes - (old.get(name)?.writes ?? 0),
    lag: state === 'primary' ? '-' : bytes(lagBytes),
  }));
  const all = moved.reduce((sum, node) => sum + node.reads, 0);
  // counts of a node end with it, when a RELOAD takes it away
  const rate = (count: number): number => Math.max(0, Math.round(count / seconds));
  const cells = moved.map(({ reads, writes, lag }) => {
    const share = all === 0 ? '-' : `${Math.round((100 * reads) / all)}%`;
    return `${rate(reads)}`.padStart(5) + share.padStart(5) + `${rate(writes)}`.padStart(7) + lag.padStart(7);
  });
  const clock = new Date().toTimeString().slice(0, 8);
  const fallback = `${rate(now.notFresh - before.notFresh)}`.padStart(9);
  const left = `${clock}${fallback}${`${seen.stale}`.padStart(6)}${`${seen.errors}`.padStart(7)}`;
  return `${left} |${cells.join(' |')}`;
}

export interface ReportOptions {
  readonly httpPort: number;
  readonly seen: TrafficSeen;
  readonly print: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Prints until `signal` is aborted. */
export async function reportTraffic(options: ReportOptions): Promise<void> {
  const { httpPort, seen, print, signal } = options;
  let before: ClusterCounts | null = null;
  let takenAt = 0;
  let header = '';
  let lines = 0;
  while (!signal.aborted) {
    await sleep(PERIOD_MS, undefined, { signal }).catch(() => {});
    const now = await fetchCounts(httpPort).catch(() => null);
    if (signal.aborted) return;
    if (now === null) {
      print('the proxy does not answer on its HTTP port');
      continue;
    }
    const atMs = performance.now();
    if (before !== null) {
      const wanted = trafficHeader(now);
      if (lines === HEADER_EVERY || wanted.join() !== header) {
        for (const line of wanted) print(line);
        header = wanted.join();
        lines = 0;
      }
      lines++;
      print(trafficLine(before, now, seen, (atMs - takenAt) / 1_000));
      if (seen.errors > 0) print(`         last error: ${seen.lastError}`);
      Object.assign(seen, { stale: 0, errors: 0, lastError: '' });
    }
    before = now;
    takenAt = atMs;
  }
}
