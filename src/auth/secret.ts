/** What kind of secret a userlist.txt entry, `password=` or auth_query gives; rules as PostgreSQL's get_password_type(). */
import { parseVerifier, type ScramVerifier } from './scram-verifier.ts';

export type Secret =
  | { readonly kind: 'empty' }
  | { readonly kind: 'plain'; readonly password: string }
  /** `secret` with its `md5` in front. */
  | { readonly kind: 'md5'; readonly secret: string }
  | { readonly kind: 'scram'; readonly verifier: ScramVerifier };

const MD5 = /^md5[0-9a-f]{32}$/;

/** Never fails: what has neither the exact md5 nor the exact SCRAM form is a plain password, as in PostgreSQL. */
export function parseSecret(text: string): Secret {
  if (text === '') return { kind: 'empty' };
  if (MD5.test(text)) return { kind: 'md5', secret: text };
  const verifier = parseVerifier(text);
  return verifier === null ? { kind: 'plain', password: text } : { kind: 'scram', verifier };
}
