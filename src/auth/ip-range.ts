/** IP addresses and ranges of HBA lines: IPv4 and IPv6, prefix length or mask. No names, no shorthands. */
import { isIPv4, isIPv6 } from 'node:net';

/** 4 or 16 bytes each; bits of `address` outside `mask` do not matter. */
export interface IpRange {
  readonly address: Buffer;
  readonly mask: Buffer;
}

function parseV6(text: string): Buffer {
  const out = Buffer.alloc(16);
  // an IPv4 tail is two groups
  const tail = /^(.*:)([0-9.]+)$/.exec(text);
  let groups = text;
  if (tail?.[1] !== undefined && tail[2] !== undefined && isIPv4(tail[2])) {
    const [a = 0, b = 0, c = 0, d = 0] = tail[2].split('.').map(Number);
    groups = `${tail[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  const [head = '', rest] = groups.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = rest === undefined || rest === '' ? [] : rest.split(':');
  left.forEach((group, i) => {
    out.writeUInt16BE(Number.parseInt(group, 16), i * 2);
  });
  right.forEach((group, i) => {
    out.writeUInt16BE(Number.parseInt(group, 16), 16 - (right.length - i) * 2);
  });
  return out;
}

/** 4 or 16 bytes, or null when `text` is no address. */
export function parseAddress(text: string): Buffer | null {
  if (isIPv4(text)) return Buffer.from(text.split('.').map(Number));
  return isIPv6(text) && !text.includes('%') ? parseV6(text) : null;
}

const MAPPED = Buffer.from('00000000000000000000ffff', 'hex');

/** The address of a peer: as parseAddress(), a zone is dropped, and `::ffff:1.2.3.4` is the IPv4 address it means. */
export function parsePeerAddress(text: string): Buffer | null {
  const bytes = parseAddress(text.replace(/%.*$/, ''));
  if (bytes?.length === 16 && bytes.subarray(0, 12).equals(MAPPED)) return bytes.subarray(12);
  return bytes;
}

/** The mask of a prefix length, or null when it is no number from 0 to the bits of the address. */
export function prefixMask(text: string, length: number): Buffer | null {
  if (!/^[0-9]{1,3}$/.test(text)) return null;
  const bits = Number(text);
  if (bits > length * 8) return null;
  return Buffer.from(
    Array.from({ length }, (_, i) => 0xff & ~(0xff >> Math.min(8, Math.max(0, bits - i * 8)))),
  );
}

/** Whether the address has bits set that the mask ignores: legal, yet most likely a slip. */
export function hasHostBits(range: IpRange): boolean {
  return range.address.some((byte, i) => (byte & ~(range.mask[i] ?? 0) & 0xff) !== 0);
}

/** IPv4 ranges hold IPv4 addresses only, IPv6 ranges IPv6 ones. */
export function inRange(range: IpRange, address: Buffer): boolean {
  if (range.address.length !== address.length) return false;
  return address.every((byte, i) => ((byte ^ (range.address[i] ?? 0)) & (range.mask[i] ?? 0)) === 0);
}
