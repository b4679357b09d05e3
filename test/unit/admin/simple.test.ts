import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createConsole } from '../../../src/admin/console.ts';
import { CommandError } from '../../../src/control/port.ts';
import { flush, functionCall, parse, query } from '../../../src/wire/frontend.ts';
import { CLIENT, database, FakeConsole, fakePort, fieldsOf, line, VERSION } from './fake-console.ts';

const ask = (text: string, options: ConstructorParameters<typeof FakeConsole>[0] = {}): string[] =>
  new FakeConsole(options).ask(query(text));

test('the greeting', () => {
  const { greeting } = new FakeConsole();
  const parameters = greeting
    .filter((r) => r.type === 'S')
    .map((r) => r.body.toString('utf8').split('\0').slice(0, 2).join('='));
  assert.deepEqual(parameters, [
    'server_version=1.26.0/bouncer',
    'client_encoding=UTF8',
    'server_encoding=UTF8',
    'DateStyle=ISO',
    'TimeZone=GMT',
    'standard_conforming_strings=on',
    'is_superuser=on',
  ]);
  assert.deepEqual(greeting.slice(-2).map(line), ['K', 'Z I']);
  assert.deepEqual(greeting.at(-2)?.body, Buffer.from([0, 0, 0x12, 0x67, 1, 2, 3, 4]));
});

test('the greeting warns of what is held back', () => {
  const port = {
    state: () => ({ active: true, paused: false, suspended: false }),
    databases: () => [database('x', { paused: true }), database('y', { disabled: true })],
  };
  const { greeting } = new FakeConsole({ port, info: { warnings: () => ['node pg3 is down'] } });
  assert.deepEqual(greeting.filter((r) => r.type === 'N').map(line), [
    'N WARNING 01000 paused: "x"; RESUME <db> ends it',
    'N WARNING 01000 disabled: "y"; ENABLE <db> ends it',
    'N WARNING 01000 node pg3 is down',
  ]);
});

test('a warning that fails does not refuse the login', () => {
  const warnings = (): string[] => {
    throw new Error('bug');
  };
  assert.equal(
    line(new FakeConsole({ info: { warnings } }).greeting.at(-1) ?? { type: '', body: Buffer.alloc(0) }),
    'Z I',
  );
});

test('SETs of drivers are ignored, for stats users as well', () => {
  for (const text of [
    'SET extra_float_digits = 3',
    "SET application_name TO 'x y'",
    "set client_encoding to 'UTF8'",
    'SET DateStyle TO ISO, MDY',
    'SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY',
    "SET NAMES 'utf8'",
    "SET TIME ZONE 'UTC'",
    'SET SESSION statement_timeout TO 0',
  ]) {
    const c = new FakeConsole({ admin: false });
    assert.deepEqual(c.ask(query(text)), ['N NOTICE 00000 SET ignored', 'C SET', 'Z I'], text);
    assert.deepEqual(c.calls, []);
  }
});

test('SET of a setting', () => {
  const cases: [string, string, string][] = [
    ['SET default_pool_size = 30', 'set default_pool_size 30', 'SET default_pool_size=30'],
    ['SET default_pool_size=30;', 'set default_pool_size 30', 'SET default_pool_size=30'],
    [
      "set server_reset_query to 'SELECT ''a''; x'",
      "set server_reset_query SELECT 'a'; x",
      "SET server_reset_query=SELECT 'a'; x",
    ],
    ["SET auth_query = ''", 'set auth_query ', 'SET auth_query='],
    ['SET admin_users = a, b', 'set admin_users a, b', 'SET admin_users=a, b'],
    ['SET listen_addr = *', 'set listen_addr *', 'SET listen_addr=*'],
    ['SET logfile = /tmp/x.log', 'set logfile /tmp/x.log', 'SET logfile=/tmp/x.log'],
    ['SET transaction_timeout = 5', 'set transaction_timeout 5', 'SET transaction_timeout=5'],
  ];
  for (const [text, call, tag] of cases) {
    const c = new FakeConsole();
    assert.deepEqual(c.ask(query(text)), [`C ${tag}`, 'Z I'], text);
    assert.deepEqual(c.calls, [call]);
  }
  const set = (): void => {
    throw new CommandError('SET failed');
  };
  assert.deepEqual(ask('SET foo = 1', { port: { set } }), ['E ERROR 08P01 SET failed', 'Z I']);
  for (const text of [
    'SET',
    'SET x',
    'SET x =',
    'SET x = a b',
    'SET x = a,',
    'SET = 1',
    "SET 'x' = 1",
    'SET x y z',
    'SET LOCAL foo = 1',
  ]) {
    assert.deepEqual(ask(text), [`E ERROR 08P01 invalid command '${text}', use SHOW HELP;`, 'Z I'], text);
  }
});

