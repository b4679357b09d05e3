/** client_tls_* settings to what a client's TLS handshake needs. Read at start and at RELOAD; throws FatalError. */
import fs from 'node:fs';
import tls from 'node:tls';
import type { Settings } from '../config/options.ts';
import { tlsCiphers, tlsVersions } from '../net/tls-names.ts';
import { FatalError } from '../util/fatal-error.ts';

export interface ClientTls {
  /** TCP clients must use it. */
  readonly required: boolean;
  /** A client certificate is demanded and must verify. */
  readonly verify: boolean;
  readonly options: tls.TLSSocketOptions;
}

/** Without the name of a curve, OpenSSL and the client agree on one. */
const CURVE_WORDS = new Set(['', 'auto', 'none']);

function file(setting: string, path: string): Buffer {
  try {
    return fs.readFileSync(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new FatalError(`TLS setup failed: cannot read ${setting} ${path}: ${code}`);
  }
}

/** Null = client_tls_sslmode is disable. */
export function clientTls(s: Settings): ClientTls | null {
  const mode = s.clientTlsSslmode;
  if (mode === 'disable') return null;
  if (s.clientTlsKeyFile === '' || s.clientTlsCertFile === '') {
    throw new FatalError(
      'To allow TLS connections from clients, client_tls_key_file and client_tls_cert_file must be set.',
    );
  }
  const verify = mode === 'verify-ca' || mode === 'verify-full';
  const ciphers = tlsCiphers(s.clientTlsCiphers, s.clientTls13Ciphers);
  const material = {
    key: file('client_tls_key_file', s.clientTlsKeyFile),
    cert: file('client_tls_cert_file', s.clientTlsCertFile),
    ...(s.clientTlsCaFile === '' ? {} : { ca: file('client_tls_ca_file', s.clientTlsCaFile) }),
    ...(ciphers === null ? {} : { ciphers }),
    ...(s.clientTlsDheparams === 'auto' ? { dhparam: 'auto' } : {}),
    ...(CURVE_WORDS.has(s.clientTlsEcdhcurve) ? {} : { ecdhCurve: s.clientTlsEcdhcurve }),
  };
  try {
    const secureContext = tls.createSecureContext({ ...material, ...tlsVersions(s.clientTlsProtocols) });
    return {
      required: mode === 'require' || verify,
      verify,
      options: { secureContext, requestCert: verify, rejectUnauthorized: false },
    };
  } catch (error) {
    throw new FatalError(`TLS setup failed: ${error instanceof Error ? error.message : String(error)}`);
  }
}
