/**
 * A primary with streaming replicas, built from initdb and cold copies of its directory: pg_basebackup is not needed
 * (npm's PostgreSQL has none) and copies made before the first start are the fastest way. Failover moves are here too:
 * promote, follow, and a fresh clone for a node that has diverged.
 */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  conninfoValue,
  copyDataDir,
  initDataDir,
  type PostgresSettings,
  writeBackupLabel,
} from './data-dir.ts';
import { freePorts } from './free-port.ts';
import { unguardDir } from './guard.ts';
import type { PostgresBinaries } from './postgres-binaries.ts';
import { PostgresInstance, type PostgresOptions } from './postgres-instance.ts';
import { makeScratchDir } from './run-as.ts';
import { runSql, SampleClient, type SampleClientOptions, type SampleResult } from './sample-client.ts';

export interface ClusterOptions {
  readonly binaries: PostgresBinaries;
  /** How many, default 2. */
  readonly replicas?: number;
  /** Of every node. */
  readonly settings?: PostgresSettings;
  readonly hba?: readonly string[];
  readonly auth?: 'trust' | 'scram-sha-256';
  /** Needed when `auth` asks for one; also used for the replication. */
  readonly superuserPassword?: string;
  /** An existing directory to work in; default: a new one in the temporary directory. */
  readonly dir?: string;
}

export class PostgresCluster {
  /** pg1, pg2, …; pg1 is the first primary. */
  readonly nodes: readonly PostgresInstance[];
  readonly dir: string;
  readonly #password: string | undefined;
  readonly #ownsDir: boolean;

  private constructor(nodes: readonly PostgresInstance[], dir: string, options: ClusterOptions) {
    this.nodes = nodes;
    this.dir = dir;
    this.#password = options.superuserPassword;
    this.#ownsDir = options.dir === undefined;
  }

  /** Builds and starts one; every replica is streaming when this returns. Nothing is left behind when it fails. */
  static async start(options: ClusterOptions): Promise<PostgresCluster> {
    const { binaries } = options;
    const count = 1 + (options.replicas ?? 2);
    const dir = options.dir ?? makeScratchDir('pgconcierge-cluster', binaries.runAs);
    const dirs = Array.from({ length: count }, (_, i) => join(dir, `pg${i + 1}`));
    const [first = '', ...others] = dirs;
    const nodes: PostgresInstance[] = [];
    const cluster = new PostgresCluster(nodes, dir, options);
    try {
      const ports = await freePorts(count);
      const { superuserPassword } = options;
      await initDataDir({
        binaries,
        dir: first,
        ...(superuserPassword === undefined ? {} : { superuserPassword }),
      });
      await Promise.all(others.map((to) => copyDataDir(first, to, true, binaries.runAs)));
      dirs.forEach((nodeDir, i) => {
        nodes.push(new PostgresInstance(nodeOptions(options, nodeDir, i, ports)));
      });
      // the primary first: a replica that finds nobody would wait for wal_retrieve_retry_interval
      await nodes[0]?.start();
      await Promise.all(nodes.slice(1).map((node) => node.start()));
      for (const replica of nodes.slice(1)) await cluster.waitStreaming(replica);
    } catch (error) {
      await cluster.destroy();
      throw error;
    }
    return cluster;
  }

  /** The one running node that is not a replica. Throws when there is none, or (a split brain) more than one. */
  get primary(): PostgresInstance {
    const found = this.nodes.filter((node) => node.running && !node.isReplica);
    const [only] = found;
    if (only === undefined || found.length > 1) {
      throw new Error(`${found.length} nodes are primary: ${found.map((node) => node.name).join(', ')}`);
    }
    return only;
  }

  /** Those that run as replicas. */
  get replicas(): readonly PostgresInstance[] {
    return this.nodes.filter((node) => node.running && node.isReplica);
  }

  /** Node by name; throws when there is none of it. */
  node(name: string): PostgresInstance {
    const found = this.nodes.find((node) => node.name === name);
    if (found === undefined) throw new Error(`no node ${name}`);
    return found;
  }

  /** Where and as whom the superuser logs in to `node`. */
  superuser(node: PostgresInstance, database = 'postgres'): SampleClientOptions {
    const password = this.#password;
    return {
      host: node.host,
      port: node.port,
      user: 'postgres',
      database,
      ...(password === undefined ? {} : { password }),
    };
  }

  /** One query as the superuser. */
  sql(node: PostgresInstance, text: string, database?: string): Promise<SampleResult> {
    return runSql(this.superuser(node, database), text);
  }

