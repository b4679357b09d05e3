/** The HTTP doors over real sockets. */
import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { type HttpServer, startHttp } from '../../../src/http/server.ts';
import { createMetrics } from '../../../src/observe/metrics.ts';
import { type Log, SILENT } from '../../../src/util/log.ts';
import { parseExposition, sampleValue } from '../observe/exposition.ts';
import { FakeControl, metricsRow } from '../observe/fake-control.ts';

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

interface House {
  readonly control: FakeControl;
  readonly server: HttpServer;
  /** `LEVEL text` of every line. */
  readonly lines: string[];
  ask(
    path: string,
    options?: { method?: string; accept?: string; agent?: Agent; body?: string },
  ): Promise<Reply>;
  /** Sends bytes as they are; resolves with all that came back when the server has closed, or after `waitMs`. */
  raw(bytes: string, waitMs?: number): Promise<{ text: string; closed: boolean }>;
}

function recorder(lines: string[]): Log {
  return {
    ...SILENT,
    log: (text) => void lines.push(`LOG ${text}`),
    warning: (text) => void lines.push(`WARNING ${text}`),
    error: (text) => void lines.push(`ERROR ${text}`),
  };
}

async function inHouse(work: (house: House) => Promise<void>): Promise<void> {
  const control = new FakeControl();
  const lines: string[] = [];
  const metrics = createMetrics({ source: control, version: '1.2.3', processMetrics: false });
  const server = await startHttp({ host: '127.0.0.1', port: 0, control, metrics, log: recorder(lines) });
  const sockets = new Set<Socket>();
  try {
    await work({
      control,
      server,
      lines,
      ask: (path, { method = 'GET', accept, agent, body } = {}) =>
        new Promise((resolve, reject) => {
          const headers = accept === undefined ? {} : { accept };
          const options = {
            host: '127.0.0.1',
            port: server.port,
            path,
            method,
            headers,
            agent: agent ?? false,
          };
          const asked = request(options, (response) => {
            let text = '';
            response.setEncoding('utf8');
            response.on('data', (chunk: string) => {
              text += chunk;
            });
            response.on('end', () =>
              resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }),
            );
            response.on('error', reject);
          });
          asked.on('error', reject);
          asked.end(body);
        }),
      raw: (bytes, waitMs = 3000) =>
        new Promise((resolve) => {
          const socket = connect(server.port, '127.0.0.1');
          sockets.add(socket);
          let text = '';
          const late = setTimeout(() => resolve({ text, closed: false }), waitMs);
          socket.setEncoding('latin1').on('data', (chunk: string) => {
            text += chunk;
          });
          socket.on('error', () => {});
          socket.on('close', () => {
            clearTimeout(late);
            resolve({ text, closed: true });
          });
          socket.write(bytes);
        }),
    });
  } finally {
    for (const socket of sockets) socket.destroy();
    await server.close();
  }
}

test('/health: 200 while new clients are served (paused or not), 503 in a shutdown', () =>
  inHouse(async ({ ask, control }) => {
    const well = await ask('/health');
    assert.equal(well.status, 200);
    assert.match(String(well.headers['content-type']), /^application\/json/);
    assert.deepEqual(JSON.parse(well.body), { status: 'ok', paused: false, suspended: false });
    control.states = { active: false, paused: true, suspended: false };
    assert.deepEqual(JSON.parse((await ask('/health')).body), {
      status: 'ok',
      paused: true,
      suspended: false,
    });
    control.serving = false;
    assert.equal(JSON.parse((await ask('/health')).body).status, 'not serving');
    control.shuttingDown = true;
    const ill = await ask('/health');
    assert.equal(ill.status, 503);
    assert.equal(JSON.parse(ill.body).status, 'shutting down');
  }));

test('/ready: 503 while suspended and in a shutdown', () =>
  inHouse(async ({ ask, control }) => {
    assert.equal((await ask('/ready')).status, 200);
    control.states = { active: false, paused: true, suspended: false };
    assert.equal((await ask('/ready')).status, 200);
    control.states = { active: false, paused: false, suspended: true };
    assert.deepEqual([(await ask('/ready')).status, (await ask('/health')).status], [503, 200]);
    control.states = { active: true, paused: false, suspended: false };
    control.serving = false;
    control.shuttingDown = true;
    assert.equal((await ask('/ready')).status, 503);
  }));

