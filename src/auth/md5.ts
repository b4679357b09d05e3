/**
 * PostgreSQL's md5 password scheme: the stored secret is `md5` + md5(password + user), the answer to a salt is
 * `md5` + md5(that hex + salt). Weak, and kept because old userlist.txt files and servers still use it.
 */
import { createHash } from 'node:crypto';

/** The stored form of a password, `md5` + 32 hex digits. `password` may be raw bytes as a client sent them. */
export function md5Secret(password: string | Buffer, user: string): string {
  return `md5${createHash('md5').update(password).update(user).digest('hex')}`;
}

/** The answer to AuthenticationMD5Password. `secret` is what md5Secret() returns; `salt` has 4 bytes. */
export function md5Response(secret: string, salt: Buffer): string {
  return `md5${createHash('md5').update(secret.slice(3)).update(salt).digest('hex')}`;
}