  /** Waits until `replica` receives WAL. */
  async waitStreaming(replica: PostgresInstance, timeoutMs = 15_000): Promise<void> {
    await this.#poll(
      replica,
      "SELECT status = 'streaming' FROM pg_stat_wal_receiver",
      'streaming',
      timeoutMs,
    );
  }

  /** Waits until every running replica has replayed what the primary has written until now. */
  async waitCaughtUp(timeoutMs = 15_000): Promise<void> {
    const now = (await this.sql(this.primary, 'SELECT pg_current_wal_lsn()')).rows[0]?.[0] ?? '';
    const query = `SELECT pg_last_wal_replay_lsn() >= '${now}'::pg_lsn`;
    await Promise.all(this.replicas.map((node) => this.#poll(node, query, `at ${now}`, timeoutMs)));
  }

  /** Replicas that have more of the primary's WAL than `target`: they cannot follow it once it is promoted. */
  async aheadOf(target: PostgresInstance): Promise<readonly PostgresInstance[]> {
    const received = 'GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())';
    const mine = (await this.sql(target, `SELECT ${received}`)).rows[0]?.[0] ?? '0/0';
    const ahead: PostgresInstance[] = [];
    for (const other of this.replicas.filter((one) => one !== target)) {
      const { rows } = await this.sql(other, `SELECT ${received} > '${mine}'::pg_lsn`);
      if (rows[0]?.[0] === 't') ahead.push(other);
    }
    return ahead;
  }

  /** Makes `node` a primary. The old one is the caller's business: stop it first, or have a split brain. */
  async promote(node: PostgresInstance): Promise<void> {
    await node.promote();
  }

  /** Lets a running replica stream from `primary` (it must not be ahead of it); waits until it does. */
  async follow(replica: PostgresInstance, primary: PostgresInstance): Promise<void> {
    const from = replica.log.mark();
    replica.configure({ primary_conninfo: conninfo(primary.port, replica.name, this.#password) });
    await replica.log.waitFor(/started streaming WAL/, { from, timeoutMs: 15_000 });
    await this.waitStreaming(replica);
  }

  /**
   * Starts a stopped `node` as a replica of `primary`, with the data that it has: a replica, or a former primary that was
   * stopped in peace before the promotion, so that it has nothing which `primary` has not.
   */
  async rejoin(node: PostgresInstance, primary: PostgresInstance): Promise<void> {
    node.becomeReplica(conninfo(primary.port, node.name, this.#password));
    await node.start();
    await this.waitStreaming(node);
  }

  /** Throws `node`'s data away and makes it a replica of the running `primary`, as one does with a diverged node. */
  async reclone(node: PostgresInstance, primary: PostgresInstance): Promise<void> {
    await node.destroy();
    const owner = node.binaries.runAs;
    const [begin, end] =
      node.binaries.major >= 15
        ? ["pg_backup_start('pgconcierge', true)", 'pg_backup_stop(false)']
        : ["pg_start_backup('pgconcierge', true, false)", 'pg_stop_backup(false)'];
    const client = await SampleClient.connect(this.superuser(primary));
    try {
      await client.query(`SELECT ${begin}`);
      await copyDataDir(primary.dir, node.dir, false, owner);
      const label = (await client.query(`SELECT labelfile FROM ${end}`)).rows[0]?.[0] ?? '';
      writeBackupLabel(node.dir, label, owner);
    } finally {
      await client.close();
    }
    node.becomeReplica(conninfo(primary.port, node.name, this.#password));
    await node.start();
    await this.waitStreaming(node);
  }

  /** Ends everything and removes the directories. */
  async destroy(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.destroy()));
    if (this.#ownsDir && existsSync(this.dir)) {
      rmSync(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
      unguardDir(this.dir);
    }
  }

  async #poll(node: PostgresInstance, query: string, what: string, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    const client = await SampleClient.connect(this.superuser(node));
    try {
      while ((await client.query(query)).rows[0]?.[0] !== 't') {
        if (performance.now() > deadline) {
          throw new Error(
            `${node.name} is not ${what} after ${timeoutMs} ms\n--- last lines\n${node.log.tail()}`,
          );
        }
        await sleep(10);
      }
    } finally {
      await client.close();
    }
  }
}

function conninfo(port: number, name: string, password: string | undefined): string {
  const secret = password === undefined ? '' : ` password=${conninfoValue(password)}`;
  return `host=127.0.0.1 port=${port} user=postgres application_name=${name}${secret}`;
}

function nodeOptions(
  cluster: ClusterOptions,
  dir: string,
  index: number,
  ports: readonly number[],
): PostgresOptions {
  const { binaries, settings, hba, auth } = cluster;
  const name = `pg${index + 1}`;
  return {
    binaries,
    dir,
    name,
    port: ports[index] ?? 0,
    ...(settings === undefined ? {} : { settings }),
    ...(hba === undefined ? {} : { hba }),
    ...(auth === undefined ? {} : { auth }),
    ...(index === 0 ? {} : { primaryConninfo: conninfo(ports[0] ?? 0, name, cluster.superuserPassword) }),
  };
}
