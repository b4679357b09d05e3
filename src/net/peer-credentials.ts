/**
 * Who is on the other end of a unix socket: SO_PEERCRED, for `peer` authentication and for the console's access of the
 * same system user. The kernel's answer is of the moment of connect(2) and cannot be forged.
 */
import type net from 'node:net';
import { fileDescriptor, nativeSockets, readInt, SO_PEERCRED, SOL_SOCKET } from './native.ts';

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Null = they can be read; else the reason why not, for one warning at start. */
export function peerCredentialsAvailable(): string | null {
  const native = nativeSockets();
  return typeof native === 'string' ? native : null;
}

/**
 * Credentials of the peer of an open unix socket (the descriptor, or the socket that owns it). Null when they cannot be
 * read, or when the socket is not a unix socket: then nobody is known and access that rests on it must be refused.
 */
export function peerCredentials(of: number | net.Socket): PeerCredentials | null {
  const native = nativeSockets();
  const fd = typeof of === 'number' ? of : fileDescriptor(of);
  if (typeof native === 'string' || fd === null) return null;
  try {
    const value = native.getOption(fd, SOL_SOCKET, SO_PEERCRED, 12);
    // Sockets that are not unix answer pid 0 and uid -1. Ids are unsigned.
    if (readInt(value, 4) === -1) return null;
    return { pid: readInt(value, 0), uid: readInt(value, 4) >>> 0, gid: readInt(value, 8) >>> 0 };
  } catch {
    return null; // closed meanwhile, or not a socket
  }
}
