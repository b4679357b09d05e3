/** The part of `pgconcierge check` that asks no server: files that hold secrets, files that must be there, ulimit. */
import { accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Config } from '../config/config.ts';
import { describeError } from '../util/system-error.ts';
import { type Finding, failed, ok, warn } from './check-report.ts';
import { expectedFileUse, type FileLimits, limitsLine } from './limits.ts';
import { poolDemands, usersOf } from './pool-demand.ts';

/** Rights of others, or of the group to write: who has them can read or change a secret. */
const OPEN_TO_OTHERS = 0o027;
/** A private key is nobody else's. */
const OPEN_TO_ANYBODY = 0o077;

/** One file: there, readable, and with none of the rights in `forbidden`. */
function checkFile(item: string, path: string, forbidden: number): Finding {
  try {
    accessSync(path, constants.R_OK);
    const { mode } = statSync(path);
    const shown = (mode & 0o777).toString(8).padStart(4, '0');
    if (process.platform !== 'win32' && (mode & forbidden) !== 0) {
      return warn(item, `${path} has mode ${shown}, others can get at its secrets (chmod 600)`);
    }
    return ok(item, `${path} is readable, mode ${shown}`);
  } catch (error) {
    return failed(item, `${path}: ${describeError(error)}`);
  }
}

/** It is replaced by a new file each time, so that its directory is what must be writable. */
function checkStateFile(path: string): Finding {
  try {
    accessSync(dirname(path), constants.W_OK);
    return ok('state_file', `${path} can be written`);
  } catch (error) {
    return failed('state_file', `${path} cannot be written: ${describeError(error)}`);
  }
}

/** The configuration itself is a secret only when a password stands in it. */
function hasPasswords(config: Config): boolean {
  const databases = [...config.databases.values(), ...(config.fallback === null ? [] : [config.fallback])];
  return (
    config.settings.checkPassword !== null ||
    databases.some((db) => db.password !== null) ||
    [...config.clusters.values()].some((cluster) => cluster.checkPassword !== null)
  );
}

/** Files of the configuration. Of a passfile the loader has made sure already. */
export function checkFiles(config: Config): Finding[] {
  const s = config.settings;
  const found: Finding[] = [
    checkFile('configuration', config.path, hasPasswords(config) ? OPEN_TO_OTHERS : 0),
  ];
  if (s.authFile !== null) found.push(checkFile('auth_file', s.authFile, OPEN_TO_OTHERS));
  for (const path of config.passfiles.keys()) found.push(checkFile('passfile', path, OPEN_TO_ANYBODY));
  if (s.stateFile !== '') found.push(checkStateFile(s.stateFile));
  if (s.authType === 'hba' && s.authHbaFile !== '') found.push(checkFile('auth_hba_file', s.authHbaFile, 0));
  if (s.clientTlsSslmode !== 'disable') {
    found.push(...tlsFiles('client', s.clientTlsKeyFile, s.clientTlsCertFile, s.clientTlsCaFile));
  }
  if (s.serverTlsSslmode !== 'disable') {
    found.push(...tlsFiles('server', s.serverTlsKeyFile, s.serverTlsCertFile, s.serverTlsCaFile));
  }
  return found;
}

function tlsFiles(side: string, key: string, cert: string, ca: string): Finding[] {
  const files: readonly (readonly [string, string, number])[] = [
    [`${side}_tls_key_file`, key, OPEN_TO_ANYBODY],
    [`${side}_tls_cert_file`, cert, 0],
    [`${side}_tls_ca_file`, ca, 0],
  ];
  return files.filter(([, path]) => path !== '').map(([item, path, rights]) => checkFile(item, path, rights));
}

/** Whether max_client_conn is a promise that can be kept. `limits` null = the system does not tell. */
export function checkLimits(config: Config, limits: FileLimits | null): Finding {
  const item = 'file descriptors';
  if (limits === null) return warn(item, 'the system does not tell its limit');
  const { maxClientConn } = config.settings;
  const expected = expectedFileUse(maxClientConn, poolDemands(config), usersOf(config));
  const text = limitsLine(limits, maxClientConn, expected);
  return expected > limits.soft ? warn(item, `${text}; raise it (ulimit -n, LimitNOFILE=)`) : ok(item, text);
}
