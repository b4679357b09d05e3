/**
 * How to log in to a server: one exchange, driven by server/ with the bodies of Authentication messages.
 * No sockets, no timers. What can be used for what (reference pgbouncer.md section 7): a plain secret for everything,
 * an md5 secret for md5, a SCRAM secret only with keys (or the password) that a client's own login has given us.
 */
import { passwordMessage, saslInitialResponse, saslResponse } from '../wire/frontend.ts';
import type { LearnedCredentials } from './credentials.ts';
import { md5Response, md5Secret } from './md5.ts';
import { keysFromLogin, keysFromPassword, ScramClient, type ScramKeySource } from './scram-client.ts';
import { storedKeyOf } from './scram-keys.ts';
import { SCRAM_MECHANISM } from './scram-server.ts';
import { verifyPassword } from './scram-verifier.ts';
import { parseSecret, type Secret } from './secret.ts';

export interface ServerCredentials {
  /** The role on the server. */
  readonly user: string;
  /** From `password=` of the database or from auth_file; null = there is none. */
  readonly secret: string | null;
  /** From a client who logged in as this same user; checked against `secret` where there is one. */
  readonly learned: LearnedCredentials | null;
}

export type ServerAuthStep =
  | { readonly kind: 'send'; readonly bytes: Buffer }
  /** AuthenticationOk. */
  | { readonly kind: 'ok' }
  /** Nothing to send: the next Authentication message decides. */
  | { readonly kind: 'wait' }
  /** `reason` is the argument of serverLoginFailed; `logText` says more where there is more to say. */
  | { readonly kind: 'fail'; readonly reason: string; readonly logText: string };

export interface ServerAuthExchange {
  /** Takes the body of one Authentication message: code and data. Never rejects. */
  onAuthentication(body: Buffer): Promise<ServerAuthStep>;
}

type State = 'start' | 'password-sent' | 'sasl-first' | 'sasl-final' | 'sasl-verified' | 'over';

const WRONG_TYPE = 'wrong password type';
const NO_SCRAM_KEYS =
  'cannot do SCRAM authentication: password is SCRAM secret but client authentication did not provide SCRAM keys';

function fail(reason: string, logText: string = reason): ServerAuthStep {
  return { kind: 'fail', reason, logText };
}

class Exchange implements ServerAuthExchange {
  readonly #creds: ServerCredentials;
  readonly #secret: Secret;
  #state: State = 'start';
  #busy = false;
  #scram: ScramClient | null = null;

  constructor(creds: ServerCredentials) {
    this.#creds = creds;
    this.#secret = parseSecret(creds.secret ?? '');
  }

  async onAuthentication(body: Buffer): Promise<ServerAuthStep> {
    if (this.#busy) {
      this.#state = 'over';
      return fail('unexpected authentication message from server');
    }
    this.#busy = true;
    let step: ServerAuthStep;
    try {
      // a copy: the caller's read buffer may be filled again while PBKDF2 runs
      step = await this.#step(Buffer.from(body));
    } catch (err) {
      step = fail(`authentication failed: ${err instanceof Error ? err.message : 'unknown error'}`);
    }
    this.#busy = false;
    if (this.#state === 'over' && step.kind !== 'fail' && step.kind !== 'ok') {
      return fail('unexpected authentication message from server');
    }
    if (step.kind === 'fail') this.#state = 'over';
    return step;
  }

  async #step(body: Buffer): Promise<ServerAuthStep> {
    if (body.length < 4) return fail('malformed authentication message from server');
    const code = body.readInt32BE(0);
    const data = body.subarray(4);
    const expected = EXPECTED.get(code);
    if (expected === undefined) return fail(`unknown/unsupported auth type ${code}`);
    if (!expected.includes(this.#state)) {
      // Ok in the middle of SCRAM: the server has not proved that it knows our secret
      return code === 0 && this.#scram !== null
        ? fail('server did not complete SCRAM authentication')
        : fail('unexpected authentication message from server');
    }
    switch (code) {
      case 0:
        this.#state = 'over';
        return { kind: 'ok' };
      case 3:
        return this.#clear();
      case 5:
        return this.#md5(data);
      case 10:
        return this.#saslFirst(data);
      case 11:
        return this.#saslFinal(data);
      default:
        return this.#saslVerify(data);
    }
  }

