/**
 * The TCP options of the configuration (tcp_keepalive…, tcp_user_timeout, tcp_socket_buffer, tcp_defer_accept) set on
 * sockets of clients, servers and listeners. Keepalive as such is Node's; the values need the native calls: an option
 * that is set and cannot be applied is told once, when the tuner is made, and then left out.
 */
import type net from 'node:net';
import type { Log } from '../util/log.ts';
import { codeOfErrno, describeCode } from '../util/system-error.ts';
import {
  fileDescriptor,
  IPPROTO_TCP,
  NativeError,
  type NativeSockets,
  nativeSockets,
  SO_KEEPALIVE,
  SO_RCVBUF,
  SO_SNDBUF,
  SOL_SOCKET,
  TCP_DEFER_ACCEPT,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_USER_TIMEOUT,
} from './native.ts';

/** 0 = leave the system's value. */
export interface TcpOptions {
  readonly keepalive: boolean;
  /** Applied in whole seconds, at least one. */
  readonly keepIdleMs: number;
  readonly keepIntervalMs: number;
  readonly keepCount: number;
  readonly userTimeoutMs: number;
  /** Size of the kernel's send and receive buffer, bytes. */
  readonly socketBuffer: number;
}

/** Sets the options on one connected TCP socket; cheap when there are none. Unix sockets: do not call. */
export type SocketTuner = (socket: net.Socket) => void;

type NativeOption = readonly [setting: string, level: number, name: number, value: number];

/** Seconds that a connection may stay silent before the kernel hands it over all the same; PgBouncer's number. */
const DEFER_ACCEPT_S = 45;

const seconds = (ms: number): number => Math.max(1, Math.round(ms / 1000));

/** What needs the native calls, by the name of the setting. */
function nativeOptions(options: TcpOptions): NativeOption[] {
  const list: NativeOption[] = [];
  if (options.socketBuffer > 0) {
    list.push(['tcp_socket_buffer', SOL_SOCKET, SO_SNDBUF, options.socketBuffer]);
    list.push(['tcp_socket_buffer', SOL_SOCKET, SO_RCVBUF, options.socketBuffer]);
  }
  if (options.keepalive) {
    if (options.keepCount > 0) list.push(['tcp_keepcnt', IPPROTO_TCP, TCP_KEEPCNT, options.keepCount]);
    if (options.keepIdleMs > 0) {
      list.push(['tcp_keepidle', IPPROTO_TCP, TCP_KEEPIDLE, seconds(options.keepIdleMs)]);
    }
    if (options.keepIntervalMs > 0) {
      list.push(['tcp_keepintvl', IPPROTO_TCP, TCP_KEEPINTVL, seconds(options.keepIntervalMs)]);
    }
  }
  if (options.userTimeoutMs > 0) {
    list.push(['tcp_user_timeout', IPPROTO_TCP, TCP_USER_TIMEOUT, Math.round(options.userTimeoutMs)]);
  }
  return list;
}

/** Warns of what cannot be applied here and returns the function for each new socket. Made at start and at RELOAD. */
export function createSocketTuner(options: TcpOptions, log: Log): SocketTuner {
  const native = nativeSockets();
  const wanted = nativeOptions(options);
  if (typeof native === 'string') {
    // tcp_keepidle is left: Node can set that one.
    const lost = new Set(wanted.map(([setting]) => setting).filter((setting) => setting !== 'tcp_keepidle'));
    if (lost.size > 0) log.warning(`${[...lost].join(', ')} ignored: ${native}`);
    return (socket) => {
      socket.setNoDelay(true);
      if (options.keepalive) socket.setKeepAlive(true, options.keepIdleMs);
    };
  }
  const told = new Set<string>();
  return (socket) => {
    socket.setNoDelay(true);
    const fd = fileDescriptor(socket);
    if (fd === null) return; // closed meanwhile
    if (options.keepalive) {
      // Not by Node: its libuv would set an interval of 1 s and 10 probes of its own.
      apply(native, ['tcp_keepalive', SOL_SOCKET, SO_KEEPALIVE, 1], fd, told, log);
    }
    for (const option of wanted) apply(native, option, fd, told, log);
  };
}

function apply(native: NativeSockets, option: NativeOption, fd: number, told: Set<string>, log: Log): void {
  const [setting, level, name, value] = option;
  try {
    native.setOption(fd, level, name, value);
  } catch (error) {
    if (!(error instanceof NativeError)) throw error;
    // A bad value fails on every socket: one warning a setting. A peer that has just reset may fail too.
    if (!told.has(setting)) log.warning(`cannot set ${setting}: ${describeCode(codeOfErrno(error.errno))}`);
    told.add(setting);
  }
}

/**
 * tcp_defer_accept on a listening TCP server: a connection is accepted when its first bytes are there. It is a saving,
 * on by default; where it cannot be had only the debug log says so.
 */
export function deferAccept(server: net.Server, log: Log): void {
  const native = nativeSockets();
  const fd = fileDescriptor(server);
  if (fd === null) return;
  try {
    if (typeof native === 'string') log.debug(`tcp_defer_accept ignored: ${native}`);
    else native.setOption(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, DEFER_ACCEPT_S);
  } catch (error) {
    if (!(error instanceof NativeError)) throw error;
    log.debug(`cannot set tcp_defer_accept: ${describeCode(codeOfErrno(error.errno))}`);
  }
}
