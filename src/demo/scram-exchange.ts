/**
 * The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677) for the demo's and the tests' own small clients. It is
 * deliberately not the proxy's implementation: the tests use it as an independent peer of that.
 * Passwords are taken as they are; SASLprep changes none of those that the demo and the tests use.
 */
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const derive = promisify(pbkdf2);

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function attributes(text: string): Map<string, string> {
  return new Map(text.split(',').map((part) => [part.slice(0, 1), part.slice(2)]));
}

export class ScramExchange {
  /** Body of SASLInitialResponse. */
  readonly clientFirst: string;
  readonly #password: string;
  readonly #nonce: string;
  #serverSignature: Buffer | null = null;

  /** `nonce` is for test vectors only. */
  constructor(password: string, nonce = randomBytes(18).toString('base64'), user = '') {
    this.#password = password;
    this.#nonce = nonce;
    this.clientFirst = `n,,n=${user},r=${nonce}`;
  }

  /** client-final-message for the server's first. Throws when that one is malformed or not an answer to ours. */
  async clientFinal(serverFirst: string): Promise<string> {
    const given = attributes(serverFirst);
    const nonce = given.get('r') ?? '';
    const salt = Buffer.from(given.get('s') ?? '', 'base64');
    const iterations = Number(given.get('i'));
    if (!nonce.startsWith(this.#nonce) || nonce === this.#nonce) throw new Error('SCRAM: bad server nonce');
    if (salt.length === 0 || !Number.isInteger(iterations) || iterations < 1) {
      throw new Error(`SCRAM: malformed server-first-message: ${serverFirst}`);
    }
    const salted = await derive(this.#password, salt, iterations, 32, 'sha256');
    const withoutProof = `c=biws,r=${nonce}`;
    const authMessage = `${this.clientFirst.slice(3)},${serverFirst},${withoutProof}`;
    const clientKey = hmac(salted, 'Client Key');
    const signature = hmac(createHash('sha256').update(clientKey).digest(), authMessage);
    const proof = clientKey.map((byte, i) => byte ^ (signature[i] ?? 0));
    this.#serverSignature = hmac(hmac(salted, 'Server Key'), authMessage);
    return `${withoutProof},p=${Buffer.from(proof).toString('base64')}`;
  }

  /** Throws unless the server has proved that it knows the password's verifier. */
  verifyServer(serverFinal: string): void {
    const given = Buffer.from(attributes(serverFinal).get('v') ?? '', 'base64');
    const expected = this.#serverSignature;
    if (expected === null || given.length !== expected.length || !timingSafeEqual(given, expected)) {
      throw new Error('SCRAM: the server does not know the password');
    }
  }
}
