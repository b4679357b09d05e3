import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bind, close, describe, execute, flush, parse, query, sync } from '../../../src/wire/frontend.ts';
import { columnsOf, counters, FakeConsole, line, VERSION, valuesOf } from './fake-console.ts';

const unnamed = { portal: '', statement: '', values: [] };

test('Parse, Describe, Bind, Execute, Sync', () => {
  const c = new FakeConsole();
  const lines = c.ask(
    parse('', 'SHOW VERSION'),
    describe('statement', ''),
    bind(unnamed),
    describe('portal', ''),
    execute(''),
    sync(),
  );
  assert.deepEqual(lines, ['1', 't', 'T version', '2', 'T version', `D ${VERSION}`, 'C SHOW', 'Z I']);
});

test('nothing is written before Sync or Flush', () => {
  const c = new FakeConsole();
  assert.deepEqual(c.ask(parse('s', 'SHOW STATE')), []);
  assert.deepEqual(c.ask(flush()), ['1']);
  assert.deepEqual(c.ask(sync()), ['Z I']);
});

test('a command: NoData, its tag', () => {
  const c = new FakeConsole();
  const lines = c.ask(parse('', 'RESUME app'), bind(unnamed), describe('portal', ''), execute(''), sync());
  assert.deepEqual(lines, ['1', '2', 'n', 'C RESUME', 'Z I']);
  assert.deepEqual(c.calls, ['resume app']);
});

test('notices come before the tag', () => {
  const c = new FakeConsole();
  const lines = c.ask(parse('', 'SET extra_float_digits = 3'), bind(unnamed), execute(''), sync());
  assert.deepEqual(lines, ['1', '2', 'N NOTICE 00000 SET ignored', 'C SET', 'Z I']);
});

test('the empty query', () => {
  const c = new FakeConsole();
  for (const text of ['', ';', '-- ping']) {
    const lines = c.ask(
      parse('', text),
      describe('statement', ''),
      bind(unnamed),
      describe('portal', ''),
      execute(''),
      sync(),
    );
    assert.deepEqual(lines, ['1', 't', 'n', '2', 'n', 'I', 'Z I'], text);
  }
});

test('a named statement is used again; DEALLOCATE and Close end it', () => {
  const c = new FakeConsole();
  assert.deepEqual(c.ask(parse('a', 'SHOW STATE'), parse('b', 'SHOW STATE'), sync()), ['1', '1', 'Z I']);
  const use = (name: string): string[] => c.ask(bind({ ...unnamed, statement: name }), execute(''), sync());
  assert.deepEqual(use('a').slice(0, 2), ['2', 'D active|yes']);
  assert.deepEqual(use('a').slice(0, 2), ['2', 'D active|yes']);
  assert.deepEqual(c.ask(query('DEALLOCATE a')), ['C DEALLOCATE', 'Z I']);
  assert.deepEqual(use('a'), ['E ERROR 26000 prepared statement "a" does not exist', 'Z I']);
  assert.deepEqual(c.ask(close('statement', 'b'), close('statement', 'b'), sync()), ['3', '3', 'Z I']);
  assert.deepEqual(use('b'), ['E ERROR 26000 prepared statement "b" does not exist', 'Z I']);
});

test('a simple query ends the unnamed statement; DISCARD ALL ends all', () => {
  const c = new FakeConsole();
  c.ask(parse('', 'SHOW STATE'), parse('n', 'SHOW STATE'), sync());
  c.ask(query('SHOW VERSION'));
  assert.deepEqual(c.ask(bind(unnamed), sync()), [
    'E ERROR 26000 unnamed prepared statement does not exist',
    'Z I',
  ]);
  c.ask(query('DISCARD ALL'));
  assert.deepEqual(c.ask(describe('statement', 'n'), sync()), [
    'E ERROR 26000 prepared statement "n" does not exist',
    'Z I',
  ]);
});

