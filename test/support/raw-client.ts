/**
 * A client made of bytes: it sends exactly what a test says, split where the test says, and shows every message that
 * comes back. Logs in by trust, password, md5 and SCRAM. It never answers or retries anything on its own otherwise.
 */
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { ScramExchange } from '../../src/demo/scram-exchange.ts';
import type { RawMessage } from './raw-messages.ts';
import * as wire from './raw-messages.ts';
import { resetSocket } from './reset.ts';

/** For what hangs, on a slow machine too; below the 15 s of server_login_retry and server_connect_timeout. */
const TIMEOUT_MS = 10_000;

export interface RawLogin {
  readonly user: string;
  /** Default: the user's name. */
  readonly database?: string;
  readonly password?: string;
  /** Further startup parameters. */
  readonly parameters?: Readonly<Record<string, string>>;
  /** Default 3.0 = 196608. */
  readonly version?: number;
}

/** Where to: a TCP port (on 127.0.0.1 by default) or a unix socket path. */
export type RawAddress = { readonly port: number; readonly host?: string } | { readonly path: string };

/** An ErrorResponse that a convenience method did not expect. */
export class RawError extends Error {
  readonly code: string;
  readonly severity: string;
  readonly fields: ReadonlyMap<string, string>;

  constructor(message: RawMessage) {
    const parsed = wire.errorFields(message);
    super(`${parsed.severity} ${parsed.code}: ${parsed.message}`);
    this.name = 'RawError';
    this.code = parsed.code;
    this.severity = parsed.severity;
    this.fields = parsed.fields;
  }
}

export class RawClient {
  readonly socket: Socket;
  readonly #address: RawAddress;
  /** Everything ParameterStatus has said. */
  readonly parameters = new Map<string, string>();
  /** From BackendKeyData; null before it. */
  backendKey: { readonly pid: number; readonly secret: Buffer } | null = null;
  /** Of the last ReadyForQuery: I, T or E; '' before it. */
  transactionStatus = '';
  /** Bytes received so far. */
  bytesReceived = 0;
  #buffer: Buffer = Buffer.alloc(0);
  /** The next bytes are a one-byte answer (SSLRequest, GSSENCRequest), not a message. */
  #expectByte = false;
  readonly #queue: RawMessage[] = [];
  #ended = false;
  #failure: Error | null = null;
  #wake: (() => void)[] = [];

  private constructor(socket: Socket, address: RawAddress) {
    this.socket = socket;
    this.#address = address;
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('error', (error) => {
      this.#failure = error;
    });
    const done = () => {
      this.#ended = true;
      this.#wakeAll();
    };
    socket.on('end', done);
    socket.on('close', done);
  }

  /** A TCP or unix connection, nothing sent yet. `allowHalfOpen`: our side stays open after the other's FIN. */
  static async connect(address: RawAddress, allowHalfOpen = false): Promise<RawClient> {
    const socket = connect(
      'path' in address
        ? { path: address.path, allowHalfOpen }
        : { port: address.port, host: address.host ?? '127.0.0.1', allowHalfOpen, noDelay: true },
    );
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new RawClient(socket, address);
  }

  /** Connects and logs in; throws a RawError when refused. */
  static async login(address: RawAddress, login: RawLogin): Promise<RawClient> {
    const client = await RawClient.connect(address);
    try {
      await client.login(login);
    } catch (error) {
      client.destroy();
      throw error;
    }
    return client;
  }

  /** Messages received and not yet taken. */
  get pending(): readonly RawMessage[] {
    return this.#queue;
  }

  /** The other side has closed (FIN or RST). */
  get ended(): boolean {
    return this.#ended;
  }

