/**
 * The life of the daemon's process, in PgBouncer's order: configuration, identity, pidfile, background, log, pooler,
 * signals, end. What pools and relays is the supervisor's; this file only brings it up and lets it down.
 */
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { nativeSockets } from '../net/native.ts';
import { hasPassedDescriptors, notifyServiceManager } from '../net/service-manager.ts';
import { isUnixSocketInUse } from '../net/unix-socket.ts';
import { createLog, type LogOptions, type LogSink } from '../observe/log.ts';
import { type Clock, SYSTEM_CLOCK } from '../util/clock.ts';
import { FatalError } from '../util/fatal-error.ts';
import type { Log } from '../util/log.ts';
import { versionLines } from '../util/version.ts';
import type { RunCommand } from './args.ts';
import { logDiagnostics } from './check.ts';
import { reportStart, startDaemon, takeDaemonMarker } from './daemonize.ts';
import { assumeIdentity, refuseRoot } from './identity.ts';
import { expectedFileUse, fileLimits, limitsLine } from './limits.ts';
import { checkPidfile, writePidfile } from './pidfile.ts';
import { poolDemands, usersOf } from './pool-demand.ts';
import { handleSignal, type PoolerSignal, type SignalTarget } from './signals.ts';

/** What startSupervisor is given. */
export interface SupervisorDeps {
  readonly config: Config;
  readonly log: LogSink;
  readonly clock: Clock;
  /** The command line's part of the settings; it holds over RELOAD too. */
  readonly overrides: { readonly verbose: number; readonly quiet: boolean };
  /** Ends the process: files are removed and the log is flushed on the way. */
  readonly exit: (code: number) => void;
}

/** What this file asks of the running pooler. */
export type RunningPooler = SignalTarget;

/** Opens the listeners and resolves when clients are served. Rejects with FatalError when the start must fail. */
export type StartSupervisor = (deps: SupervisorDeps) => Promise<RunningPooler>;

export interface RunEnvironment {
  readonly startSupervisor: StartSupervisor;
  /** The only process.exit, of main.ts. */
  readonly exit: (code: number) => void;
  /** Hands over the signals, which main.ts has taken at once. */
  readonly onSignal: (handler: (signal: PoolerSignal) => void) => void;
}

const PLAIN_LOG: LogOptions = {
  logfile: '',
  quiet: false,
  syslog: false,
  syslogIdent: 'pgbouncer',
  syslogFacility: 'daemon',
  format: 'pgbouncer',
  verbose: 0,
};

/** Where the log of this start goes to. */
export function logOptions(config: Config, command: Pick<RunCommand, 'quiet' | 'verbose'>): LogOptions {
  const { settings } = config;
  return {
    logfile: settings.logfile,
    quiet: command.quiet,
    syslog: settings.syslog,
    syslogIdent: settings.syslogIdent,
    syslogFacility: settings.syslogFacility,
    format: settings.logFormat,
    verbose: settings.verbose + command.verbose,
  };
}

/** Starts the pooler, or the process that starts it (`-d`). Resolves when it runs; ends the process when it cannot. */
export async function run(command: RunCommand, environment: RunEnvironment): Promise<void> {
  process.title = `pgconcierge ${command.file}`;
  const isDaemon = takeDaemonMarker();
  const quiet = command.quiet || isDaemon;
  const start = new Start({ ...command, quiet }, isDaemon, environment);
  try {
    await start.go();
  } catch (error) {
    await start.fail(error);
  }
}

/** One attempt to start: the log that serves at the moment, and where a failure is told. */
class Start {
  readonly #command: RunCommand;
  readonly #isDaemon: boolean;
  readonly #environment: RunEnvironment;
  #log: LogSink;
  #pooler: RunningPooler | null = null;
  #stoppingTold = false;