test('parameters stand for words: text, and binary by the declared type', () => {
  const c = new FakeConsole();
  const lines = c.ask(
    parse('', 'KILL_CLIENT $1', [0]),
    describe('statement', ''),
    bind({ ...unnamed, values: ['12'] }),
    execute(''),
    sync(),
  );
  assert.deepEqual(lines, ['1', 't', 'n', '2', 'C KILL_CLIENT', 'Z I']);
  const int4 = Buffer.from([0, 0, 0, 13]);
  c.ask(
    parse('', 'KILL_CLIENT $1', [23]),
    bind({ ...unnamed, values: [int4], valueFormats: [1] }),
    execute(''),
    sync(),
  );
  const int8 = Buffer.from([0, 0, 0, 0, 0, 0, 0, 14]);
  c.ask(
    parse('', 'KILL_CLIENT $1', [20]),
    bind({ ...unnamed, values: [int8], valueFormats: [1] }),
    execute(''),
    sync(),
  );
  c.ask(parse('', 'SET pool_mode = $1'), bind({ ...unnamed, values: ['session'] }), execute(''), sync());
  // what looks like syntax in a value is only text
  c.ask(parse('', 'RESUME $1'), bind({ ...unnamed, values: ['a; KILL "b"'] }), execute(''), sync());
  const seconds = Buffer.alloc(8);
  seconds.writeDoubleBE(1.5);
  c.ask(
    parse('', 'PAUSE $1 TIMEOUT $2', [25, 701]),
    bind({ ...unnamed, values: [Buffer.from('app'), seconds], valueFormats: [1] }),
    execute(''),
    flush(),
  );
  assert.deepEqual(c.calls, [
    'killClient 12',
    'killClient 13',
    'killClient 14',
    'set pool_mode session',
    'resume a; KILL "b"',
    'pause app 1500',
  ]);
});

test('ParameterDescription tells the declared types, text for the others', () => {
  const c = new FakeConsole();
  c.send(parse('', 'PAUSE $1 TIMEOUT $2', [0, 23]), describe('statement', ''), sync());
  const description = c.take().find((r) => r.type === 't');
  assert.deepEqual(description?.body, Buffer.from([0, 2, 0, 0, 0, 25, 0, 0, 0, 23]));
});

test('wrong parameters', () => {
  const cases: [Parameters<typeof bind>[0], string][] = [
    [
      { ...unnamed, values: [] },
      '08P01 bind message supplies 0 parameters, but prepared statement "" requires 1',
    ],
    [{ ...unnamed, values: [null] }, '22004 parameter $1 must not be null'],
    [
      { ...unnamed, values: [Buffer.from([1])], valueFormats: [1] },
      '22P03 incorrect binary data format in bind parameter 1',
    ],
    [{ ...unnamed, values: ['1'], valueFormats: [7] }, '22023 unsupported format code: 7'],
    [
      { ...unnamed, values: ['1'], valueFormats: [0, 0] },
      '08P01 bind message has 2 parameter formats but there are 1',
    ],
    [{ ...unnamed, values: [Buffer.from('a\0b')] }, '22021 parameter $1 contains a NUL byte'],
    [
      { ...unnamed, values: ['1'], resultFormats: [0, 1] },
      '08P01 bind message has 2 result formats but there are 0',
    ],
  ];
  for (const [message, error] of cases) {
    const c = new FakeConsole();
    assert.deepEqual(c.ask(parse('', 'KILL_CLIENT $1', [23]), bind(message), execute(''), sync()), [
      '1',
      `E ERROR ${error}`,
      'Z I',
    ]);
    assert.deepEqual(c.calls, []);
  }
  const c = new FakeConsole();
  const lines = c.ask(
    parse('', 'KILL_CLIENT $1', [1184]),
    bind({ ...unnamed, values: [Buffer.alloc(8)], valueFormats: [1] }),
    sync(),
  );
  assert.deepEqual(lines, [
    '1',
    'E ERROR 0A000 binary format of type 1184 is not supported for parameter $1',
    'Z I',
  ]);
});

