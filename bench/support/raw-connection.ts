/**
 * A PostgreSQL client that costs as little as possible, so that what is measured is the proxy: trust authentication,
 * simple queries one at a time, rows counted and thrown away, COPY in from one buffer sent over and over.
 */
import { connect, type Socket } from 'node:net';

const READY = 0x5a;
const ERROR = 0x45;
const COPY_IN = 0x47;
const AUTHENTICATION = 0x52;
const HEADER = 5;
/** Bodies up to this size are kept when they matter (errors, authentication). */
const KEEP = 8192;

interface Waiting {
  readonly resolve: (bytes: number) => void;
  readonly reject: (error: Error) => void;
}

export class RawConnection {
  readonly #socket: Socket;
  readonly #head = Buffer.alloc(HEADER);
  #headFill = 0;
  #bodyLeft = 0;
  #kept: Buffer[] | null = null;
  #received = 0;
  #waiting: Waiting | null = null;
  #failure: Error | null = null;
  #onCopyIn: (() => void) | null = null;

  private constructor(port: number) {
    const read = { buffer: Buffer.allocUnsafe(256 * 1024), callback: this.#onRead.bind(this) };
    this.#socket = connect({ host: '127.0.0.1', port, onread: read });
    this.#socket.setNoDelay(true);
    this.#socket.on('error', (error) => this.#fail(error));
    this.#socket.on('close', () => this.#fail(new Error(`connection to port ${port} closed`)));
  }

  /** Logs in (trust only) and waits for ReadyForQuery. Throws what the server said. */
  static async open(port: number, user: string, database: string): Promise<RawConnection> {
    const connection = new RawConnection(port);
    const text = Buffer.from(`user\0${user}\0database\0${database}\0\0`);
    const packet = Buffer.alloc(8 + text.length);
    packet.writeUInt32BE(packet.length, 0);
    packet.writeUInt32BE(0x00030000, 4);
    text.copy(packet, 8);
    await connection.#ask(packet);
    return connection;
  }

  /** Runs one simple query and returns the bytes received up to ReadyForQuery. */
  query(sql: string): Promise<number> {
    return this.#ask(queryMessage(sql));
  }

  /** Runs a COPY FROM STDIN, sending `chunk` (whole lines) `times` times; returns the bytes of data sent. */
  async copyIn(sql: string, chunk: Buffer, times: number): Promise<number> {
    const message = Buffer.alloc(HEADER + chunk.length);
    message[0] = 0x64;
    message.writeUInt32BE(chunk.length + 4, 1);
    chunk.copy(message, HEADER);
    this.#onCopyIn = () => {
      this.#sendCopy(message, times).catch((error: unknown) => this.#fail(error as Error));
    };
    await this.#ask(queryMessage(sql));
    return chunk.length * times;
  }

  /** Closes at once; nothing is thrown for it. */
  close(): void {
    this.#failure = new Error('closed');
    this.#waiting = null;
    this.#socket.destroy();
  }

  async #sendCopy(message: Buffer, times: number): Promise<void> {
    for (let i = 0; i < times && this.#failure === null; i++) {
      if (this.#socket.write(message)) continue;
      await new Promise<void>((resolve) => {
        const go = (): void => {
          this.#socket.off('drain', go).off('close', go);
          resolve();
        };
        this.#socket.once('drain', go).once('close', go);
      });
    }
    this.#socket.write(Buffer.from([0x63, 0, 0, 0, 4]));
  }

  #ask(packet: Buffer): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== null) {
        reject(this.#failure);
        return;
      }
      this.#received = 0;
      this.#waiting = { resolve, reject };
      this.#socket.write(packet);
    });
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#socket.destroy();
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.reject(this.#failure);
  }

  #onRead(size: number, buffer: Uint8Array): boolean {
    this.#received += size;
    let at = 0;
    while (at < size) {
      if (this.#bodyLeft > 0) {
        const take = Math.min(this.#bodyLeft, size - at);
        this.#kept?.push(Buffer.from(buffer.subarray(at, at + take)));
        this.#bodyLeft -= take;
        at += take;
      } else {
        this.#head[this.#headFill] = buffer[at] ?? 0;
        this.#headFill += 1;
        at += 1;
        if (this.#headFill < HEADER) continue;
        this.#bodyLeft = this.#head.readUInt32BE(1) - 4;
        const type = this.#head[0] ?? 0;
        const matters = type === ERROR || type === AUTHENTICATION;
        this.#kept = matters && this.#bodyLeft <= KEEP ? [] : null;
      }
      if (this.#headFill === HEADER && this.#bodyLeft === 0) {
        this.#headFill = 0;
        this.#onMessage(this.#head[0] ?? 0);
      }
    }
    return true;
  }

  #onMessage(type: number): void {
    const body = this.#kept === null ? null : Buffer.concat(this.#kept);
    if (type === ERROR) {
      const text = /\0M([^\0]*)/.exec(`\0${body?.toString() ?? ''}`)?.[1] ?? 'unknown error';
      this.#fail(new Error(text));
    } else if (type === AUTHENTICATION && body !== null && body.readUInt32BE(0) !== 0) {
      this.#fail(new Error('the server wants a password; this client only knows trust'));
    } else if (type === COPY_IN) {
      const start = this.#onCopyIn;
      this.#onCopyIn = null;
      start?.();
    } else if (type === READY) {
      const waiting = this.#waiting;
      this.#waiting = null;
      waiting?.resolve(this.#received);
    }
  }
}

function queryMessage(sql: string): Buffer {
  const text = Buffer.from(`${sql}\0`);
  const out = Buffer.alloc(HEADER + text.length);
  out[0] = 0x51;
  out.writeUInt32BE(text.length + 4, 1);
  text.copy(out, HEADER);
  return out;
}
