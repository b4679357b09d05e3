/** HBA files and ident maps: what is read, what is reported, which rule is the first to match. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type HbaRequest, matchHba, parseHba } from '../../../src/auth/hba.ts';
import { matchIdent, parseIdent } from '../../../src/auth/ident.ts';

const base: HbaRequest = {
  type: 'host',
  tls: false,
  database: 'db',
  user: 'u',
  address: '10.1.2.3',
  replication: 'none',
};

/** The line of the rule that matches, or null. */
function lineFor(text: string, request: Partial<HbaRequest> = {}): number | null {
  const { rules, diagnostics } = parseHba(text, 'hba.conf');
  assert.deepEqual(diagnostics, []);
  return matchHba(rules, { ...base, ...request })?.line ?? null;
}
const problems = (text: string): readonly string[] =>
  parseHba(text, 'hba.conf').diagnostics.map((d) => d.message);

test('a usual file: comments, empty lines, columns, first match', () => {
  const text = [
    '# TYPE  DATABASE USER ADDRESS METHOD',
    '',
    'local   all      all               peer map=m',
    'host    db,other "u",v  10.0.0.0/8 md5   # inline comment',
    'host    all      all  10.1.2.3/32  reject',
    'hostssl all      all  0.0.0.0/0    scram-sha-256\r',
    'host    all      all  all          trust',
  ].join('\n');
  const { rules, diagnostics } = parseHba(text, 'hba.conf');
  assert.deepEqual(diagnostics, []);
  assert.deepEqual(
    rules.map((r) => [r.type, r.method, r.line]),
    [
      ['local', 'peer', 3],
      ['host', 'md5', 4],
      ['host', 'reject', 5],
      ['hostssl', 'scram-sha-256', 6],
      ['host', 'trust', 7],
    ],
  );
  assert.equal(rules[0]?.options.get('map'), 'm');
  const at = (request: Partial<HbaRequest>): number | undefined =>
    matchHba(rules, { ...base, ...request })?.line;
  assert.equal(at({ type: 'local', address: null }), 3);
  assert.equal(at({}), 4);
  assert.equal(at({ database: 'other', user: 'v' }), 4);
  assert.equal(at({ user: 'w' }), 5);
  assert.equal(at({ user: 'w', address: '10.9.9.9', tls: true }), 6);
  assert.equal(at({ user: 'w', address: '10.9.9.9' }), 7);
  assert.equal(at({ user: 'w', address: '::1', tls: true }), 7);
});

test('types: local is for unix sockets, hostssl and hostnossl look at TLS', () => {
  assert.equal(lineFor('local all all trust'), null);
  assert.equal(lineFor('local all all trust', { type: 'local', address: null }), 1);
  assert.equal(lineFor('host all all all trust', { type: 'local', address: null }), null);
  assert.equal(lineFor('host all all all trust', { tls: true }), 1);
  assert.equal(lineFor('hostssl all all all trust'), null);
  assert.equal(lineFor('hostssl all all all trust', { tls: true }), 1);
  assert.equal(lineFor('hostnossl all all all trust', { tls: true }), null);
  assert.equal(lineFor('hostnossl all all all trust'), 1);
});

test('addresses: prefixes, masks, IPv6, mapped peers, host bits', () => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    ['10.1.2.3/32', '10.1.2.3', true],
    ['10.1.2.3/32', '10.1.2.4', false],
    ['10.1.2.0/23', '10.1.3.255', true],
    ['10.1.2.0/23', '10.1.4.0', false],
    ['0.0.0.0/0', '255.1.1.1', true],
    ['0.0.0.0/0', '::1', false],
    ['::/0', '10.0.0.1', false],
    ['::/0', '2001:db8::1', true],
    ['10.1.0.0 255.255.0.0', '10.1.9.9', true],
    ['10.1.0.0 255.255.0.0', '10.2.9.9', false],
    ['2001:db8::/33', '2001:db8:7fff::1', true],
    ['2001:db8::/33', '2001:db8:8000::1', false],
    ['::1/128', '::1', true],
    ['fe80::/10', 'fe80::1%eth0', true],
    ['fe80:: ffc0::', 'febf::1', true],
    ['10.0.0.0/8', '::ffff:10.1.1.1', true],
    ['1:2:3:4:5:6:1.2.3.4/128', '1:2:3:4:5:6:102:304', true],
    ['all', '::1', true],
    ['all', '1.1.1.1', true],
  ];
  for (const [range, address, expected] of cases) {
    assert.equal(
      lineFor(`host all all ${range} trust`, { address }),
      expected ? 1 : null,
      `${range} ${address}`,
    );
  }
  const odd = parseHba('host all all 10.1.2.3/8 trust', 'hba.conf');
  assert.equal(odd.diagnostics[0]?.message, 'hba line 1: address does not match mask');
  assert.ok(matchHba(odd.rules, { ...base, address: '10.9.9.9' }));
  assert.equal(matchHba(odd.rules, { ...base, address: 'nonsense' }), null);
  assert.equal(matchHba(odd.rules, { ...base, address: null }), null);
});

