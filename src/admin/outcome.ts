/**
 * What one console statement gives: rows, notices and a tag; or a wait; or the end of the connection.
 * The words that the planner (plan.ts), the commands and the session share.
 */
import type { ConsoleIdentity } from '../control/console.ts';
import type { ControlPort, PendingCommand } from '../control/port.ts';
import { CommandError } from '../control/port.ts';
import { PoolerError } from '../util/errors.ts';
import type { Log } from '../util/log.ts';
import type { ErrorFields } from '../wire/backend.ts';

/** One value of a row, before it is written in text or binary. */
export type Cell = string | number | bigint | boolean | null;
export type Row = readonly Cell[];

export type ColumnType = 'text' | 'int4' | 'int8' | 'numeric' | 'bool' | 'oid';

export interface ResultColumn {
  readonly name: string;
  readonly type: ColumnType;
}

/** Texts and hooks that the console cannot know itself. */
export interface ConsoleInfo {
  /** Whole text of SHOW VERSION, e.g. `PgBouncer 1.26.0 (pgconcierge 0.1.0)`: exporters read its first two words. */
  readonly version: string;
  /** ParameterStatus server_version; default `1.26.0/bouncer`. */
  readonly serverVersion?: string;
  /** Names under which the console is reached; they cannot be paused, killed … Default `pgbouncer`. */
  readonly adminDatabases?: readonly string[];
  /** Where "PAUSE command issued" and the errors of the console go. */
  readonly log?: Log;
  /** What is wrong right now, told (severity WARNING) to whoever logs in, besides what the port's state says. */
  readonly warnings?: () => readonly string[];
}

/** Everything that a statement may look at or act on. */
export interface Environment {
  readonly port: ControlPort;
  readonly version: string;
  readonly serverVersion: string;
  readonly adminDatabases: readonly string[];
  readonly log: Log;
  readonly who: ConsoleIdentity;
}

/** What a statement does to the session itself. */
export type Effect =
  | { readonly kind: 'begin' }
  | { readonly kind: 'end' }
  /** Forget one prepared statement, or all (and the portals) when `name` is null. */
  | { readonly kind: 'deallocate'; readonly name: string | null };

export type Outcome =
  | {
      readonly kind: 'done';
      readonly tag: string;
      /** null = no result set. */
      readonly rows: readonly Row[] | null;
      readonly notices: readonly ErrorFields[];
      readonly effect: Effect | null;
    }
  | {
      readonly kind: 'wait';
      readonly tag: string;
      readonly pending: PendingCommand;
      /** Sent before it waits. */
      readonly notices?: readonly ErrorFields[];
      /** Undoes what the command has set, when the client ends the wait; null = it stays. */
      readonly undo: (() => void) | null;
    }
  /** SHUTDOWN: no reply, the connection just closes. */
  | { readonly kind: 'gone'; readonly reason: string };

/** A statement that was understood: what running it gives, and how. */
export interface Plan {
  /** null = no result set. */
  readonly columns: readonly ResultColumn[] | null;
  /** How many `$n` it takes. */
  readonly parameters: number;
  /** `values` has `parameters` of them. Throws CommandError or PoolerError. */
  run(env: Environment, values: readonly string[]): Outcome;
}

/** A command that has been carried out: only a tag (and notices). */
export function done(
  tag: string,
  notices: readonly ErrorFields[] = [],
  effect: Effect | null = null,
): Outcome {
  return { kind: 'done', tag, rows: null, notices, effect };
}

/** A result set. */
export function result(tag: string, rows: readonly Row[]): Outcome {
  return { kind: 'done', tag, rows, notices: [], effect: null };
}

/** A CommandError with DETAIL or HINT. */
export class Refusal extends CommandError {
  readonly hint: string | null;

  constructor(
    message: string,
    sqlstate: string,
    more: { readonly detail?: string; readonly hint?: string } = {},
  ) {
    super(message, sqlstate, more.detail ?? null);
    this.name = 'Refusal';
    this.hint = more.hint ?? null;
  }
}

/** What the client is told of an error; null = not one of ours, so a bug. */
export function errorFields(error: unknown): ErrorFields | null {
  if (error instanceof PoolerError) {
    return { severity: 'ERROR', sqlstate: error.sqlstate, message: error.message };
  }
  if (!(error instanceof CommandError)) return null;
  const fields: ErrorFields = { severity: 'ERROR', sqlstate: error.sqlstate, message: error.message };
  const hint = error instanceof Refusal ? error.hint : null;
  return {
    ...fields,
    ...(error.detail === null ? {} : { detail: error.detail }),
    ...(hint === null ? {} : { hint }),
  };
}
