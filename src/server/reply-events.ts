/** The two sides that a server's reply stream talks to: the linked client and the server connection itself. */
import type { Transport } from '../net/transport.ts';
import type { ServerError } from '../wire/fields.ts';
import type { Statement } from './statements.ts';

/** The names under which a client knows its prepared statements. */
export interface StatementNames {
  /** The client's own Parse failed or was skipped: its name is free again. */
  lost(clientName: string, statement: Statement): void;
  /** The client's own Close was skipped: its name means the statement again. */
  restore(clientName: string, statement: Statement): void;
  /** DISCARD ALL or DEALLOCATE ALL of the client has succeeded. */
  clear(): void;
}

/** What a server's replies are forwarded to. */
export interface ReplyPeer {
  readonly transport: Transport;
  readonly prepared: StatementNames;
  /** A reported parameter changed by the client's own doing. True = the message is forwarded. */
  onServerParameter(name: string, value: string): boolean;
  /** The client holds a message until it is certain which statements exist. */
  readonly awaitsStatements: boolean;
  /** It is. */
  onStatementsCertain(): void;
}

/** Whoever must know at once that something was committed, although the client keeps the server. */
export interface CommitWatcher {
  onCommitted(): void;
}

/** The server connection that owns the stream. Calls come between messages, with all output flushed. */
export interface ReplyEvents {
  /** ReadyForQuery with nothing owed any more. `internal` = it ended a query of the proxy's own. */
  onReady(internal: boolean): void;
  /** A reported parameter, linked or not. `swallowed` = caused by the proxy's own query. */
  onParameter(name: string, value: string): void;
  /** An ErrorResponse that nobody asked for, or FATAL. */
  onServerError(error: ServerError, linked: boolean): void;
  /** Something arrived that makes the connection unusable. */
  onBroken(reason: string): void;
  /** The Parse of `statement` failed or was skipped: the server does not have it. */
  onParseLost(statement: Statement): void;
  /** The Close of an evicted statement was skipped: the server still has it. */
  onCloseLost(statement: Statement): void;
  /** DISCARD ALL / DEALLOCATE ALL succeeded. */
  onStatementsDropped(): void;
}
