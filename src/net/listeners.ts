/**
 * The doors: every address of listen_addr, the unix socket, or what systemd passed. They are opened once, at start, with
 * PgBouncer's rules (one TCP address that works is enough, the unix socket must work) and words, and closed at the end
 * of the process; a graceful shutdown closes TCP first. Accepted sockets are paused and have read nothing.
 */
import { lookup } from 'node:dns/promises';
import net from 'node:net';
import { FatalError } from '../util/fatal-error.ts';
import type { Log } from '../util/log.ts';
import { codeOfErrno, describeCode, describeError, errorCode } from '../util/system-error.ts';
import { NativeError, nativeSockets } from './native.ts';
import { takePassedDescriptors } from './service-manager.ts';
import { deferAccept } from './socket-options.ts';
import {
  isUnixSocketInUse,
  listenOnUnixSocket,
  removeAtExit,
  startListening,
  unixSocketPath,
} from './unix-socket.ts';

export type Via = 'tcp' | 'unix';

export interface ListenOptions {
  /** Addresses or names, `*` = all; none = no TCP. */
  readonly listenAddr: readonly string[];
  readonly listenPort: number;
  /** '' = none, `@name` = abstract. */
  readonly unixSocketDir: string;
  readonly unixSocketMode: number;
  readonly unixSocketGroup: string;
  readonly backlog: number;
  readonly soReuseport: boolean;
  readonly tcpDeferAccept: boolean;
}

export interface Listeners {
  /** What was opened, as logged: `127.0.0.1:6432`, `unix:/tmp/.s.PGSQL.6432`. */
  readonly addresses: readonly string[];
  /** Port of the first TCP listener, 0 = none; differs from listen_port only when that is 0. */
  readonly port: number;
  /** Accepts no new TCP connections; accepted ones live on. */
  closeTcp(): void;
  /** Closes all, and removes the unix socket's file. */
  closeAll(): void;
}

/** One door that is open. */
interface Door {
  readonly server: net.Server;
  readonly via: Via;
  readonly text: string;
  readonly port: number;
  /** Undoes what goes with the server (the exit hook of the file). */
  release(): void;
}

/** Which kind a server is; of a passed socket it is known only after it listens. */
interface Kind {
  via: Via;
}

type CreateServer = (kind: Kind) => net.Server;

interface Address {
  readonly host: string;
  readonly family: 4 | 6;
}

/** At most one log line a second about failing accepts. */
const ACCEPT_WARNING_INTERVAL_MS = 1000;

/** Opens everything or throws FatalError (what was open is closed again). Called once by the supervisor. */
export async function openListeners(
  options: ListenOptions,
  onConnection: (socket: net.Socket, via: Via) => void,
  log: Log,
): Promise<Listeners> {
  const doors: Door[] = [];
  const create: CreateServer = (kind) => createServer(kind, onConnection, log);
  try {
    const passed = takePassedDescriptors();
    if (passed.length > 0) await openPassed(passed, options, create, doors, log);
    else {
      const { unixSocketDir, listenPort } = options;
      if (unixSocketDir !== '' && (await isUnixSocketInUse(unixSocketDir, listenPort))) {
        throw new FatalError('unix socket is in use, cannot continue');
      }
      await openTcp(options, create, doors, log);
      if (unixSocketDir !== '') doors.push(await openUnix(options, create({ via: 'unix' }), log));
    }
    if (doors.length === 0) throw new FatalError('nowhere to listen on');
  } catch (error) {
    close(doors);
    throw error;
  }
  return {
    addresses: doors.map((door) => door.text),
    port: doors.find((door) => door.via === 'tcp')?.port ?? 0,
    closeTcp: () => close(doors, 'tcp'),
    closeAll: () => close(doors),
  };
}

/** Closing twice is fine. */
function close(doors: readonly Door[], via?: Via): void {
  for (const door of doors) {
    if (via !== undefined && door.via !== via) continue;
    if (door.server.listening) door.server.close();
    door.release();
  }
}

function createServer(
  kind: Kind,
  onConnection: (socket: net.Socket, via: Via) => void,
  log: Log,
): net.Server {
  const server = net.createServer({ pauseOnConnect: true, noDelay: true }, (socket) =>
    onConnection(socket, kind.via),
  );
  let warnedAt = Number.NEGATIVE_INFINITY;
  server.on('listening', () => {
    // Before that, errors belong to whoever opens. Later ones are of accept(2): tell and go on.
    server.on('error', (error) => {
      const now = performance.now();
      if (now - warnedAt < ACCEPT_WARNING_INTERVAL_MS) return;
      warnedAt = now;
      log.warning(`accept() failed: ${describeError(error)}`);
    });
  });
  return server;
}

function textOf(address: Address, port: number): string {
  return address.family === 6 ? `[${address.host}]:${port}` : `${address.host}:${port}`;
}

