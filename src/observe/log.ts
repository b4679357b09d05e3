/**
 * The log: every line of the process, in PgBouncer's form (scripts match on it) or as JSON (rendered by pino), to
 * stderr, a file and syslog. It never waits for a reader and never throws; what a destination does not take is
 * dropped and counted (log-destination.ts). Secrets and query texts have no business here: callers do not pass them.
 */
import { pino } from 'pino';
import type { Log, LogFields, LogLevel } from '../util/log.ts';
import { type DestinationEvents, LogDestination } from './log-destination.ts';
import { cleanFields, cleanText, LineFormat } from './log-line.ts';
import { SyslogDestination } from './log-syslog.ts';

export interface LogOptions {
  /** Path, `/dev/stdout`, `/dev/stderr`, or '' = none. */
  readonly logfile: string;
  /** No stderr (-q, -d). */
  readonly quiet: boolean;
  readonly syslog: boolean;
  readonly syslogIdent: string;
  readonly syslogFacility: string;
  readonly format: 'pgbouncer' | 'json';
  /** 0..3: DEBUG is shown from 1, NOISE from 2. */
  readonly verbose: number;
}

/** Where a process finds its destinations; tests put their own. */
export interface LogPlace {
  readonly stderrFd: number;
  readonly syslogSocket: string;
  readonly syslogProgram: string;
  readonly pid: number;
  /** Epoch milliseconds. */
  wall(): number;
}

export interface LogSink extends Log {
  /** False when a line of this level would not be shown: lets callers skip building it. */
  shows(level: LogLevel): boolean;
  /** HUP, RELOAD: the file is opened anew, so that it can be rotated. */
  reopen(): void;
  /** RELOAD, SET. Throws Error when a new logfile cannot be opened; the old settings then stay. */
  reconfigure(options: LogOptions): void;
  /** Lines lost since the start, over all destinations. */
  droppedLines(): number;
  /** Writes what waits, synchronously, for at most half a second a destination. Called by itself at exit and after FATAL. */
  flush(): void;
  /** Flushes and lets go of files, sockets and the exit hook. For tests and embedders; a process may just end. */
  close(): void;
}

const FLUSH_BUDGET_MS = 500;

const PINO_LEVELS = { NOISE: 10, DEBUG: 20, LOG: 30, WARNING: 40, ERROR: 50, FATAL: 60 } as const;

const THIS_PROCESS: LogPlace = {
  stderrFd: 2,
  syslogSocket: '/dev/log',
  syslogProgram: 'logger',
  pid: process.pid,
  wall: () => Date.now(),
};

class ProcessLog implements LogSink {
  readonly #place: LogPlace;
  readonly #lines: LineFormat;
  readonly #json: (level: LogLevel, text: string, fields: LogFields | undefined) => string;
  #options: LogOptions;
  #stderr: LogDestination | null = null;
  #file: LogDestination | null = null;
  #syslog: SyslogDestination | null = null;
  /** Lost by destinations that are no longer in use. */
  #droppedBefore = 0;
  readonly #onExit = (): void => this.flush();

