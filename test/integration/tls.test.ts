/** TLS on both sides: SSLRequest, direct TLS, modes, client certificates, RELOAD of the files, what must be refused. */
import assert from 'node:assert/strict';
import { chownSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { before, test } from 'node:test';
import tls from 'node:tls';
import pg from 'pg';
import { Daemon } from '../support/daemon.ts';
import { type TestPostgres, withPostgres } from '../support/postgres.ts';
import { CLIENT_CERTIFICATE, CLIENT_KEY, SERVER_CERTIFICATE, SERVER_KEY } from '../support/tls-material.ts';
import { until } from '../support/until.ts';

let postgres: TestPostgres;

const FILES = {
  'key.pem': SERVER_KEY,
  'cert.pem': SERVER_CERTIFICATE,
};

before(async () => {
  postgres = await withPostgres({ setup: ["create role app login password 'app'"] });
  const { dir } = postgres.instance;
  const owner = statSync(join(dir, 'PG_VERSION'));
  for (const [name, text] of Object.entries(FILES)) {
    writeFileSync(join(dir, name), text, { mode: 0o600 });
    chownSync(join(dir, name), owner.uid, owner.gid);
  }
  await postgres.instance.configure({ ssl: 'on', ssl_cert_file: 'cert.pem', ssl_key_file: 'key.pem' });
  await postgres.instance.restart();
});

async function start(settings: Record<string, string | number>, modes = ''): Promise<Daemon> {
  const daemon = await Daemon.start(
    {
      databases: { app: `host=127.0.0.1 port=${postgres.port} dbname=postgres ${modes}` },
      settings: { auth_type: 'trust', pool_mode: 'transaction', default_pool_size: 2, ...settings },
    },
    { files: FILES },
  );
  return daemon;
}

/** Paths are relative to the daemon's directory, which is known only after it was made. */
function material(daemon: Daemon): Record<string, string> {
  return {
    client_tls_key_file: join(daemon.dir, 'key.pem'),
    client_tls_cert_file: join(daemon.dir, 'cert.pem'),
    client_tls_ca_file: join(daemon.dir, 'cert.pem'),
    server_tls_ca_file: join(daemon.dir, 'cert.pem'),
  };
}

async function withTls(settings: Record<string, string>): Promise<Daemon> {
  const daemon = await start({});
  await daemon.reload({
    settings: {
      auth_type: 'trust',
      pool_mode: 'transaction',
      default_pool_size: 2,
      ...material(daemon),
      ...settings,
    },
  });
  return daemon;
}

async function connect(daemon: Daemon, ssl: pg.ClientConfig['ssl']): Promise<pg.Client> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port: daemon.port,
    user: 'app',
    database: 'app',
    ...(ssl === undefined ? {} : { ssl }),
  });
  client.on('error', () => {});
  await client.connect();
  return client;
}