test('commands reach the port', () => {
  const cases: [string, string, string][] = [
    ['RESUME', 'resume ', 'RESUME'],
    ['RESUME app', 'resume app', 'RESUME'],
    ['DISABLE "my ""db"";"', 'disable my "db";', 'DISABLE'],
    ['enable App', 'enable App', 'ENABLE'],
    ['KILL', 'kill ', 'KILL'],
    ['KILL app', 'kill app', 'KILL'],
    ['RECONNECT', 'reconnect ', 'RECONNECT'],
    ['KILL_CLIENT 12', 'killClient 12', 'KILL_CLIENT'],
    [`KILL_CLIENT ${CLIENT.ptr}`, 'killClient 7', 'KILL_CLIENT'],
    ['SHUTDOWN WAIT_FOR_SERVERS', 'shutdown wait_for_servers', 'SHUTDOWN'],
    ['SHUTDOWN wait_for_clients', 'shutdown wait_for_clients', 'SHUTDOWN'],
    ['RELOAD', 'reload', 'RELOAD'],
  ];
  for (const [text, call, tag] of cases) {
    const c = new FakeConsole();
    assert.deepEqual(c.ask(query(text)), [`C ${tag}`, 'Z I'], text);
    assert.deepEqual(c.calls, [call], text);
  }
});

test('SHUTDOWN has no reply', () => {
  const c = new FakeConsole();
  assert.deepEqual(c.ask(query('SHUTDOWN')), []);
  assert.deepEqual(c.calls, ['shutdown immediate']);
  assert.deepEqual(c.closed, ['SHUTDOWN command issued']);
  assert.deepEqual(c.ask(query('SHOW VERSION')), []);
});

test('errors have the texts of PgBouncer', () => {
  const long = 'x'.repeat(64);
  const cases: [string, string][] = [
    ['FOO', "invalid command 'FOO', use SHOW HELP;"],
    ['FOO;', "invalid command 'FOO;', use SHOW HELP;"],
    ['', "invalid command ';', use SHOW HELP;"],
    [';', "invalid command ';', use SHOW HELP;"],
    ['SHOW', "invalid command 'SHOW', use SHOW HELP;"],
    ['SHOW nothing', "invalid command 'SHOW nothing', use SHOW HELP;"],
    ['SHOW POOLS app', "invalid command 'SHOW POOLS app', use SHOW HELP;"],
    ['SELECT * FROM x', "invalid command 'SELECT * FROM x', use SHOW HELP;"],
    ["SHOW 'pools", "invalid command 'SHOW 'pools', use SHOW HELP;"],
    ['PAUSE a b', "invalid command 'PAUSE a b', use SHOW HELP;"],
    ['RELOAD x', "invalid command 'RELOAD x', use SHOW HELP;"],
    ['SHUTDOWN now', "invalid command 'SHUTDOWN now', use SHOW HELP;"],
    [`PAUSE ${long}`, 'bad arguments'],
    [`SHOW ${long}`, 'bad arguments'],
    [long, 'bad arguments'],
    ['PAUSE app TIMEOUT 0', 'bad arguments'],
    ['PAUSE app TIMEOUT soon', 'bad arguments'],
    ['DISABLE', 'a database is required'],
    ['ENABLE', 'a database is required'],
    ['KILL_CLIENT', 'invalid client pointer supplied'],
    ['KILL_CLIENT abc', 'invalid client pointer supplied'],
    ['KILL_CLIENT -1', 'invalid client pointer supplied'],
    ['KILL_CLIENT 404', 'client not found'],
    ['KILL_CLIENT 0xdead', 'client not found'],
    ['PAUSE pgbouncer', 'cannot pause admin db: pgbouncer'],
    ['DISABLE pgbouncer', 'cannot disable admin db: pgbouncer'],
    ['ENABLE pgbouncer', 'cannot enable admin db: pgbouncer'],
    ['KILL pgbouncer', 'cannot kill admin db: pgbouncer'],
    ['RECONNECT pgbouncer', 'cannot reconnect admin db: pgbouncer'],
    ['WAIT_CLOSE pgbouncer', 'cannot wait in admin db: pgbouncer'],
  ];
  for (const [text, message] of cases) {
    const c = new FakeConsole();
    assert.deepEqual(c.ask(query(text)), [`E ERROR 08P01 ${message}`, 'Z I'], text);
    assert.deepEqual(c.calls, [], text);
  }
});

