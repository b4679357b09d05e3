import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import {
  fileDescriptor,
  IPPROTO_TCP,
  nativeSockets,
  readInt,
  SO_KEEPALIVE,
  SO_RCVBUF,
  SOL_SOCKET,
  TCP_DEFER_ACCEPT,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_USER_TIMEOUT,
} from '../../../src/net/native.ts';
import { createSocketTuner, deferAccept, type TcpOptions } from '../../../src/net/socket-options.ts';
import { type Log, SILENT } from '../../../src/util/log.ts';

const native = nativeSockets();
const skip = typeof native === 'string' ? native : false;

const NOTHING: TcpOptions = {
  keepalive: false,
  keepIdleMs: 0,
  keepIntervalMs: 0,
  keepCount: 0,
  userTimeoutMs: 0,
  socketBuffer: 0,
};

function read(owner: net.Socket | net.Server, level: number, name: number): number {
  const fd = fileDescriptor(owner);
  assert.ok(typeof native !== 'string' && fd !== null);
  return readInt(native.getOption(fd, level, name, 4));
}

/** A connected pair, closed after the test. */
async function withSocket(use: (socket: net.Socket, server: net.Server) => void): Promise<void> {
  const server = net
    .createServer((accepted) => accepted.on('error', () => {}).resume())
    .listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const socket = net.connect({
    host: '127.0.0.1',
    port: address !== null && typeof address === 'object' ? address.port : 0,
  });
  await once(socket, 'connect');
  try {
    use(socket, server);
  } finally {
    socket.destroy();
    server.close();
  }
}

function recording(): { lines: string[]; log: Log } {
  const lines: string[] = [];
  return { lines, log: { ...SILENT, warning: (text) => void lines.push(text) } };
}

test('every value reaches the kernel', { skip }, () =>
  withSocket((socket) => {
    const { lines, log } = recording();
    const tune = createSocketTuner(
      {
        keepalive: true,
        keepIdleMs: 61_000,
        keepIntervalMs: 7400,
        keepCount: 4,
        userTimeoutMs: 12_345,
        socketBuffer: 20_000,
      },
      log,
    );
    tune(socket);
    assert.notEqual(read(socket, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert.equal(read(socket, IPPROTO_TCP, TCP_KEEPIDLE), 61);
    assert.equal(read(socket, IPPROTO_TCP, TCP_KEEPINTVL), 7);
    assert.equal(read(socket, IPPROTO_TCP, TCP_KEEPCNT), 4);
    assert.equal(read(socket, IPPROTO_TCP, TCP_USER_TIMEOUT), 12_345);
    assert.equal(read(socket, SOL_SOCKET, SO_RCVBUF), 40_000, 'Linux doubles it');
    assert.deepEqual(lines, []);
  }),
);

test("keepalive alone leaves the system's values", { skip }, () =>
  withSocket((socket) => {
    const before = [TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT].map((name) => read(socket, IPPROTO_TCP, name));
    createSocketTuner({ ...NOTHING, keepalive: true }, SILENT)(socket);
    assert.notEqual(read(socket, SOL_SOCKET, SO_KEEPALIVE), 0);
    const after = [TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT].map((name) => read(socket, IPPROTO_TCP, name));
    assert.deepEqual(after, before);
  }),
);

test('off is off', { skip }, () =>
  withSocket((socket) => {
    createSocketTuner({ ...NOTHING, keepIdleMs: 5000 }, SILENT)(socket);
    assert.equal(read(socket, SOL_SOCKET, SO_KEEPALIVE), 0);
  }),
);

test('a value that the kernel refuses is told once and does not stop the connection', { skip }, () =>
  withSocket((socket) => {
    const { lines, log } = recording();
    const tune = createSocketTuner({ ...NOTHING, keepalive: true, keepCount: 1000, userTimeoutMs: 5 }, log);
    tune(socket);
    tune(socket);
    assert.deepEqual(lines, ['cannot set tcp_keepcnt: Invalid argument']);
    assert.equal(read(socket, IPPROTO_TCP, TCP_USER_TIMEOUT), 5, 'the others are set');
  }),
);

test('a closed socket is left alone', () =>
  withSocket((socket) => {
    socket.destroy();
    const { lines, log } = recording();
    createSocketTuner({ ...NOTHING, keepalive: true, keepCount: 3 }, log)(socket);
    assert.equal(
      lines.some((line) => line.startsWith('cannot set')),
      false,
    );
  }));

test('without the native calls one warning names what is lost', {
  skip: skip === false ? 'koffi is here' : false,
}, () => {
  const { lines, log } = recording();
  createSocketTuner({ ...NOTHING, keepalive: true, keepCount: 3, userTimeoutMs: 5 }, log);
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /^tcp_keepcnt, tcp_user_timeout ignored: /);
});

test('tcp_defer_accept', { skip }, () =>
  withSocket((_socket, server) => {
    deferAccept(server, SILENT);
    assert.ok(read(server, IPPROTO_TCP, TCP_DEFER_ACCEPT) > 0);
  }),
);
