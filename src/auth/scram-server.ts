/**
 * The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding. Pure: no PBKDF2 here, the
 * caller brings salt, iterations and keys. Texts are handled as latin1, so that the bytes that go into the
 * signature are exactly those that were received.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { hmacSha256, type ScramKeys, type ScramParameters, storedKeyOf } from './scram-keys.ts';
import { decodeBase64 } from './scram-verifier.ts';

export const SCRAM_MECHANISM = 'SCRAM-SHA-256';
/** As PostgreSQL's PG_MAX_SASL_MESSAGE_LENGTH. */
export const MAX_SASL_MESSAGE = 1024;

export type ScramResult<T> =
  | { readonly ok: true; readonly value: T }
  /** `reason` is for the log: it never quotes what the client sent. */
  | { readonly ok: false; readonly reason: string };

/** A well-formed client-final-message, not judged yet. */
export interface ClientProof {
  readonly proof: Buffer;
  readonly authMessage: string;
}

interface ClientFirst {
  /** `n,,` or `y,,`. */
  readonly gs2Header: string;
  readonly bare: string;
  readonly nonce: string;
}

const refuse = (reason: string): { readonly ok: false; readonly reason: string } => ({ ok: false, reason });

// printable ASCII without the comma (RFC 5802 "printable")
const NONCE = /^[\x21-\x2b\x2d-\x7e]+$/;
const ATTRIBUTE = /^[A-Za-z]=[^\0,]+$/;

/** The text of a message, or why it cannot be one. */
export function saslText(message: Buffer): ScramResult<string> {
  if (message.length === 0) return refuse('empty SCRAM message');
  if (message.length > MAX_SASL_MESSAGE) return refuse('SCRAM message too long');
  if (message.includes(0)) return refuse('malformed SCRAM message: contains a NUL');
  return { ok: true, value: message.toString('latin1') };
}

function parseClientFirst(message: Buffer): ScramResult<ClientFirst> {
  const text = saslText(message);
  if (!text.ok) return text;
  const [flag, authzid, user, nonce, ...extensions] = text.value.split(',');
  if (flag?.startsWith('p=')) return refuse('client requires SCRAM channel binding, which was not offered');
  if (flag !== 'n' && flag !== 'y') return refuse('malformed SCRAM message: bad channel binding flag');
  if (authzid !== '') return refuse('client uses an authorization identity, which is not supported');
  if (user?.startsWith('m=')) return refuse('client requires an unsupported SCRAM extension');
  // the name itself is not looked at: the one of the startup packet counts
  if (user === undefined || !user.startsWith('n='))
    return refuse('malformed SCRAM message: user name missing');
  if (nonce === undefined || !nonce.startsWith('r=')) return refuse('malformed SCRAM message: nonce missing');
  const value = nonce.slice(2);
  if (!NONCE.test(value)) return refuse('malformed SCRAM message: bad nonce');
  if (!extensions.every((e) => ATTRIBUTE.test(e))) return refuse('malformed SCRAM message: bad extension');
  const gs2Header = `${flag},,`;
  return { ok: true, value: { gs2Header, bare: text.value.slice(gs2Header.length), nonce: value } };
}

/** One exchange: first(), then readProof(), then verify(). Calls out of this order are refused. */
export class ScramServer {
  readonly #parameters: ScramParameters;
  readonly #ownNonce: string;
  #started: { readonly first: ClientFirst; readonly nonce: string; readonly reply: string } | null = null;

  /** `nonce` is for test vectors; else 18 random bytes as in PostgreSQL. */
  constructor(parameters: ScramParameters, nonce: string = randomBytes(18).toString('base64')) {
    this.#parameters = parameters;
    this.#ownNonce = nonce;
  }

  /** Takes client-first-message, gives server-first-message. */
  first(message: Buffer): ScramResult<Buffer> {
    if (this.#started !== null) return refuse('SCRAM message out of order');
    const first = parseClientFirst(message);
    if (!first.ok) return first;
    const nonce = first.value.nonce + this.#ownNonce;
    const { salt, iterations } = this.#parameters;
    const reply = `r=${nonce},s=${salt.toString('base64')},i=${iterations}`;
    this.#started = { first: first.value, nonce, reply };
    return { ok: true, value: Buffer.from(reply, 'latin1') };
  }

  /** Takes client-final-message and checks everything but the proof. */
  readProof(message: Buffer): ScramResult<ClientProof> {
    if (this.#started === null) return refuse('SCRAM message out of order');
    const { first, nonce, reply } = this.#started;
    const text = saslText(message);
    if (!text.ok) return text;
    const parts = text.value.split(',');
    const [binding, theirNonce] = parts;
    const last = parts.length > 2 ? parts.at(-1) : undefined;
    if (binding === undefined || !binding.startsWith('c=')) {
      return refuse('malformed SCRAM message: channel binding missing');
    }
    if (binding.slice(2) !== Buffer.from(first.gs2Header).toString('base64')) {
      return refuse('unexpected SCRAM channel-binding attribute in client-final-message');
    }
    if (theirNonce === undefined || !theirNonce.startsWith('r=')) {
      return refuse('malformed SCRAM message: nonce missing');
    }
    if (theirNonce.slice(2) !== nonce) return refuse('SCRAM nonce does not match');
    if (last === undefined || !last.startsWith('p=')) return refuse('malformed SCRAM message: proof missing');
    if (!parts.slice(2, -1).every((e) => ATTRIBUTE.test(e))) {
      return refuse('malformed SCRAM message: bad extension');
    }
    const proof = decodeBase64(last.slice(2));
    if (proof?.length !== 32) return refuse('malformed SCRAM message: bad proof');
    const withoutProof = text.value.slice(0, text.value.length - last.length - 1);
    return { ok: true, value: { proof, authMessage: `${first.bare},${reply},${withoutProof}` } };
  }

  /**
   * Judges the proof in constant time. On success gives server-final-message and the keys that log in to a server
   * which has the same verifier: ClientKey comes out of the proof (RFC 5802 section 3).
   */
  verify(
    proof: ClientProof,
    keys: { readonly storedKey: Buffer; readonly serverKey: Buffer },
  ): ScramResult<{ readonly bytes: Buffer; readonly keys: ScramKeys }> {
    const authMessage = Buffer.from(proof.authMessage, 'latin1');
    const signature = hmacSha256(keys.storedKey, authMessage);
    const clientKey = xor(proof.proof, signature);
    if (!timingSafeEqual(storedKeyOf(clientKey), keys.storedKey)) return refuse('wrong password');
    const serverSignature = hmacSha256(keys.serverKey, authMessage).toString('base64');
    return {
      ok: true,
      value: {
        bytes: Buffer.from(`v=${serverSignature}`, 'latin1'),
        keys: { clientKey, serverKey: keys.serverKey },
      },
    };
  }
}

/** Bytewise; both have the same length. */
export function xor(a: Buffer, b: Buffer): Buffer {
  return Buffer.from(a.map((byte, i) => byte ^ (b[i] ?? 0)));
}
