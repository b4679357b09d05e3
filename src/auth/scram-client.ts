/**
 * The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), for logging in to servers. Works with a password, or with
 * the keys that a client's own login gave away. The server must prove that it knows the verifier too.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import {
  deriveScramKeys,
  hmacSha256,
  type ScramKeys,
  type ScramParameters,
  storedKeyOf,
} from './scram-keys.ts';
import { type ScramResult, saslText, xor } from './scram-server.ts';
import { decodeBase64 } from './scram-verifier.ts';

/** More is refused: the server would choose how long our CPU is busy (CVE-2026-6669). */
export const MAX_SERVER_ITERATIONS = 1_000_000;

/** How the exchange gets its keys once the server has named salt and iterations; the string says why it cannot. */
export type ScramKeySource = (parameters: ScramParameters) => Promise<ScramKeys | string>;

const GS2_HEADER = 'n,,';
const NONCE = /^[\x21-\x2b\x2d-\x7e]+$/;
const COUNT = /^[1-9][0-9]{0,15}$/;

const refuse = (reason: string): { readonly ok: false; readonly reason: string } => ({ ok: false, reason });

/** A key source out of a password. `user` only separates entries of the cache. */
export function keysFromPassword(user: string, password: string): ScramKeySource {
  return (parameters) => deriveScramKeys(user, password, parameters);
}

/** A key source out of keys learnt elsewhere: they fit one salt and one iteration count only. */
export function keysFromLogin(learned: ScramKeys & ScramParameters): ScramKeySource {
  return async (parameters) =>
    parameters.iterations === learned.iterations && parameters.salt.equals(learned.salt)
      ? learned
      : 'SCRAM secret differs from the one on the server (salt or iterations)';
}

/** One exchange: first(), final(), verify(). Calls out of this order are refused. */
export class ScramClient {
  readonly #nonce: string;
  readonly #bare: string;
  readonly #source: ScramKeySource;
  #state: 'new' | 'first-sent' | 'final-sent' | 'done' = 'new';
  #serverSignature: Buffer = Buffer.alloc(0);

  /** `nonce` and `user` are for test vectors: PostgreSQL ignores the name, and libpq sends an empty one. */
  constructor(source: ScramKeySource, nonce: string = randomBytes(18).toString('base64'), user = '') {
    this.#source = source;
    this.#nonce = nonce;
    this.#bare = `n=${user},r=${nonce}`;
  }

  /** client-first-message. */
  first(): Buffer {
    this.#state = 'first-sent';
    return Buffer.from(GS2_HEADER + this.#bare);
  }

  /** Takes server-first-message, gives client-final-message. Rejects only when node:crypto fails. */
  async final(message: Buffer): Promise<ScramResult<Buffer>> {
    if (this.#state !== 'first-sent') return refuse('SCRAM message out of order');
    this.#state = 'done';
    const text = saslText(message);
    if (!text.ok) return text;
    const [r, s, i] = text.value.split(',');
    if (r?.startsWith('m=')) return refuse('server requires an unsupported SCRAM extension');
    if (r === undefined || !r.startsWith('r=') || !s?.startsWith('s=') || !i?.startsWith('i=')) {
      return refuse('malformed SCRAM message from server');
    }
    const nonce = r.slice(2);
    if (!nonce.startsWith(this.#nonce) || nonce.length === this.#nonce.length || !NONCE.test(nonce)) {
      return refuse('invalid SCRAM response from server (nonce mismatch)');
    }
    const salt = decodeBase64(s.slice(2));
    if (salt === null || salt.length === 0)
      return refuse('malformed SCRAM message from server (invalid salt)');
    if (!COUNT.test(i.slice(2)))
      return refuse('malformed SCRAM message from server (invalid iteration count)');
    const iterations = Number(i.slice(2));
    if (iterations > MAX_SERVER_ITERATIONS) {
      return refuse(`SCRAM iteration count of the server is too high (above ${MAX_SERVER_ITERATIONS})`);
    }
    const keys = await this.#source({ salt, iterations });
    if (typeof keys === 'string') return refuse(keys);

    const withoutProof = `c=${Buffer.from(GS2_HEADER).toString('base64')},r=${nonce}`;
    const authMessage = Buffer.from(`${this.#bare},${text.value},${withoutProof}`, 'latin1');
    const proof = xor(keys.clientKey, hmacSha256(storedKeyOf(keys.clientKey), authMessage));
    this.#serverSignature = hmacSha256(keys.serverKey, authMessage);
    this.#state = 'final-sent';
    return { ok: true, value: Buffer.from(`${withoutProof},p=${proof.toString('base64')}`, 'latin1') };
  }

  /** Takes server-final-message; null = the server has proved itself, else the reason. */
  verify(message: Buffer): string | null {
    if (this.#state !== 'final-sent') return 'SCRAM message out of order';
    this.#state = 'done';
    const text = saslText(message);
    if (!text.ok) return text.reason;
    const [v] = text.value.split(',');
    if (v?.startsWith('e=')) return 'server refused the SCRAM exchange';
    const signature = v?.startsWith('v=') ? decodeBase64(v.slice(2)) : null;
    if (signature?.length !== 32) return 'malformed SCRAM message from server (invalid signature)';
    return timingSafeEqual(signature, this.#serverSignature) ? null : 'invalid SCRAM server signature';
  }
}
