/**
 * Composition root of the control plane: builds the worker, the console and the HTTP door; reloads; shuts down.
 * Signals and the process around it are cli/'s.
 */
import { createConsole } from './admin/console.ts';
import { logDiagnostics } from './cli/check.ts';
import { logOptions, type RunningPooler, type SupervisorDeps } from './cli/run.ts';
import { Clusters } from './cluster/clusters.ts';
import { CONSOLE_NAMES } from './config/entries.ts';
import { loadConfig } from './config/load.ts';
import { mergeReload } from './config/show.ts';
import type { Diagnostic } from './config/types.ts';
import type { OpenConsole } from './control/console.ts';
import { CommandError, type ShutdownMode } from './control/port.ts';
import { type HttpServer, startHttp } from './http/server.ts';
import { createMetrics } from './observe/metrics.ts';
import { serverTls } from './pool/server-tls.ts';
import { loadParser } from './sql/parse.ts';
import { FatalError } from './util/fatal-error.ts';
import { PGBOUNCER_VERSION, VERSION, VERSION_LINE } from './util/version.ts';
import { WorkerClusterControl } from './worker/cluster-control.ts';
import { WorkerControl } from './worker/control-port.ts';
import { Worker } from './worker/worker.ts';

class Supervisor implements RunningPooler {
  readonly #deps: SupervisorDeps;
  readonly #worker: Worker;
  readonly #control: WorkerControl;
  readonly #clusters: Clusters;
  #http: HttpServer | null = null;
  #shutdown: ShutdownMode | null = null;

  constructor(deps: SupervisorDeps) {
    this.#deps = deps;
    let openConsole: OpenConsole | null = null;
    this.#worker = new Worker({
      config: deps.config,
      log: deps.log,
      clock: deps.clock,
      openConsole: (who, io) => {
        if (openConsole === null) throw new Error('the console is not ready');
        this.#worker.stats.console.xacts += 1;
        this.#worker.stats.console.queries += 1;
        this.#worker.stats.console.clientLogins += 1;
        return openConsole(who, io);
      },
    });
    this.#control = new WorkerControl(this.#worker, {
      reload: () => this.#reload(),
      changed: (config) => this.#clusters.reconfigure(config),
      shutdown: (mode) => this.shutdown(mode),
      droppedLogLines: () => deps.log.droppedLines(),
    });
    this.#clusters = new Clusters({
      config: deps.config,
      sink: this.#worker.clusters,
      log: deps.log,
      clock: deps.clock,
      tls: () => serverTls(this.#worker.config.settings),
    });
    this.#worker.clusters.monitors = this.#clusters;
    this.#control.clusterControl = new WorkerClusterControl(this.#worker, this.#clusters);
    const own = deps.config.settings.adminDatabase;
    openConsole = createConsole(this.#control, {
      version: VERSION_LINE,
      serverVersion: `${PGBOUNCER_VERSION}/bouncer`,
      adminDatabases: own === '' ? CONSOLE_NAMES : [...CONSOLE_NAMES, own],
      log: deps.log,
    });
    this.#worker.onSweep = () => this.#endWhenDrained();
  }

  async start(): Promise<void> {
    const { settings } = this.#deps.config;
    if (settings.authType === 'ldap' || settings.authType === 'pam') {
      throw new FatalError(
        `auth_type ${settings.authType} is not supported yet; use hba, scram-sha-256, md5, cert or trust`,
      );
    }
    if (settings.httpAddr !== '') {
      const metrics = createMetrics({
        source: this.#control,
        version: VERSION,
        maxLabels: settings.metricsMaxLabels,
      });
      try {
        this.#http = await startHttp({
          host: settings.httpAddr,
          port: settings.httpPort,
          control: this.#control,
          metrics,
          log: this.#deps.log,
        });
      } catch (error) {
        throw new FatalError(error instanceof Error ? error.message : String(error));
      }
    }
    if (this.#deps.config.clusters.size > 0) await loadParser();
    this.#clusters.start();
    await this.#worker.start();
  }

  // --- RunningPooler: what signals ask for

  reload(): void {
    this.#reload();
  }

  pauseAll(): void {
    this.#worker.commands.beginPause(null);
  }

  resumeAll(): void {
    try {
      this.#worker.commands.resume(null);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      this.#deps.log.error(error.message);
    }
  }

  isShuttingDown(): boolean {
    return this.#shutdown !== null;
  }

  isPaused(): boolean {
    return this.#worker.pools.pausedAll;
  }

  shutdown(mode: ShutdownMode): void {
    if (mode === 'immediate') {
      this.#exit();
      return;
    }
    if (this.#shutdown !== null) throw new CommandError('already shutting down');
    this.#shutdown = mode;
    const { clients, commands } = this.#worker;
    clients.shuttingDown = true;
    this.#worker.closeTcp();
    if (mode === 'wait_for_servers') {
      commands.beginPause(null);
      this.#endWaiting();
    }
  }

  // --- inside

  /** No server will come for those who wait, nor for those who begin to wait later. */
  #endWaiting(): void {
    this.#worker.clients.endAll(
      'serverShuttingDown',
      (client) => client.phase === 'waiting' || client.phase === 'welcome',
    );
  }

  #endWhenDrained(): void {
    const { clients, pools } = this.#worker;
    if (this.#shutdown === 'wait_for_clients') {
      for (const client of clients.clients) if (client.phase !== 'console') return;
      this.#deps.log.log('client connections dropped, exiting');
      this.#exit();
    } else if (this.#shutdown === 'wait_for_servers') {
      this.#endWaiting();
      for (const database of pools.databases.values()) if (database.servers > 0) return;
      this.#deps.log.log('server connections dropped, exiting');
      this.#exit();
    }
  }

  #exit(): void {
    this.#clusters.stop();
    this.#worker.stop();
    this.#http?.close();
    this.#deps.exit(0);
  }

  /** A RELOAD may bring the first cluster; until the parser is there, what needs it goes to the primary. */
  #loadParser(): void {
    loadParser().catch((error: unknown) => {
      this.#deps.log.error(
        `cannot load the SQL parser: ${error instanceof Error ? error.message : String(error)}`,
      );
    });
  }

  #reload(): { readonly ok: boolean; readonly diagnostics: readonly Diagnostic[] } {
    const { log, overrides } = this.#deps;
    const current = this.#worker.config;
    const { config, diagnostics } = loadConfig(current.path, { previous: current });
    const told = diagnostics.filter((found) => found.level !== 'info');
    logDiagnostics(told, log);
    if (config === null) {
      log.warning('config file loading failed');
      return { ok: false, diagnostics };
    }
    const { config: merged, kept } = mergeReload(current, config);
    const late = kept.map(
      (key): Diagnostic => ({
        level: 'warning',
        file: current.path,
        line: 0,
        message: `parameter ${key} has changed: the new value needs a restart`,
      }),
    );
    logDiagnostics(late, log);
    try {
      this.#worker.reconfigure(merged);
      this.#clusters.reconfigure(merged);
      if (merged.clusters.size > 0) this.#loadParser();
      log.reconfigure(logOptions(merged, overrides));
      log.reopen();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      log.error(message);
      return {
        ok: false,
        diagnostics: [...diagnostics, { level: 'error', file: current.path, line: 0, message }],
      };
    }
    return { ok: true, diagnostics: [...diagnostics, ...late] };
  }
}

/** Starts the pooler; resolves when clients are served. Rejects with FatalError when it cannot. */
export async function startSupervisor(deps: SupervisorDeps): Promise<RunningPooler> {
  const supervisor = new Supervisor(deps);
  await supervisor.start();
  return supervisor;
}
