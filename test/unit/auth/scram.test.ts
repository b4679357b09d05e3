/** SCRAM-SHA-256: the exchange of RFC 7677 section 3 on both sides, and what each side refuses. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { keysFromLogin, keysFromPassword, ScramClient } from '../../../src/auth/scram-client.ts';
import { deriveScramKeys } from '../../../src/auth/scram-keys.ts';
import { ScramServer } from '../../../src/auth/scram-server.ts';
import { parseVerifier, type ScramVerifier } from '../../../src/auth/scram-verifier.ts';
import { PENCIL, SALT } from './exchange.ts';

const CLIENT_NONCE = 'rOprNGfwEbeRWgbNEkqO';
const SERVER_NONCE = '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0';
const CLIENT_FIRST = `n,,n=user,r=${CLIENT_NONCE}`;
const SERVER_FIRST = `r=${CLIENT_NONCE}${SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`;
const CLIENT_FINAL = `c=biws,r=${CLIENT_NONCE}${SERVER_NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`;
const SERVER_FINAL = 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=';

function verifier(): ScramVerifier {
  const parsed = parseVerifier(PENCIL);
  assert.ok(parsed !== null);
  return parsed;
}
const client = (): ScramClient => new ScramClient(keysFromPassword('u', 'pencil'), CLIENT_NONCE, 'user');
const serverFinal = (text: string) => {
  const server = new ScramServer(verifier(), SERVER_NONCE);
  assert.ok(server.first(Buffer.from(CLIENT_FIRST)).ok);
  return server.readProof(Buffer.from(text, 'latin1'));
};

test('RFC 7677: server side', () => {
  const server = new ScramServer(verifier(), SERVER_NONCE);
  const first = server.first(Buffer.from(CLIENT_FIRST));
  assert.ok(first.ok);
  assert.equal(first.value.toString(), SERVER_FIRST);
  const proof = server.readProof(Buffer.from(CLIENT_FINAL));
  assert.ok(proof.ok);
  const verdict = server.verify(proof.value, verifier());
  assert.ok(verdict.ok);
  assert.equal(verdict.value.bytes.toString(), SERVER_FINAL);
});

test('RFC 7677: client side, with the password and with the keys of a login', async () => {
  const keys = await deriveScramKeys('u', 'pencil', { salt: SALT, iterations: 4096 });
  const learned = new ScramClient(
    keysFromLogin({ ...keys, salt: SALT, iterations: 4096 }),
    CLIENT_NONCE,
    'user',
  );
  for (const side of [client(), learned]) {
    assert.equal(side.first().toString(), CLIENT_FIRST);
    const final = await side.final(Buffer.from(SERVER_FIRST));
    assert.ok(final.ok);
    assert.equal(final.value.toString(), CLIENT_FINAL);
    assert.equal(side.verify(Buffer.from(SERVER_FINAL)), null);
  }
});

test('the keys that come out of a proof are those of the password', async () => {
  const proof = new ScramServer(verifier(), SERVER_NONCE);
  proof.first(Buffer.from(CLIENT_FIRST));
  const read = proof.readProof(Buffer.from(CLIENT_FINAL));
  assert.ok(read.ok);
  const verdict = proof.verify(read.value, verifier());
  assert.ok(verdict.ok);
  const keys = await deriveScramKeys('u', 'pencil', { salt: SALT, iterations: 4096 });
  assert.ok(verdict.value.keys.clientKey.equals(keys.clientKey));
  assert.ok(verdict.value.keys.serverKey.equals(keys.serverKey));
});

test('client-first that is refused', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['', /empty/],
    ['p=tls-server-end-point,,n=,r=abc', /channel binding/],
    ['x,,n=,r=abc', /channel binding flag/],
    ['n', /authorization identity|malformed/],
    ['n,a=admin,n=,r=abc', /authorization identity/],
    ['n,,m=x,n=,r=abc', /extension/],
    ['n,,r=abc', /user name missing/],
    ['n,,n=', /nonce missing/],
    ['n,,n=user', /nonce missing/],
    ['n,,n=user,r=', /bad nonce/],
    ['n,,n=user,r=a b', /bad nonce/],
    ['n,,n=user,r=a\x7f', /bad nonce/],
    ['n,,n=user,r=\xe9', /bad nonce/],
    ['n,,n=user,r=abc,', /bad extension/],
    ['n,,n=user,r=a\0bc', /NUL/],
    [`n,,n=user,r=${'a'.repeat(1024)}`, /too long/],
  ];
  for (const [text, reason] of cases) {
    const reply = new ScramServer(verifier()).first(Buffer.from(text, 'latin1'));
    assert.ok(!reply.ok, text);
    assert.match(reply.reason, reason, text);
  }
});

test('client-first that is taken: y, any name, extensions', () => {
  for (const text of ['y,,n=,r=abc', 'n,,n=*,r=abc', 'n,,n=b\xe9=2C,r=abc,x=1']) {
    assert.ok(new ScramServer(verifier()).first(Buffer.from(text, 'latin1')).ok, text);
  }
});

test('client-final that is refused', () => {
  const nonce = CLIENT_NONCE + SERVER_NONCE;
  const p = CLIENT_FINAL.slice(CLIENT_FINAL.lastIndexOf(',p='));
  const cases: readonly (readonly [string, RegExp])[] = [
    ['', /empty/],
    ['c=biws', /nonce missing/], // CVE-2026-19888
    [`c=biws${p}`, /nonce missing/],
    [`c=eSws,r=${nonce}${p}`, /channel-binding/], // said n before
    [`c=,r=${nonce}${p}`, /channel-binding/],
    [`r=${nonce}${p}`, /channel binding missing/],
    [`c=biws,r=${nonce}x${p}`, /nonce does not match/],
    [`c=biws,r=${CLIENT_NONCE}${p}`, /nonce does not match/],
    [`c=biws,r=${nonce}`, /proof missing/],
    [`c=biws,r=${nonce},x=1`, /proof missing/],
    [`c=biws,r=${nonce},p=`, /bad proof/],
    [`c=biws,r=${nonce},p=AAAA`, /bad proof/],
    [`c=biws,r=${nonce},p=${'*'.repeat(44)}`, /bad proof/],
    [`c=biws,r=${nonce},,p=${'A'.repeat(43)}=`, /bad extension/],
    [`c=biws,r=${nonce},x=${'A'.repeat(1024)}${p}`, /too long/],
  ];
  for (const [text, reason] of cases) {
    const reply = serverFinal(text);
    assert.ok(!reply.ok, text);
    assert.match(reply.reason, reason, text);
  }
});

test('y is answered with eSws', () => {
  const server = new ScramServer(verifier(), 'b');
  assert.ok(server.first(Buffer.from('y,,n=,r=a')).ok);
  const p = `p=${'A'.repeat(43)}=`;
  assert.ok(!server.readProof(Buffer.from(`c=biws,r=ab,${p}`)).ok);
  assert.ok(server.readProof(Buffer.from(`c=eSws,r=ab,${p}`)).ok);
});

test('messages out of order', async () => {
  const server = new ScramServer(verifier());
  assert.ok(!server.readProof(Buffer.from(CLIENT_FINAL)).ok);
  assert.ok(server.first(Buffer.from(CLIENT_FIRST)).ok);
  assert.ok(!server.first(Buffer.from(CLIENT_FIRST)).ok);
  const side = client();
  assert.ok(!(await side.final(Buffer.from(SERVER_FIRST))).ok);
  assert.equal(side.verify(Buffer.from(SERVER_FINAL)), 'SCRAM message out of order');
});

test('any change of one character of client-final fails', () => {
  fc.assert(
    fc.property(
      fc.nat(CLIENT_FINAL.length - 1),
      fc.integer({ min: 0, max: 255 }).map((n) => String.fromCharCode(n)),
      (at, char) => {
        fc.pre(CLIENT_FINAL[at] !== char);
        const text = CLIENT_FINAL.slice(0, at) + char + CLIENT_FINAL.slice(at + 1);
        const server = new ScramServer(verifier(), SERVER_NONCE);
        server.first(Buffer.from(CLIENT_FIRST));
        const proof = server.readProof(Buffer.from(text, 'latin1'));
        assert.ok(!proof.ok || !server.verify(proof.value, verifier()).ok);
      },
    ),
    { numRuns: 2000 },
  );
});

test('server-first that the client refuses', async () => {
  const nonce = CLIENT_NONCE + SERVER_NONCE;
  const s = SALT.toString('base64');
  const cases: readonly (readonly [string, RegExp])[] = [
    ['', /empty/],
    ['garbage', /malformed/],
    [`m=x,r=${nonce},s=${s},i=4096`, /extension/],
    [`r=${CLIENT_NONCE},s=${s},i=4096`, /nonce mismatch/],
    [`r=other,s=${s},i=4096`, /nonce mismatch/],
    [`r=${nonce}`, /malformed/],
    [`r=${nonce},s=,i=4096`, /invalid salt/],
    [`r=${nonce},s=*,i=4096`, /invalid salt/],
    [`r=${nonce},s=${s}`, /malformed/],
    [`r=${nonce},s=${s},i=0`, /iteration count/],
    [`r=${nonce},s=${s},i=-1`, /iteration count/],
    [`r=${nonce},s=${s},i=1e3`, /iteration count/],
    [`r=${nonce},s=${s},i=1000001`, /too high/], // CVE-2026-6669
    [`r=${nonce},s=${s},i=99999999999999999999`, /iteration count/],
  ];
  for (const [text, reason] of cases) {
    const side = client();
    side.first();
    const reply = await side.final(Buffer.from(text));
    assert.ok(!reply.ok, text);
    assert.match(reply.reason, reason, text);
  }
});

test('keys of a login do not fit another salt or count', async () => {
  const keys = await deriveScramKeys('u', 'pencil', { salt: SALT, iterations: 4096 });
  const source = keysFromLogin({ ...keys, salt: SALT, iterations: 4096 });
  assert.equal(typeof (await source({ salt: SALT, iterations: 4096 })), 'object');
  assert.match(String(await source({ salt: SALT, iterations: 4097 })), /differs/);
  assert.match(String(await source({ salt: Buffer.alloc(16), iterations: 4096 })), /differs/);
});

test('a server that does not know the verifier is found out', async () => {
  for (const text of [
    '',
    'v=',
    'v=AAAA',
    `v=${'A'.repeat(43)}=`,
    'e=invalid-proof',
    SERVER_FINAL.slice(0, -1),
  ]) {
    const side = client();
    side.first();
    assert.ok((await side.final(Buffer.from(SERVER_FIRST))).ok);
    assert.notEqual(side.verify(Buffer.from(text)), null, text);
    // and there is no second try
    assert.notEqual(side.verify(Buffer.from(SERVER_FINAL)), null);
  }
});

test('garbage never throws on either side', async () => {
  const junk = fc.oneof(
    fc.uint8Array({ maxLength: 1100 }),
    fc.string().map((s) => Buffer.from(s)),
    fc
      .array(fc.constantFrom('n', 'y', 'p', '=', ',', 'r=', 'c=', 's=', 'i=', 'v=', 'a', '\0'))
      .map((a) => Buffer.from(a.join(''))),
  );
  await fc.assert(
    fc.asyncProperty(junk, async (raw) => {
      const bytes = Buffer.from(raw);
      new ScramServer(verifier()).first(bytes);
      const server = new ScramServer(verifier());
      server.first(Buffer.from(CLIENT_FIRST));
      assert.equal(server.readProof(bytes).ok, false);
      const side = client();
      side.first();
      assert.equal((await side.final(bytes)).ok, false);
    }),
    { numRuns: 500 },
  );
});
