/** PBKDF2 never runs on the event loop: neither through a synchronous call nor by a reply that comes at once. */
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { after, before, mock, test } from 'node:test';
import { beginClientAuth } from '../../../src/auth/client-auth.ts';
import { beginServerAuth } from '../../../src/auth/server-login.ts';
import { authentication } from '../../../src/wire/backend.ts';
import { body, cstring, PENCIL, playScram } from './exchange.ts';

const refuse = (): never => {
  throw new Error('a synchronous key derivation blocks every client');
};

before(() => {
  mock.method(crypto, 'pbkdf2Sync', refuse);
  mock.method(crypto, 'scryptSync', refuse);
  syncBuiltinESMExports();
});
after(() => {
  mock.restoreAll();
  syncBuiltinESMExports();
});

const begin = (authType: 'plain' | 'scram-sha-256', secret: string, scramIterations = 4096) =>
  beginClientAuth({ authType, user: 'u', secret, scramIterations });

test('logins work without any synchronous derivation', async () => {
  assert.equal((await begin('plain', PENCIL).respond(cstring('pencil'))).kind, 'ok');
  assert.equal((await playScram(begin('scram-sha-256', 'pencil'), 'pencil')).last.kind, 'ok');
  assert.throws(() => crypto.pbkdf2Sync('a', 'b', 1, 1, 'sha256'), /blocks every client/);
});

test('the loop turns while a login with many iterations is checked', async () => {
  const verifier = PENCIL.replace('$4096', '$300000');
  let turns = 0;
  let done = false;
  const login = begin('plain', verifier)
    .respond(cstring('wrong'))
    .then((step) => {
      done = true;
      return step;
    });
  assert.equal(done, false);
  while (!done) {
    await new Promise((resolve) => setImmediate(resolve));
    turns++;
  }
  assert.equal((await login).kind, 'fail');
  assert.ok(turns > 5, `${turns} turns`);
});

test('nor when a server asks for a million iterations', async () => {
  const login = beginServerAuth({ user: 'u', secret: 'pencil', learned: null });
  const first = await login.onAuthentication(body(authentication(10, Buffer.from('SCRAM-SHA-256\0\0'))));
  assert.ok(first.kind === 'send');
  const nonce = /r=(.*)$/.exec(first.bytes.toString('latin1'))?.[1] ?? '';
  const ask = authentication(11, Buffer.from(`r=${nonce}x,s=AAAA,i=1000000`));
  let turns = 0;
  let done = false;
  const pending = login.onAuthentication(body(ask)).then((step) => {
    done = true;
    return step;
  });
  while (!done) {
    await new Promise((resolve) => setImmediate(resolve));
    turns++;
  }
  assert.equal((await pending).kind, 'send');
  assert.ok(turns > 5, `${turns} turns`);
});
