/**
 * SCRAM keys out of a password (RFC 5802 section 3). PBKDF2 costs a millisecond and more, so it runs in libuv's
 * thread pool only, a few at a time (the pool is shared with DNS and files), and its results are kept in a bounded
 * cache. The cache holds keyed hashes of passwords, never passwords.
 */
import { createHash, createHmac, pbkdf2, randomBytes } from 'node:crypto';
import { saslPrep } from './sasl-prep.ts';

export interface ScramKeys {
  /** 32 bytes. Who has it can log in: never logged. */
  readonly clientKey: Buffer;
  /** 32 bytes. */
  readonly serverKey: Buffer;
}

/** What a password has to be mixed with. */
export interface ScramParameters {
  readonly salt: Buffer;
  readonly iterations: number;
}

const MAX_IN_FLIGHT = 4;
const MAX_CACHED = 4096;

const cacheKeySecret = randomBytes(32);
/** Least recently used first. */
const cache = new Map<string, ScramKeys>();
/** The same derivation asked for by several logins at once runs once. */
const running = new Map<string, Promise<ScramKeys>>();
const queue: (() => void)[] = [];
let inFlight = 0;

export function hmacSha256(key: Buffer, data: string | Buffer): Buffer {
  return createHmac('sha256', key).update(data).digest();
}

/** H(ClientKey): what a verifier stores. */
export function storedKeyOf(clientKey: Buffer): Buffer {
  return createHash('sha256').update(clientKey).digest();
}

/** The bytes that go into PBKDF2: SASLprep of UTF-8 text, anything else as it is. */
function prepared(password: string | Buffer): Buffer {
  if (typeof password === 'string') return Buffer.from(saslPrep(password));
  const text = password.toString();
  return Buffer.from(text).equals(password) ? Buffer.from(saslPrep(text)) : password;
}

function cacheKey(user: string, password: Buffer, p: ScramParameters): string {
  const hash = hmacSha256(cacheKeySecret, password).toString('base64');
  return `${p.iterations}:${p.salt.toString('base64')}:${hash}:${user}`;
}

function release(): void {
  const next = queue.shift();
  // the slot goes straight to the oldest in the queue
  if (next === undefined) inFlight--;
  else next();
}

async function compute(password: Buffer, p: ScramParameters): Promise<ScramKeys> {
  if (inFlight < MAX_IN_FLIGHT) inFlight++;
  else await new Promise<void>((resolve) => queue.push(resolve));
  try {
    const salted = await new Promise<Buffer>((resolve, reject) => {
      pbkdf2(password, p.salt, p.iterations, 32, 'sha256', (err, key) => {
        if (err === null) resolve(key);
        else reject(err);
      });
    });
    return { clientKey: hmacSha256(salted, 'Client Key'), serverKey: hmacSha256(salted, 'Server Key') };
  } finally {
    release();
  }
}

function remember(key: string, keys: ScramKeys): void {
  cache.delete(key);
  cache.set(key, keys);
  if (cache.size <= MAX_CACHED) return;
  const oldest = cache.keys().next();
  if (oldest.done !== true) cache.delete(oldest.value);
}

/**
 * Keys of `password`, from the cache where possible. `accept` decides whether a fresh result is worth keeping:
 * guesses of strangers must not push the keys of real users out. Rejects only when node:crypto refuses its input.
 */
export function deriveScramKeys(
  user: string,
  password: string | Buffer,
  parameters: ScramParameters,
  accept: (keys: ScramKeys) => boolean = () => true,
): Promise<ScramKeys> {
  const bytes = prepared(password);
  const key = cacheKey(user, bytes, parameters);
  const known = cache.get(key);
  if (known !== undefined) {
    remember(key, known);
    return Promise.resolve(known);
  }
  const started = running.get(key);
  if (started !== undefined) return started;
  const work = compute(bytes, parameters)
    .then((keys) => {
      if (accept(keys)) remember(key, keys);
      return keys;
    })
    .finally(() => running.delete(key));
  running.set(key, work);
  return work;
}

/** For tests and for SHOW MEM: entries in the cache, derivations in the thread pool and waiting for it. */
export function scramKeyLoad(): {
  readonly cached: number;
  readonly inFlight: number;
  readonly queued: number;
} {
  return { cached: cache.size, inFlight, queued: queue.length };
}
