/** Kinds of secrets, md5, verifiers, and how PBKDF2 is kept away from the event loop. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { md5Response, md5Secret } from '../../../src/auth/md5.ts';
import { deriveScramKeys, scramKeyLoad, storedKeyOf } from '../../../src/auth/scram-keys.ts';
import { mockVerifier, parseVerifier, saltFor, verifyPassword } from '../../../src/auth/scram-verifier.ts';
import { parseSecret } from '../../../src/auth/secret.ts';

/** The password `pencil` with salt and count of RFC 7677, computed with Python's hashlib. */
const PENCIL =
  'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=';

test('kinds of secrets', () => {
  assert.equal(parseSecret('').kind, 'empty');
  assert.deepEqual(parseSecret('pw'), { kind: 'plain', password: 'pw' });
  const md5 = `md5${'0a'.repeat(16)}`;
  assert.deepEqual(parseSecret(md5), { kind: 'md5', secret: md5 });
  assert.equal(parseSecret(md5.toUpperCase()).kind, 'plain');
  assert.equal(parseSecret(`${md5}0`).kind, 'plain');
  assert.equal(parseSecret(`md5${'0A'.repeat(16)}`).kind, 'plain');
  const scram = parseSecret(PENCIL);
  assert.equal(scram.kind, 'scram');
  if (scram.kind === 'scram') {
    assert.equal(scram.verifier.iterations, 4096);
    assert.equal(scram.verifier.salt.toString('base64'), 'W22ZaJ0SNY7soEsUEjb6gQ==');
  }
});

test('what only looks like a verifier is a plain password', () => {
  for (const bad of [
    PENCIL.slice(0, -1),
    `${PENCIL}x`,
    PENCIL.replace('$4096', '$0'),
    PENCIL.replace('$4096', '$-1'),
    PENCIL.replace('$4096', '$4294967296'),
    PENCIL.replace('W22Z', 'W2*Z'),
    PENCIL.replace('W22ZaJ0SNY7soEsUEjb6gQ==', ''),
    PENCIL.replace('SHA-256', 'SHA-512'),
    PENCIL.replace(':wfPL', ':'),
    'SCRAM-SHA-256$',
  ]) {
    assert.equal(parseVerifier(bad), null, bad);
    assert.equal(parseSecret(bad).kind, 'plain', bad);
  }
});

test('md5 as PostgreSQL computes it', () => {
  // computed with Python's hashlib
  assert.equal(md5Secret('secret', 'alice'), 'md54a0a68b43b6cd5cf266fa02f196e2371');
  assert.equal(md5Secret(Buffer.from('secret'), 'alice'), md5Secret('secret', 'alice'));
  assert.notEqual(md5Secret('secret', 'alice'), md5Secret('secret', 'bob'));
  assert.equal(
    md5Response(md5Secret('secret', 'alice'), Buffer.from([1, 2, 3, 4])),
    'md598a0412b9c31436fc53776e863350083',
  );
});

test('a verifier fits its password and no other', async () => {
  const verifier = parseVerifier(PENCIL);
  assert.ok(verifier !== null);
  assert.equal(await verifyPassword(verifier, 'u', 'pencil'), true);
  assert.equal(await verifyPassword(verifier, 'u', Buffer.from('pencil')), true);
  assert.equal(await verifyPassword(verifier, 'u', 'Pencil'), false);
});

test('bytes that are no UTF-8 are taken raw', async () => {
  const parameters = { salt: Buffer.from('salt'), iterations: 2 };
  const a = await deriveScramKeys('raw', Buffer.from([0xff, 0x61]), parameters);
  const b = await deriveScramKeys('raw', Buffer.from([0xfe, 0x61]), parameters);
  assert.equal(a.clientKey.equals(b.clientKey), false);
});

test('made-up salts are stable for a name, differ between names, look like real ones', () => {
  assert.ok(saltFor('x').equals(saltFor('x')));
  assert.equal(saltFor('x').equals(saltFor('y')), false);
  assert.equal(saltFor('x').length, 16);
  assert.ok(mockVerifier('x', 4096).salt.equals(saltFor('x')));
  assert.equal(mockVerifier('x', 4096).storedKey.equals(mockVerifier('x', 4096).storedKey), false);
});

test('at most four derivations run, the others wait in order; the same one runs once', async () => {
  const parameters = { salt: Buffer.from('load'), iterations: 20_000 };
  const before = scramKeyLoad().cached;
  const all = Array.from({ length: 10 }, (_, i) => deriveScramKeys('load', `p${i}`, parameters));
  const again = deriveScramKeys('load', 'p0', parameters);
  assert.deepEqual(scramKeyLoad(), { cached: before, inFlight: 4, queued: 6 });
  const keys = await Promise.all(all);
  assert.equal(await again, keys[0]);
  assert.deepEqual(scramKeyLoad(), { cached: before + 10, inFlight: 0, queued: 0 });
  assert.equal(await deriveScramKeys('load', 'p3', parameters), keys[3]);
  assert.equal(scramKeyLoad().cached, before + 10);
});

test('the cache is bounded, and a refused result is not kept', async () => {
  const parameters = { salt: Buffer.from('bound'), iterations: 1 };
  const before = scramKeyLoad().cached;
  await deriveScramKeys('bound', 'guess', parameters, () => false);
  assert.equal(scramKeyLoad().cached, before);
  const first = await deriveScramKeys('bound', 'first', parameters);
  await Promise.all(Array.from({ length: 4200 }, (_, i) => deriveScramKeys('bound', `q${i}`, parameters)));
  assert.equal(scramKeyLoad().cached, 4096);
  const recomputed = await deriveScramKeys('bound', 'first', parameters);
  assert.notEqual(recomputed, first);
  assert.ok(recomputed.clientKey.equals(first.clientKey));
});

test('a failing derivation gives its slot back', async () => {
  await assert.rejects(deriveScramKeys('bad', 'p', { salt: Buffer.from('s'), iterations: 0 }));
  assert.equal(scramKeyLoad().inFlight, 0);
  const keys = await deriveScramKeys('bad', 'p', { salt: Buffer.from('s'), iterations: 1 });
  assert.equal(storedKeyOf(keys.clientKey).length, 32);
});
