/**
 * Where lines go: stderr or a file, through a capped queue. The rules, each of them tried against a reader that stops:
 * - a pipe, socket or terminal is written without blocking (EAGAIN, retried from a timer), a file in the thread pool;
 *   the event loop never waits for either;
 * - above the cap lines are dropped and counted; the number is told when the destination takes lines again;
 * - `flush` is bounded: a process whose stderr is stuck can still end.
 * pino's own destination is not used: its flush at exit tries again for ever while the pipe is full (the process then
 * never ends), and a chunk that is in flight at exit is lost or overtaken.
 */
import {
  close,
  closeSync,
  constants,
  fstatSync,
  openSync,
  type Stats,
  write as writeAsync,
  writeSync,
} from 'node:fs';
import { describeError, errorCode } from '../util/system-error.ts';

/** Bytes that may wait for one destination. */
const MAX_QUEUED_BYTES = 1024 * 1024;
/** How long a full pipe is left alone. */
const RETRY_MS = 50;
/** Time for the thread pool to finish a write that is under way when the process ends. */
const IN_FLIGHT_GRACE_MS = 20;

export interface DestinationEvents {
  /** The destination fails (said once until it works again); `text` is for people. */
  onProblem(text: string): void;
  /** Lines are taken again after `dropped` were lost. */
  onRecovered(dropped: number): void;
}

interface Target {
  readonly fd: number;
  /** Written in the thread pool: a disk can stall, but it cannot say EAGAIN. */
  readonly threaded: boolean;
  /** Opened by us, so closed by us. */
  readonly owned: boolean;
}

interface Batch {
  bytes: Buffer;
  readonly lines: number;
}

const nap = new Int32Array(new SharedArrayBuffer(4));
function sleepSync(ms: number): void {
  Atomics.wait(nap, 0, 0, ms);
}

function isBlockingKind(stats: Stats): boolean {
  return !stats.isFile() && !stats.isBlockDevice() && !stats.isDirectory();
}

/**
 * A descriptor for stdout or stderr that can be written without blocking. A pipe or terminal is opened a second time
 * with O_NONBLOCK, which is then ours alone; a socket cannot be opened, and is switched by Node's own stream (Node
 * switches it back at exit).
 */
function standardTarget(fd: number): Target {
  const stats = fstatSync(fd);
  if (!isBlockingKind(stats)) return { fd, threaded: true, owned: false };
  if (!stats.isSocket()) {
    try {
      const flags = constants.O_WRONLY | constants.O_NONBLOCK | constants.O_APPEND;
      return { fd: openSync(`/proc/self/fd/${fd}`, flags), threaded: false, owned: true };
    } catch {
      // no /proc, or the pipe belongs to the user we were before: Node's stream does it for pipes
    }
  }
  if (fd === 1) void process.stdout;
  if (fd === 2) void process.stderr;
  return { fd, threaded: false, owned: false };
}

function fileTarget(path: string): Target {
  // containers log to these; when they are sockets they cannot be opened by name
  if (path === '/dev/stderr') return standardTarget(2);
  if (path === '/dev/stdout') return standardTarget(1);
  // O_NONBLOCK means nothing to a file, and keeps a FIFO without a reader from hanging the start
  const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;
  const fd = openSync(path, flags, 0o644);
  return { fd, threaded: !isBlockingKind(fstatSync(fd)), owned: true };
}

export class LogDestination {
  readonly #name: string;
  readonly #open: () => Target;
  readonly #events: DestinationEvents;
  #target: Target;
  #queue: string[] = [];
  #queuedBytes = 0;
  /** Taken from the queue, not (wholly) written. */
  #batch: Batch | null = null;
  /** The thread pool is writing `#batch`. */
  #inFlight = false;
  #wake: NodeJS.Timeout | null = null;
  #immediate: NodeJS.Immediate | null = null;
  #dropped = 0;
  #untold = 0;
  #failing = false;
  #closed = false;

  private constructor(name: string, open: () => Target, events: DestinationEvents) {
    this.#name = name;
    this.#open = open;
    this.#events = events;
    this.#target = open();
  }

  /** Descriptor 1 or 2 of the process (or, in tests, any other); never closed. */
  static standard(fd: number, events: DestinationEvents): LogDestination {
    const name = fd === 2 ? 'stderr' : fd === 1 ? 'stdout' : `descriptor ${fd}`;
    return new LogDestination(name, () => standardTarget(fd), events);
  }

  /** Appends to `path`, created when missing. Throws Error `cannot open logfile: …` when it cannot be opened. */
  static file(path: string, events: DestinationEvents): LogDestination {
    try {
      return new LogDestination(`logfile '${path}'`, () => fileTarget(path), events);
    } catch (error) {
      throw new Error(`cannot open logfile: '${path}': ${describeError(error)}`, { cause: error });
    }
  }

