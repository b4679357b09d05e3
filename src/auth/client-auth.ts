/**
 * Who is this client: one exchange, driven with bytes by client/login. No sockets, no timers.
 * A user who does not exist, who has an empty secret, or whose secret cannot work with the method plays the whole
 * exchange with a made-up secret and gets the error of a wrong password: names cannot be probed.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { ErrorCode } from '../util/errors.ts';
import {
  AUTHENTICATION_CLEARTEXT,
  authentication,
  authenticationMd5,
  authenticationSasl,
} from '../wire/backend.ts';
import type { LearnedCredentials } from './credentials.ts';
import { md5Response, md5Secret } from './md5.ts';
import { deriveScramKeys, storedKeyOf } from './scram-keys.ts';
import { SCRAM_MECHANISM, ScramServer } from './scram-server.ts';
import { mockVerifier, type ScramVerifier, saltFor, verifyPassword } from './scram-verifier.ts';
import { parseSecret, type Secret } from './secret.ts';

export type ClientAuthType = 'any' | 'trust' | 'plain' | 'md5' | 'scram-sha-256';

export interface ClientAuthRequest {
  readonly authType: ClientAuthType;
  readonly user: string;
  /** As in auth_file; null = unknown user. */
  readonly secret: string | null;
  /** Shown to users who have no verifier of their own. */
  readonly scramIterations: number;
}

export type ClientAuthStep =
  | { readonly kind: 'send'; readonly bytes: Buffer }
  /** `bytes` go before AuthenticationOk, which the caller sends; may be empty. */
  | { readonly kind: 'ok'; readonly bytes: Buffer; readonly credentials: LearnedCredentials }
  /** `argument` for the row `code` of the error table; `logText` for the log only. */
  | { readonly kind: 'fail'; readonly code: ErrorCode; readonly argument?: string; readonly logText: string };

export interface ClientAuthExchange {
  /** What to send to begin with; null = there is nothing to ask, `immediate` is the result. */
  readonly first: Buffer | null;
  /** The result without any exchange (any, trust); null when `first` is to be sent. */
  readonly immediate: ClientAuthStep | null;
  /**
   * Takes the body of one 'p' message (without type and length). Never rejects. After ok or fail, and when called
   * while a call is still running, the exchange has failed.
   */
  respond(body: Buffer): Promise<ClientAuthStep>;
}

/** A phase of the exchange: the answer, and the phase after it when that is a `send`. */
interface Reply {
  readonly step: ClientAuthStep;
  readonly next?: Phase;
}
type Phase = (body: Buffer) => Reply | Promise<Reply>;

/** Longest password taken, as PgBouncer 1.26. */
const MAX_PASSWORD = 65_530;
const EMPTY = Buffer.alloc(0);
const compareKey = randomBytes(32);

/** Constant time whatever the lengths are. */
function sameBytes(a: Buffer, b: Buffer): boolean {
  const digest = (bytes: Buffer): Buffer => createHmac('sha256', compareKey).update(bytes).digest();
  return timingSafeEqual(digest(a), digest(b));
}

const ok = (credentials: LearnedCredentials = {}, bytes: Buffer = EMPTY): ClientAuthStep => ({
  kind: 'ok',
  bytes,
  credentials,
});

/** The one error of everything that a wrong password could be. */
function denied(user: string, logText: string): ClientAuthStep {
  return { kind: 'fail', code: 'passwordAuthFailed', argument: user, logText };
}

class Exchange implements ClientAuthExchange {
  readonly first: Buffer | null;
  readonly immediate: ClientAuthStep | null;
  readonly #user: string;
  #phase: Phase | null;
  #busy = false;

  constructor(user: string, first: Buffer | null, immediate: ClientAuthStep | null, phase: Phase | null) {
    this.#user = user;
    this.first = first;
    this.immediate = immediate;
    this.#phase = phase;
  }

