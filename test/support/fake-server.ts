/**
 * A PostgreSQL made of a script, for what a real one never does: a reply in odd pieces, a wrong one, silence, a death
 * in the middle of a message. It records every connection, startup packet, message and cancel request.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { freePort } from './ports.ts';
import type { RawMessage } from './raw-messages.ts';
import * as wire from './raw-messages.ts';
import { resetSocket } from './reset.ts';
import { until } from './until.ts';

const OK = wire.encode('R', wire.int32(0));
const PARAMETERS: Readonly<Record<string, string>> = {
  server_version: '15.0 (fake)',
  server_encoding: 'UTF8',
  client_encoding: 'UTF8',
  DateStyle: 'ISO, MDY',
  TimeZone: 'UTC',
  integer_datetimes: 'on',
  standard_conforming_strings: 'on',
  application_name: '',
};

export const readyForQuery = (status: 'I' | 'T' | 'E' = 'I'): Buffer => wire.encode('Z', Buffer.from(status));
export const commandComplete = (tag: string): Buffer => wire.encode('C', wire.cstr(tag));

/** ErrorResponse with S, V, C and M. */
export function errorResponse(code: string, text: string, severity = 'ERROR', routine = ''): Buffer {
  const fields = [`S${severity}`, `V${severity}`, `C${code}`, `M${text}`];
  if (routine !== '') fields.push(`R${routine}`);
  return wire.encode('E', ...fields.map(wire.cstr), Buffer.from([0]));
}

/** RowDescription of text columns. */
export function rowDescription(names: readonly string[]): Buffer {
  const columns = names.flatMap((name) => [
    wire.cstr(name),
    Buffer.concat([
      wire.int32(0),
      wire.int16(0),
      wire.int32(25),
      wire.int16(-1),
      wire.int32(-1),
      wire.int16(0),
    ]),
  ]);
  return wire.encode('T', wire.int16(names.length), ...columns);
}

/** DataRow of text values. */
export function dataRow(values: readonly (string | null)[]): Buffer {
  const fields = values.flatMap((value) => {
    if (value === null) return [wire.int32(-1)];
    const bytes = Buffer.from(value);
    return [wire.int32(bytes.length), bytes];
  });
  return wire.encode('D', wire.int16(values.length), ...fields);
}

/** The whole answer to a query that returns one text column, up to ReadyForQuery. */
export function oneColumn(
  name: string,
  values: readonly (string | null)[],
  status: 'I' | 'T' | 'E' = 'I',
): Buffer {
  return Buffer.concat([
    rowDescription([name]),
    ...values.map((value) => dataRow([value])),
    commandComplete(`SELECT ${values.length}`),
    readyForQuery(status),
  ]);
}

export interface FakeServerOptions {
  /** Login: `trust` (default), or a function that does it all from the startup packet to ReadyForQuery. */
  readonly onStartup?: (connection: FakeConnection) => void;
  /**
   * Called for every message after the startup packet. Default: a Query gets an empty result, Sync gets ReadyForQuery,
   * Parse/Bind/Close/Describe/Execute their plain confirmations.
   */
  readonly onMessage?: (connection: FakeConnection, message: RawMessage) => void;
  /** ParameterStatus values on top of the default ones. */
  readonly parameters?: Readonly<Record<string, string>>;
  /** Answer to SSLRequest and GSSENCRequest, default `N`. */
  readonly sslAnswer?: string;
}

export class FakeConnection {
  readonly socket: Socket;
  readonly server: FakeServer;
  /** Counts from 1; also the pid in BackendKeyData. */
  readonly id: number;
  /** Raw bytes of the startup packet; null before it. */
  startupPacket: Buffer | null = null;
  protocolVersion = 0;
  readonly startup = new Map<string, string>();
  /** Everything after the startup packet. */
  readonly messages: RawMessage[] = [];
  closed = false;
  #buffer: Buffer = Buffer.alloc(0);

