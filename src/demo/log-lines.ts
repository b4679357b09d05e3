/**
 * The lines that a child process has written, with a way to wait for one. PostgreSQL and the proxy both announce
 * their states in their log, so this is how the demo and the tests know that something is ready, without polling.
 * Bounded: the oldest lines are dropped, positions stay valid.
 */
import type { Readable } from 'node:stream';

const MAX_LINES = 20_000;

interface Waiter {
  readonly pattern: RegExp;
  readonly resolve: (line: string) => void;
  readonly reject: (error: Error) => void;
}

export interface WaitOptions {
  /** Deadline in milliseconds, default 10,000. */
  readonly timeoutMs?: number;
  /** Only lines at or after this position (see `mark`); default 0, everything still kept. */
  readonly from?: number;
}

export class LogLines {
  readonly #name: string;
  #lines: string[] = [];
  #dropped = 0;
  readonly #waiters = new Set<Waiter>();
  /** Called with every line as it comes. */
  onLine: ((line: string) => void) | null = null;

  /** `name` appears in error messages. */
  constructor(name: string) {
    this.#name = name;
  }

  /** Reads `stream` to its end; several streams may be followed (stdout and stderr, runs after a restart). */
  follow(stream: Readable): void {
    let rest = '';
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => {
      const parts = (rest + text).split(/\r?\n/);
      rest = parts.pop() ?? '';
      for (const line of parts) this.#add(line);
    });
    stream.on('end', () => {
      if (rest !== '') this.#add(rest);
      rest = '';
    });
    // a broken pipe of a dying child is its end, which the owner sees as its exit
    stream.on('error', () => {});
  }

  /** The position after the last line, for `from`. */
  mark(): number {
    return this.#dropped + this.#lines.length;
  }

  /** The lines at or after `from` that are still kept. */
  lines(from = 0): readonly string[] {
    return this.#lines.slice(Math.max(0, from - this.#dropped));
  }

  /** The last `count` lines as one text, for error messages. */
  tail(count = 20): string {
    return this.#lines.slice(-count).join('\n');
  }

  /** Resolves with the first line that matches; rejects at the deadline or when the process ends without it. */
  waitFor(pattern: RegExp, options: WaitOptions = {}): Promise<string> {
    const timeoutMs = options.timeoutMs ?? 10_000;
    const matcher = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ''));
    const found = this.lines(options.from).find((line) => matcher.test(line));
    if (found !== undefined) return Promise.resolve(found);
    return new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
      };
      const waiter: Waiter = {
        pattern: matcher,
        resolve: (line) => {
          settle();
          resolve(line);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      const timer = setTimeout(
        () => waiter.reject(this.#failure(`no log line matched ${matcher} within ${timeoutMs} ms`)),
        timeoutMs,
      );
      this.#waiters.add(waiter);
    });
  }

  /** The process is gone: whoever waits is told so, with the last lines. */
  ended(how: string): void {
    for (const waiter of [...this.#waiters]) {
      waiter.reject(this.#failure(`${how} before a log line matched ${waiter.pattern}`));
    }
  }

  #add(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > MAX_LINES) {
      this.#lines = this.#lines.slice(MAX_LINES / 2);
      this.#dropped += MAX_LINES / 2;
    }
    this.onLine?.(line);
    for (const waiter of [...this.#waiters]) {
      if (waiter.pattern.test(line)) waiter.resolve(line);
    }
  }

  #failure(text: string): Error {
    return new Error(`${this.#name}: ${text}\n--- last lines\n${this.tail()}`);
  }
}
