/**
 * The socket calls of libc that Node does not offer, through the optional package `koffi`. Nothing else imports it.
 * Linux only: the numbers below are those of its ABI. Where it is missing, `nativeSockets()` says why and the
 * callers do without; it is loaded at the first use, never on the way of a query.
 */
import { createRequire } from 'node:module';
import type net from 'node:net';

export const SOL_SOCKET = 1;
export const IPPROTO_TCP = 6;
const IPPROTO_IPV6 = 41;
const SO_REUSEADDR = 2;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_KEEPALIVE = 9;
const SO_REUSEPORT = 15;
export const SO_PEERCRED = 17;
export const TCP_KEEPIDLE = 4;
export const TCP_KEEPINTVL = 5;
export const TCP_KEEPCNT = 6;
export const TCP_DEFER_ACCEPT = 9;
export const TCP_USER_TIMEOUT = 18;
const IPV6_V6ONLY = 26;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
/** SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK. */
const STREAM_SOCKET = 1 | 0o2000000 | 0o4000;

/** A call of libc that failed; `errno` is positive. */
export class NativeError extends Error {
  readonly call: string;
  readonly errno: number;
  constructor(call: string, errno: number) {
    super(`${call}: errno ${errno}`);
    this.name = 'NativeError';
    this.call = call;
    this.errno = errno;
  }
}

/** Methods throw NativeError. */
export interface NativeSockets {
  getOption(fd: number, level: number, name: number, bytes: number): Buffer;
  setOption(fd: number, level: number, name: number, value: number): void;
  /** A bound, not yet listening TCP socket with SO_REUSEPORT; the caller owns the descriptor. */
  bindReusePort(family: 4 | 6, address: string, port: number): number;
  /** A bound abstract unix socket whose name has exactly these bytes (without the leading NUL). */
  bindAbstract(name: string): number;
}

type Call = (...args: unknown[]) => number;
interface Koffi {
  load(path: null): { func(declaration: string): Call };
  errno(): number;
}

class KoffiSockets implements NativeSockets {
  readonly #koffi: Koffi;
  readonly #getsockopt: Call;
  readonly #setsockopt: Call;
  readonly #socket: Call;
  readonly #bind: Call;
  readonly #close: Call;
  readonly #inetPton: Call;

  constructor(koffi: Koffi) {
    const libc = koffi.load(null); // the process itself: whatever libc Node runs on
    this.#koffi = koffi;
    this.#getsockopt = libc.func('int getsockopt(int, int, int, void *, void *)');
    this.#setsockopt = libc.func('int setsockopt(int, int, int, const void *, uint32_t)');
    this.#socket = libc.func('int socket(int, int, int)');
    this.#bind = libc.func('int bind(int, const void *, uint32_t)');
    this.#close = libc.func('int close(int)');
    this.#inetPton = libc.func('int inet_pton(int, const char *, void *)');
  }

  getOption(fd: number, level: number, name: number, bytes: number): Buffer {
    const value = Buffer.alloc(bytes);
    const length = Buffer.alloc(4);
    writeInt(length, bytes);
    this.#check('getsockopt', this.#getsockopt(fd, level, name, value, length));
    return value;
  }

  setOption(fd: number, level: number, name: number, value: number): void {
    const bytes = Buffer.alloc(4);
    writeInt(bytes, value);
    this.#check('setsockopt', this.#setsockopt(fd, level, name, bytes, 4));
  }

  bindReusePort(family: 4 | 6, address: string, port: number): number {
    const af = family === 4 ? AF_INET : AF_INET6;
    return this.#bound(af, this.#internetAddress(af, address, port), (fd) => {
      this.setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
      this.setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
      if (af === AF_INET6) this.setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    });
  }

  bindAbstract(name: string): number {
    const bytes = Buffer.from(name);
    if (bytes.length > 107) throw new NativeError('bind', 36 /* ENAMETOOLONG */);
    const address = Buffer.alloc(3 + bytes.length);
    writeShort(address, AF_UNIX);
    bytes.copy(address, 3);
    return this.#bound(AF_UNIX, address, () => {});
  }

  #bound(family: number, address: Buffer, prepare: (fd: number) => void): number {
    const fd = this.#check('socket', this.#socket(family, STREAM_SOCKET, 0));
    try {
      prepare(fd);
      this.#check('bind', this.#bind(fd, address, address.length));
    } catch (error) {
      this.#close(fd);
      throw error;
    }
    return fd;
  }

  /** sockaddr_in / sockaddr_in6. A zone (`fe80::1%2`) must be numeric: dns.lookup and os.networkInterfaces give that. */
  #internetAddress(af: number, text: string, port: number): Buffer {
    const [host = '', zone] = text.split('%');
    const address = Buffer.alloc(af === AF_INET ? 16 : 28);
    const ip = Buffer.alloc(af === AF_INET ? 4 : 16);
    if (this.#inetPton(af, host, ip) !== 1) throw new NativeError('inet_pton', 22 /* EINVAL */);
    writeShort(address, af);
    address.writeUInt16BE(port, 2);
    ip.copy(address, af === AF_INET ? 4 : 8);
    if (af === AF_INET6 && zone !== undefined) writeInt(address, Number(zone) || 0, 24);
    return address;
  }

  #check(call: string, result: number): number {
    if (result < 0) throw new NativeError(call, this.#koffi.errno());
    return result;
  }
}

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

function writeInt(buffer: Buffer, value: number, at = 0): void {
  if (LITTLE_ENDIAN) buffer.writeInt32LE(value, at);
  else buffer.writeInt32BE(value, at);
}

function writeShort(buffer: Buffer, value: number): void {
  if (LITTLE_ENDIAN) buffer.writeUInt16LE(value, 0);
  else buffer.writeUInt16BE(value, 0);
}

/** A native int of a getsockopt result. */
export function readInt(buffer: Buffer, at = 0): number {
  return LITTLE_ENDIAN ? buffer.readInt32LE(at) : buffer.readInt32BE(at);
}

let loaded: NativeSockets | string | undefined;

function load(): NativeSockets | string {
  if (process.platform !== 'linux') return `not implemented on ${process.platform}`;
  // These have their own numbers for the socket options.
  if (process.arch === 'mips' || process.arch === 'mipsel') return `not implemented on ${process.arch}`;
  try {
    return new KoffiSockets(createRequire(import.meta.url)('koffi') as Koffi);
  } catch (error) {
    const text = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    return `the optional package koffi cannot be loaded (${text})`;
  }
}

/** The calls, or the reason (a sentence) why there are none. */
export function nativeSockets(): NativeSockets | string {
  loaded ??= load();
  return loaded;
}

/** The descriptor of an open socket or server, null when it is closed or the platform has none. */
export function fileDescriptor(owner: net.Socket | net.Server): number | null {
  const handle = (owner as unknown as { _handle?: { fd?: unknown } | null })._handle;
  const fd = handle?.fd;
  return typeof fd === 'number' && fd >= 0 ? fd : null;
}