test('a view cannot be a parameter', () => {
  const c = new FakeConsole();
  assert.deepEqual(c.ask(parse('', 'SHOW $1'), sync()), [
    'E ERROR 0A000 a parameter cannot stand for the name of a view',
    'Z I',
  ]);
});

test('row limits suspend the portal', () => {
  const c = new FakeConsole();
  const rows = ['D active|yes', 'D paused|no', 'D suspended|no'];
  const lines = c.ask(
    parse('', 'SHOW STATE'),
    bind(unnamed),
    execute('', 2),
    execute('', 2),
    execute('', 2),
    sync(),
  );
  assert.deepEqual(lines, ['1', '2', ...rows.slice(0, 2), 's', ...rows.slice(2), 'C SHOW', 'C SHOW', 'Z I']);
  assert.deepEqual(c.ask(parse('', 'SHOW STATE'), bind(unnamed), execute('', 3), execute('', 3), sync()), [
    '1',
    '2',
    ...rows,
    's',
    'C SHOW',
    'Z I',
  ]);
});

test('portals end at Sync, but live on in a transaction block (JDBC fetches so)', () => {
  const c = new FakeConsole();
  const portal = { portal: 'p', statement: '', values: [] };
  assert.deepEqual(c.ask(parse('', 'SHOW STATE'), bind(portal), execute('p', 1), sync()), [
    '1',
    '2',
    'D active|yes',
    's',
    'Z I',
  ]);
  assert.deepEqual(c.ask(execute('p', 1), sync()), ['E ERROR 34000 portal "p" does not exist', 'Z I']);
  c.ask(query('BEGIN'));
  c.ask(parse('', 'SHOW STATE'), bind(portal), execute('p', 1), sync());
  assert.deepEqual(c.ask(bind(portal), sync()), ['E ERROR 42P03 portal "p" already exists', 'Z T']);
  assert.deepEqual(c.ask(execute('p', 1), sync()), ['D paused|no', 's', 'Z T']);
  assert.deepEqual(c.ask(close('portal', 'p'), execute('p'), sync()), [
    '3',
    'E ERROR 34000 portal "p" does not exist',
    'Z T',
  ]);
});

test('a command runs once for a portal', () => {
  const c = new FakeConsole();
  const lines = c.ask(parse('', 'RESUME'), bind(unnamed), execute(''), execute(''), sync());
  assert.deepEqual(lines, ['1', '2', 'C RESUME', 'E ERROR 55000 portal "" cannot be run', 'Z I']);
  assert.deepEqual(c.calls, ['resume ']);
});

test('after an error everything up to Sync is passed over', () => {
  const c = new FakeConsole();
  const wrong = "E ERROR 08P01 invalid command 'FOO', use SHOW HELP;";
  assert.deepEqual(c.ask(parse('', 'FOO'), bind(unnamed), execute(''), query('RESUME'), flush()), []);
  assert.deepEqual(c.ask(sync(), sync()), [wrong, 'Z I', 'Z I']);
  assert.deepEqual(c.calls, []);
  const denied = new FakeConsole({ admin: false });
  assert.deepEqual(denied.ask(parse('', 'RESUME'), bind(unnamed), execute(''), sync()), [
    '1',
    '2',
    'E ERROR 42501 admin access needed',
    'Z I',
  ]);
});

test('errors of Parse', () => {
  const c = new FakeConsole();
  c.ask(parse('a', 'SHOW STATE'), sync());
  const cases: [Buffer, string][] = [
    [parse('a', 'SHOW STATE'), '42P05 prepared statement "a" already exists'],
    [parse('', 'RESUME; RESUME'), '42601 cannot insert multiple commands into a prepared statement'],
    [
      parse('', 'SHOW FDS'),
      '0A000 SHOW FDS is not supported: online restart (-R) was removed in PgBouncer 1.26, use SHOW SOCKETS',
    ],
  ];
  for (const [message, error] of cases) assert.deepEqual(c.ask(message, sync()), [`E ERROR ${error}`, 'Z I']);
});

