/**
 * The seam between the data plane, which has logged a client in to the admin database, and the console, which
 * answers it. The client keeps the socket; the console sees whole messages and writes bytes.
 */
export interface ConsoleIdentity {
  readonly user: string;
  /** May change things; false = may only look (stats_users, auth_type any). */
  readonly admin: boolean;
  /** Client's id as in SHOW CLIENTS. */
  readonly clientId: number;
  /** BackendKeyData for this client. */
  readonly pid: number;
  readonly secret: Buffer;
}

export interface ConsoleIo {
  /** Queues bytes to the client; the buffer is owned by the callee afterwards. */
  write(bytes: Buffer): void;
  /** Sends nothing more and closes; `reason` goes to the log. */
  close(reason: string): void;
}

export interface ConsoleSession {
  /** One whole client message without its header (AuthenticationOk has been sent already). */
  onMessage(type: number, body: Buffer): void;
  /** The client sent a CancelRequest: a waiting PAUSE / WAIT_CLOSE ends. */
  onCancel(): void;
  /** The client is gone. */
  onClose(): void;
}

/** Sends the greeting (ParameterStatus, BackendKeyData, notices, ReadyForQuery) at once and returns the session. */
export type OpenConsole = (who: ConsoleIdentity, io: ConsoleIo) => ConsoleSession;
