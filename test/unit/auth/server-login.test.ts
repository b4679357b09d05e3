/** Logging in to servers: which secret works with which request, our client side against our server side. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { beginClientAuth } from '../../../src/auth/client-auth.ts';
import type { LearnedCredentials } from '../../../src/auth/credentials.ts';
import { md5Response, md5Secret } from '../../../src/auth/md5.ts';
import { deriveScramKeys } from '../../../src/auth/scram-keys.ts';
import {
  beginServerAuth,
  type ServerAuthExchange,
  type ServerAuthStep,
  type ServerCredentials,
} from '../../../src/auth/server-login.ts';
import { authentication, authenticationMd5, authenticationSasl } from '../../../src/wire/backend.ts';
import { body, cstring, PENCIL, playScram, SALT } from './exchange.ts';

const MD5 = md5Secret('pencil', 'u');
const MD5_SALT = Buffer.from([1, 2, 3, 4]);
const NO_KEYS =
  'cannot do SCRAM authentication: password is SCRAM secret but client authentication did not provide SCRAM keys';

const begin = (secret: string | null, learned: LearnedCredentials | null = null): ServerAuthExchange =>
  beginServerAuth({ user: 'u', secret, learned });
const ask = (exchange: ServerAuthExchange, code: number, data = Buffer.alloc(0)): Promise<ServerAuthStep> =>
  exchange.onAuthentication(body(authentication(code, data)));
const sasl = (exchange: ServerAuthExchange, mechanisms = ['SCRAM-SHA-256']): Promise<ServerAuthStep> =>
  exchange.onAuthentication(body(authenticationSasl(mechanisms)));

function failure(step: ServerAuthStep): string {
  assert.equal(step.kind, 'fail');
  return step.kind === 'fail' ? step.reason : '';
}

/** Plays our client side against our server side, which stands for PostgreSQL with `stored` in pg_authid. */
async function loginTo(stored: string, creds: Partial<ServerCredentials>): Promise<ServerAuthStep> {
  const postgres = beginClientAuth({
    authType: 'scram-sha-256',
    user: 'u',
    secret: stored,
    scramIterations: 4096,
  });
  const proxy = beginServerAuth({ user: 'u', secret: null, learned: null, ...creds });
  let message = postgres.first;
  while (message !== null) {
    const step = await proxy.onAuthentication(body(message));
    if (step.kind === 'wait') return ask(proxy, 0);
    if (step.kind !== 'send') return step;
    const reply = await postgres.respond(body(step.bytes));
    if (reply.kind === 'fail') return { kind: 'fail', reason: 'refused by the server', logText: '' };
    message = reply.bytes;
  }
  throw new Error('not reached');
}

/** What a client's SCRAM login teaches. */
async function learn(secret: string, password: string): Promise<LearnedCredentials> {
  const exchange = beginClientAuth({ authType: 'scram-sha-256', user: 'u', secret, scramIterations: 4096 });
  const { last } = await playScram(exchange, password);
  assert.ok(last.kind === 'ok');
  return last.credentials;
}

test('trust', async () => {
  for (const secret of [null, '', 'pencil', MD5, PENCIL])
    assert.deepEqual(await ask(begin(secret), 0), { kind: 'ok' });
});

test('cleartext: plain secrets and learnt passwords only', async () => {
  const sent = { kind: 'send', bytes: Buffer.from('700000000b70656e63696c00', 'hex') };
  assert.deepEqual(await ask(begin('pencil'), 3), sent);
  assert.deepEqual(await ask(begin(null, { password: 'pencil' }), 3), sent);
  assert.deepEqual(await ask(begin(MD5, { password: 'pencil' }), 3), sent);
  assert.deepEqual(await ask(begin(PENCIL, { password: 'pencil' }), 3), sent);
  for (const secret of [MD5, PENCIL])
    assert.equal(failure(await ask(begin(secret), 3)), 'wrong password type');
  assert.equal(failure(await ask(begin(null), 3)), 'no password known for user "u"');
  const exchange = begin('pencil');
  await ask(exchange, 3);
  assert.deepEqual(await ask(exchange, 0), { kind: 'ok' });
});

test('a learnt password that does not fit the secret is not sent', async () => {
  for (const secret of [MD5, PENCIL]) {
    assert.equal(failure(await ask(begin(secret, { password: 'other' }), 3)), 'wrong password type');
    assert.equal(failure(await sasl(begin(secret, { password: 'other' }))), 'wrong password type');
  }
});

test('md5', async () => {
  const expected = cstring(md5Response(MD5, MD5_SALT));
  for (const creds of [begin('pencil'), begin(MD5), begin(PENCIL, { password: 'pencil' })]) {
    const step = await creds.onAuthentication(body(authenticationMd5(MD5_SALT)));
    assert.ok(step.kind === 'send');
    assert.deepEqual(body(step.bytes), expected);
  }
  assert.equal(
    failure(await begin(PENCIL).onAuthentication(body(authenticationMd5(MD5_SALT)))),
    'wrong password type',
  );
  assert.match(
    failure(await begin('pencil').onAuthentication(body(authenticationMd5(Buffer.alloc(3))))),
    /malformed/,
  );
});

