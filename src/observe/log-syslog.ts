/**
 * Syslog. Node cannot open a Unix datagram socket, which is what /dev/log usually is, so: a stream /dev/log is written
 * directly, otherwise the `logger` program gets the lines on its standard input. When neither works that is said
 * once, and lines for syslog are counted as dropped until it works again.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import type { Writable } from 'node:stream';
import type { LogLevel } from '../util/log.ts';
import { describeError } from '../util/system-error.ts';
import type { DestinationEvents } from './log-destination.ts';

const MAX_QUEUED_BYTES = 1024 * 1024;
/** After a failure the next try waits this long. */
const RETRY_MS = 10_000;

/** PgBouncer's names for `syslog_facility`, with the numbers of syslog(3). */
const FACILITIES: ReadonlyMap<string, number> = new Map([
  ['user', 1],
  ['daemon', 3],
  ['auth', 4],
  ['authpriv', 10],
  ...Array.from({ length: 8 }, (_, i): [string, number] => [`local${i}`, 16 + i]),
]);
const DEFAULT_FACILITY = 3;

const SEVERITIES: Readonly<Record<LogLevel, number>> = {
  FATAL: 2,
  ERROR: 3,
  WARNING: 4,
  LOG: 6,
  DEBUG: 7,
  NOISE: 7,
};

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `Nov  5 18:23:54`, as RFC 3164 has it. */
function stamp(wallMs: number): string {
  const at = new Date(wallMs);
  const clock = [at.getHours(), at.getMinutes(), at.getSeconds()].map((n) => String(n).padStart(2, '0'));
  return `${MONTHS[at.getMonth()] ?? 'Jan'} ${String(at.getDate()).padStart(2)} ${clock.join(':')}`;
}

export interface SyslogPlace {
  /** `/dev/log`; tests use their own. */
  readonly socketPath: string;
  /** `logger`. */
  readonly program: string;
  readonly pid: number;
  /** Epoch milliseconds. */
  wall(): number;
}

function isSocket(path: string): boolean {
  try {
    return statSync(path).isSocket();
  } catch {
    // no such path: the logger program may still know a way (another socket, journald)
    return false;
  }
}

export class SyslogDestination {
  readonly #ident: string;
  readonly #facility: number;
  readonly #place: SyslogPlace;
  readonly #events: DestinationEvents;
  #out: Writable | null = null;
  #child: ChildProcess | null = null;
  /** While a connect is under way lines go into the socket's own queue. */
  #form: 'socket' | 'logger' = 'logger';
  #socketRefused = false;
  /** Records given to a socket that is not connected yet; -1 once it is. */
  #unconfirmed = 0;
  #retryAt = 0;
  #complained = false;
  #dropped = 0;
  #untold = 0;
  #closed = false;

  constructor(ident: string, facility: string, place: SyslogPlace, events: DestinationEvents) {
    this.#ident = ident;
    this.#facility = FACILITIES.get(facility) ?? DEFAULT_FACILITY;
    this.#place = place;
    this.#events = events;
  }

  get dropped(): number {
    return this.#dropped;
  }

  /** Hands one message over; `text` is a single clean line without a newline. Never blocks, never throws. */
  write(level: LogLevel, text: string): void {
    if (this.#closed) return;
    const out = this.#out ?? this.#start();
    if (out === null || out.writableLength > MAX_QUEUED_BYTES) {
      this.#dropped += 1;
      this.#untold += 1;
      return;
    }
    const priority = this.#facility * 8 + SEVERITIES[level];
    if (this.#form === 'logger') {
      out.write(`<${priority}>${text}\n`);
    } else {
      // records on a stream socket end with a NUL, as glibc's syslog() sends them
      const head = `<${priority}>${stamp(this.#place.wall())} ${this.#ident}[${this.#place.pid}]: `;
      out.write(`${head}${text}\0`);
      if (this.#unconfirmed >= 0) this.#unconfirmed += 1;
    }
  }

  /** Lets go of the socket or program; what has been written to it still arrives. */
  close(): void {
    this.#closed = true;
    this.#out?.end();
    this.#out = null;
    this.#child = null;
  }

  #start(): Writable | null {
    const now = this.#place.wall();
    if (now < this.#retryAt) return null;
    this.#retryAt = now + RETRY_MS;
    this.#out = !this.#socketRefused && isSocket(this.#place.socketPath) ? this.#connect() : this.#spawn();
    return this.#out;
  }

  #connect(): Writable {
    const socket: Socket = connect(this.#place.socketPath);
    this.#form = 'socket';
    socket.unref();
    this.#unconfirmed = 0;
    socket.on('connect', () => {
      this.#unconfirmed = -1;
      this.#works();
    });
    socket.on('error', () => {
      if (this.#out !== socket) return;
      // a datagram socket (EPROTOTYPE), or nobody behind it: the program is next
      this.#socketRefused = true;
      this.#retryAt = 0;
      this.#out = null;
      // the records that were waiting for the connection are lost with it
      this.#dropped += Math.max(this.#unconfirmed, 0);
      this.#untold += Math.max(this.#unconfirmed, 0);
      if (!this.#closed) this.#start();
    });
    socket.on('close', () => {
      if (this.#out === socket) this.#out = null;
    });
    socket.resume();
    return socket;
  }

  #spawn(): Writable | null {
    // without --socket-errors it ends with code 0 and says nothing when no syslog daemon is there
    const args = ['--prio-prefix', '--socket-errors=on', '--size=9000', '--tag', this.#ident];
    let child: ChildProcess;
    try {
      child = spawn(this.#place.program, [...args, `--id=${this.#place.pid}`], {
        stdio: ['pipe', 'ignore', 'pipe'],
      });
    } catch (error) {
      this.#unavailable(`${this.#place.program}: ${describeError(error)}`);
      return null;
    }
    const { stdin, stderr } = child;
    this.#form = 'logger';
    this.#child = child;
    let said = '';
    stderr?.setEncoding('utf8');
    stderr?.on('data', (chunk: string) => {
      if (said.length < 500) said += chunk;
    });
    const gone = (why: string): void => {
      if (this.#child !== child) return;
      this.#child = null;
      this.#out = null;
      // the socket may have become one that we can talk to
      this.#socketRefused = false;
      this.#unavailable(why);
    };
    child.on('error', (error) => gone(`${this.#place.program}: ${describeError(error)}`));
    child.on('close', (code) => gone(said.trim().split('\n')[0] || `${this.#place.program} ended (${code})`));
    child.unref();
    // both are null when no descriptors were left: 'error' says so
    for (const stream of [stdin, stderr]) {
      // EPIPE: 'close' of the child follows and says why
      stream?.on('error', () => {});
      if (stream !== null && 'unref' in stream) (stream as Socket).unref();
    }
    return stdin ?? null;
  }

  #works(): void {
    this.#complained = false;
    if (this.#untold === 0) return;
    const lost = this.#untold;
    this.#untold = 0;
    this.#events.onRecovered(lost);
  }

  #unavailable(why: string): void {
    if (this.#complained || this.#closed) return;
    this.#complained = true;
    this.#events.onProblem(
      `syslog is not available: ${this.#place.socketPath} does not take stream connections and ` +
        `the "logger" program does not work (${why})`,
    );
  }
}
