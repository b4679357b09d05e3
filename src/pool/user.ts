/** One user at run time: the secret that checks its logins, what its logins have taught, its counts. */
import type { LearnedCredentials } from '../auth/credentials.ts';

export class PoolUser {
  readonly name: string;
  /** From auth_file; null = not there. */
  secret: string | null;
  /** From the client's own login, for pass-through to servers. */
  learned: LearnedCredentials | null = null;
  servers = 0;
  clients = 0;

  constructor(name: string, secret: string | null) {
    this.name = name;
    this.secret = secret;
  }
}