async function eventually(daemon: Daemon, ssl: pg.ClientConfig['ssl']): Promise<pg.Client> {
  // a reload takes effect a moment after its signal
  for (let i = 0; ; i++) {
    try {
      return await connect(daemon, ssl);
    } catch (error) {
      if (i === 50) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

const TRUST = { ca: SERVER_CERTIFICATE, servername: 'localhost' };

test('verify-full to the server and require to clients: both sides are encrypted', async () => {
  const daemon = await withTls({ client_tls_sslmode: 'require', server_tls_sslmode: 'verify-full' });
  const client = await eventually(daemon, TRUST);
  const { rows } = await client.query('select ssl, version from pg_stat_ssl where pid = pg_backend_pid()');
  assert.equal(rows[0].ssl, true);
  const big = await client.query("select repeat('x', 10000) as x from generate_series(1, 2000)");
  assert.equal(big.rows.length, 2000);
  assert.ok(big.rows.every((row: { x: string }) => row.x.length === 10_000));
  await assert.rejects(connect(daemon, undefined), /SSL required/);
  await client.end();
  await daemon.stop();
});

test('direct TLS with ALPN postgresql is accepted', async () => {
  const daemon = await withTls({ client_tls_sslmode: 'require' });
  await (await eventually(daemon, TRUST)).end();
  const socket = tls.connect({
    host: '127.0.0.1',
    port: daemon.port,
    ca: SERVER_CERTIFICATE,
    servername: 'localhost',
    ALPNProtocols: ['postgresql'],
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve);
    socket.once('error', reject);
  });
  assert.equal(socket.alpnProtocol, 'postgresql');
  const body = Buffer.from('\0\x03\0\0user\0app\0database\0app\0\0', 'latin1');
  const head = Buffer.alloc(4);
  head.writeUInt32BE(body.length + 4);
  socket.write(Buffer.concat([head, body]));
  const answer = await new Promise<Buffer>((resolve) => socket.once('data', resolve));
  assert.equal(answer[0], 0x52);
  socket.destroy();
  await daemon.stop();
});

test('bytes sent after SSLRequest in clear text are refused', async () => {
  const daemon = await withTls({ client_tls_sslmode: 'require' });
  await (await eventually(daemon, TRUST)).end();
  const socket = net.connect(daemon.port, '127.0.0.1');
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.write(Buffer.from([0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f, 0, 0, 0, 8]));
  await new Promise((resolve) => socket.once('close', resolve));
  const text = Buffer.concat(chunks).toString('latin1');
  assert.match(text, /received unencrypted data after SSL request/);
  assert.notEqual(text[0], 'S');
  await daemon.stop();
});

test('verify-full demands a client certificate; auth_type cert takes its common name', async () => {
  const daemon = await withTls({ client_tls_sslmode: 'verify-full', auth_type: 'cert' });
  const client = await eventually(daemon, { ...TRUST, cert: CLIENT_CERTIFICATE, key: CLIENT_KEY });
  assert.equal((await client.query('select current_user as u')).rows[0].u, 'app');
  await client.end();
  await assert.rejects(connect(daemon, TRUST));
  const other = new pg.Client({
    host: '127.0.0.1',
    port: daemon.port,
    user: 'postgres',
    database: 'app',
    ssl: { ...TRUST, cert: CLIENT_CERTIFICATE, key: CLIENT_KEY },
  });
  await assert.rejects(other.connect(), /certificate authentication failed/);
  await daemon.stop();
});

test('a server that refuses TLS: prefer goes on, require fails and says so', async () => {
  postgres.instance.configure({ ssl: 'off' });
  await until(async () => (await postgres.sql('show ssl')).rows[0]?.[0] === 'off');
  const databases = { app: `host=127.0.0.1 port=${postgres.port} dbname=postgres` };
  const prefer = await Daemon.start({
    databases,
    settings: { auth_type: 'trust', server_tls_sslmode: 'prefer' },
  });
  const client = await connect(prefer, undefined);
  assert.equal((await client.query('select 1 as one')).rows[0].one, 1);
  await client.end();
  await prefer.stop();
  const require = await Daemon.start({
    databases,
    settings: { auth_type: 'trust', server_tls_sslmode: 'require', query_wait_timeout: 1 },
  });
  await assert.rejects(connect(require, undefined), /query_wait_timeout/);
  await require.log.waitFor(/server refused SSL/);
  await require.stop();
  postgres.instance.configure({ ssl: 'on' });
});

test('a broken certificate file at RELOAD changes nothing', async () => {
  const daemon = await withTls({ client_tls_sslmode: 'require' });
  await (await eventually(daemon, TRUST)).end();
  daemon.writeFile('cert.pem', 'nonsense');
  await daemon.kill('SIGHUP');
  await daemon.log.waitFor(/TLS setup failed/);
  const client = await connect(daemon, TRUST);
  await client.end();
  await daemon.stop();
});
