/**
 * The HTTP side: health doors and metrics for machines, on an address of its own. It changes nothing (POST /redetect
 * only looks sooner), and is bounded in every direction (header size and time, sockets, idle time), because it shares
 * the process with the relay.
 */
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import type { Socket } from 'node:net';
import type { ControlPort } from '../control/port.ts';
import type { Metrics } from '../observe/metrics.ts';
import type { Log } from '../util/log.ts';
import { describeError, errorCode } from '../util/system-error.ts';
import { type Answer, textAnswer } from './answer.ts';
import { RedetectDoor } from './clusters.ts';
import { answerFor, type Doors } from './doors.ts';

export interface HttpOptions {
  /** IP address or name; `*` = all. */
  readonly host: string;
  /** 0 = any free port, see HttpServer.port. */
  readonly port: number;
  readonly control: ControlPort;
  readonly metrics: Metrics;
  readonly log: Log;
}

export interface HttpServer {
  /** The port that is listened on. */
  readonly port: number;
  /** Stops listening, lets answers under way finish for a moment, then ends every socket. */
  close(): Promise<void>;
}

const LIMITS = {
  maxHeaderSize: 8 * 1024,
  headersTimeout: 5_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 15_000,
  connectionsCheckingInterval: 1_000,
};
/** A reader that takes nothing for so long is cut off. */
const SOCKET_IDLE_MS = 20_000;
const MAX_SOCKETS = 100;
const MAX_HEADERS = 64;
const CLOSE_GRACE_MS = 500;

function send(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  const body = Buffer.from(answer.body);
  // a body is nobody's business here: read over (requestTimeout bounds it), so that the answer is not lost in a reset
  request.resume();
  response.writeHead(answer.status, {
    'content-type': answer.contentType,
    'content-length': body.length,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...(answer.allow === undefined ? {} : { allow: answer.allow }),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

async function answer(request: IncomingMessage, doors: Doors, log: Log): Promise<Answer> {
  const url = request.url ?? '/';
  const path = url.split(/[?#]/, 1)[0] ?? '/';
  const query = new URLSearchParams(url.slice(path.length).split('#', 1)[0] ?? '');
  try {
    return await answerFor(
      { method: request.method ?? '', path, query, accept: request.headers.accept },
      doors,
    );
  } catch (error) {
    log.error(`http: ${path} failed: ${describeError(error)}`);
    return textAnswer(500, 'internal error');
  }
}

/** A request that is no HTTP, too large or too slow: one line, and the end. */
function refuse(error: Error, socket: Socket): void {
  const code = errorCode(error);
  if (!socket.writable || code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const status = code === 'HPE_HEADER_OVERFLOW' ? 431 : code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400;
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
  // a peer that does not read the refusal does not keep its socket
  socket.destroySoon();
}

function place(host: string, port: number): string {
  return `http ${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function closer(server: Server): () => Promise<void> {
  let closed: Promise<void> | null = null;
  return () => {
    closed ??= new Promise((resolve) => {
      const cut = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS);
      server.close(() => {
        clearTimeout(cut);
        resolve();
      });
      server.closeIdleConnections();
    });
    return closed;
  };
}

/**
 * Listens; called once by the supervisor. Rejects with Error `cannot listen on http HOST:PORT: …`, which has been logged
 * as an error, when the address cannot be had: the caller exits with 1.
 */
export function startHttp(options: HttpOptions): Promise<HttpServer> {
  const { host, port, log } = options;
  const doors: Doors = {
    control: options.control,
    metrics: options.metrics,
    redetect: new RedetectDoor(options.control),
  };
  const server = createServer(LIMITS, (request, response) => {
    response.on('error', () => {
      // the scraper went away in the middle of the answer
    });
    void answer(request, doors, log).then((result) => {
      if (!response.destroyed) send(request, response, result);
    });
  });
  server.maxConnections = MAX_SOCKETS;
  server.maxHeadersCount = MAX_HEADERS;
  server.setTimeout(SOCKET_IDLE_MS);
  server.on('clientError', (error, socket) => refuse(error, socket as Socket));

  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => {
      const text = `cannot listen on ${place(host, port)}: ${describeError(error)}`;
      log.error(text);
      reject(new Error(text, { cause: error }));
    };
    server.once('error', failed);
    server.listen({ port, ...(host === '*' ? {} : { host }) }, () => {
      server.off('error', failed);
      // accept() can fail later (no descriptors left); the relay goes on
      server.on('error', (error) => log.warning(`http: ${describeError(error)}`));
      const address = server.address();
      const bound = typeof address === 'object' && address !== null ? address.port : port;
      log.log(`listening on ${place(host, bound)}`);
      resolve({ port: bound, close: closer(server) });
    });
  });
}