  constructor(options: LogOptions, place: LogPlace) {
    this.#place = place;
    this.#options = options;
    this.#lines = new LineFormat(place.pid);
    this.#json = jsonRenderer(place);
    // the file first: it is the one that can fail
    if (options.logfile !== '') this.#file = this.#openFile(options.logfile);
    this.#openOthers(options);
    process.on('exit', this.#onExit);
  }

  log(text: string, fields?: LogFields): void {
    this.#write('LOG', text, fields);
  }
  warning(text: string, fields?: LogFields): void {
    this.#write('WARNING', text, fields);
  }
  error(text: string, fields?: LogFields): void {
    this.#write('ERROR', text, fields);
  }
  fatal(text: string, fields?: LogFields): void {
    this.#write('FATAL', text, fields);
    this.flush();
  }
  debug(text: string, fields?: LogFields): void {
    if (this.#options.verbose >= 1) this.#write('DEBUG', text, fields);
  }
  noise(text: string, fields?: LogFields): void {
    if (this.#options.verbose >= 2) this.#write('NOISE', text, fields);
  }

  shows(level: LogLevel): boolean {
    if (level === 'DEBUG') return this.#options.verbose >= 1;
    if (level === 'NOISE') return this.#options.verbose >= 2;
    return true;
  }

  reopen(): void {
    this.#file?.reopen();
  }

  reconfigure(options: LogOptions): void {
    const before = this.#options;
    if (options.logfile !== before.logfile) {
      const next = options.logfile === '' ? null : this.#openFile(options.logfile);
      this.#retire(this.#file);
      this.#file = next;
    }
    const syslogChanged =
      options.syslogIdent !== before.syslogIdent || options.syslogFacility !== before.syslogFacility;
    if (!options.syslog || syslogChanged) {
      this.#droppedBefore += this.#syslog?.dropped ?? 0;
      this.#syslog?.close();
      this.#syslog = null;
    }
    if (options.quiet) {
      this.#retire(this.#stderr);
      this.#stderr = null;
    }
    this.#options = options;
    this.#openOthers(options);
  }

  droppedLines(): number {
    const now = (this.#stderr?.dropped ?? 0) + (this.#file?.dropped ?? 0) + (this.#syslog?.dropped ?? 0);
    return this.#droppedBefore + now;
  }

  flush(): void {
    this.#stderr?.flush(FLUSH_BUDGET_MS);
    this.#file?.flush(FLUSH_BUDGET_MS);
  }

  close(): void {
    process.off('exit', this.#onExit);
    this.#stderr?.close(FLUSH_BUDGET_MS);
    this.#file?.close(FLUSH_BUDGET_MS);
    this.#syslog?.close();
  }

  #write(
    level: LogLevel,
    text: string,
    fields?: LogFields,
    except?: LogDestination | SyslogDestination,
  ): void {
    const clean = cleanText(text);
    const json = this.#options.format === 'json';
    const line = json ? this.#json(level, clean, fields) : this.#lines.line(level, clean, this.#place.wall());
    if (this.#stderr !== null && this.#stderr !== except) this.#stderr.write(line);
    if (this.#file !== null && this.#file !== except) this.#file.write(line);
    // syslog has the time, the program and the severity of its own
    if (this.#syslog !== null && this.#syslog !== except)
      this.#syslog.write(level, json ? line.trimEnd() : clean);
  }

  #openFile(path: string): LogDestination {
    const made: LogDestination = LogDestination.file(
      path,
      this.#eventsOf(() => made),
    );
    return made;
  }

  #openOthers(options: LogOptions): void {
    if (!options.quiet && this.#stderr === null) {
      const made: LogDestination = LogDestination.standard(
        this.#place.stderrFd,
        this.#eventsOf(() => made),
      );
      this.#stderr = made;
    }
    if (options.syslog && this.#syslog === null) {
      const { syslogSocket: socketPath, syslogProgram: program, pid, wall } = this.#place;
      const place = { socketPath, program, pid, wall };
      const made: SyslogDestination = new SyslogDestination(
        options.syslogIdent,
        options.syslogFacility,
        place,
        this.#eventsOf(() => made),
      );
      this.#syslog = made;
    }
  }

  /** What one destination suffers is told to the others; that it lost lines is told to it as well. */
  #eventsOf(self: () => LogDestination | SyslogDestination): DestinationEvents {
    return {
      onProblem: (text) => this.#write('WARNING', text, undefined, self()),
      onRecovered: (dropped) => {
        this.#write(
          'WARNING',
          `${dropped} log lines were dropped: a log destination did not take them in time`,
        );
      },
    };
  }

  #retire(destination: LogDestination | null): void {
    if (destination === null) return;
    destination.close(FLUSH_BUDGET_MS);
    this.#droppedBefore += destination.dropped;
  }
}

/** pino as a renderer: it is handed a stream that keeps the line. */
function jsonRenderer(
  place: LogPlace,
): (level: LogLevel, text: string, fields: LogFields | undefined) => string {
  let rendered = '';
  const logger = pino(
    {
      base: { pid: place.pid },
      customLevels: PINO_LEVELS,
      useOnlyCustomLevels: true,
      level: 'NOISE',
      formatters: { level: (label) => ({ level: label }) },
      timestamp: () => `,"time":"${new Date(place.wall()).toISOString()}"`,
    },
    {
      write(line: string): void {
        rendered = line;
      },
    },
  );
  return (level, text, fields) => {
    if (fields === undefined) logger[level](text);
    else logger[level](cleanFields(fields), text);
    return rendered;
  };
}

/**
 * Opens the destinations. Throws Error (`cannot open logfile: …`) when the file cannot be opened. The log flushes
 * itself at exit. `place` is for tests.
 */
export function createLog(options: LogOptions, place: LogPlace = THIS_PROCESS): LogSink {
  return new ProcessLog(options, place);
}