test('IPv4 prefixes agree with arithmetic', () => {
  const ip = fc.integer({ min: 0, max: 0xffffffff });
  const dotted = (n: number): string => [24, 16, 8, 0].map((s) => (n >>> s) & 255).join('.');
  fc.assert(
    fc.property(ip, fc.nat(32), fc.nat(32), (address, bits, flip) => {
      const peer = flip === 32 ? address : (address ^ (1 << flip)) >>> 0;
      const mask = bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0;
      const { rules } = parseHba(`host all all ${dotted(address)}/${bits} trust`, 'f');
      const expected = (address & mask) === (peer & mask);
      assert.equal(matchHba(rules, { ...base, address: dotted(peer) }) !== null, expected);
    }),
  );
});

test('databases and users: keywords, quotes, replication', () => {
  assert.equal(lineFor('host sameuser all all trust'), null);
  assert.equal(lineFor('host sameuser all all trust', { database: 'u' }), 1);
  assert.equal(lineFor('host "all" all all trust'), null);
  assert.equal(lineFor('host "all" all all trust', { database: 'all' }), 1);
  assert.equal(lineFor('host all "all" all trust'), null);
  assert.equal(lineFor('host all "we ird" all trust', { user: 'we ird' }), 1);
  assert.equal(lineFor('host all "a""b" all trust', { user: 'a"b' }), 1);
  assert.equal(lineFor('host a, db ,c all all trust'), 1);
  assert.equal(lineFor('host all sameuser all trust', { user: 'sameuser' }), 1);

  const physical = { replication: 'physical' } as const;
  assert.equal(lineFor('host all all all trust', physical), null);
  assert.equal(lineFor('host replication all all trust', physical), 1);
  assert.equal(lineFor('host replication all all trust'), null);
  assert.equal(lineFor('host replication all all trust', { database: 'replication' }), null);
  assert.equal(lineFor('host "replication" all all trust', { database: 'replication' }), 1);
  assert.equal(lineFor('host db all all trust', { replication: 'logical' }), 1);
});

test('@files: names, nesting, loops, missing ones', () => {
  const files: Record<string, string> = {
    dbs: 'one two, # comment\n"all"\n@more\n',
    more: 'db',
    loop: '@loop',
    bad: '"open',
  };
  const asked: string[] = [];
  const read = (name: string, file: string): string | null => {
    asked.push(`${file} -> ${name}`);
    return files[name] ?? null;
  };
  const { rules, diagnostics } = parseHba('host @dbs,x all all trust', 'hba.conf', read);
  assert.deepEqual(diagnostics, []);
  assert.deepEqual([...(rules[0]?.databases.names ?? [])], ['one', 'two', 'all', 'db', 'x']);
  assert.equal(rules[0]?.databases.all, false);
  assert.deepEqual(asked, ['hba.conf -> dbs', 'dbs -> more']);
  const bad = parseHba(
    'host @loop all all trust\nhost @none all all trust\nhost all @bad all trust',
    'f',
    read,
  );
  assert.deepEqual(bad.rules, []);
  assert.deepEqual(
    bad.diagnostics.map((d) => d.message),
    [
      'hba line 1: files nested too deep: @loop',
      'hba line 2: could not read file: @none',
      'hba line 3: unterminated quoted string in file: @bad',
    ],
  );
});

