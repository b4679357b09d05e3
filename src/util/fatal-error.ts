/**
 * What ends the start of the process with a plain sentence: `FATAL text` in the log and exit code 1, no stack.
 * Thrown by every room whose set-up can fail because of the configuration or the machine (sockets, pidfile, user);
 * caught only in cli/run.ts. A bug is any other class of error.
 */
export class FatalError extends Error {
  /** `message` is PgBouncer's text where it has one. */
  constructor(message: string) {
    super(message);
    this.name = 'FatalError';
  }
}