test('one client cannot keep any number of statements', () => {
  const c = new FakeConsole();
  for (let i = 0; i < 1000; i += 1) c.send(parse(`s${i}`, 'SHOW STATE'));
  c.ask(sync());
  assert.deepEqual(c.ask(parse('more', 'SHOW STATE'), sync()), [
    'E ERROR 53400 too many prepared statements (1000)',
    'Z I',
  ]);
});

test('nor any number of portals', () => {
  const c = new FakeConsole();
  c.send(query('BEGIN'), parse('s', 'SHOW STATE'));
  for (let i = 0; i < 1000; i += 1) c.send(bind({ portal: `p${i}`, statement: 's', values: [] }));
  c.ask(sync());
  assert.deepEqual(c.ask(bind({ portal: 'more', statement: 's', values: [] }), sync()), [
    'E ERROR 53400 too many portals (1000)',
    'Z T',
  ]);
});

test('binary results', () => {
  const port = {
    stats: () => [{ database: 'app', totals: { ...counters(0), xacts: 123_456_789 }, averages: counters(0) }],
  };
  const c = new FakeConsole({ port });
  const ask = (text: string): { formats: number[]; values: (Buffer | null)[] } => {
    c.send(
      parse('', text),
      bind({ ...unnamed, resultFormats: [1] }),
      describe('portal', ''),
      execute(''),
      sync(),
    );
    const replies = c.take();
    const head = replies.find((r) => r.type === 'T');
    const row = replies.find((r) => r.type === 'D');
    assert.ok(head !== undefined && row !== undefined);
    return { formats: columnsOf(head).map((col) => col.format), values: valuesOf(row) };
  };
  const hosts = ask('SHOW DNS_HOSTS');
  assert.deepEqual(hosts.formats, [1, 1, 1]);
  assert.deepEqual(hosts.values, [
    Buffer.from('db1'),
    Buffer.from([0, 0, 0, 0, 0, 0, 0, 15]),
    Buffer.from('10.0.0.1,10.0.0.2'),
  ]);
  assert.deepEqual(ask('SHOW LISTS').values[1], Buffer.from([0, 0, 0, 1]));
  // 1_2345_6789: three digits of base 10000, the first one weighs 10000^2
  assert.deepEqual(
    ask('SHOW STATS_TOTALS').values[2],
    Buffer.from([0, 3, 0, 2, 0, 0, 0, 0, 0, 1, 0x09, 0x29, 0x1a, 0x85]),
  );
  assert.deepEqual(ask('SELECT pg_is_in_recovery()').values, [Buffer.from([0])]);
});

test('formats by column', () => {
  const c = new FakeConsole();
  c.send(parse('', 'SHOW LISTS'), bind({ ...unnamed, resultFormats: [0, 1] }), execute('', 1), sync());
  const row = c.take().find((r) => r.type === 'D');
  assert.ok(row !== undefined);
  assert.deepEqual(valuesOf(row), [Buffer.from('databases'), Buffer.from([0, 0, 0, 1])]);
});

test('SHUTDOWN and broken messages', () => {
  const c = new FakeConsole();
  c.session.onMessage(0x42, Buffer.from([0, 0, 0]));
  c.session.onMessage(0x53, Buffer.alloc(0));
  assert.deepEqual(c.take().map(line), ['E ERROR 08P01 bad packet', 'Z I']);
  assert.deepEqual(c.ask(parse('', 'SHUTDOWN'), bind(unnamed), execute(''), sync()), ['1', '2']);
  assert.deepEqual(c.calls, ['shutdown immediate']);
  assert.equal(c.closed.length, 1);
});
