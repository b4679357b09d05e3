/**
 * One socket, the only module that knows how Node reads and writes it. Everything above sees
 * `onData(buffer, n)`, `write(buffer, from, to, source)`, `pause`, `resume` and the three ways to close.
 *
 * Reading. Sockets read into a buffer that we own (`onread`), so that a chunk costs no allocation. Clients share one
 * buffer (an idle client owns none); servers own one each, because a chunk of theirs may be handed to the kernel
 * as it is. An accepted socket reads with 'data' events by default; `adopt` moves its handle to a new socket that
 * has `onread` (the only use of `_handle` here; without it the plain events serve).
 *
 * Writing. Small ranges go as latin1 strings: libuv copies them on its stack when the kernel takes them at once,
 * so the source buffer is free again when `write` returns. Large ranges go as a view; if the kernel did not take
 * all of it, the reader of that buffer gets a fresh one (`setAside`), else the bytes are copied first.
 */
import net from 'node:net';

/** Bytes per read of a client; shared by all clients. */
export const CLIENT_READ_SIZE = 16 * 1024;
/** Bytes per read of a server; one buffer each. */
export const SERVER_READ_SIZE = 64 * 1024;
/** Unsent bytes above which the peer's reading stops until 'drain'. */
export const HIGH_WATER = 256 * 1024;
/** Ranges up to this size are copied through a string; measured to be the cheapest public path. */
const SMALL = 4096;
/** A client's chunk of at least this size makes it a bulk sender, one below half of it ends that. */
const BULK_CHUNK = CLIENT_READ_SIZE;
/** After our last bytes, how long a peer that does not close may keep the socket. */
const LINGER_MS = 2000;

const sharedReadBuffer = Buffer.allocUnsafeSlow(CLIENT_READ_SIZE);

export interface TransportHandler {
  /** Bytes [0, n) of `buffer` are valid only during the call. */
  onData(buffer: Buffer, n: number): void;
  /** All that was written has gone to the kernel, after `write` returned false. */
  onDrain(): void;
  /** The peer closed, or the socket failed (`reason` is the error's text); called once, never after `close`. */
  onGone(reason: string): void;
}

interface OwnedSocket extends net.Socket {
  transport?: Transport;
}

interface AcceptedSocket extends net.Socket {
  _handle: { useUserBuffer?: unknown } | null;
}

function onRead(this: OwnedSocket, n: number, buffer: Uint8Array): boolean {
  const transport = this.transport;
  if (transport === undefined || transport.closed) return true;
  transport.handler.onData(buffer as Buffer, n);
  if (n >= BULK_CHUNK ? !transport.bulk : transport.bulk) transport.setBulk(n);
  return true;
}

function onReadEvent(this: OwnedSocket, chunk: Buffer): void {
  const transport = this.transport;
  if (transport === undefined || transport.closed) return;
  transport.handler.onData(chunk, chunk.length);
}

function onDrain(this: OwnedSocket): void {
  const transport = this.transport;
  if (transport !== undefined && !transport.closed) transport.handler.onDrain();
}

function onEnd(this: OwnedSocket): void {
  this.transport?.gone('');
}

function onError(this: OwnedSocket, error: Error): void {
  this.transport?.gone((error as NodeJS.ErrnoException).code ?? error.message);
}

export class Transport {
  socket: net.Socket;
  handler: TransportHandler;
  /** No handler call comes after this. */
  closed = false;
  paused = false;
  /** Every write must be copied (TLS keeps what it is given). */
  copies = false;
  /** A client that is sending much (COPY, large values): reads into a buffer of its own for as long as that lasts. */
  bulk = false;
  /** Own read buffer (servers, bulk senders), null = the shared one or plain events. */
  #readBuffer: Buffer | null = null;
  readonly #isServer: boolean;

  private constructor(handler: TransportHandler, isServer: boolean) {
    this.handler = handler;
    this.#isServer = isServer;

    this.socket = undefined as unknown as net.Socket;
  }

