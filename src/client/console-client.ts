/** A client of the admin database: gives whole messages to the console session and bytes back to the socket. */
import type { ConsoleIo } from '../control/console.ts';
import * as c from '../wire/codes.ts';
import { MessageReader, MessageTooLarge } from '../wire/message-reader.ts';
import type { Client, ClientPhaseHandler } from './client.ts';

/** Commands are short; anything longer is a mistake. */
const CONSOLE_LIMIT = 1024 * 1024;

export class ConsoleClient implements ClientPhaseHandler, ConsoleIo {
  readonly #client: Client;
  readonly #reader: MessageReader;

  constructor(client: Client, maxPacketSize: number) {
    this.#client = client;
    this.#reader = new MessageReader(Math.min(CONSOLE_LIMIT, maxPacketSize));
  }

  onEnd(): void {}

  onData(buffer: Buffer, n: number): void {
    const client = this.#client;
    client.requestMs = client.registry.clock.now();
    this.#reader.push(buffer, 0, n);
    try {
      for (let message = this.#reader.next(); message !== null; message = this.#reader.next()) {
        if (message.type === c.F_TERMINATE) {
          client.leave('client close request');
          return;
        }
        client.console?.onMessage(message.type, Buffer.from(message.body));
        if (client.gone) return;
      }
    } catch (error) {
      if (!(error instanceof MessageTooLarge)) throw error;
      client.fail('badPacket');
    }
  }

  write(bytes: Buffer): void {
    this.#client.transport.writeOwned(bytes);
  }

  close(reason: string): void {
    const client = this.#client;
    if (client.gone) return;
    client.leaveAfterFlush(reason);
  }
}
