/** What to type next, printed when the demo is up. Every line of it must work as it stands. */
import type { NodeCounts } from './cluster-metrics.ts';
import { MOVES_HELP } from './moves.ts';
import type { PostgresCluster } from './postgres-cluster.ts';
import { APP_DATABASE, APP_PASSWORD, APP_USER } from './sample-data.ts';

export interface Guide {
  readonly port: number;
  readonly httpPort: number;
  readonly adminPassword: string;
  /** psql's own name for us, when the demo has a user and a database of it. */
  readonly systemUser: string | null;
  readonly cluster: PostgresCluster;
  /** As the proxy sees them. */
  readonly nodes: readonly NodeCounts[];
  readonly iniPath: string;
}

const INDENT = '  ';

/** `what` and `why` in two columns. */
function columns(rows: readonly (readonly [what: string, why: string])[], width: number): string[] {
  return rows.map(([what, why]) => `${INDENT}${what.padEnd(width)}  ${why}`);
}

/** The lines of the guide. */
export function guideLines(guide: Guide): string[] {
  const { port, httpPort, adminPassword, cluster } = guide;
  const psql = (user: string, password: string, database: string, at = port) =>
    `${INDENT}psql postgresql://${user}:${password}@127.0.0.1:${at}/${database}`;
  const nodes = guide.nodes.map(({ name, state }) => `${name} ${state} on ${cluster.node(name).port}`);
  const [, second] = cluster.nodes;
  return [
    '',
    `pgconcierge listens on 127.0.0.1:${port}. Behind it: ${nodes.join(', ')}.`,
    '',
    'As the application (tables accounts, tellers, branches, history). Writes go to the primary, reads to the replicas:',
    psql(APP_USER, APP_PASSWORD, APP_DATABASE),
    ...(guide.systemUser === null
      ? []
      : [
          `${INDENT}psql -h 127.0.0.1 -p ${port}        # you are ${guide.systemUser}, the password is ${APP_PASSWORD}`,
        ]),
    'Always on the primary, always on a replica:',
    psql(APP_USER, APP_PASSWORD, `${APP_DATABASE}_rw`),
    psql(APP_USER, APP_PASSWORD, `${APP_DATABASE}_ro`),
    'On the console:',
    psql('postgres', adminPassword, 'pgbouncer'),
    ...columns(
      [
        ['SHOW POOL_NODES;', 'the nodes: role, reads, lag (SHOW NODES has more)'],
        ['SHOW ROUTES;', 'where the last statements went, and why'],
        ['EXPLAIN ROUTE FOR app SELECT now();', 'where this one would go, and why'],
        ['DETACH pg3; … ATTACH pg3;', 'no more reads there, and again'],
        ['SHOW HELP;', 'the rest'],
      ],
      36,
    ),
    `Straight to a node (here SELECT pg_wal_replay_pause() makes it lag, pg_wal_replay_resume() ends that):`,
    psql('postgres', adminPassword, APP_DATABASE, second?.port),
    'Watched from outside:',
    ...['health', 'metrics', 'primary', 'replica'].map(
      (path) => `${INDENT}curl http://127.0.0.1:${httpPort}/${path}`,
    ),
    'Typed here, it happens to the nodes; the proxy finds out by itself:',
    ...columns(MOVES_HELP, 12),
    'A switchover without an error: PAUSE app; on the console, promote pg2 here, RESUME app; on the console.',
    `Its configuration: ${guide.iniPath}`,
    '',
    'Ctrl-C ends everything and removes it.',
    '',
  ];
}