  /** Lines lost since the start. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Queues one whole line (with its newline); never blocks, never throws. */
  write(line: string): void {
    if (this.#closed) return;
    const bytes = Buffer.byteLength(line);
    if (this.#queuedBytes + bytes > MAX_QUEUED_BYTES) {
      this.#drop(1);
      return;
    }
    this.#queue.push(line);
    this.#queuedBytes += bytes;
    // one write a turn of the loop, whatever number of lines
    if (this.#immediate === null && this.#wake === null && !this.#inFlight) {
      this.#immediate = setImmediate(() => {
        this.#immediate = null;
        this.#pump();
      });
    }
  }

  /** Opens the file anew (after a rotation). When that fails the old one stays in use and the reason is reported. */
  reopen(): void {
    if (this.#closed || !this.#target.threaded) return;
    const old = this.#target;
    try {
      this.#target = this.#open();
    } catch (error) {
      this.#events.onProblem(`cannot reopen ${this.#name}: ${describeError(error)}`);
      return;
    }
    // while a write is under way its callback closes the old one
    if (old.owned && !this.#inFlight) close(old.fd, () => {});
  }

  /** Writes what waits, synchronously, for at most `budgetMs`; what is left stays queued. */
  flush(budgetMs: number): void {
    if (this.#closed) return;
    const until = performance.now() + budgetMs;
    if (this.#inFlight) sleepSync(Math.min(IN_FLIGHT_GRACE_MS, budgetMs));
    // a batch in flight is taken as written: only a full disk writes less
    let mine = this.#inFlight ? null : this.#batch;
    for (;;) {
      mine ??= this.#take();
      if (!this.#inFlight) this.#batch = mine;
      if (mine === null) return;
      try {
        const written = writeSync(this.#target.fd, mine.bytes);
        mine.bytes = mine.bytes.subarray(written);
      } catch (error) {
        if (errorCode(error) !== 'EAGAIN') {
          this.#failed(error, mine);
          mine.bytes = mine.bytes.subarray(mine.bytes.length);
        } else if (performance.now() >= until) {
          if (this.#inFlight) this.#drop(mine.lines);
          return;
        } else {
          sleepSync(5);
        }
      }
      if (mine.bytes.length === 0) {
        this.#done();
        mine = null;
      }
    }
  }

  /** Flushes (bounded) and takes no more lines. */
  close(budgetMs: number): void {
    if (this.#closed) return;
    this.flush(budgetMs);
    this.#closed = true;
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    if (this.#wake !== null) clearTimeout(this.#wake);
    this.#drop(this.#queue.length + (this.#inFlight ? 0 : (this.#batch?.lines ?? 0)));
    this.#queue = [];
    if (this.#target.owned && !this.#inFlight) closeSync(this.#target.fd);
  }

  #pump(): void {
    while (!this.#inFlight && !this.#closed) {
      this.#batch ??= this.#take();
      const batch = this.#batch;
      if (batch === null) {
        this.#recovered();
        return;
      }
      if (this.#target.threaded) this.#writeInPool(batch);
      else if (!this.#writeNow(batch)) return;
    }
  }

  /** False when the reader does not take any more now. */
  #writeNow(batch: Batch): boolean {
    try {
      batch.bytes = batch.bytes.subarray(writeSync(this.#target.fd, batch.bytes));
    } catch (error) {
      if (errorCode(error) === 'EAGAIN') {
        this.#wake = setTimeout(() => {
          this.#wake = null;
          this.#pump();
        }, RETRY_MS);
        // a stuck reader must not keep the process alive; exit flushes
        this.#wake.unref();
        return false;
      }
      this.#failed(error, batch);
      this.#batch = null;
      return true;
    }
    if (batch.bytes.length === 0) {
      this.#batch = null;
      this.#done();
    }
    return true;
  }

  #writeInPool(batch: Batch): void {
    const { fd, owned } = this.#target;
    this.#inFlight = true;
    writeAsync(fd, batch.bytes, (error, written) => {
      this.#inFlight = false;
      if (owned && (fd !== this.#target.fd || this.#closed)) close(fd, () => {});
      if (error !== null) this.#failed(error, batch);
      else if (written < batch.bytes.length) batch.bytes = batch.bytes.subarray(written);
      else this.#done();
      if (error !== null || written === batch.bytes.length) this.#batch = null;
      this.#pump();
    });
  }

  /** All that waits, so that one write a turn keeps up with any rate the disk can take. */
  #take(): Batch | null {
    const lines = this.#queue.length;
    if (lines === 0) return null;
    const bytes = Buffer.from(this.#queue.join(''));
    this.#queue = [];
    this.#queuedBytes = 0;
    return { bytes, lines };
  }

  #drop(lines: number): void {
    this.#dropped += lines;
    this.#untold += lines;
  }

  #done(): void {
    this.#failing = false;
  }

  #recovered(): void {
    if (this.#untold === 0 || this.#failing) return;
    const lost = this.#untold;
    this.#untold = 0;
    this.#events.onRecovered(lost);
  }

  #failed(error: unknown, batch: Batch): void {
    this.#drop(batch.lines);
    if (this.#failing) return;
    this.#failing = true;
    this.#events.onProblem(`cannot write to ${this.#name}: ${describeError(error)}`);
  }
}
