/** A proxy in front of a real cluster: its nodes pg1, pg2, … as cluster `main`, and the usual ways in. */
import type { TestContext } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import { Daemon, type DaemonConfig, type DaemonOptions } from './daemon.ts';
import { atEndOfFile } from './file-cleanup.ts';
import { RawClient } from './raw-client.ts';
import { until } from './until.ts';

/** The node that answers, by its port. */
export const whereAmI = 'SELECT inet_server_port()';

export interface RoutedOptions {
  /** Further keys of `main` in [clusters]. */
  readonly clusters?: string;
  /** Further entries, and other keys for `app`, `app_rw` and `app_ro`. */
  readonly databases?: Readonly<Record<string, string>>;
  /** [pgbouncer], on top of: trust, transaction mode. */
  readonly settings?: DaemonConfig['settings'];
  /** Further keys of a node, by name, e.g. `weight=3`. */
  readonly nodes?: Readonly<Record<string, string>>;
  readonly users?: DaemonConfig['users'];
  /** Lines at the end of the ini. */
  readonly extra?: string;
  readonly daemon?: DaemonOptions;
}

/** The configuration alone, e.g. for a RELOAD. */
export function routedConfig(cluster: PostgresCluster, options: RoutedOptions = {}): DaemonConfig {
  const { clusters = '', databases = {}, settings = {}, nodes = {}, users, extra = '' } = options;
  const lines = [
    '[clusters]',
    `main = check_user=postgres ${clusters}`,
    '[nodes]',
    ...cluster.nodes.map(
      ({ name, host, port }) => `${name} = cluster=main host=${host} port=${port} ${nodes[name] ?? ''}`,
    ),
    extra,
  ];
  return {
    databases: {
      app: 'cluster=main dbname=postgres',
      app_rw: 'cluster=main dbname=postgres route=primary',
      app_ro: 'cluster=main dbname=postgres route=replica',
      ...databases,
    },
    settings: {
      auth_type: 'trust',
      pool_mode: 'transaction',
      server_login_retry: 0.2,
      check_interval: 0.2,
      slow_start: 0,
      ...settings,
    },
    ...(users === undefined ? {} : { users }),
    extra: lines.join('\n'),
  };
}

/** A daemon of one test (`t` null: of the whole file), up when this returns and with the roles of all nodes known. */
export async function routedDaemon(
  t: TestContext | null,
  cluster: PostgresCluster,
  options: RoutedOptions = {},
): Promise<Daemon> {
  const daemon = await Daemon.start(routedConfig(cluster, options), options.daemon);
  const destroy = () => daemon.destroy();
  if (t === null) atEndOfFile(destroy);
  else t.after(destroy);
  const told = await daemon.log.waitFor(/cluster main: primary \w+, timeline/);
  // on a busy machine a node may answer its first check after the daemon has stopped waiting for all of them
  if (told.includes(' starting')) await untilNoneStarts(daemon);
  return daemon;
}

async function untilNoneStarts(daemon: Daemon): Promise<void> {
  const admin = await RawClient.login(daemon, {
    user: 'postgres',
    password: 'postgres',
    database: 'pgbouncer',
  });
  try {
    await until(async () => (await admin.rows('SHOW NODES')).every((row) => !row.includes('starting')), {
      timeoutMs: 15_000,
      what: 'the roles of all nodes',
    });
  } finally {
    admin.destroy();
  }
}

/** A node's name by its port, as `whereAmI` says it. */
export function nodeAt(cluster: PostgresCluster, port: string | null | undefined): string {
  return cluster.nodes.find((node) => String(node.port) === port)?.name ?? `port ${port}`;
}
