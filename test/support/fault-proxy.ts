/**
 * A TCP proxy that breaks things on command: delay, trickle, silence, a cut now or after n bytes, RST, a refused
 * connection. `up` is from client to server, `down` from server to client.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './ports.ts';
import { resetSocket } from './reset.ts';

export type Direction = 'up' | 'down';

export interface Fault {
  /** Every chunk is held for this long; order is kept. 0 = at once. */
  delayMs: number;
  /** Chunks are passed on in pieces of so many bytes; 0 = as they come. */
  trickleBytes: number;
  /** Between two pieces. */
  trickleEveryMs: number;
  /** Bytes are read and thrown away: the connection looks alive and nothing arrives. */
  blackhole: boolean;
  /** After so many more bytes (over all connections) both sides are cut; null = never. */
  cutAfterBytes: number | null;
}

const noFault = (): Fault => ({
  delayMs: 0,
  trickleBytes: 0,
  trickleEveryMs: 1,
  blackhole: false,
  cutAfterBytes: null,
});

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
}

export class FaultProxy {
  readonly host = '127.0.0.1';
  readonly port: number;
  /** Change at any time; holds for all connections. */
  readonly up: Fault = noFault();
  readonly down: Fault = noFault();
  /** Connections accepted so far. */
  accepted = 0;
  /** Bytes passed on so far. */
  readonly bytes = { up: 0, down: 0 };
  readonly #target: { readonly host: string; readonly port: number };
  #server: Server | null = null;
  readonly #pairs = new Set<Pair>();

  private constructor(port: number, target: { readonly host: string; readonly port: number }) {
    this.port = port;
    this.#target = target;
  }

  /** Listens on a free port of 127.0.0.1 and passes everything to `target`. */
  static async start(target: { readonly host?: string; readonly port: number }): Promise<FaultProxy> {
    const proxy = new FaultProxy(await freePort(), { host: target.host ?? '127.0.0.1', port: target.port });
    await proxy.accept();
    return proxy;
  }

  /** Connections open now. */
  get open(): number {
    return this.#pairs.size;
  }

  /** Listens (again) after `refuse`. */
  async accept(): Promise<void> {
    if (this.#server !== null) return;
    const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => this.#onClient(client));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.port, this.host, resolve);
    });
    this.#server = server;
  }

  /** New connections are refused; open ones live on. */
  refuse(): void {
    this.#server?.close();
    this.#server = null;
  }

  /** Half-open: both directions of every connection, old and new, go silent and nothing is closed. */
  blackhole(on = true): void {
    this.up.blackhole = on;
    this.down.blackhole = on;
  }

  /** Passes bytes on in pieces of `bytes`, both ways. */
  trickle(bytes: number, everyMs = 1): void {
    for (const fault of [this.up, this.down]) {
      fault.trickleBytes = bytes;
      fault.trickleEveryMs = everyMs;
    }
  }

  /** Holds every chunk for `ms`, both ways. */
  delay(ms: number): void {
    this.up.delayMs = ms;
    this.down.delayMs = ms;
  }

  /** Back to a plain proxy. Bytes swallowed meanwhile stay lost. */
  heal(): void {
    Object.assign(this.up, noFault());
    Object.assign(this.down, noFault());
  }

  /** Cuts every connection now, both sides: `fin` closes, `rst` resets. */
  cut(how: 'fin' | 'rst' = 'rst'): void {
    for (const pair of [...this.#pairs]) this.#cutPair(pair, how);
  }

  /** Cuts after `bytes` more bytes have gone in `direction`. */
  cutAfter(bytes: number, direction: Direction): void {
    this[direction].cutAfterBytes = bytes;
  }

  /** Ends everything. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    this.cut();
    if (server !== null) await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  #onClient(client: Socket): void {
    this.accepted++;
    const server = connect({ ...this.#target, noDelay: true, allowHalfOpen: true });
    const pair: Pair = { client, server };
    this.#pairs.add(pair);
    for (const socket of [client, server]) {
      socket.on('error', () => this.#cutPair(pair, 'rst'));
      socket.on('close', () => {
        if (client.destroyed && server.destroyed) this.#pairs.delete(pair);
      });
    }
    this.#pump(pair, client, server, 'up');
    this.#pump(pair, server, client, 'down');
  }

  /** One direction of one connection; chunks go one after the other, so that a delay never reorders. */
  #pump(pair: Pair, from: Socket, to: Socket, direction: Direction): void {
    let last: Promise<void> = Promise.resolve();
    from.on('data', (chunk: Buffer) => {
      const due = performance.now() + this[direction].delayMs;
      from.pause();
      last = last.then(async () => {
        await this.#pass(pair, chunk, to, direction, due);
        from.resume();
      });
    });
    from.on('end', () => {
      last = last.then(() => {
        if (!this[direction].blackhole) to.end();
      });
    });
  }

  async #pass(pair: Pair, chunk: Buffer, to: Socket, direction: Direction, due: number): Promise<void> {
    const fault = this[direction];
    const wait = due - performance.now();
    if (wait > 0) await sleep(wait);
    let at = 0;
    while (at < chunk.length && !to.destroyed) {
      if (fault.blackhole) return;
      let size = fault.trickleBytes > 0 ? Math.min(fault.trickleBytes, chunk.length - at) : chunk.length - at;
      const left = fault.cutAfterBytes;
      if (left !== null) size = Math.min(size, left);
      await this.#write(to, chunk.subarray(at, at + size));
      this.bytes[direction] += size;
      at += size;
      if (left !== null) {
        fault.cutAfterBytes = left - size;
        if (left - size <= 0) {
          fault.cutAfterBytes = null;
          this.#cutPair(pair, 'fin');
          return;
        }
      }
      if (fault.trickleBytes > 0 && at < chunk.length) await sleep(fault.trickleEveryMs);
    }
  }

  /** Resolves when the kernel has taken the bytes, or the socket is gone: back-pressure passes through. */
  #write(to: Socket, bytes: Buffer): Promise<void> {
    if (bytes.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      to.once('close', resolve);
      to.write(bytes, () => {
        to.off('close', resolve);
        resolve();
      });
    });
  }

  #cutPair(pair: Pair, how: 'fin' | 'rst'): void {
    for (const socket of [pair.client, pair.server]) {
      if (how === 'rst') resetSocket(socket);
      else socket.destroySoon();
    }
    this.#pairs.delete(pair);
  }
}
