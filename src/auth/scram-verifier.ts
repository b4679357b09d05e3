/**
 * SCRAM verifiers, `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`, as pg_authid stores them and userlist.txt
 * carries them; and the made-up ones for users who have none.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { deriveScramKeys, hmacSha256, type ScramParameters, storedKeyOf } from './scram-keys.ts';

export interface ScramVerifier extends ScramParameters {
  /** 32 bytes each. */
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

const FORM = /^SCRAM-SHA-256\$([1-9][0-9]{0,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)$/;
/** The most that node:crypto takes. */
const MAX_STORED_ITERATIONS = 2 ** 31 - 1;
/** As PostgreSQL's SCRAM_DEFAULT_SALT_LEN, so that a made-up salt looks like a real one. */
const SALT_LENGTH = 16;

/** New at every start: salts of users without a verifier cannot be foretold, yet stay the same while we run. */
const processKey = randomBytes(32);

/** Canonical base64 only (node's decoder skips what it does not know); null when it is not. */
export function decodeBase64(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : null;
}

/** null when `text` is not exactly a verifier. */
export function parseVerifier(text: string): ScramVerifier | null {
  const [, count, saltText, storedText, serverText] = FORM.exec(text) ?? [];
  if (count === undefined || saltText === undefined || storedText === undefined || serverText === undefined) {
    return null;
  }
  const iterations = Number(count);
  const salt = decodeBase64(saltText);
  const storedKey = decodeBase64(storedText);
  const serverKey = decodeBase64(serverText);
  if (salt === null || salt.length === 0 || iterations > MAX_STORED_ITERATIONS) return null;
  if (storedKey?.length !== 32 || serverKey?.length !== 32) return null;
  return { iterations, salt, storedKey, serverKey };
}

/**
 * The salt shown for a user whose secret has none (plain password) or who does not exist. Both must come from here:
 * the same name always gets the same salt, whether there is such a user or not.
 */
export function saltFor(user: string): Buffer {
  return hmacSha256(processKey, `salt:${user}`).subarray(0, SALT_LENGTH);
}

/** A verifier that no password fits, for an exchange that must fail in the end. */
export function mockVerifier(user: string, iterations: number): ScramVerifier {
  return { iterations, salt: saltFor(user), storedKey: randomBytes(32), serverKey: randomBytes(32) };
}

/** Whether a password in clear fits the verifier. Runs PBKDF2 off the event loop; a right answer is remembered. */
export async function verifyPassword(
  verifier: ScramVerifier,
  user: string,
  password: string | Buffer,
): Promise<boolean> {
  const fits = (keys: { readonly clientKey: Buffer }): boolean =>
    timingSafeEqual(storedKeyOf(keys.clientKey), verifier.storedKey);
  return fits(await deriveScramKeys(user, password, verifier, fits));
}