  constructor(server: FakeServer, socket: Socket, id: number) {
    this.server = server;
    this.socket = socket;
    this.id = id;
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
    });
  }

  /** Texts of the simple queries so far. */
  get queries(): string[] {
    return this.messages
      .filter(({ type }) => type === 'Q')
      .map(({ body }) => body.toString('utf8', 0, body.length - 1));
  }

  /** Writes bytes as they are. */
  send(...bytes: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(bytes));
  }

  /** AuthenticationOk, parameters, BackendKeyData, ReadyForQuery. */
  acceptLogin(): void {
    const parameters = Object.entries({ ...PARAMETERS, ...this.server.options.parameters });
    this.send(
      OK,
      ...parameters.map(([name, value]) => wire.encode('S', wire.cstr(name), wire.cstr(value))),
      wire.encode('K', wire.int32(this.id), wire.int32(1_000_000 + this.id)),
      readyForQuery(),
    );
  }

  /** The plain answer to `message`; see FakeServerOptions.onMessage. */
  answer(message: RawMessage): void {
    switch (message.type) {
      case 'Q':
        this.send(commandComplete('SELECT 0'), readyForQuery());
        break;
      case 'S':
        this.send(readyForQuery());
        break;
      case 'P':
        this.send(wire.encode('1'));
        break;
      case 'B':
        this.send(wire.encode('2'));
        break;
      case 'C':
        this.send(wire.encode('3'));
        break;
      case 'D':
        if (message.body[0] === 0x53) this.send(wire.encode('t', wire.int16(0)));
        this.send(wire.encode('n'));
        break;
      case 'E':
        this.send(commandComplete('SELECT 0'));
        break;
      case 'X':
        this.socket.end();
        break;
      default:
        break; // Flush, passwords, COPY: nothing is due
    }
  }

  /** Closes without a word: `fin` or `rst`. */
  cut(how: 'fin' | 'rst' = 'rst'): void {
    if (how === 'rst') resetSocket(this.socket);
    else this.socket.destroy();
  }

  /** Waits for the next message of `type` beyond the first `after` messages; resolves with it. */
  waitFor(type: string, after = 0, timeoutMs = 5_000): Promise<RawMessage> {
    return until(() => this.messages.slice(after).find((message) => message.type === type), {
      timeoutMs,
      what: `message ${type} at the fake server`,
    });
  }

  #onData(chunk: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    if (this.startupPacket === null && !this.#takeStartup()) return;
    const { messages, rest } = wire.splitMessages(this.#buffer);
    this.#buffer = rest;
    for (const message of messages) {
      this.messages.push(message);
      const { onMessage } = this.server.options;
      if (onMessage === undefined) this.answer(message);
      else onMessage(this, message);
    }
  }

  /** Handles packets without a type letter; true once the startup packet has been read. */
  #takeStartup(): boolean {
    while (this.#buffer.length >= 8) {
      const length = this.#buffer.readInt32BE(0);
      if (this.#buffer.length < length) return false;
      const packet = Buffer.from(this.#buffer.subarray(0, length));
      this.#buffer = this.#buffer.subarray(length);
      const code = packet.readInt32BE(4);
      if (code === 80_877_103 || code === 80_877_104) {
        this.send(Buffer.from(this.server.options.sslAnswer ?? 'N'));
      } else if (code === 80_877_102) {
        this.server.cancels.push({ pid: packet.readInt32BE(8), secret: packet.subarray(12) });
        this.socket.end();
        return false;
      } else {
        this.#onStartup(packet, code);
        return true;
      }
    }
    return false;
  }

  #onStartup(packet: Buffer, version: number): void {
    this.startupPacket = packet;
    this.protocolVersion = version;
    const strings = wire.readCstrs(packet.subarray(8, packet.length - 1));
    for (let i = 0; i + 1 < strings.length; i += 2) this.startup.set(strings[i] ?? '', strings[i + 1] ?? '');
    const { onStartup } = this.server.options;
    if (onStartup === undefined) this.acceptLogin();
    else onStartup(this);
  }
}

export class FakeServer {
  readonly host = '127.0.0.1';
  readonly port: number;
  /** May be changed while it runs. */
  options: FakeServerOptions;
  /** All that were accepted, also cancel requests and those that are closed. */
  readonly connections: FakeConnection[] = [];
  readonly cancels: { readonly pid: number; readonly secret: Buffer }[] = [];
  readonly #server: Server;

  private constructor(port: number, options: FakeServerOptions) {
    this.port = port;
    this.options = options;
    this.#server = createServer({ noDelay: true }, (socket) => {
      this.connections.push(new FakeConnection(this, socket, this.connections.length + 1));
    });
  }

  /** Listens on a free port of 127.0.0.1. */
  static async start(options: FakeServerOptions = {}): Promise<FakeServer> {
    const server = new FakeServer(await freePort(), options);
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', reject);
      server.#server.listen(server.port, server.host, resolve);
    });
    return server;
  }

  /** Logged in or logging in and not closed. */
  get live(): FakeConnection[] {
    return this.connections.filter((connection) => !connection.closed && connection.startupPacket !== null);
  }

  /** Waits until `count` connections have sent a startup packet; resolves with the last of them. */
  waitConnections(count: number, timeoutMs = 5_000): Promise<FakeConnection> {
    return until(
      () => this.connections.filter((connection) => connection.startupPacket !== null)[count - 1],
      {
        timeoutMs,
        what: `connection ${count} to the fake server`,
      },
    );
  }

  /** Cuts all connections and stops listening. */
  async close(): Promise<void> {
    for (const connection of this.connections) connection.socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
