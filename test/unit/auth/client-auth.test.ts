/** The exchange with a client: every auth_type against every kind of secret, mock users, garbage. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  beginClientAuth,
  type ClientAuthExchange,
  type ClientAuthType,
} from '../../../src/auth/client-auth.ts';
import { md5Response, md5Secret } from '../../../src/auth/md5.ts';
import { body, cstring, initial, PENCIL, playScram, SALT, saslData } from './exchange.ts';

const MD5 = md5Secret('pencil', 'u');

function begin(authType: ClientAuthType, secret: string | null, user = 'u'): ClientAuthExchange {
  return beginClientAuth({ authType, user, secret, scramIterations: 4096 });
}
const methodOf = (exchange: ClientAuthExchange): number | null => exchange.first?.readInt32BE(5) ?? null;

async function playMd5(exchange: ClientAuthExchange, password: string, user = 'u') {
  assert.equal(methodOf(exchange), 5);
  const salt = exchange.first?.subarray(9) ?? Buffer.alloc(0);
  return exchange.respond(cstring(md5Response(md5Secret(password, user), salt)));
}

function assertDenied(
  step: { readonly kind: string; readonly code?: string; readonly argument?: string },
  user = 'u',
) {
  assert.equal(step.kind, 'fail');
  assert.equal(step.code, 'passwordAuthFailed');
  assert.equal(step.argument, user);
}

test('any and trust ask nothing; trust wants a known user', () => {
  const any = begin('any', null);
  assert.equal(any.first, null);
  assert.equal(any.immediate?.kind, 'ok');
  const known = begin('trust', '');
  assert.equal(known.first, null);
  assert.equal(known.immediate?.kind, 'ok');
  const unknown = begin('trust', null).immediate;
  assert.ok(unknown?.kind === 'fail');
  assert.equal(unknown.code, 'trustAuthFailed');
});

test('plain works against all three kinds and learns the password', async () => {
  for (const secret of ['pencil', MD5, PENCIL]) {
    const right = begin('plain', secret);
    assert.equal(methodOf(right), 3);
    assert.equal(right.immediate, null);
    const step = await right.respond(cstring('pencil'));
    assert.ok(step.kind === 'ok', secret);
    assert.deepEqual(step.credentials, { password: 'pencil' });
    assert.equal(step.bytes.length, 0);
    for (const wrong of ['Pencil', 'penci', 'pencil ', secret === 'pencil' ? 'x' : secret]) {
      assertDenied(await begin('plain', secret).respond(cstring(wrong)));
    }
  }
});

test('plain: empty, too long, malformed passwords; bytes that are no UTF-8', async () => {
  const empty = await begin('plain', 'pencil').respond(cstring(''));
  assert.ok(empty.kind === 'fail' && empty.code === 'emptyPassword');
  const long = await begin('plain', 'pencil').respond(cstring('x'.repeat(65_531)));
  assert.ok(long.kind === 'fail' && long.code === 'passwordTooLong');
  const longest = 'x'.repeat(65_530);
  assert.equal((await begin('plain', longest).respond(cstring(longest))).kind, 'ok');
  for (const bad of ['', 'pencil', 'pencil\0x', 'pen\0cil\0']) {
    assertDenied(await begin('plain', 'pencil').respond(Buffer.from(bad)));
  }
  const raw = Buffer.from([0xff, 0xfe]);
  const step = await begin('plain', md5Secret(raw, 'u')).respond(cstring(raw));
  assert.ok(step.kind === 'ok');
  assert.deepEqual(step.credentials, {});
});

test('the password is copied: the read buffer may change while PBKDF2 runs', async () => {
  const buffer = cstring('pencil');
  const pending = begin('plain', PENCIL).respond(buffer);
  buffer.fill(0x61);
  const step = await pending;
  assert.ok(step.kind === 'ok');
  assert.deepEqual(step.credentials, { password: 'pencil' });
});

test('md5 against plain and md5 secrets', async () => {
  for (const secret of ['pencil', MD5]) {
    const step = await playMd5(begin('md5', secret), 'pencil');
    assert.ok(step.kind === 'ok', secret);
    assert.deepEqual(step.credentials, {});
    assertDenied(await playMd5(begin('md5', secret), 'wrong'));
  }
  // the stored hash itself is no answer, neither is a right answer cut short or one to an older salt
  assertDenied(await begin('md5', MD5).respond(cstring(MD5)));
  const a = begin('md5', MD5);
  const good = md5Response(MD5, a.first?.subarray(9) ?? Buffer.alloc(0));
  assertDenied(await a.respond(cstring(good.slice(0, -1))));
  assertDenied(await begin('md5', MD5).respond(cstring(good)));
});

test('md5 salts are not repeated', () => {
  const salts = new Set(Array.from({ length: 50 }, () => begin('md5', MD5).first?.toString('hex')));
  assert.ok(salts.size > 45);
});

test('scram with node-postgres as the client, and md5 with a SCRAM secret', async () => {
  for (const authType of ['scram-sha-256', 'md5'] as const) {
    for (const stream of [null, {}]) {
      const exchange = begin(authType, PENCIL);
      assert.equal(methodOf(exchange), 10);
      assert.equal(saslData(exchange.first ?? Buffer.alloc(0)), 'SCRAM-SHA-256\0\0');
      const { last } = await playScram(exchange, 'pencil', stream);
      assert.ok(last.kind === 'ok');
      assert.equal(last.bytes.readInt32BE(5), 12);
      assert.equal(last.credentials.scramKeys?.clientKey.length, 32);
      assert.equal(last.credentials.scramKeys?.serverKey.length, 32);
      assert.ok(last.credentials.scramKeys?.salt.equals(SALT));
      assert.equal(last.credentials.scramKeys?.iterations, 4096);
      assertDenied((await playScram(begin(authType, PENCIL), 'Pencil', stream)).last);
    }
  }
});

test('scram against a plain secret, with a password that SASLprep changes', async () => {
  for (const password of ['pencil', 'p\u00e9ncil\u00ad', '\u2168']) {
    const { last } = await playScram(begin('scram-sha-256', password), password);
    assert.ok(last.kind === 'ok', password);
    assert.deepEqual(last.credentials, {});
    assertDenied((await playScram(begin('scram-sha-256', password), `${password}x`)).last);
  }
});

test('scram_iterations is what a plain secret is shown with', async () => {
  const exchange = beginClientAuth({
    authType: 'scram-sha-256',
    user: 'u',
    secret: 'pencil',
    scramIterations: 5000,
  });
  const { steps } = await playScram(exchange, 'pencil');
  assert.ok(steps[0]?.kind === 'send');
  assert.match(saslData(steps[0].bytes), /,i=5000$/);
  assert.equal(steps[1]?.kind, 'ok');
});

test('scram with an md5 secret plays the whole exchange and fails', async () => {
  const { steps, last } = await playScram(begin('scram-sha-256', MD5), 'pencil');
  assert.equal(steps.length, 2);
  assertDenied(last);
});

test('an empty secret never lets anybody in', async () => {
  assertDenied(await playMd5(begin('md5', ''), ''));
  assertDenied(await playMd5(begin('md5', ''), 'x'));
  assertDenied(await begin('plain', '').respond(cstring('x')));
  assert.equal((await begin('plain', '').respond(cstring(''))).kind, 'fail');
  assertDenied((await playScram(begin('scram-sha-256', ''), 'x')).last);
});

test('an unknown user cannot be told from one with a wrong password', async () => {
  const real = {
    'scram-sha-256': ['pencil', PENCIL, MD5, ''],
    md5: ['pencil', MD5, ''],
    plain: ['pencil', MD5, PENCIL],
  };
  for (const authType of ['scram-sha-256', 'md5', 'plain'] as const) {
    const shape = async (secret: string | null): Promise<unknown> => {
      const exchange = begin(authType, secret);
      const first = [exchange.first?.length, methodOf(exchange)];
      const steps =
        authType === 'scram-sha-256'
          ? (await playScram(exchange, 'wrong')).steps
          : [
              authType === 'md5'
                ? await playMd5(exchange, 'wrong')
                : await exchange.respond(cstring('wrong')),
            ];
      return [
        first,
        steps.map((s) =>
          s.kind === 'fail'
            ? [s.code, s.argument]
            : [
                s.kind,
                s.bytes.length,
                s.kind === 'send' ? saslData(s.bytes).replace(/[A-Za-z0-9+/]{8,}/g, '#') : '',
              ],
        ),
      ];
    };
    const unknown = await shape(null);
    for (const secret of real[authType])
      assert.deepEqual(await shape(secret), unknown, `${authType} ${secret}`);
  }
});

test('the log says what the client is not told', async () => {
  const scram = (await playScram(begin('scram-sha-256', null), 'x')).last;
  const steps = [
    scram,
    await playMd5(begin('md5', null), 'x'),
    await begin('plain', null).respond(cstring('x')),
  ];
  for (const step of steps) assert.equal(step.kind === 'fail' && step.logText, 'no such user: u');
});

test('probing a name twice shows the same salt and count, whether the user exists or not', async () => {
  const probe = async (user: string, secret: string | null): Promise<string> => {
    const step = await begin('scram-sha-256', secret, user).respond(initial('n,,n=,r=abc'));
    assert.ok(step.kind === 'send');
    return saslData(step.bytes).replace(/^r=[^,]*/, '');
  };
  for (const secret of [null, 'pencil', MD5, '']) {
    const seen = await probe('nobody', secret);
    assert.match(seen, /^,s=[A-Za-z0-9+/]{22}==,i=4096$/);
    assert.equal(await probe('nobody', null), seen);
    assert.notEqual(await probe('somebody', null), seen);
  }
});

