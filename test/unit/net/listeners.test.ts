import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import {
  hasReusePort,
  type Listeners,
  type ListenOptions,
  openListeners,
  type Via,
} from '../../../src/net/listeners.ts';
import { nativeSockets } from '../../../src/net/native.ts';
import { isUnixSocketInUse } from '../../../src/net/unix-socket.ts';
import { FatalError } from '../../../src/util/fatal-error.ts';
import type { Log } from '../../../src/util/log.ts';

const NONE: ListenOptions = {
  listenAddr: [],
  listenPort: 0,
  unixSocketDir: '',
  unixSocketMode: 0o777,
  unixSocketGroup: '',
  backlog: 128,
  soReuseport: false,
  tcpDeferAccept: false,
};

let dir = '';
let lines: string[] = [];
let accepted: { socket: net.Socket; via: Via }[] = [];
let open: Listeners[] = [];
let clients: net.Socket[] = [];

const log: Log = {
  log: (text) => void lines.push(`LOG ${text}`),
  warning: (text) => void lines.push(`WARNING ${text}`),
  error: (text) => void lines.push(`ERROR ${text}`),
  fatal: (text) => void lines.push(`FATAL ${text}`),
  debug() {},
  noise() {},
};

beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'pgc-net-'));
  lines = [];
  accepted = [];
  open = [];
  clients = [];
});
afterEach(() => {
  for (const client of clients) client.destroy();
  for (const { socket } of accepted) socket.destroy();
  for (const listeners of open) listeners.closeAll();
  rmSync(dir, { recursive: true, force: true });
});

async function listen(options: Partial<ListenOptions>): Promise<Listeners> {
  const listeners = await openListeners(
    { ...NONE, ...options },
    (socket, via) => void accepted.push({ socket, via }),
    log,
  );
  open.push(listeners);
  return listeners;
}

const refuses = (options: Partial<ListenOptions>, text: string): Promise<void> =>
  assert.rejects(listen(options), (error: unknown) => error instanceof FatalError && error.message === text);

/** Connects and waits until the listener has handed the socket over. */
async function connect(where: net.NetConnectOpts): Promise<net.Socket> {
  const before = accepted.length;
  const client = net.connect(where);
  clients.push(client);
  await once(client, 'connect');
  for (let i = 0; accepted.length === before && i < 500; i++)
    await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(accepted.length, before + 1, 'the connection was handed over');
  return client;
}

const isRefused = (where: net.NetConnectOpts): Promise<boolean> =>
  new Promise((resolve) => {
    const client = net.connect(where);
    client.once('connect', () => {
      client.destroy();
      resolve(false);
    });
    client.once('error', () => resolve(true));
  });

test('TCP and unix: log lines, sockets paused, then closed', async () => {
  const port = await freePort();
  const listeners = await listen({ listenAddr: ['127.0.0.1'], listenPort: port, unixSocketDir: dir });
  const file = path.join(dir, `.s.PGSQL.${port}`);
  assert.deepEqual(lines, [`LOG listening on 127.0.0.1:${port}`, `LOG listening on unix:${file}`]);
  assert.deepEqual(listeners.addresses, [`127.0.0.1:${port}`, `unix:${file}`]);
  assert.equal(listeners.port, port);

  const client = await connect({ host: '127.0.0.1', port });
  await connect({ path: file });
  assert.deepEqual(
    accepted.map(({ via }) => via),
    ['tcp', 'unix'],
  );
  client.write('early');
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(accepted[0]?.socket.bytesRead, 0, 'nothing is read before somebody takes the socket');

  listeners.closeTcp();
  assert.equal(await isRefused({ host: '127.0.0.1', port }), true);
  assert.equal(client.destroyed, false, 'accepted ones live on');
  await connect({ path: file });
  listeners.closeAll();
  listeners.closeAll();
  assert.equal(existsSync(file), false);
});

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  return address !== null && typeof address === 'object' ? address.port : 0;
}

test('* is IPv4 and IPv6, each by itself', async () => {
  const port = await freePort();
  const listeners = await listen({ listenAddr: ['*'], listenPort: port });
  assert.equal(listeners.addresses[0], `0.0.0.0:${port}`);
  await connect({ host: '127.0.0.1', port });
  assert.equal(accepted[0]?.socket.remoteAddress, '127.0.0.1', 'not ::ffff:127.0.0.1');
  if (listeners.addresses.length > 1) {
    assert.equal(listeners.addresses[1], `[::]:${port}`);
    await connect({ host: '::1', port });
  } else {
    assert.match(lines.join('\n'), /WARNING cannot listen on \[::\]:\d+: (socket|bind)\(\): /);
  }
});

