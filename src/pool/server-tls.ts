/** server_tls_* settings to the options of Node's TLS. Read at start and at RELOAD; throws with the file's name. */
import fs from 'node:fs';
import type { Settings } from '../config/options.ts';
import { tlsCiphers, tlsVersions } from '../net/tls-names.ts';
import type { ServerTls } from '../server/login.ts';

function file(setting: string, path: string): Buffer {
  try {
    return fs.readFileSync(path);
  } catch (error) {
    throw new Error(
      `TLS setup failed: ${setting} ${path}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`,
    );
  }
}

export function serverTls(s: Settings): ServerTls {
  const mode = s.serverTlsSslmode === 'allow' ? 'prefer' : s.serverTlsSslmode;
  if (mode === 'disable') return { mode, options: {} };
  const ciphers = tlsCiphers(s.serverTlsCiphers, s.serverTls13Ciphers);
  return {
    mode,
    options: {
      ...tlsVersions(s.serverTlsProtocols),
      ...(ciphers === null ? {} : { ciphers }),
      ...(s.serverTlsCaFile === '' ? {} : { ca: file('server_tls_ca_file', s.serverTlsCaFile) }),
      ...(s.serverTlsCertFile === '' ? {} : { cert: file('server_tls_cert_file', s.serverTlsCertFile) }),
      ...(s.serverTlsKeyFile === '' ? {} : { key: file('server_tls_key_file', s.serverTlsKeyFile) }),
    },
  };
}