test('an exchange is over after its end, and two messages at once break it', async () => {
  const exchange = begin('plain', 'pencil');
  assert.equal((await exchange.respond(cstring('pencil'))).kind, 'ok');
  assertDenied(await exchange.respond(cstring('pencil')));

  const twice = begin('plain', PENCIL);
  const both = await Promise.all([twice.respond(cstring('pencil')), twice.respond(cstring('pencil'))]);
  for (const step of both) assertDenied(step);
  assertDenied(await twice.respond(cstring('pencil')));

  const first = begin('scram-sha-256', PENCIL);
  assertDenied(await first.respond(initial('n,,n=')));
  assertDenied(await first.respond(initial('n,,n=,r=abc')));
});

test('SASLInitialResponse that is refused', async () => {
  const good = initial('n,,n=,r=abc');
  const minus = Buffer.from(good);
  minus.writeInt32BE(-1, 14);
  const more = Buffer.from(good);
  more.writeInt32BE(999_999_999, 14);
  const plus = Buffer.from('SCRAM-SHA-256-PLUS\0\0\0\0\x0bn,,n=,r=abc');
  for (const bad of [
    Buffer.alloc(0),
    minus,
    more,
    plus,
    good.subarray(0, 16),
    good.subarray(1),
    Buffer.concat([good, good]),
  ]) {
    assertDenied(await begin('scram-sha-256', PENCIL).respond(bad));
  }
  assert.equal((await begin('scram-sha-256', PENCIL).respond(good)).kind, 'send');
});

