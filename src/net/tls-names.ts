/** PgBouncer's names for TLS protocols and ciphers, in the words of Node. */
import type { SecureVersion } from 'node:tls';

const VERSIONS: readonly SecureVersion[] = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'];

const BY_NAME: Readonly<Record<string, readonly SecureVersion[]>> = {
  'tlsv1.0': ['TLSv1'],
  'tlsv1.1': ['TLSv1.1'],
  'tlsv1.2': ['TLSv1.2'],
  'tlsv1.3': ['TLSv1.3'],
  all: VERSIONS,
  legacy: VERSIONS,
  secure: ['TLSv1.2', 'TLSv1.3'],
};

/** The span of versions of a list like `tlsv1.2,tlsv1.3`; throws for unknown names. */
export function tlsVersions(list: string): { minVersion: SecureVersion; maxVersion: SecureVersion } {
  let least = VERSIONS.length;
  let most = -1;
  for (const name of list.split(',').map((one) => one.trim().toLowerCase())) {
    const versions = BY_NAME[name];
    if (versions === undefined) throw new Error(`TLS setup failed: unknown protocol "${name}"`);
    for (const version of versions) {
      least = Math.min(least, VERSIONS.indexOf(version));
      most = Math.max(most, VERSIONS.indexOf(version));
    }
  }
  return { minVersion: VERSIONS[least] as SecureVersion, maxVersion: VERSIONS[most] as SecureVersion };
}

const KEYWORDS = new Set(['default', 'secure', 'fast', 'normal', 'all', '']);

/** An OpenSSL cipher list for Node, null = Node's own default. */
export function tlsCiphers(list: string, tls13: string | null): string | null {
  const own = KEYWORDS.has(list.toLowerCase()) ? '' : list;
  if (tls13 === null || tls13 === '') return own === '' ? null : own;
  return own === '' ? `${tls13}:HIGH:!aNULL` : `${tls13}:${own}`;
}