test('/metrics: text, or OpenMetrics by Accept; a query string does not matter', () =>
  inHouse(async ({ ask, control }) => {
    control.metricsRows = [metricsRow('a', 'b', { xacts: 42 })];
    const text = await ask('/metrics?x=1');
    assert.equal(text.status, 200);
    assert.equal(text.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
    assert.equal(Number(text.headers['content-length']), Buffer.byteLength(text.body));
    const labels = { database: 'a', user: 'b' };
    assert.equal(
      sampleValue(parseExposition(text.body, 'text'), 'pgconcierge_transactions_total', labels),
      42,
    );
    const open = await ask('/metrics', { accept: 'application/openmetrics-text;version=1.0.0' });
    assert.match(String(open.headers['content-type']), /^application\/openmetrics-text; version=1\.0\.0/);
    assert.equal(
      sampleValue(parseExposition(open.body, 'openmetrics'), 'pgconcierge_transactions_total', labels),
      42,
    );
  }));

test('a data plane that throws: 500 without its words, which are in the log', () =>
  inHouse(async ({ ask, control, lines }) => {
    control.trouble = new Error('secret detail');
    const failed = await ask('/metrics');
    assert.deepEqual([failed.status, failed.body], [500, 'internal error\n']);
    assert.ok(lines.includes('ERROR http: /metrics failed: secret detail'));
    control.trouble = null;
    assert.equal((await ask('/metrics')).status, 200);
  }));

test('/ lists the doors; other paths are 404, other methods 405', () =>
  inHouse(async ({ ask }) => {
    const index = await ask('/');
    assert.equal(index.status, 200);
    for (const path of ['/health', '/ready', '/metrics']) assert.ok(index.body.includes(path));
    for (const path of ['/metrics/', '/nope', '//', '/%2e%2e/etc/passwd', '/constructor']) {
      const missing = await ask(path);
      assert.deepEqual([missing.status, missing.body], [404, 'not found\n'], path);
    }
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
      const refused = await ask('/health', {
        method,
        body: method.startsWith('P') ? 'x'.repeat(100_000) : '',
      });
      assert.equal(refused.status, 405, method);
      assert.equal(refused.headers['allow'], 'GET, HEAD');
    }
  }));

test('HEAD has the headers of GET and no body', () =>
  inHouse(async ({ ask, raw }) => {
    const got = await ask('/health');
    const head = await ask('/health', { method: 'HEAD' });
    assert.equal(head.status, 200);
    assert.equal(head.headers['content-length'], got.headers['content-length']);
    const { text } = await raw('HEAD /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
    assert.ok(text.endsWith('\r\n\r\n'), text);
  }));

test('keep-alive: many requests over one connection', () =>
  inHouse(async ({ ask }) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (let i = 0; i < 20; i++) assert.equal((await ask('/health', { agent })).status, 200);
    agent.destroy();
  }));

test('what is no HTTP, or has too large a header, gets one line and the end', () =>
  inHouse(async ({ raw, ask }) => {
    const garbage = await raw('\u0000\u0000\u0000\u0008\u0004\u00d2\u0016\u002f');
    assert.ok(garbage.closed);
    assert.match(garbage.text, /^HTTP\/1\.1 400 /);
    const large = await raw(`GET / HTTP/1.1\r\nhost: x\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`);
    assert.ok(large.closed);
    assert.match(large.text, /^HTTP\/1\.1 431 /);
    assert.equal((await ask('/health')).status, 200);
  }));

test('a header that never ends is cut off', () =>
  inHouse(async ({ raw }) => {
    const slow = await raw('GET / HTTP/1.1\r\nhost: x\r\n', 12_000);
    assert.ok(slow.closed, 'still open after 12 s');
    assert.match(slow.text, /^HTTP\/1\.1 408 /);
  }));

test('close ends idle keep-alive sockets and half-sent requests at once', () =>
  inHouse(async ({ raw, ask, server }) => {
    const idle = raw('GET /health HTTP/1.1\r\nhost: x\r\n\r\n', 4000);
    const half = raw('GET /health HTTP/1.1\r\n', 4000);
    await ask('/health');
    await Promise.all([server.close(), server.close()]);
    // within the 4 s of `raw`: no time limit of the server's own is that short
    assert.ok((await idle).closed);
    assert.match((await idle).text, /"status":"ok"/);
    assert.ok((await half).closed);
    await assert.rejects(ask('/health'), /ECONNREFUSED/);
  }));

test('an address that is taken: said in the log, and rejected', async () => {
  const taken = createServer();
  await new Promise<void>((done) => taken.listen(0, '127.0.0.1', done));
  const address = taken.address();
  assert.ok(typeof address === 'object' && address !== null);
  const lines: string[] = [];
  const control = new FakeControl();
  const metrics = createMetrics({ source: control, version: '1', processMetrics: false });
  const options = { control, metrics, log: recorder(lines) };
  const text = `cannot listen on http 127.0.0.1:${address.port}: Address already in use`;
  await assert.rejects(startHttp({ host: '127.0.0.1', port: address.port, ...options }), { message: text });
  assert.deepEqual(lines, [`ERROR ${text}`]);
  taken.close();
});

test('the address is logged, IPv6 in brackets', async () => {
  const control = new FakeControl();
  const metrics = createMetrics({ source: control, version: '1', processMetrics: false });
  const lines: string[] = [];
  const server = await startHttp({ host: '::1', port: 0, control, metrics, log: recorder(lines) });
  assert.deepEqual(lines, [`LOG listening on http [::1]:${server.port}`]);
  await server.close();
});