test('garbage always fails, never throws, never gets in', async () => {
  const secrets = fc.constantFrom(null, '', 'pencil', MD5, PENCIL);
  const types = fc.constantFrom<ClientAuthType>('plain', 'md5', 'scram-sha-256');
  await fc.assert(
    fc.asyncProperty(
      types,
      secrets,
      fc.uint8Array({ maxLength: 300 }),
      fc.boolean(),
      async (type, secret, raw, deep) => {
        const exchange = begin(type, secret);
        if (deep && methodOf(exchange) === 10) {
          assert.equal((await exchange.respond(initial('n,,n=,r=abc'))).kind, 'send');
        }
        const step = await exchange.respond(Buffer.from(raw));
        assert.equal(step.kind, 'fail');
        assert.equal((await exchange.respond(Buffer.from(raw))).kind, 'fail');
      },
    ),
    { numRuns: 400 },
  );
});

test('the log text holds neither password nor secret', async () => {
  for (const secret of ['pencil-secret', md5Secret('pencil-secret', 'u'), PENCIL, null]) {
    const step = await begin('plain', secret).respond(cstring('guessed-word'));
    assert.ok(step.kind === 'fail');
    assert.doesNotMatch(step.logText, /guessed|pencil|md5|SCRAM/);
  }
  assert.equal(body(Buffer.from('pxxxxab')).toString(), 'ab');
});