  /** Writes bytes as they are; several buffers go out in one write. */
  send(...bytes: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(bytes));
  }

  /** Writes `bytes` in pieces of `size` bytes, each its own packet as far as the kernel lets us say. */
  async sendSplit(bytes: Buffer, size: number, pauseMs = 1): Promise<void> {
    for (let at = 0; at < bytes.length; at += size) {
      this.socket.write(bytes.subarray(at, at + size));
      await sleep(pauseMs);
    }
  }

  /** Sends SSLRequest or GSSENCRequest and returns the answer's letter. */
  async negotiate(request: Buffer = wire.SSL_REQUEST): Promise<string> {
    this.#expectByte = true;
    this.send(request);
    return (await this.next()).type;
  }

  /** The startup packet only. */
  startup(login: RawLogin): void {
    const { user, database = user, parameters = {}, version } = login;
    this.send(wire.startupMessage({ user, database, ...parameters }, version));
  }

  /** The whole login up to ReadyForQuery; returns all its messages. Throws a RawError when refused. */
  async login(login: RawLogin): Promise<RawMessage[]> {
    this.startup(login);
    const seen: RawMessage[] = [];
    let scram: ScramExchange | null = null;
    for (;;) {
      const message = await this.next();
      seen.push(message);
      if (message.type === 'E') throw new RawError(message);
      if (message.type === 'Z') return seen;
      if (message.type === 'R') scram = await this.#answer(message, login, scram);
    }
  }

  async #answer(
    message: RawMessage,
    login: RawLogin,
    scram: ScramExchange | null,
  ): Promise<ScramExchange | null> {
    const { password = '', user } = login;
    const data = message.body.subarray(4);
    const kind = message.body.readInt32BE(0);
    switch (kind) {
      case 0:
        return scram;
      case 3:
        this.send(wire.encode('p', wire.cstr(password)));
        return scram;
      case 5:
        this.send(wire.encode('p', wire.cstr(wire.md5Answer(user, password, data))));
        return scram;
      case 10: {
        const exchange = new ScramExchange(password);
        const first = Buffer.from(exchange.clientFirst);
        this.send(wire.encode('p', wire.cstr('SCRAM-SHA-256'), wire.int32(first.length), first));
        return exchange;
      }
      case 11:
        if (scram === null) throw new Error('SASLContinue without a SASL exchange');
        this.send(wire.encode('p', Buffer.from(await scram.clientFinal(data.toString()))));
        return scram;
      case 12:
        if (scram === null) throw new Error('SASLFinal without a SASL exchange');
        scram.verifyServer(data.toString());
        return scram;
      default:
        throw new Error(`unknown authentication request ${kind}`);
    }
  }

  /** The next message. Throws at the deadline, or when the connection ends first. */
  async next(timeoutMs = TIMEOUT_MS): Promise<RawMessage> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const message = this.#queue.shift();
      if (message !== undefined) return message;
      if (this.#ended) throw this.#failure ?? new Error('the connection was closed');
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`no message within ${timeoutMs} ms`);
      await this.#changed(left);
    }
  }

  /** All messages up to and with the first of one of `types` (letters, e.g. `Z` or `ZE`). */
  async until(types: string, timeoutMs = TIMEOUT_MS): Promise<RawMessage[]> {
    const seen: RawMessage[] = [];
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      let message: RawMessage;
      try {
        message = await this.next(Math.max(1, deadline - performance.now()));
      } catch (error) {
        const got = wire.typesOf(seen);
        throw new Error(
          `waiting for one of '${types}', seen '${got}': ${error instanceof Error ? error.message : error}`,
        );
      }
      seen.push(message);
      if (types.includes(message.type)) return seen;
    }
  }

  /** A simple query up to ReadyForQuery; an error of the server is in the messages, not thrown. */
  async query(sql: string, timeoutMs = TIMEOUT_MS): Promise<RawMessage[]> {
    this.send(wire.query(sql));
    return this.until('Z', timeoutMs);
  }

  /** Rows of a simple query; throws a RawError when the server reports one. */
  async rows(sql: string, timeoutMs = TIMEOUT_MS): Promise<(string | null)[][]> {
    const messages = await this.query(sql, timeoutMs);
    const error = messages.find((message) => message.type === 'E');
    if (error !== undefined) throw new RawError(error);
    return wire.rowsOf(messages);
  }

  /** Sends a CancelRequest for this client over a connection of its own; resolves when that is closed. */
  async cancel(): Promise<void> {
    if (this.backendKey === null) throw new Error('no BackendKeyData was received');
    const other = await RawClient.connect(this.#address);
    other.send(wire.cancelRequest(this.backendKey.pid, this.backendKey.secret));
    await other.closed();
    other.destroy();
  }

  /** Resolves when the other side has closed. */
  async closed(timeoutMs = TIMEOUT_MS): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!this.#ended) {
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`the connection is still open after ${timeoutMs} ms`);
      await this.#changed(left);
    }
  }

  /** Stops reading: the kernel's buffers fill and the other side feels it. */
  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  /** FIN from our side only. */
  halfClose(): void {
    this.socket.end();
  }

  /** Terminate and FIN; resolves when the other side has closed too. */
  async end(): Promise<void> {
    if (!this.#ended) this.socket.end(wire.terminate());
    await this.closed();
    this.destroy();
  }

  /** Closes without a word. */
  destroy(): void {
    this.socket.destroy();
  }

  /** RST. */
  reset(): void {
    resetSocket(this.socket);
  }

  #onData(chunk: Buffer): void {
    this.bytesReceived += chunk.length;
    let bytes = chunk;
    if (this.#expectByte && bytes.length > 0) {
      this.#expectByte = false;
      // 'E' starts an ErrorResponse of an old server; then it is a message
      if (bytes[0] !== 0x45) {
        this.#queue.push({ type: bytes.toString('latin1', 0, 1), body: Buffer.alloc(0) });
        bytes = bytes.subarray(1);
      }
    }
    try {
      const { messages, rest } = wire.splitMessages(Buffer.concat([this.#buffer, bytes]));
      this.#buffer = rest;
      for (const message of messages) this.#onMessage(message);
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error));
      this.#ended = true;
      this.socket.destroy();
    }
    this.#wakeAll();
  }

  #onMessage(message: RawMessage): void {
    this.#queue.push(message);
    if (message.type === 'S') {
      const [name = '', value = ''] = wire.readCstrs(message.body);
      this.parameters.set(name, value);
    } else if (message.type === 'K') {
      this.backendKey = { pid: message.body.readInt32BE(0), secret: message.body.subarray(4) };
    } else if (message.type === 'Z') {
      this.transactionStatus = message.body.toString('latin1');
    }
  }

  #wakeAll(): void {
    const wake = this.#wake;
    this.#wake = [];
    for (const one of wake) one();
  }

  /** Resolves at the next change, or after `ms`. */
  #changed(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}