test('names are looked up and an address is opened once', async () => {
  const port = await freePort();
  const listeners = await listen({ listenAddr: ['localhost', '127.0.0.1'], listenPort: port });
  assert.equal(listeners.addresses.filter((text) => text === `127.0.0.1:${port}`).length, 1);
  assert.equal(
    lines.some((line) => line.startsWith('WARNING')),
    false,
  );
});

test('a name that is none', async () => {
  await assert.rejects(
    listen({ listenAddr: ['no.such.name.invalid'], listenPort: 6432 }),
    (error: unknown) => {
      assert.ok(error instanceof FatalError);
      assert.match(error.message, /^getaddrinfo\('no\.such\.name\.invalid', '6432'\) = .*(name|Name)/);
      return true;
    },
  );
});

test('port in use: the only address is fatal, one of several is not', async () => {
  const first = await listen({ listenAddr: ['127.0.0.1'] });
  const listenPort = first.port;
  lines = [];
  await refuses(
    { listenAddr: ['127.0.0.1'], listenPort },
    'failed to listen on any address in listen_addr list: 127.0.0.1',
  );
  const warning = `WARNING cannot listen on 127.0.0.1:${listenPort}: bind(): Address already in use`;
  assert.deepEqual(lines, [warning]);
  lines = [];
  await listen({ listenAddr: ['127.0.0.1', '127.0.0.2'], listenPort });
  assert.deepEqual(lines, [warning, `LOG listening on 127.0.0.2:${listenPort}`]);
});

test('an address of another machine', async () => {
  await refuses(
    { listenAddr: ['192.0.2.1'] },
    'failed to listen on any address in listen_addr list: 192.0.2.1',
  );
  assert.deepEqual(lines, ['WARNING cannot listen on 192.0.2.1:0: bind(): Cannot assign requested address']);
});

test('nowhere to listen on', () => refuses({}, 'nowhere to listen on'));

test('a failing unix socket closes the TCP listeners again', async () => {
  const port = await freePort();
  const missing = path.join(dir, 'missing');
  await refuses(
    { listenAddr: ['127.0.0.1'], listenPort: port, unixSocketDir: missing },
    'failed to create unix socket',
  );
  const file = path.join(missing, `.s.PGSQL.${port}`);
  assert.equal(lines.at(-1), `WARNING cannot listen on unix:${file}: bind(): No such file or directory`);
  assert.equal(await isRefused({ host: '127.0.0.1', port }), true);
});

test('a name longer than the kernel takes', async () => {
  const long = path.join(dir, 'x'.repeat(120));
  await refuses({ unixSocketDir: long, listenPort: 1 }, 'failed to create unix socket');
  assert.match(lines.join('\n'), /bind\(\): File name too long$/);
});

