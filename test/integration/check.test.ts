/**
 * `pgconcierge check FILE` as a process against real PostgreSQL: what is well, what is wrong, and the exit status.
 * Passwords are real: the nodes want SCRAM.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import { freePort } from '../support/ports.ts';
import { testBinaries } from '../support/postgres.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));

let cluster: PostgresCluster;
let stranger: PostgresCluster;
let dir = '';

before(async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'pgconcierge-check-'));
  const binaries = await testBinaries();
  const options = { binaries, auth: 'scram-sha-256', superuserPassword: 'super' } as const;
  cluster = await PostgresCluster.start({ ...options, replicas: 1 });
  stranger = await PostgresCluster.start({ ...options, replicas: 0 });
  for (const node of [cluster.primary, stranger.primary]) {
    const of = node === stranger.primary ? stranger : cluster;
    await of.sql(node, "CREATE ROLE mon LOGIN PASSWORD 'monpass' IN ROLE pg_monitor");
    await of.sql(node, "CREATE ROLE poor LOGIN PASSWORD 'poorpass'");
    await of.sql(node, 'CREATE DATABASE app');
  }
  await cluster.waitCaughtUp();
});
after(async () => {
  await cluster?.destroy();
  await stranger?.destroy();
  rmSync(dir, { recursive: true, force: true });
});

interface Outcome {
  readonly code: number | null;
  readonly lines: readonly string[];
  readonly text: string;
}

/** Runs `check` over a file of this content; `env` is added to the environment. */
async function check(content: string, env: Record<string, string> = {}): Promise<Outcome> {
  const file = path.join(dir, 'check.ini');
  writeFileSync(file, content, { mode: 0o600 });
  const child = spawn(process.execPath, [MAIN, 'check', file], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    errors += chunk;
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  assert.equal(errors, '');
  return { code, lines: text.trimEnd().split('\n'), text };
}

const MAIN_SECTION = '[pgbouncer]\nlisten_addr = 127.0.0.1\ndefault_pool_size = 5\n';
const port = (i: number): number => cluster.nodes[i]?.port ?? 0;
const nodeLines = (): string =>
  `[nodes]\npg1 = cluster=main host=127.0.0.1 port=${port(0)}\npg2 = cluster=main host=127.0.0.1 port=${port(1)}\n`;
const at = (i: number): string => `127.0.0.1:${port(i)}`;

function has(outcome: Outcome, ...expected: readonly RegExp[]): void {
  for (const pattern of expected) {
    assert.ok(
      outcome.lines.some((line) => pattern.test(line)),
      `${pattern}\n${outcome.text}`,
    );
  }
}

test('all is well: exit 0, a line for every item', async () => {
  const outcome = await check(
    `${MAIN_SECTION}[clusters]
main = check_user=mon check_password=$\u007bMON_PASSWORD}
${nodeLines()}[databases]
app = cluster=main
app_ro = cluster=main dbname=app route=replica
plain = host=127.0.0.1 port=${port(0)} dbname=app user=poor password=poorpass
open = host=127.0.0.1 port=${port(0)} dbname=app
`,
    { MON_PASSWORD: 'monpass' },
  );
  has(
    outcome,
    /^OK {5}configuration: /,
    /^OK {5}file descriptors: /,
    new RegExp(
      `^OK {5}cluster main, node pg1 \\(${at(0)}\\): primary, PostgreSQL \\d+.*, check user mon logged in$`,
    ),
    new RegExp(
      `^OK {5}cluster main, node pg2 \\(${at(1)}\\): replica, PostgreSQL \\d+.*, check user mon logged in$`,
    ),
    /^OK {5}cluster main, primary: pg1$/,
    /^OK {5}cluster main, system identifier: \d+$/,
    /^OK {5}database app: is app of cluster main$/,
    /^OK {5}database app_ro: is app of cluster main$/,
    new RegExp(`^OK {5}database plain \\(${at(0)}\\): PostgreSQL .*, poor logged in to app$`),
    new RegExp(`^OK {5}database open \\(${at(0)}\\): a PostgreSQL answers; no login was possible`),
    // app and app_ro of one unknown user each, plain, open, and two monitors
    new RegExp(`^OK {5}max_connections of ${at(0)}: pools and monitors may open 22 of \\d+ connections`),
    new RegExp(`^OK {5}max_connections of ${at(1)}: pools and monitors may open 12 of \\d+ connections`),
    /^\d+ OK, 0 WARN, 0 FAILED$/,
  );
  assert.equal(outcome.code, 0, outcome.text);
  assert.doesNotMatch(outcome.text, /monpass|poorpass/);
});

test('passfile; a check user with few rights; pools above max_connections: warnings, exit 0', async () => {
  const passfile = path.join(dir, 'pass');
  writeFileSync(passfile, `127.0.0.1:${port(0)}:*:poor:poorpass\n*:*:*:poor:poorpass\n`);
  chmodSync(passfile, 0o600);
  const outcome = await check(
    `${MAIN_SECTION}check_user = poor\npassfile = ${passfile}\n[clusters]\nmain =\n${nodeLines()}[databases]\napp = cluster=main pool_size=100000\n`,
  );
  has(
    outcome,
    /^OK {5}passfile: /,
    /^WARN {3}cluster main, node pg1 .*: check user poor is no member of pg_monitor/,
    new RegExp(`^WARN {3}max_connections of ${at(0)}: pools and monitors may open 100002 of `),
  );
  assert.equal(outcome.code, 0, outcome.text);
});

test('a wrong password, a node that is down, a silent one, a host without a name: exit 1 within the limit', async () => {
  const down = await freePort();
  const silent = net.createServer();
  await new Promise<void>((resolve) => {
    silent.listen(0, '127.0.0.1', resolve);
  });
  const { port: silentPort } = silent.address() as AddressInfo;
  try {
    const outcome = await check(
      `${MAIN_SECTION}[clusters]
main = check_user=mon check_password=monpass
wrong = check_user=mon check_password=nope
[nodes]
pg1 = cluster=main host=127.0.0.1 port=${port(0)}
down = cluster=main host=127.0.0.1 port=${down}
silent = cluster=main host=127.0.0.1 port=${silentPort}
nameless = cluster=main host=no-such-host.invalid
other = cluster=wrong host=127.0.0.1 port=${port(1)}
[databases]
gone = cluster=main dbname=nowhere
dead = host=127.0.0.1 port=${down}
locked = host=127.0.0.1 port=${port(0)} user=poor password=nope
`,
    );
    assert.equal(outcome.code, 1);
    has(
      outcome,
      /^OK {5}cluster main, node pg1 /,
      /^FAILED cluster main, node down .*: connect failed: connection refused/i,
      /^FAILED cluster main, node silent .*: no answer within 5 s$/,
      /^FAILED cluster main, node nameless \(no-such-host\.invalid:5432\): /,
      /^OK {5}cluster main, primary: pg1$/,
      /^FAILED cluster wrong, node other .*: check user mon cannot log in: .*password authentication failed/,
      /^FAILED database gone: cluster main has no database "nowhere" that can be connected to$/,
      /^FAILED database dead .*: connect failed: connection refused/i,
      /^FAILED database locked .*: poor cannot log in: .*password authentication failed/,
    );
    assert.doesNotMatch(outcome.text, /monpass|nope/);
  } finally {
    silent.close();
  }
});

test('no primary, two primaries, nodes of different systems, a role_query that is none', async () => {
  const outcome = await check(
    `${MAIN_SECTION}check_user = mon
check_password = monpass
[clusters]
orphans =
mixed =
asked = role_query='SELECT 7'
worded = role_query='SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END'
turned = role_query='SELECT NOT pg_is_in_recovery()'
[nodes]
o = cluster=orphans host=127.0.0.1 port=${port(1)}
m1 = cluster=mixed host=127.0.0.1 port=${port(0)}
m2 = cluster=mixed host=127.0.0.1 port=${stranger.primary.port}
a = cluster=asked host=127.0.0.1 port=${port(0)}
w = cluster=worded host=127.0.0.1 port=${port(0)}
t1 = cluster=turned host=127.0.0.1 port=${port(0)}
t2 = cluster=turned host=127.0.0.1 port=${port(1)}
`,
  );
  assert.equal(outcome.code, 1);
  has(
    outcome,
    /^FAILED cluster orphans, primary: every node is a replica$/,
    /^FAILED cluster mixed, primary: 2 nodes are writable: m1, m2$/,
    /^FAILED cluster mixed, system identifier: these nodes are not of one cluster: \d+ on m1; \d+ on m2$/,
    /^FAILED cluster asked, node a .*: role_query gave 7, not a boolean$/,
    /^OK {5}cluster worded, primary: w$/,
    /^OK {5}cluster turned, primary: t2$/,
  );
});

test('the doors of Patroni', async () => {
  const members = [
    { name: 'g', role: 'leader', state: 'running' },
    { name: 'stopped', role: 'replica', state: 'stopped' },
  ];
  const patroni = createServer((request, response) => {
    if (request.url === '/cluster') response.end(JSON.stringify({ members, scope: 'x' }));
    else if (request.url === '/primary') response.writeHead(503).end('{}');
    else if (request.url === '/odd/cluster') response.end('<html>');
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => {
    patroni.listen(0, '127.0.0.1', resolve);
  });
  const base = `http://127.0.0.1:${(patroni.address() as AddressInfo).port}`;
  try {
    const outcome = await check(
      `${MAIN_SECTION}check_user = mon
check_password = monpass
[clusters]
good = check=patroni:${base}/
odd = check=patroni:${base}/odd
missing = check=patroni:${base}/none
[nodes]
g = cluster=good host=127.0.0.1 port=${port(0)} check=${base}
stopped = cluster=good host=127.0.0.1 port=${port(1)}
foreign = cluster=good host=127.0.0.1 port=1
o = cluster=odd host=127.0.0.1 port=${port(0)} check=${base}/none
m = cluster=missing host=127.0.0.1 port=${port(0)} check=patroni:${base}
`,
    );
    assert.equal(outcome.code, 1);
    has(
      outcome,
      /^OK {5}cluster good, Patroni: .*\/cluster names 2 members$/,
      /^OK {5}cluster good, node g .*, check: .*\/primary answers 503$/,
      /^FAILED cluster good, node stopped .*, Patroni: Patroni says that it is stopped$/,
      /^FAILED cluster good, node foreign .*, Patroni: Patroni lists no member foreign$/,
      /^FAILED cluster odd, Patroni: .*JSON/,
      /^FAILED cluster odd, node o .*, check: .*\/none answers 404, neither 200/,
      /^FAILED cluster missing, Patroni: .*answers 404, without a list of members$/,
      /^OK {5}cluster missing, node m .*, check: .*\/primary answers 503$/,
    );
  } finally {
    patroni.closeAllConnections();
    patroni.close();
  }
});

test('a file with errors is not tried at all', async () => {
  const outcome = await check('[pgbouncer]\nlisten_prot = 1\nserver_tls_ca_file = /nonexistent/ca\n');
  assert.equal(outcome.code, 1);
  has(
    outcome,
    /^FAILED configuration: unknown parameter: pgbouncer\/listen_prot .*did you mean "listen_port"/,
  );
  const tls = await check(
    '[pgbouncer]\nserver_tls_ca_file = /nonexistent/ca\n[databases]\nd = host=127.0.0.1\n',
  );
  assert.equal(tls.code, 1);
  has(tls, /^FAILED server_tls: TLS setup failed: server_tls_ca_file \/nonexistent\/ca: ENOENT$/);
});