test('a refusal of the port is passed on', () => {
  const resume = (): void => {
    throw new CommandError('pooler is not paused/suspended');
  };
  assert.deepEqual(ask('RESUME', { port: { resume } }), [
    'E ERROR 08P01 pooler is not paused/suspended',
    'Z I',
  ]);
});

test('a bug below is an error, not the end', () => {
  const logged: string[] = [];
  const pools = (): never => {
    throw new TypeError('oops');
  };
  const nothing = (): void => {};
  const log = {
    log: nothing,
    warning: nothing,
    error: (t: string) => logged.push(t),
    fatal: nothing,
    debug: nothing,
    noise: nothing,
  };
  const c = new FakeConsole({ port: { pools }, info: { log } });
  assert.deepEqual(c.ask(query('SHOW POOLS')), ['E ERROR XX000 internal error, see logs for details', 'Z I']);
  assert.match(logged.join(), /oops/);
  assert.equal(c.ask(query('SHOW VERSION')).length, 4);
});

test('stats users may only look', () => {
  for (const text of [
    'RELOAD',
    'PAUSE',
    'RESUME',
    'KILL app',
    'KILL_CLIENT 1',
    'SHUTDOWN',
    'SUSPEND',
    'WAIT_CLOSE',
    'SET verbose = 1',
  ]) {
    const c = new FakeConsole({ admin: false });
    assert.deepEqual(c.ask(query(text)), ['E ERROR 42501 admin access needed', 'Z I'], text);
    assert.deepEqual(c.calls, []);
  }
  assert.equal(ask('SHOW CLIENTS', { admin: false }).at(-2), 'C SHOW');
});

test('RELOAD that fails names file and line', () => {
  const diagnostics = [
    { level: 'warning', file: 'a.ini', line: 2, message: 'old' },
    { level: 'error', file: 'a.ini', line: 3, message: 'unknown parameter: x', hint: 'did you mean y?' },
    { level: 'error', file: 'b.ini', line: 0, message: 'could not load' },
  ] as const;
  const c = new FakeConsole({ port: { reload: () => ({ ok: false, diagnostics }) } });
  c.send(query('RELOAD'));
  const [error, ready] = c.take();
  assert.ok(error !== undefined && ready !== undefined);
  assert.equal(line(error), 'E ERROR F0000 RELOAD failed, see logs for additional details');
  assert.equal(
    fieldsOf(error)['D'],
    'a.ini:3: unknown parameter: x (did you mean y?)\nb.ini: could not load',
  );
  assert.equal(line(ready), 'Z I');
});

test('RELOAD that succeeds tells warnings', () => {
  const diagnostics = [{ level: 'warning', file: 'a.ini', line: 2, message: 'old' }] as const;
  assert.deepEqual(ask('RELOAD', { port: { reload: () => ({ ok: true, diagnostics }) } }), [
    'N WARNING 01000 a.ini:2: old',
    'C RELOAD',
    'Z I',
  ]);
});

test('several commands in one query stop at the first error', () => {
  const c = new FakeConsole();
  assert.deepEqual(c.ask(query('RESUME a; SHOW VERSION;; FOO; RESUME b')), [
    'C RESUME',
    'T version',
    `D ${VERSION}`,
    'C SHOW',
    "E ERROR 08P01 invalid command 'FOO', use SHOW HELP;",
    'Z I',
  ]);
  assert.deepEqual(c.calls, ['resume a']);
  assert.match(c.ask(query('RESUME;'.repeat(101)))[0] ?? '', /^E ERROR 54000/);
  assert.deepEqual(c.calls, ['resume a']);
});

