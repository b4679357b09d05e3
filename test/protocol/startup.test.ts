/** The startup packet and its `options`: what is written is what is read, and rubbish gives a PoolerError. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseStartup, type StartupRules } from '../../src/client/startup.ts';
import { TrackedParameters } from '../../src/server/variables.ts';
import { PoolerError } from '../../src/util/errors.ts';
import { startupMessage } from '../support/raw-messages.ts';

const tracked = new TrackedParameters([]);
const rules: StartupRules = { tracked, ignored: new Set(['extra_float_digits']) };
const lenient: StartupRules = { tracked, ignored: new Set(['options']) };

const body = (parameters: Record<string, string>, version?: number): Buffer =>
  startupMessage(parameters, version).subarray(4);

const text = fc.string({ unit: 'grapheme', maxLength: 20 }).map((one) => one.replaceAll('\0', ''));

test('parameters arrive as they were sent, in any order', () => {
  const known = fc.dictionary(fc.constantFrom(...tracked.names, 'extra_float_digits', '_pq_.thing'), text);
  fc.assert(
    fc.property(known, text, fc.boolean(), (parameters, database, first) => {
      const all = first ? { user: 'u', ...parameters, database } : { database, ...parameters, user: 'u' };
      const request = parseStartup(body(all), rules);
      assert.equal(request.user, 'u');
      assert.equal(request.database, database === '' ? 'u' : database);
      tracked.names.forEach((name, i) => {
        assert.equal(request.variables[i], parameters[name], name);
      });
      assert.equal(request.applicationName, parameters['application_name'] ?? '');
      assert.deepEqual(request.unknownOptions, '_pq_.thing' in parameters ? ['_pq_.thing'] : []);
      assert.equal(request.negotiate, '_pq_.thing' in parameters ? 0x30000 : 0);
    }),
    { numRuns: 500 },
  );
});

test('random bytes, whole and cut packets: a request or a PoolerError', () => {
  const whole = body({ user: 'u', database: 'd', options: '-c search_path=x', application_name: 'n' });
  const damaged = fc
    .tuple(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length))
    .map(([at, byte, length]) => {
      const copy = Buffer.from(whole);
      copy[at] = byte;
      return copy.subarray(0, Math.max(4, length));
    });
  const bytes = fc.oneof(
    damaged,
    fc.uint8Array({ minLength: 4, maxLength: 200 }).map((one) => Buffer.from(one)),
  );
  fc.assert(
    fc.property(bytes, (packet) => {
      try {
        const request = parseStartup(packet, rules);
        assert.ok(request.user !== '' && request.database !== '');
        assert.ok(Buffer.byteLength(request.user) <= 127);
      } catch (error) {
        assert.ok(error instanceof PoolerError, String(error));
      }
    }),
    { numRuns: 5000 },
  );
});

/** As libpq users write it: a backslash before what would end the word. */
const escapeOption = (one: string): string => one.replace(/[\s\\]/g, '\\$&');

test('options: -c k=v, -ck=v and --k=v, values of any kind', () => {
  const setting = fc.tuple(
    fc.constantFrom(...tracked.names),
    text,
    fc.constantFrom('-c ', '-c', '--'),
    fc.constantFrom(' ', '  ', '\t'),
  );
  fc.assert(
    fc.property(fc.array(setting, { maxLength: 5 }), (settings) => {
      const options = settings.map(([name, one, how, gap]) => {
        const written = how === '--' ? name.replaceAll('_', '-') : name;
        return `${how}${written}=${escapeOption(one)}${gap}`;
      });
      const { variables } = parseStartup(body({ user: 'u', options: options.join('') }), rules);
      const last = new Map(settings.map(([name, one]) => [name, one]));
      tracked.names.forEach((name, i) => {
        assert.equal(variables[i], last.get(name), `${name} in ${options.join('')}`);
      });
    }),
    { numRuns: 1000 },
  );
});

test('options: any text is read or refused with a PoolerError; a lenient rule never refuses', () => {
  const word = fc.constantFrom(
    '-c',
    '--',
    '-',
    '=',
    ' ',
    '\\',
    'search_path',
    'work_mem',
    'x',
    "'",
    '\t',
    'ä',
  );
  fc.assert(
    fc.property(fc.array(word, { maxLength: 15 }), (words) => {
      const packet = body({ user: 'u', options: words.join('') });
      try {
        parseStartup(packet, rules);
      } catch (error) {
        assert.ok(error instanceof PoolerError, String(error));
        assert.match(error.code, /^unsupportedOptions(Parameter)?$/);
      }
      parseStartup(packet, lenient);
    }),
    { numRuns: 2000 },
  );
});

for (const [what, packet, code] of [
  ['no terminator', body({ user: 'u' }).subarray(0, -1), 'badStartupLayout'],
  [
    'a name without a value',
    Buffer.concat([body({ user: 'u' }).subarray(0, -1), Buffer.from('x\0')]),
    'badStartupLayout',
  ],
  [
    'bytes after the terminator',
    Buffer.concat([body({ user: 'u' }), Buffer.from('x\0y\0')]),
    'badStartupLayout',
  ],
  ['no user', body({ database: 'd' }), 'noUsername'],
  ['an empty user', body({ user: '' }), 'noUsername'],
  ['a user of 128 bytes', body({ user: 'ä'.repeat(64) }), 'usernameTooLong'],
  ['an unknown parameter', body({ user: 'u', work_mem: '1' }), 'unsupportedStartupParameter'],
  ['an unknown option', body({ user: 'u', options: '-c work_mem=1' }), 'unsupportedOptionsParameter'],
  ['an option of another kind', body({ user: 'u', options: '-W 1' }), 'unsupportedOptions'],
] as const) {
  test(`refused: ${what}`, () => {
    assert.throws(
      () => parseStartup(packet, rules),
      (error) => error instanceof PoolerError && error.code === code,
    );
  });
}

test('versions: 3.0 and 3.2 as they are, newer ones are negotiated down', () => {
  const cases = [
    [0x30000, 0, 0],
    [0x30002, 2, 0],
    [0x30003, 2, 0x30002],
    [0x3270f, 2, 0x30002],
  ] as const;
  for (const [version, minor, negotiate] of cases) {
    const request = parseStartup(body({ user: 'u' }, version), rules);
    assert.deepEqual([request.minor, request.negotiate], [minor, negotiate], version.toString(16));
  }
});
