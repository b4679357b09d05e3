/**
 * A small PostgreSQL client for the demo: simple queries with text results, one at a time, over pg-protocol.
 * It sets up the sample data and drives the sample traffic; the proxy itself never uses it.
 */
import { connect, type Socket } from 'node:net';
import { type DatabaseError, parse, serialize } from 'pg-protocol';
import type { BackendMessage, CommandCompleteMessage, DataRowMessage } from 'pg-protocol/dist/messages';
import { ScramExchange } from './scram-exchange.ts';

export interface SampleClientOptions {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password?: string;
  readonly database: string;
  readonly applicationName?: string;
  /** For connecting and logging in, default 10,000. */
  readonly timeoutMs?: number;
  /** For each query, default none: then the connection is given up. */
  readonly queryTimeoutMs?: number;
}

export interface SampleResult {
  /** Of all statements of the query, as text. */
  readonly rows: readonly (readonly (string | null)[])[];
  /** Of the last statement, e.g. `UPDATE 1`. */
  readonly tag: string;
}

/** pg-protocol exports no name for its SASL messages. */
type SaslMessage = BackendMessage & { readonly data: string };

interface Pending {
  readonly resolve: (result: SampleResult) => void;
  readonly reject: (error: Error) => void;
}

export class SampleClient {
  readonly #socket: Socket;
  readonly #options: SampleClientOptions;
  #scram: ScramExchange | null = null;
  #pending: Pending | null = null;
  #rows: (string | null)[][] = [];
  #tag = '';
  #error: Error | null = null;
  #closed = false;

  private constructor(options: SampleClientOptions) {
    this.#options = options;
    this.#socket = connect({ host: options.host, port: options.port, noDelay: true });
  }

  /** Connects and logs in (trust, password, SCRAM). Rejects with the server's error or the socket's. */
  static async connect(options: SampleClientOptions): Promise<SampleClient> {
    const client = new SampleClient(options);
    const timeoutMs = options.timeoutMs ?? 10_000;
    const timer = setTimeout(() => client.#fail(new Error(`no login within ${timeoutMs} ms`)), timeoutMs);
    try {
      await client.#start();
    } finally {
      clearTimeout(timer);
    }
    return client;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Runs `sql` (several statements allowed). Rejects with the server's error; the connection stays usable. */
  query(sql: string): Promise<SampleResult> {
    if (this.#closed) return Promise.reject(new Error('the connection is closed'));
    if (this.#pending !== null) return Promise.reject(new Error('a query is running already'));
    const done = this.#expectReady();
    this.#socket.write(serialize.query(sql));
    const { queryTimeoutMs } = this.#options;
    if (queryTimeoutMs === undefined) return done;
    const timer = setTimeout(() => {
      this.#fail(new Error(`no answer within ${queryTimeoutMs} ms`));
    }, queryTimeoutMs);
    return done.finally(() => clearTimeout(timer));
  }

  /** Says goodbye; resolves when the socket is closed. */
  close(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#socket.once('close', () => resolve());
      this.#socket.end(serialize.end());
      // the other side may never answer our FIN
      this.#socket.setTimeout(1_000, () => this.#socket.destroy());
    });
  }

  /** Closes without a word; a query that is running is rejected. */
  destroy(): void {
    this.#fail(new Error('the connection was given up'));
  }

  #start(): Promise<SampleResult> {
    const { user, database, applicationName = 'pgconcierge-demo' } = this.#options;
    const done = this.#expectReady();
    const socket = this.#socket;
    socket.on('connect', () => {
      socket.write(serialize.startup({ user, database, application_name: applicationName }));
    });
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('the server closed the connection')));
    parse(socket, (message) => this.#onMessage(message)).catch((error: unknown) => {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    });
    return done;
  }

  #expectReady(): Promise<SampleResult> {
    this.#rows = [];
    this.#tag = '';
    this.#error = null;
    return new Promise((resolve, reject) => {
      this.#pending = { resolve, reject };
    });
  }

  #fail(error: Error): void {
    this.#closed = true;
    this.#socket.destroy();
    const pending = this.#pending;
    this.#pending = null;
    // what the server said before it closed explains more than the closing
    pending?.reject(this.#error ?? error);
  }

  #onMessage(message: BackendMessage): void {
    switch (message.name) {
      case 'authenticationCleartextPassword':
        this.#socket.write(serialize.password(this.#options.password ?? ''));
        break;
      case 'authenticationMD5Password':
        this.#fail(new Error('md5 login is not supported by the sample client'));
        break;
      case 'authenticationSASL':
        this.#scram = new ScramExchange(this.#options.password ?? '');
        this.#socket.write(
          serialize.sendSASLInitialResponseMessage('SCRAM-SHA-256', this.#scram.clientFirst),
        );
        break;
      case 'authenticationSASLContinue':
        this.#scramStep((message as SaslMessage).data);
        break;
      case 'authenticationSASLFinal':
        try {
          this.#scram?.verifyServer((message as SaslMessage).data);
        } catch (error) {
          this.#fail(error instanceof Error ? error : new Error(String(error)));
        }
        break;
      case 'dataRow':
        this.#rows.push((message as DataRowMessage).fields);
        break;
      case 'commandComplete':
        this.#tag = (message as CommandCompleteMessage).text;
        break;
      case 'error':
        this.#error ??= message as DatabaseError;
        break;
      case 'readyForQuery':
        this.#ready();
        break;
      default:
        break; // ParameterStatus, notices, RowDescription: not needed here
    }
  }

  #scramStep(serverFirst: string): void {
    this.#scram?.clientFinal(serverFirst).then(
      (final) => this.#socket.write(serialize.sendSCRAMClientFinalMessage(final)),
      (error: unknown) => this.#fail(error instanceof Error ? error : new Error(String(error))),
    );
  }

  #ready(): void {
    const pending = this.#pending;
    this.#pending = null;
    if (this.#error !== null) pending?.reject(this.#error);
    else pending?.resolve({ rows: this.#rows, tag: this.#tag });
  }
}

/** Connects, runs one query, closes. */
export async function runSql(options: SampleClientOptions, sql: string): Promise<SampleResult> {
  const client = await SampleClient.connect(options);
  try {
    return await client.query(sql);
  } finally {
    await client.close();
  }
}
