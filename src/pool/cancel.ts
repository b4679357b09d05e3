/**
 * One cancel request on its way to a server (protocol-flow "Canceling Requests in Progress"). The server is not
 * given to another client before PostgreSQL has closed the cancel connection: a late signal would hit the wrong
 * query otherwise.
 */
import tls from 'node:tls';
import { Transport, type TransportHandler } from '../net/transport.ts';
import type { ServerConnection } from '../server/server-connection.ts';
import { cancelRequest, sslRequest } from '../wire/frontend.ts';

export interface CancelEvents {
  /** Asked when the connection is up: is the query still the one to cancel? */
  stillWanted(): boolean;
  /** Over; `sent` = the request may have reached the server. */
  onCancelDone(sent: boolean, reason: string): void;
}

export class ServerCancel implements TransportHandler {
  readonly server: ServerConnection;
  readonly startedMs: number;
  readonly #events: CancelEvents;
  readonly #transport: Transport;
  #sent = false;
  #over = false;

  constructor(server: ServerConnection, nowMs: number, events: CancelEvents) {
    this.server = server;
    this.startedMs = nowMs;
    this.#events = events;
    server.cancelsInFlight += 1;
    const { unixPath, address, port } = server.address;
    const where = unixPath === null ? { host: address, port } : { path: unixPath };
    this.#transport = Transport.connect(where, this, () => this.#connected());
  }

  /** cancel_wait_timeout, or the server is gone. */
  abandon(reason: string): void {
    this.#finish(reason);
  }

  onData(buffer: Buffer, n: number): void {
    // the only answer that PostgreSQL ever gives here is to SSLRequest
    if (this.#sent || n !== 1) return;
    if (buffer[0] !== 0x53) {
      this.#finish('server refused SSL for the cancel request');
      return;
    }
    const secure = tls.connect({ socket: this.#transport.socket, rejectUnauthorized: false });
    this.#transport.upgrade(secure);
    secure.once('secureConnect', () => this.#send());
  }

  onDrain(): void {}

  onGone(reason: string): void {
    this.#finish(this.#sent ? 'successfully sent cancel request' : `connect failed: ${reason}`);
  }

  #connected(): void {
    if (this.#over) return;
    // the key must not travel in clear text where the session does not
    if (this.server.tls !== '') this.#transport.writeOwned(sslRequest());
    else this.#send();
  }

  #send(): void {
    if (this.#over) return;
    if (this.server.closed || !this.#events.stillWanted()) {
      this.#finish('not sending cancel request for client that is now idle');
      return;
    }
    this.#sent = true;
    this.#transport.writeOwned(cancelRequest(this.server.pid, this.server.secret));
  }

  #finish(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#transport.destroy();
    this.server.cancelsInFlight -= 1;
    this.#events.onCancelDone(this.#sent, reason);
  }
}