test('unix socket: in use, dead, and not a socket at all', async () => {
  const options = { unixSocketDir: dir, listenPort: 7001 };
  const file = path.join(dir, '.s.PGSQL.7001');
  const first = await listen(options);
  assert.equal(await isUnixSocketInUse(dir, 7001), true);
  await refuses(options, 'unix socket is in use, cannot continue');
  assert.equal(existsSync(file), true, "the other's socket is left alone");
  first.closeAll();

  // A process that is killed leaves its file behind.
  const script = `require('net').createServer().listen(${JSON.stringify(file)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', script]);
  assert.equal(existsSync(file), true);
  assert.equal(await isUnixSocketInUse(dir, 7001), false);
  (await listen(options)).closeAll();

  writeFileSync(file, 'data');
  await refuses(options, 'failed to create unix socket');
  assert.equal(statSync(file).size, 4, 'a file of that name is kept');
  rmSync(file);
  symlinkSync(path.join(dir, 'target'), file);
  await refuses(options, 'failed to create unix socket');
});

test('a listener whose process is stopped counts as in use', async () => {
  const file = path.join(dir, '.s.PGSQL.7002');
  const script = `require('net').createServer().listen(${JSON.stringify(file)}, () => console.log('up'))`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'ignore'] });
  await once(child.stdout, 'data');
  child.kill('SIGSTOP');
  assert.equal(await isUnixSocketInUse(dir, 7002), true);
  child.kill('SIGKILL');
  await once(child, 'exit');
});

test('mode and group of the unix socket', async () => {
  await listen({
    unixSocketDir: dir,
    listenPort: 7003,
    unixSocketMode: 0o700,
    unixSocketGroup: String(process.getgid?.()),
  });
  const { mode, gid } = statSync(path.join(dir, '.s.PGSQL.7003'));
  assert.equal(mode & 0o777, 0o700);
  assert.equal(gid, process.getgid?.());
  await refuses(
    { unixSocketDir: dir, listenPort: 7004, unixSocketGroup: 'no-such-group' },
    'failed to create unix socket',
  );
  assert.match(
    lines.join('\n'),
    /ERROR cannot set the access of unix:.*could not find group 'no-such-group'/,
  );
  assert.equal(existsSync(path.join(dir, '.s.PGSQL.7004')), false);
});

test('the socket file goes away when the process just ends', () => {
  const module = new URL('../../../src/net/listeners.js', import.meta.url).href;
  const script = `import { openListeners } from ${JSON.stringify(module)};
    const log = { log() {}, warning() {}, error() {} };
    await openListeners(${JSON.stringify({ ...NONE, unixSocketDir: dir, listenPort: 7005 })}, () => {}, log);
    process.exit(3);`;
  assert.equal(spawnSync(process.execPath, ['--input-type=module', '-e', script]).status, 3);
  assert.equal(existsSync(path.join(dir, '.s.PGSQL.7005')), false);
});

const noNative = typeof nativeSockets() === 'string' ? (nativeSockets() as string) : false;

test('an abstract unix socket has exactly its name', { skip: noNative }, async () => {
  const name = `@pgc-test-${process.pid}`;
  await listen({ unixSocketDir: name, listenPort: 7006 });
  assert.deepEqual(lines, [`LOG listening on unix:${name}/.s.PGSQL.7006`]);
  const found = spawnSync('cat', ['/proc/net/unix'], { encoding: 'latin1' }).stdout.split('\n');
  assert.ok(
    found.some((line) => line.endsWith(` ${name}/.s.PGSQL.7006`)),
    'no trailing NULs',
  );
});

test('so_reuseport: two listeners on one port', {
  skip: !hasReusePort(process.versions.node) && noNative,
}, async () => {
  const first = await listen({
    listenAddr: ['127.0.0.1', '::1'],
    listenPort: await freePort(),
    soReuseport: true,
  });
  const second = await listen({ listenAddr: ['127.0.0.1'], listenPort: first.port, soReuseport: true });
  assert.equal(second.port, first.port);
  for (let i = 0; i < 8; i++) await connect({ host: '127.0.0.1', port: first.port });
  first.closeAll();
  await connect({ host: '127.0.0.1', port: first.port });
  // Without it the port is taken.
  await refuses(
    { listenAddr: ['127.0.0.1'], listenPort: first.port },
    'failed to listen on any address in listen_addr list: 127.0.0.1',
  );
});

test('which Node has reusePort', () => {
  const versions = ['20.19.0', '22.11.0', '22.12.0', '23.0.0', '23.1.0', '24.0.0'];
  assert.deepEqual(versions.map(hasReusePort), [false, false, true, false, true, true]);
});

test('sockets passed by the service manager', async () => {
  const module = new URL('../../../src/net/listeners.js', import.meta.url).href;
  const options = { ...NONE, listenAddr: ['127.0.0.1'], listenPort: 1, unixSocketDir: '/tmp' };
  const script = `import { openListeners } from ${JSON.stringify(module)};
    process.env.LISTEN_PID = String(process.pid);
    process.env.LISTEN_FDS = '2';
    const say = (level) => (text) => console.log(level + ' ' + text);
    const log = { log: say('LOG'), warning: say('WARNING'), error: say('ERROR') };
    const listeners = await openListeners(${JSON.stringify(options)}, (socket, via) => {
      console.log('accepted', via);
      socket.destroy();
    }, log);
    console.log('env', process.env.LISTEN_PID, process.env.LISTEN_FDS);
    process.stdin.on('end', () => listeners.closeAll()).resume();`;
  const tcp = net.createServer().listen(0, '127.0.0.1');
  const unix = net.createServer().listen(path.join(dir, 's'));
  await Promise.all([once(tcp, 'listening'), once(unix, 'listening')]);
  const address = tcp.address();
  const port = address !== null && typeof address === 'object' ? address.port : 0;
  // Node passes the descriptors of the two servers as 3 and 4; ours are closed at once, the sockets live on in the child.
  const passed = [tcp, unix].map((server) => (server as unknown as { _handle: { fd: number } })._handle.fd);
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['pipe', 'pipe', 'inherit', ...passed],
  });
  let output = '';
  const { stdin, stdout } = child;
  assert.ok(stdin !== null && stdout !== null);
  stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const until = async (text: string): Promise<void> => {
    for (let i = 0; !output.includes(text) && i < 1000; i++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    assert.ok(output.includes(text), output);
  };
  await until('env');
  tcp.close();
  const viaTcp = net.connect({ host: '127.0.0.1', port });
  viaTcp.on('error', () => {});
  await until('accepted tcp');
  stdin.end();
  const [code] = await once(child, 'exit');
  unix.close();
  assert.equal(code, 0);
  const expected = [
    'WARNING sockets passed from service manager, listen_addr ignored',
    'WARNING sockets passed from service manager, unix_socket_dir ignored',
    'LOG socket passed from service manager (fd 3)',
    'LOG socket passed from service manager (fd 4)',
    'env undefined undefined',
    'accepted tcp',
  ];
  assert.deepEqual(output.trim().split('\n'), expected);
});
