/** A port that leads to one server now and to another one later, like a virtual IP that moves; or closes what it accepts. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { freePort } from './ports.ts';
import { resetSocket } from './reset.ts';

export class FloatingPort {
  readonly port: number;
  /** Where new connections go. */
  target: number;
  /** So many of the next connections are closed as soon as they come. */
  dropNext = 0;
  /** Connections that were dropped because of it. */
  dropped = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(port: number, target: number) {
    this.port = port;
    this.target = target;
    this.#server = createServer({ noDelay: true }, (socket) => this.#onClient(socket));
  }

  static async start(t: { after(fn: () => void): void }, target: number): Promise<FloatingPort> {
    const floating = new FloatingPort(await freePort(), target);
    await new Promise<void>((resolve, reject) => {
      floating.#server.once('error', reject);
      floating.#server.listen(floating.port, '127.0.0.1', resolve);
    });
    t.after(() => floating.close());
    return floating;
  }

  /** Ends every connection that there is. */
  cut(): void {
    for (const socket of [...this.#sockets]) resetSocket(socket);
  }

  close(): void {
    this.#server.close();
    this.cut();
  }

  #onClient(client: Socket): void {
    if (this.dropNext > 0) {
      this.dropNext -= 1;
      this.dropped += 1;
      client.on('error', () => {});
      client.destroy();
      return;
    }
    const server = connect({ port: this.target, host: '127.0.0.1', noDelay: true });
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        this.#sockets.delete(one);
        other.destroySoon();
      });
      one.pipe(other);
    }
  }
}
