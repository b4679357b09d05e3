/** The console behind a real socket on 127.0.0.1, with a login that takes anybody: for drivers and psql. */

import type { AddressInfo, Socket } from 'node:net';
import { createServer } from 'node:net';
import { createConsole } from '../../../src/admin/console.ts';
import type { ConsoleSession } from '../../../src/control/console.ts';
import type { ControlPort } from '../../../src/control/port.ts';
import { AUTHENTICATION_OK } from '../../../src/wire/backend.ts';
import { CODE_GSSENC, CODE_SSL } from '../../../src/wire/codes.ts';
import { MessageReader } from '../../../src/wire/message-reader.ts';
import { VERSION } from './fake-console.ts';

export interface ConsoleServer {
  readonly port: number;
  stop(): Promise<void>;
}

/** Listens on a free port. */
export async function startConsoleServer(
  control: ControlPort,
  log: (text: string) => void = () => {},
): Promise<ConsoleServer> {
  const nothing = (): void => {};
  const open = createConsole(control, {
    version: VERSION,
    log: { log: log, warning: log, error: log, fatal: log, debug: nothing, noise: nothing },
  });
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    const reader = new MessageReader(1 << 20);
    let session: ConsoleSession | null = null;
    socket.on('error', nothing);
    socket.on('close', () => {
      sockets.delete(socket);
      session?.onClose();
    });
    socket.on('data', (chunk: Buffer) => {
      reader.push(chunk, 0, chunk.length);
      while (session === null) {
        const start = reader.nextStartup();
        if (start === null) return;
        const code = start.readUInt32BE(0);
        if (code === CODE_SSL || code === CODE_GSSENC) {
          socket.write('N');
          continue;
        }
        socket.write(AUTHENTICATION_OK);
        session = open(
          { user: 'admin', admin: true, clientId: 1, pid: 1, secret: Buffer.alloc(4) },
          { write: (bytes) => socket.write(bytes), close: () => socket.end() },
        );
      }
      for (let m = reader.next(); m !== null; m = reader.next()) session.onMessage(m.type, m.body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
