/**
 * Ends a socket by RST. libuv refuses that (EINVAL) while a FIN of ours is on its way, and Node 20 then spins for ever
 * on what is left of the socket: such a one is destroyed in the ordinary way.
 */
import type { Socket } from 'node:net';

export function resetSocket(socket: Socket): void {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}