  /** The password in clear, where we have it: from the file, else from the client, if it fits the file. */
  async #password(): Promise<string | null> {
    const secret = this.#secret;
    if (secret.kind === 'plain') return secret.password;
    const learned = this.#creds.learned?.password;
    if (learned === undefined || learned === '') return null;
    if (secret.kind === 'empty') return learned;
    const fits =
      secret.kind === 'md5'
        ? md5Secret(learned, this.#creds.user) === secret.secret
        : await verifyPassword(secret.verifier, this.#creds.user, learned);
    return fits ? learned : null;
  }

  /** Why there is nothing to answer with. */
  #noPassword(): ServerAuthStep {
    return this.#secret.kind === 'empty'
      ? fail(`no password known for user "${this.#creds.user}"`)
      : fail(WRONG_TYPE);
  }

  async #clear(): Promise<ServerAuthStep> {
    const password = await this.#password();
    if (password === null) return this.#noPassword();
    return this.#send('password-sent', passwordMessage(password));
  }

  async #md5(salt: Buffer): Promise<ServerAuthStep> {
    if (salt.length !== 4) return fail('malformed authentication message from server');
    const secret = this.#secret;
    if (secret.kind === 'md5') {
      return this.#send('password-sent', passwordMessage(md5Response(secret.secret, salt)));
    }
    const password = await this.#password();
    if (password === null) return this.#noPassword();
    const stored = md5Secret(password, this.#creds.user);
    return this.#send('password-sent', passwordMessage(md5Response(stored, salt)));
  }

  async #saslFirst(data: Buffer): Promise<ServerAuthStep> {
    const mechanisms = data.toString('latin1').split('\0');
    if (!mechanisms.includes(SCRAM_MECHANISM)) return fail('no supported SASL mechanism offered by server');
    const source = await this.#keySource();
    if (typeof source !== 'function') return source;
    this.#scram = new ScramClient(source);
    return this.#send('sasl-first', saslInitialResponse(SCRAM_MECHANISM, this.#scram.first()));
  }

  async #keySource(): Promise<ScramKeySource | ServerAuthStep> {
    const secret = this.#secret;
    const keys = this.#creds.learned?.scramKeys;
    if (secret.kind === 'scram' && keys !== undefined) {
      // keys of an older password, or of another user, are none
      if (storedKeyOf(keys.clientKey).equals(secret.verifier.storedKey)) return keysFromLogin(keys);
    }
    const password = await this.#password();
    if (password !== null) return keysFromPassword(this.#creds.user, password);
    if (secret.kind === 'empty' && keys !== undefined) return keysFromLogin(keys);
    if (secret.kind === 'scram') return fail(WRONG_TYPE, NO_SCRAM_KEYS);
    if (secret.kind === 'md5') return fail(WRONG_TYPE, 'cannot do SCRAM authentication: wrong password type');
    return this.#noPassword();
  }

  async #saslFinal(data: Buffer): Promise<ServerAuthStep> {
    const reply = await this.#scram?.final(data);
    if (reply === undefined) return fail('unexpected authentication message from server');
    return reply.ok ? this.#send('sasl-final', saslResponse(reply.value)) : fail(reply.reason);
  }

  #saslVerify(data: Buffer): ServerAuthStep {
    const problem = this.#scram?.verify(data);
    if (problem !== null) return fail(problem ?? 'unexpected authentication message from server');
    this.#state = 'sasl-verified';
    return { kind: 'wait' };
  }

  #send(next: State, bytes: Buffer): ServerAuthStep {
    // 'over' = a message arrived while we were computing: it stays over
    if (this.#state !== 'over') this.#state = next;
    return { kind: 'send', bytes };
  }
}

/** In which states an authentication code may arrive; other codes are not supported. */
const EXPECTED: ReadonlyMap<number, readonly State[]> = new Map<number, readonly State[]>([
  [0, ['start', 'password-sent', 'sasl-verified']],
  [3, ['start']],
  [5, ['start']],
  [10, ['start']],
  [11, ['sasl-first']],
  [12, ['sasl-final']],
]);

/** Starts the login of one server connection, after its StartupMessage has been sent. */
export function beginServerAuth(creds: ServerCredentials): ServerAuthExchange {
  return new Exchange(creds);
}