async function openTcp(options: ListenOptions, create: CreateServer, doors: Door[], log: Log): Promise<void> {
  const seen = new Set<string>();
  for (const name of options.listenAddr) {
    for (const address of await resolve(name, options.listenPort)) {
      // `localhost, 127.0.0.1` is one address, not a conflict with ourselves.
      if (seen.has(address.host)) continue;
      seen.add(address.host);
      const door = await openAddress(address, options, create({ via: 'tcp' }), log);
      if (door !== null) doors.push(door);
    }
  }
  if (seen.size > 0 && doors.length === 0) {
    throw new FatalError(
      `failed to listen on any address in listen_addr list: ${options.listenAddr.join(',')}`,
    );
  }
}

const LOOKUP_ERRORS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'Name or service not known [-2]',
  EAI_AGAIN: 'Temporary failure in name resolution [-3]',
};

async function resolve(name: string, port: number): Promise<Address[]> {
  if (name === '*') {
    return [
      { host: '0.0.0.0', family: 4 },
      { host: '::', family: 6 },
    ];
  }
  try {
    const found = await lookup(name, { all: true, verbatim: true });
    return found.map(({ address, family }) => ({ host: address, family: family === 6 ? 6 : 4 }));
  } catch (error) {
    const code = errorCode(error);
    throw new FatalError(
      `getaddrinfo('${name}', '${port}') = ${LOOKUP_ERRORS[code] ?? describeError(error)}`,
    );
  }
}

/** Null = this address does not work (warned): another one may. */
async function openAddress(
  address: Address,
  options: ListenOptions,
  server: net.Server,
  log: Log,
): Promise<Door | null> {
  try {
    await listenOnAddress(address, options, server, log);
  } catch (error) {
    const [call, text] = whatFailed(error);
    log.warning(`cannot listen on ${textOf(address, options.listenPort)}: ${call}(): ${text}`);
    return null;
  }
  if (options.tcpDeferAccept) deferAccept(server, log);
  const bound = server.address();
  const port = bound !== null && typeof bound === 'object' ? bound.port : options.listenPort;
  const text = textOf(address, port);
  log.log(`listening on ${text}`);
  return { server, via: 'tcp', text, port, release: () => {} };
}

/** The system call and its error, in PgBouncer's words. Node says `listen` for all of them. */
function whatFailed(error: unknown): [call: string, text: string] {
  if (error instanceof NativeError) return [error.call, describeCode(codeOfErrno(error.errno))];
  return [errorCode(error) === 'EAFNOSUPPORT' ? 'socket' : 'bind', describeError(error)];
}

/** Node 22.12 / 23.1 and later know reusePort; before that it is ignored in silence. */
export function hasReusePort(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12);
}

async function listenOnAddress(
  address: Address,
  options: ListenOptions,
  server: net.Server,
  log: Log,
): Promise<void> {
  const { listenPort: port, backlog, soReuseport } = options;
  const common = { host: address.host, port, backlog, ipv6Only: address.family === 6 };
  if (!soReuseport) return startListening(server, common);
  if (hasReusePort(process.versions.node)) {
    return startListening(server, { ...common, reusePort: true } as net.ListenOptions);
  }
  const native = nativeSockets();
  if (typeof native === 'string') {
    log.warning(`so_reuseport ignored: ${native}`);
    return startListening(server, common);
  }
  return startListening(server, { fd: native.bindReusePort(address.family, address.host, port), backlog });
}

async function openUnix(options: ListenOptions, server: net.Server, log: Log): Promise<Door> {
  const { unixSocketDir: dir, listenPort: port } = options;
  const { unixSocketMode: mode, unixSocketGroup: group, backlog } = options;
  await listenOnUnixSocket(server, { dir, port, mode, group, backlog }, log);
  const text = `unix:${unixSocketPath(dir, port)}`;
  log.log(`listening on ${text}`);
  return { server, via: 'unix', text, port, release: removeAtExit(dir, port) };
}

async function openPassed(
  descriptors: readonly number[],
  options: ListenOptions,
  create: CreateServer,
  doors: Door[],
  log: Log,
): Promise<void> {
  if (options.listenAddr.length > 0) log.warning('sockets passed from service manager, listen_addr ignored');
  if (options.unixSocketDir !== '')
    log.warning('sockets passed from service manager, unix_socket_dir ignored');
  for (const fd of descriptors) {
    const kind: Kind = { via: 'unix' };
    const server = create(kind);
    try {
      await startListening(server, { fd, backlog: options.backlog });
    } catch (error) {
      throw new FatalError(
        `cannot use the socket passed from service manager (fd ${fd}): ${describeError(error)}`,
      );
    }
    const bound = server.address();
    const port = bound !== null && typeof bound === 'object' ? bound.port : 0;
    if (port > 0) kind.via = 'tcp';
    log.log(`socket passed from service manager (fd ${fd})`);
    doors.push({ server, via: kind.via, text: `fd ${fd}`, port, release: () => {} });
  }
}