  /** Takes over an accepted socket (paused by the listener, nothing read yet). */
  static adopt(accepted: net.Socket, handler: TransportHandler): Transport {
    const transport = new Transport(handler, false);
    const handle = (accepted as AcceptedSocket)._handle;
    if (handle !== null && handle !== undefined && typeof handle.useUserBuffer === 'function') {
      (accepted as AcceptedSocket)._handle = null;
      accepted.destroy();
      const options = {
        handle,
        writableHighWaterMark: HIGH_WATER,
        onread: { buffer: () => transport.#readBuffer ?? sharedReadBuffer, callback: onRead },
      };
      transport.#own(new net.Socket(options as unknown as net.SocketConstructorOpts));
    } else {
      transport.#own(accepted);
      accepted.on('data', onReadEvent);
      accepted.resume();
    }
    return transport;
  }

  /**
   * Starts a connection to a server; `onConnect` is called once when TCP (or the unix socket) is up, else
   * `handler.onGone`.
   */
  static connect(where: net.NetConnectOpts, handler: TransportHandler, onConnect: () => void): Transport {
    const transport = new Transport(handler, true);
    transport.#readBuffer = Buffer.allocUnsafeSlow(SERVER_READ_SIZE);
    const options = {
      ...where,
      writableHighWaterMark: HIGH_WATER,
      onread: { buffer: () => transport.#readBuffer as Buffer, callback: onRead },
    };
    transport.#own(net.connect(options as unknown as net.NetConnectOpts, onConnect));
    return transport;
  }

  #own(socket: net.Socket): void {
    this.socket = socket;
    (socket as OwnedSocket).transport = this;
    socket.setNoDelay(true);
    socket.on('drain', onDrain);
    socket.on('end', onEnd);
    socket.on('error', onError);
    socket.on('close', onEnd);
  }

  /**
   * Replaces the plain socket by a TLS socket made over it. Plain 'data' events from here on; what is written is
   * always copied.
   */
  upgrade(socket: net.Socket): void {
    this.socket = socket;
    this.copies = true;
    (socket as OwnedSocket).transport = this;
    socket.on('drain', onDrain);
    socket.on('end', onEnd);
    socket.on('error', onError);
    socket.on('close', onEnd);
    socket.on('data', onReadEvent);
  }

  /**
   * Writes bytes [from, to). The buffer may be reused when this returns. `source` is the transport that owns the
   * buffer, if it can give it away. False = above the high water mark: stop reading the source until onDrain.
   */
  write(buffer: Buffer, from: number, to: number, source: Transport | null): boolean {
    if (this.closed) return true;
    const n = to - from;
    if (n <= SMALL) return this.socket.write(buffer.latin1Slice(from, to), 'latin1');
    if (source !== null && source.#readBuffer === buffer && !this.copies) {
      const more = this.socket.write(buffer.subarray(from, to));
      if (this.socket.writableLength > 0) source.setAside();
      return more;
    }
    return this.socket.write(Buffer.from(buffer.subarray(from, to)));
  }

  /** Writes a buffer that nobody will change any more. */
  writeOwned(bytes: Buffer): boolean {
    return this.closed || this.socket.write(bytes);
  }

  /** Called when a chunk of `n` bytes does not fit the way this socket is read. */
  setBulk(n: number): void {
    if (this.#isServer || (this.bulk && n >= BULK_CHUNK / 2)) return;
    this.bulk = !this.bulk;
    this.#readBuffer = this.bulk ? Buffer.allocUnsafeSlow(SERVER_READ_SIZE) : null;
  }

  /** The current read buffer stays with the kernel; reads go on into a fresh one. */
  setAside(): void {
    this.#readBuffer = Buffer.allocUnsafeSlow(SERVER_READ_SIZE);
  }

  /** Stops reading (back-pressure, or a client that waits). */
  pause(): void {
    if (!this.paused && !this.closed) {
      this.paused = true;
      this.socket.pause();
    }
  }

  resume(): void {
    if (this.paused && !this.closed) {
      this.paused = false;
      this.socket.resume();
    }
  }

  /** Runs `use` on the socket when it is connected, at once if it is. */
  whenConnected(use: (socket: net.Socket) => void): void {
    const socket = this.socket;
    if (socket.connecting) socket.once('connect', () => use(socket));
    else use(socket);
  }

  /** Unsent bytes. */
  get pending(): number {
    return this.socket.writableLength;
  }

  /** Called by the socket's events: tells the handler once. */
  gone(reason: string): void {
    if (this.closed) return;
    this.closed = true;
    this.socket.destroy();
    this.handler.onGone(reason);
  }

  /**
   * Closes after the bytes written so far (and `last`) have left. What the peer still sends is read and thrown
   * away for a moment: closing with unread input would reset the connection and could destroy our last message.
   */
  closeAfter(last: Buffer | null): void {
    if (this.closed) return;
    this.closed = true;
    const socket = this.socket;
    const timer = setTimeout(() => socket.destroy(), LINGER_MS);
    timer.unref();
    socket.once('close', () => clearTimeout(timer));
    socket.resume();
    if (last === null) socket.end();
    else socket.end(last);
  }

  /** Closes now; unsent bytes are lost. */
  destroy(): void {
    this.closed = true;
    this.socket.destroy();
  }
}
