/** SASLprep: examples of RFC 4013 section 3, and PostgreSQL's rule "refused text is used raw". */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { saslPrep } from '../../../src/auth/sasl-prep.ts';

test('RFC 4013 examples', () => {
  assert.equal(saslPrep('I\u00adX'), 'IX');
  assert.equal(saslPrep('user'), 'user');
  assert.equal(saslPrep('USER'), 'USER');
  assert.equal(saslPrep('\u00aa'), 'a');
  assert.equal(saslPrep('\u2168'), 'IX');
});

test('spaces, decomposed letters, compatibility forms', () => {
  assert.equal(saslPrep('a\u00a0b\u3000c\u200bd'), 'a b c d');
  assert.equal(saslPrep('e\u0301'), '\u00e9');
  assert.equal(saslPrep('\ufb01x'), 'fix');
});

test('what the profile refuses is used as it is', () => {
  const raw = [
    '\u0007', // ASCII is never touched
    '\u00aa\u0085', // control
    '\u00aa\ue000', // private use
    '\u00aa\ufffd', // replacement character
    '\u00aa\u0221', // not assigned in Unicode 3.2, though it is today
    '\u{1f468}\u200d\u{1f469}', // ditto: the joiner must survive
    '\u0627\u00aa1', // right-to-left text that does not end so
    '\u0627a\u00adb\u0627', // right-to-left and left-to-right mixed
    'a\u0340', // prohibited, though NFKC would make something harmless of it (PostgreSQL 15 does the same)
    '\u03f9', // ditto, newer than Unicode 3.2
    '\u00ad', // nothing would be left
    '\u00aa\ud800', // lone surrogate
  ];
  for (const text of raw) assert.equal(saslPrep(text), text, JSON.stringify(text));
});

test('right-to-left text that is sound is prepared', () => {
  assert.equal(saslPrep('\u0627\u00ad1\u0628'), '\u06271\u0628');
});

test('never throws, and preparing twice changes nothing more', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const once = saslPrep(text);
      assert.equal(saslPrep(once), once);
    }),
  );
});