test('transaction blocks are answered and shown in ReadyForQuery', () => {
  const c = new FakeConsole();
  const notice = 'N NOTICE 00000 the console has no transactions: commands take effect at once';
  assert.deepEqual(c.ask(query('BEGIN')), [notice, 'C BEGIN', 'Z T']);
  assert.deepEqual(c.ask(query('SHOW VERSION')).at(-1), 'Z T');
  assert.deepEqual(c.ask(query('SAVEPOINT a; RELEASE SAVEPOINT a; ROLLBACK TO a')).at(-1), 'Z T');
  assert.deepEqual(c.ask(query('COMMIT')), ['C COMMIT', 'Z I']);
  assert.deepEqual(c.ask(query('START TRANSACTION READ ONLY')), [notice, 'C START TRANSACTION', 'Z T']);
  assert.deepEqual(c.ask(query('rollback;')), ['C ROLLBACK', 'Z I']);
});

test('what drivers and pools say', () => {
  const cases: [string, string[]][] = [
    ['SELECT 1', ['T ?column?', 'D 1', 'C SELECT 1', 'Z I']],
    ['SELECT 1 AS ok', ['T ok', 'D 1', 'C SELECT 1', 'Z I']],
    ["SELECT 'x'", ['T ?column?', 'D x', 'C SELECT 1', 'Z I']],
    ['SELECT version()', ['T version', `D ${VERSION}`, 'C SELECT 1', 'Z I']],
    ['select pg_catalog.version()', ['T version', `D ${VERSION}`, 'C SELECT 1', 'Z I']],
    ['SELECT current_user', ['T current_user', 'D admin', 'C SELECT 1', 'Z I']],
    ['select current_schema()', ['T current_schema', 'D NULL', 'C SELECT 1', 'Z I']],
    ['select current_database()', ['T current_database', 'D pgbouncer', 'C SELECT 1', 'Z I']],
    ['SELECT pg_backend_pid()', ['T pg_backend_pid', 'D 4711', 'C SELECT 1', 'Z I']],
    ['SELECT pg_is_in_recovery()', ['T pg_is_in_recovery', 'D f', 'C SELECT 1', 'Z I']],
    ['DISCARD ALL', ['C DISCARD ALL', 'Z I']],
    ['DEALLOCATE ALL', ['C DEALLOCATE ALL', 'Z I']],
    ['RESET ALL', ['C RESET', 'Z I']],
    ['UNLISTEN *', ['C UNLISTEN', 'Z I']],
    ['-- ping', ['I', 'Z I']],
    ['DEALLOCATE x', ['E ERROR 26000 prepared statement "x" does not exist', 'Z I']],
  ];
  for (const [text, expected] of cases) assert.deepEqual(ask(text), expected, text);
});

test('a parameter has no place in a simple query', () => {
  assert.deepEqual(ask('KILL_CLIENT $1'), ['E ERROR 42P02 there is no parameter $1', 'Z I']);
});

test('a long query is cut in the error', () => {
  assert.ok((ask(`FOO ${'y'.repeat(5000)}`)[0] ?? '').length < 530);
});

test('other messages', () => {
  const c = new FakeConsole();
  assert.deepEqual(c.ask(functionCall({ oid: 1, values: [] })), [
    'E ERROR 08P01 unsupported packet type for admin console: 70',
    'Z I',
  ]);
  c.session.onMessage(0x64, Buffer.from('late COPY data'));
  assert.deepEqual(c.take(), []);
  c.session.onMessage(0x51, Buffer.from('no end'));
  assert.deepEqual(c.take().map(line), ['E ERROR 08P01 bad packet', 'Z I']);
  c.session.onMessage(0x70, Buffer.from('password\0'));
  assert.deepEqual(c.take().map(line), ['E FATAL 08P01 unsupported packet type for admin console: 112']);
  assert.deepEqual(c.closed, ['unsupported packet type for admin console: 112']);
});

test('the bytes given away are not shared between clients', () => {
  const given: Buffer[] = [];
  const open = createConsole(fakePort([], []), { version: VERSION });
  const who = { user: 'u', admin: true, clientId: 1, pid: 1, secret: Buffer.alloc(4) };
  const session = open(who, { write: (bytes) => given.push(bytes), close: () => {} });
  const prepare = (): string => {
    given.length = 0;
    for (const m of [parse('', ''), flush()]) session.onMessage(m.readUInt8(0), m.subarray(5));
    const text = Buffer.concat(given).toString('latin1');
    for (const bytes of given) bytes.fill(0);
    return text;
  };
  assert.equal(prepare(), '1\0\0\0\x04');
  assert.equal(prepare(), '1\0\0\0\x04');
});

test('Terminate closes', () => {
  const c = new FakeConsole();
  c.session.onMessage(0x58, Buffer.alloc(0));
  assert.deepEqual(c.closed, ['client close request']);
});
