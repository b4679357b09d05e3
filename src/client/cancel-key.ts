/**
 * BackendKeyData that the proxy gives to clients, and what a CancelRequest brings back (pgbouncer.md §15).
 * Protocol 3.0: 8 bytes; with a peer_id, bytes 1-2 say whose client it is (little endian) and the low two bits of
 * byte 7 how often the request may still be passed on. Protocol 3.2: a longer secret.
 */
import { randomFillSync } from 'node:crypto';

/** Hops that a request may take between peers. */
const TTL = 3;
const LONG_SECRET = 32;

/** Random bytes are taken from the system in large pieces: one call per login was 3 % of a connection's cost. */
const reserve = Buffer.alloc(4096);
let used = reserve.length;

function randomBytes(n: number): Buffer {
  if (used + n > reserve.length) {
    randomFillSync(reserve);
    used = 0;
  }
  const bytes = Buffer.from(reserve.subarray(used, used + n));
  // what has been given out is not kept
  reserve.fill(0, used, used + n);
  used += n;
  return bytes;
}

export interface CancelKey {
  readonly pid: number;
  readonly secret: Buffer;
  /** Lower-case hex of both, TTL bits cleared: the key of the registry. */
  readonly id: string;
}

/** `long` = the client speaks protocol 3.2. */
export function newCancelKey(peerId: number, long: boolean): CancelKey {
  const bytes = randomBytes(long ? 4 + LONG_SECRET : 8);
  // some clients read the process id as a signed number
  bytes[0] = (bytes[0] as number) & 0x7f;
  if (peerId > 0) {
    bytes.writeUInt16LE(peerId, 1);
    bytes[7] = ((bytes[7] as number) & 0xfc) | TTL;
  }
  return { pid: bytes.readInt32BE(0), secret: bytes.subarray(4), id: cancelKeyId(bytes, peerId) };
}

/** The registry's key for the bytes of a request (without the code). */
export function cancelKeyId(bytes: Buffer, peerId: number): string {
  if (peerId === 0) return bytes.toString('hex');
  const copy = Buffer.from(bytes);
  copy[7] = (copy[7] as number) & 0xfc;
  return copy.toString('hex');
}

/** Whose client a request is meant for, and its remaining hops. */
export function peerOfKey(bytes: Buffer): { readonly peerId: number; readonly ttl: number } {
  return { peerId: bytes.readUInt16LE(1), ttl: (bytes[7] as number) & 3 };
}

/** The same request with one hop less, for the peer. */
export function decrementTtl(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  copy[7] = (copy[7] as number) - 1;
  return copy;
}