  async respond(body: Buffer): Promise<ClientAuthStep> {
    const phase = this.#phase;
    this.#phase = null;
    if (phase === null || this.#busy) {
      this.#busy = false;
      return denied(this.#user, 'authentication message out of order');
    }
    this.#busy = true;
    let reply: Reply;
    try {
      // a copy: the caller's read buffer may be filled again while PBKDF2 runs
      reply = await phase(Buffer.from(body));
    } catch (err) {
      reply = {
        step: denied(this.#user, `authentication failed: ${err instanceof Error ? err.message : 'unknown'}`),
      };
    }
    // a second message came while PBKDF2 was running: no client in its right mind does that
    if (!this.#busy) return denied(this.#user, 'authentication message out of order');
    this.#busy = false;
    this.#phase = reply.next ?? null;
    return reply.step;
  }
}

/** Starts the exchange for a client whose startup packet has been read. Never throws for what a user or file says. */
export function beginClientAuth(request: ClientAuthRequest): ClientAuthExchange {
  const { authType, user } = request;
  if (authType === 'any') return new Exchange(user, null, ok(), null);
  if (authType === 'trust') {
    const unknown: ClientAuthStep = {
      kind: 'fail',
      code: 'trustAuthFailed',
      logText: `no such user: ${user}`,
    };
    return new Exchange(user, null, request.secret === null ? unknown : ok(), null);
  }
  const secret = request.secret === null ? null : parseSecret(request.secret);
  if (authType === 'plain')
    return new Exchange(user, AUTHENTICATION_CLEARTEXT, null, plainPhase(user, secret));
  // a verifier cannot be used for md5: SCRAM is played instead, no matter which client asks
  if (authType === 'md5' && secret?.kind !== 'scram') return md5Exchange(user, secret);
  return scramExchange(request, secret);
}

/** The text of a PasswordMessage, or the step that refuses it. */
function readPassword(user: string, body: Buffer): Buffer | ClientAuthStep {
  const end = body.indexOf(0);
  if (end < 0 || end !== body.length - 1) return denied(user, 'malformed password message');
  if (end === 0) return { kind: 'fail', code: 'emptyPassword', logText: 'empty password returned by client' };
  if (end > MAX_PASSWORD) return { kind: 'fail', code: 'passwordTooLong', logText: 'password too long' };
  return body.subarray(0, end);
}

/** Why a login with a made-up secret fails, for the log. */
function mockReason(user: string, secret: Secret | null): string {
  if (secret === null) return `no such user: ${user}`;
  return secret.kind === 'empty' ? 'user has no password' : 'secret cannot be used with this auth_type';
}

function plainPhase(user: string, secret: Secret | null): Phase {
  return async (body) => {
    const password = readPassword(user, body);
    if (!Buffer.isBuffer(password)) return { step: password };
    if (secret === null || secret.kind === 'empty') {
      sameBytes(password, compareKey);
      return { step: denied(user, mockReason(user, secret)) };
    }
    if (!(await passwordFits(user, secret, password))) return { step: denied(user, 'wrong password') };
    const text = password.toString();
    // bytes that are no UTF-8 cannot be kept as a string: the server will need a secret of its own then
    return { step: ok(Buffer.from(text).equals(password) ? { password: text } : {}) };
  };
}

async function passwordFits(user: string, secret: Secret, password: Buffer): Promise<boolean> {
  switch (secret.kind) {
    case 'empty':
      return false;
    case 'plain':
      return sameBytes(password, Buffer.from(secret.password));
    case 'md5':
      return sameBytes(Buffer.from(md5Secret(password, user)), Buffer.from(secret.secret));
    case 'scram':
      return verifyPassword(secret.verifier, user, password);
  }
}

function md5Exchange(user: string, secret: Secret | null): ClientAuthExchange {
  const salt = randomBytes(4);
  const stored = storedMd5(user, secret);
  const phase: Phase = (body) => {
    const answer = readPassword(user, body);
    if (!Buffer.isBuffer(answer)) return { step: answer };
    const expected = md5Response(stored ?? `md5${randomBytes(16).toString('hex')}`, salt);
    const same = sameBytes(answer, Buffer.from(expected));
    if (stored === null) return { step: denied(user, mockReason(user, secret)) };
    return { step: same ? ok() : denied(user, 'wrong password') };
  };
  return new Exchange(user, authenticationMd5(salt), null, phase);
}

function storedMd5(user: string, secret: Secret | null): string | null {
  if (secret?.kind === 'md5') return secret.secret;
  return secret?.kind === 'plain' ? md5Secret(secret.password, user) : null;
}

function scramExchange(request: ClientAuthRequest, secret: Secret | null): ClientAuthExchange {
  const { user } = request;
  const verifier = secret?.kind === 'scram' ? secret.verifier : null;
  const password = secret?.kind === 'plain' ? secret.password : null;
  const mock = mockVerifier(user, request.scramIterations);
  const server = new ScramServer(verifier ?? mock);

  const finalPhase: Phase = async (body) => {
    const proof = server.readProof(body);
    if (!proof.ok) return { step: denied(user, proof.reason) };
    const keys = verifier ?? (password === null ? mock : await verifierOf(request, password));
    const verdict = server.verify(proof.value, keys);
    // the proof of a made-up secret is judged like any other, but even the right one would not count
    if (verifier === null && password === null) return { step: denied(user, mockReason(user, secret)) };
    if (!verdict.ok) return { step: denied(user, verdict.reason) };
    const learned: LearnedCredentials =
      verifier === null
        ? {}
        : { scramKeys: { ...verdict.value.keys, salt: verifier.salt, iterations: verifier.iterations } };
    return { step: ok(learned, authentication(12, verdict.value.bytes)) };
  };

  const firstPhase: Phase = (body) => {
    const data = readInitialResponse(body);
    if (typeof data === 'string') return { step: denied(user, data) };
    const reply = server.first(data);
    if (!reply.ok) return { step: denied(user, reply.reason) };
    return { step: { kind: 'send', bytes: authentication(11, reply.value) }, next: finalPhase };
  };
  return new Exchange(user, authenticationSasl([SCRAM_MECHANISM]), null, firstPhase);
}

/** The verifier that a plain secret stands for; after the first login out of the cache. */
async function verifierOf(request: ClientAuthRequest, password: string): Promise<ScramVerifier> {
  const parameters = { salt: saltFor(request.user), iterations: request.scramIterations };
  const keys = await deriveScramKeys(request.user, password, parameters);
  return { ...parameters, storedKey: storedKeyOf(keys.clientKey), serverKey: keys.serverKey };
}

/** SASLInitialResponse: mechanism, length, client-first-message. A string says what is wrong with it. */
function readInitialResponse(body: Buffer): Buffer | string {
  const end = body.indexOf(0);
  if (end < 0 || body.length < end + 5) return 'malformed SASLInitialResponse';
  if (body.toString('latin1', 0, end) !== SCRAM_MECHANISM) return 'client selected an invalid SASL mechanism';
  const length = body.readInt32BE(end + 1);
  const data = body.subarray(end + 5);
  return length === data.length ? data : 'malformed SASLInitialResponse';
}
