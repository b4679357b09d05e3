import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { peerCredentials, peerCredentialsAvailable } from '../../../src/net/peer-credentials.ts';
import { groupIdByName, userByName, userByUid } from '../../../src/util/accounts.ts';

const reason = peerCredentialsAvailable();
const skip = reason ?? false;

test('a process on the other end of a unix socket', { skip }, async (t) => {
  const dir = mkdtempSync(path.join(tmpdir(), 'pgc-peer-'));
  const file = path.join(dir, 's');
  const server = net.createServer({ pauseOnConnect: true }).listen(file);
  t.after(() => {
    server.close();
    rmSync(dir, { recursive: true, force: true });
  });
  await once(server, 'listening');
  const script = `require('net').connect(${JSON.stringify(file)}).on('error', () => {}).resume()`;
  const child = spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
  const [socket] = (await once(server, 'connection')) as [net.Socket];
  const expected = { pid: child.pid, uid: process.getuid?.(), gid: process.getgid?.() };
  assert.deepEqual(peerCredentials(socket), expected);
  const fd = (socket as unknown as { _handle: { fd: number } })._handle.fd;
  assert.deepEqual(peerCredentials(fd), expected, 'by descriptor');
  const ended = once(child, 'exit');
  socket.destroy();
  await ended;
  assert.equal(peerCredentials(socket), null, 'a closed socket has no peer');
});

test('a TCP socket has no credentials', { skip }, async () => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const client = net.connect({
    host: '127.0.0.1',
    port: address !== null && typeof address === 'object' ? address.port : 0,
  });
  const [socket] = (await once(server, 'connection')) as [net.Socket];
  assert.equal(peerCredentials(socket), null);
  assert.equal(peerCredentials(9999), null, 'nor has a descriptor that is not open');
  client.destroy();
  socket.destroy();
  server.close();
});

test('without the package the reason is a sentence', {
  skip: reason === null ? 'koffi is here' : false,
}, () => {
  assert.match(reason ?? '', /koffi|not implemented/);
  assert.equal(peerCredentials(0), null);
});

test('users and groups of the system', { skip: process.platform === 'win32' }, () => {
  const root = userByUid(0);
  assert.ok(root !== null);
  assert.deepEqual(userByName(root.name), root);
  assert.equal(userByName('no-such-user-here'), null);
  assert.equal(userByName(''), null);
  assert.equal(userByName('--help'), null);
  assert.equal(userByUid(3999999999), null);
  assert.equal(groupIdByName('no-such-group-here'), null);
  assert.equal(groupIdByName('0'), 0);
});
