/**
 * The port through which every room logs. The implementation (levels, formats, destinations) lives in
 * observe/; low rooms only see this interface, so that they depend on nothing.
 * Levels are PgBouncer's: scripts match on them.
 */
export type LogLevel = 'LOG' | 'WARNING' | 'ERROR' | 'FATAL' | 'DEBUG' | 'NOISE';

/** Fields for `log_format = json`; never secrets, never query text. */
export type LogFields = Readonly<Record<string, string | number | boolean>>;

export interface Log {
  log(text: string, fields?: LogFields): void;
  warning(text: string, fields?: LogFields): void;
  error(text: string, fields?: LogFields): void;
  fatal(text: string, fields?: LogFields): void;
  debug(text: string, fields?: LogFields): void;
  noise(text: string, fields?: LogFields): void;
}

/** A log that goes nowhere, for tests and for pure rooms. */
export const SILENT: Log = {
  log() {},
  warning() {},
  error() {},
  fatal() {},
  debug() {},
  noise() {},
};