test('bad lines are reported with their number and skipped', () => {
  const text = [
    'hosts all all all trust',
    'host',
    'host all',
    'host all all',
    'host all all all',
    'host all all all kerberos',
    'host all all example.org trust',
    'host all all samehost trust',
    'host all all 10.0.0.1 trust',
    'host all all 10.0.0.1/33 trust',
    'host all all 10.0.0.1/x trust',
    'host all all 10.0.0.1 ffff:: trust',
    'host samerole all all trust',
    'host all +admins all trust',
    'host all all all trust x=1',
    'host all all all md5 map=m',
    'host "all all all trust',
    'host all, all',
    ', host',
    'host all all all trust',
  ].join('\n');
  const { rules, diagnostics } = parseHba(text, 'hba.conf');
  assert.deepEqual(
    rules.map((r) => r.line),
    [20],
  );
  assert.deepEqual(
    diagnostics.map((d) => d.line),
    Array.from({ length: 19 }, (_, i) => i + 1),
  );
  for (const d of diagnostics) {
    assert.equal(d.level, 'warning');
    assert.equal(d.file, 'hba.conf');
    assert.ok(d.message.startsWith(`hba line ${d.line}: `), d.message);
  }
  assert.equal(diagnostics[0]?.message, 'hba line 1: unknown type');
  assert.equal(diagnostics[5]?.message, 'hba line 6: unsupported method: kerberos');
});

test('options: map, ldap; a password in a bad option is not repeated', () => {
  const { rules, diagnostics } = parseHba(
    'host all all all ldap ldapserver=h ldapbasedn=dc=a,dc=b ldapsearchfilter="(uid=$username)" ldapsuffix=", dc=x y"',
    'f',
  );
  assert.deepEqual(diagnostics, []);
  assert.deepEqual(
    [...(rules[0]?.options ?? [])],
    [
      ['ldapserver', 'h'],
      ['ldapbasedn', 'dc=a,dc=b'],
      ['ldapsearchfilter', '(uid=$username)'],
      ['ldapsuffix', ', dc=x y'],
    ],
  );
  assert.deepEqual(problems('host all all all ldap ldapbindpassword=hush'), [
    'hba line 1: unsupported parameters: ldapbindpassword',
  ]);
  assert.deepEqual(problems('hostssl all all all cert map=m'), []);
  assert.equal(problems('host all all all peer').length, 1);
  assert.equal(problems('hostnossl all all all cert').length, 1);
});

test('any text is read without an exception', () => {
  const word = fc.constantFrom(
    'host',
    'local',
    'all',
    ',',
    '"',
    '@x',
    '+g',
    '#',
    '10.0.0.0/8',
    '::/0',
    'trust',
    'map=',
    '\n',
    ' ',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(word).map((w) => w.join(' ')),
      ),
      (text) => {
        const { rules } = parseHba(text, 'f');
        matchHba(rules, base);
        parseIdent(text, 'f');
      },
    ),
    { numRuns: 1000 },
  );
});

test('ident maps', () => {
  const { maps, diagnostics } = parseIdent(
    '# map system database\nm root postgres\nm "web app" all\nn joe "all"\nm x\nm /^a b\nm a b c\n',
    'ident.conf',
  );
  assert.deepEqual(
    diagnostics.map((d) => [d.line, d.message]),
    [
      [5, 'ident line 5: expected: map-name system-user database-user'],
      [6, 'ident line 6: regular expressions are not supported'],
      [7, 'ident line 7: expected: map-name system-user database-user'],
    ],
  );
  const ok = { ok: true };
  assert.deepEqual(matchIdent(maps, 'm', 'root', 'postgres'), ok);
  assert.deepEqual(matchIdent(maps, 'm', 'web app', 'anyone'), ok);
  assert.deepEqual(matchIdent(maps, 'n', 'joe', 'all'), ok);
  assert.deepEqual(matchIdent(maps, null, 'joe', 'joe'), ok);
  assert.equal(matchIdent(maps, null, 'joe', 'jim').ok, false);
  assert.deepEqual(matchIdent(maps, 'm', 'root', 'other'), {
    ok: false,
    logText: 'ident map: m does not have a match',
  });
  assert.deepEqual(matchIdent(maps, 'n', 'joe', 'jim'), {
    ok: false,
    logText: 'ident map: n does not have a match',
  });
  assert.deepEqual(matchIdent(maps, 'zz', 'joe', 'joe'), {
    ok: false,
    logText: 'ident map zz cannot be matched',
  });
});