test('the salt is copied: the read buffer may change while we compute', async () => {
  const message = body(authenticationMd5(MD5_SALT));
  const pending = begin('pencil').onAuthentication(message);
  message.fill(0);
  const step = await pending;
  assert.ok(step.kind === 'send');
  assert.deepEqual(body(step.bytes), cstring(md5Response(MD5, MD5_SALT)));
});

test('scram with a plain secret', async () => {
  assert.equal((await loginTo(PENCIL, { secret: 'pencil' })).kind, 'ok');
  assert.equal((await loginTo(PENCIL, { secret: null, learned: { password: 'pencil' } })).kind, 'ok');
  assert.equal(failure(await loginTo(PENCIL, { secret: 'Pencil' })), 'refused by the server');
  assert.equal((await loginTo('p\u00e9\u00ad', { secret: 'p\u00e9' })).kind, 'ok');
});

test('scram pass-through: the client gave the keys, the file has the verifier', async () => {
  const learned = await learn(PENCIL, 'pencil');
  assert.equal((await loginTo(PENCIL, { secret: PENCIL, learned })).kind, 'ok');
  const without = await sasl(begin(PENCIL));
  assert.deepEqual(without, { kind: 'fail', reason: 'wrong password type', logText: NO_KEYS });
  // learnt in the time of an older password
  const other = await deriveScramKeys('u', 'older', { salt: SALT, iterations: 4096 });
  const stale = { scramKeys: { ...other, salt: SALT, iterations: 4096 } };
  assert.deepEqual(await sasl(begin(PENCIL, stale)), {
    kind: 'fail',
    reason: 'wrong password type',
    logText: NO_KEYS,
  });
  // the same password with another salt on the server
  assert.match(
    failure(await loginTo('pencil', { secret: PENCIL, learned })),
    /differs from the one on the server/,
  );
  // a learnt password is as good as keys, whatever the salt
  assert.equal((await loginTo('pencil', { secret: PENCIL, learned: { password: 'pencil' } })).kind, 'ok');
});

test('md5 secrets do not work for SCRAM', async () => {
  const step = await sasl(begin(MD5));
  assert.equal(failure(step), 'wrong password type');
  assert.equal((await loginTo(PENCIL, { secret: MD5, learned: { password: 'pencil' } })).kind, 'ok');
});

test('the SASL request names a mechanism that we know', async () => {
  const step = await sasl(begin('pencil'), ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256']);
  assert.ok(step.kind === 'send');
  // no channel binding, an empty name as libpq sends it
  assert.match(step.bytes.toString('latin1', 5), /^SCRAM-SHA-256\0[\s\S]{4}n,,n=,r=[A-Za-z0-9+/]{24}$/);
  assert.match(failure(await sasl(begin('pencil'), ['SCRAM-SHA-256-PLUS'])), /no supported SASL mechanism/);
  assert.match(failure(await sasl(begin('pencil'), [])), /no supported SASL mechanism/);
});

test('a server must prove itself: Ok in the middle of SCRAM is no Ok', async () => {
  const early = begin('pencil');
  assert.equal((await sasl(early)).kind, 'send');
  assert.match(failure(await ask(early, 0)), /did not complete SCRAM/);

  const forged = begin('pencil');
  const first = await sasl(forged);
  assert.ok(first.kind === 'send');
  const nonce = /r=(.*)$/.exec(first.bytes.toString('latin1'))?.[1] ?? '';
  const final = await ask(forged, 11, Buffer.from(`r=${nonce}x,s=AAAA,i=1`));
  assert.equal(final.kind, 'send');
  assert.match(
    failure(await ask(forged, 12, Buffer.from(`v=${'A'.repeat(43)}=`))),
    /invalid SCRAM server signature/,
  );
  assert.match(failure(await ask(forged, 0)), /did not complete SCRAM|unexpected/);
});

test('too many iterations are refused', async () => {
  const exchange = begin('pencil');
  const first = await sasl(exchange);
  assert.ok(first.kind === 'send');
  const nonce = /r=(.*)$/.exec(first.bytes.toString('latin1'))?.[1] ?? '';
  assert.match(failure(await ask(exchange, 11, Buffer.from(`r=${nonce}x,s=AAAA,i=1000001`))), /too high/);
});

test('unknown codes, wrong order, short messages', async () => {
  for (const code of [1, 2, 4, 6, 7, 8, 9, 13, 99, -1]) {
    assert.equal(failure(await ask(begin('pencil'), code)), `unknown/unsupported auth type ${code}`);
  }
  for (const code of [11, 12]) assert.match(failure(await ask(begin('pencil'), code)), /unexpected/);
  const twice = begin('pencil');
  await ask(twice, 3);
  assert.match(failure(await ask(twice, 3)), /unexpected/);
  assert.match(failure(await begin('pencil').onAuthentication(Buffer.alloc(3))), /malformed/);
  assert.match(failure(await ask(begin('pass\0word'), 3)), /authentication failed/);
});

test('garbage never throws and never ends in ok', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(null, 'pencil', MD5, PENCIL),
      fc.array(fc.tuple(fc.constantFrom(3, 5, 10, 11, 12, 77), fc.uint8Array({ maxLength: 60 })), {
        maxLength: 6,
      }),
      async (secret, messages) => {
        const exchange = begin(secret);
        for (const [code, data] of messages) {
          const step = await ask(exchange, code, Buffer.from(data));
          assert.notEqual(step.kind, 'ok');
        }
      },
    ),
    { numRuns: 300 },
  );
});
