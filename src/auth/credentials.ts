/** What a client's login has taught us, for logging in to servers as the same user. */
import type { ScramKeys, ScramParameters } from './scram-keys.ts';

/**
 * Only what auth_file does not say already; empty after trust, md5 and SCRAM against a plain secret.
 * Secret: never logged, never shown.
 */
export interface LearnedCredentials {
  /** The password in clear, after auth_type plain. */
  readonly password?: string;
  /** After SCRAM against a verifier: they log in where the verifier has the same salt and iterations. */
  readonly scramKeys?: ScramKeys & ScramParameters;
}