  constructor(command: RunCommand, isDaemon: boolean, environment: RunEnvironment) {
    this.#command = command;
    this.#isDaemon = isDaemon;
    this.#environment = environment;
    this.#log = createLog({ ...PLAIN_LOG, quiet: command.quiet, verbose: command.verbose });
    const crash = (error: unknown): void => this.#crash(error);
    process.on('uncaughtException', crash);
    process.on('unhandledRejection', crash);
    environment.onSignal((signal) => this.#onSignal(signal));
  }

  async go(): Promise<void> {
    const command = this.#command;
    const config = this.#load();
    const user = command.user !== '' ? command.user : (config.settings.user ?? '');
    if (command.daemon && !this.#isDaemon) return this.#background(config, user);
    nativeSockets(); // loaded while we may still read all of our files
    assumeIdentity(user);
    this.#openLog(config);
    await refuseSecondStart(config, this.#log);
    this.#tellLimits(config);
    if (config.settings.pidfile !== '') writePidfile(config.settings.pidfile, this.#log);
    this.#pooler = await this.#environment.startSupervisor({
      config,
      log: this.#log,
      clock: SYSTEM_CLOCK,
      overrides: { verbose: command.verbose, quiet: command.quiet },
      exit: this.#environment.exit,
    });
    this.#log.log(`process up: ${versionLines().join(', ')}`);
    // whoever started us may look into the log as soon as the call returns
    this.#log.flush();
    if (this.#isDaemon) await reportStart({ ready: true });
    await notifyServiceManager(['READY=1', `STATUS=serving ${command.file}`], this.#log);
  }

  /** The end of a start that cannot succeed: a sentence, or for a bug its stack. */
  async fail(error: unknown): Promise<void> {
    const text = error instanceof FatalError ? error.message : crashText(error);
    this.#log.fatal(text);
    if (this.#isDaemon) await reportStart({ ready: false, text });
    this.#environment.exit(1);
  }

  #load(): Config {
    const { config, diagnostics } = loadConfig(this.#command.file);
    logDiagnostics(diagnostics, this.#log);
    if (config === null) throw new FatalError('cannot load config file');
    return config;
  }

  /** The first process of `-d`: checks what can be checked while somebody is looking, then waits for the daemon. */
  async #background(config: Config, user: string): Promise<void> {
    const { pidfile, logfile, syslog } = config.settings;
    refuseRoot(user);
    if (pidfile === '') throw new FatalError('daemon needs pidfile configured');
    if (logfile === '' && !syslog) throw new FatalError('daemon needs logfile or syslog configured');
    await refuseSecondStart(config, this.#log);
    checkPidfile(pidfile, this.#log);
    const problem = await startDaemon();
    if (problem !== null) throw new FatalError(problem);
    this.#environment.exit(0);
  }

  #openLog(config: Config): void {
    const early = this.#log;
    try {
      this.#log = createLog(logOptions(config, this.#command));
    } catch (error) {
      throw new FatalError(error instanceof Error ? error.message : String(error));
    }
    early.close();
  }

  #tellLimits(config: Config): void {
    const limits = fileLimits();
    if (limits === null) return;
    const { maxClientConn } = config.settings;
    const expected = expectedFileUse(maxClientConn, poolDemands(config), usersOf(config));
    this.#log.log(limitsLine(limits, maxClientConn, expected));
    if (expected > limits.soft) {
      this.#log.warning(
        'max expected fd use is above the kernel file descriptor limit: raise it (ulimit -n, LimitNOFILE=)',
      );
    }
  }

  #onSignal(signal: PoolerSignal): void {
    handleSignal(signal, this.#pooler, this.#log, this.#environment.exit);
    if (this.#pooler?.isShuttingDown() && !this.#stoppingTold) {
      this.#stoppingTold = true;
      void notifyServiceManager(['STOPPING=1'], this.#log);
    }
  }

  /** A bug: state may be torn, so the process goes down at once and whoever watches it starts it again. */
  #crash(error: unknown): void {
    this.#log.fatal(crashText(error));
    this.#environment.exit(1);
  }
}

function crashText(error: unknown): string {
  return `unexpected error, going down: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}

/** PgBouncer's order: who finds another pooler on the unix socket is told that, whatever the pidfile says. */
async function refuseSecondStart(config: Config, log: Log): Promise<void> {
  const { unixSocketDir, listenPort } = config.settings;
  if (unixSocketDir === '' || hasPassedDescriptors()) return;
  if (await isUnixSocketInUse(unixSocketDir, listenPort)) {
    log.debug(`a process answers on the unix socket in ${unixSocketDir}`);
    throw new FatalError('unix socket is in use, cannot continue');
  }
}
