/** The part of `pgconcierge check` that asks no server: files that hold secrets, files that must be there, ulimit. */
import { accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Config } from '../config/config.ts';
import { parseConnstr } from '../config/connstr.ts';
import { readConfigLines } from '../config/lines.ts';
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

/** True for a line in which a password stands; one that comes from the environment does not. */
function holdsPassword(section: string, key: string, value: string): boolean {
  if (section === 'pgbouncer' || section === 'pgconcierge') return key === 'check_password' && value !== '';
  const isCluster = section === 'clusters';
  const parsed = parseConnstr(value);
  if (parsed.error !== undefined) return false;
  const written = parsed.pairs.get(isCluster ? 'check_password' : 'password');
  return written !== undefined && !(isCluster && /^\$\{\w+\}$/.test(written));
}

/** All files of the configuration, the included ones too; true = it is a secret, for a password stands in it. */
function configurationFiles(path: string): ReadonlyMap<string, boolean> {
  const files = new Map([[path, false]]);
  let section = '';
  for (const line of readConfigLines(path, [])) {
    const { file } = line.place;
    if (line.kind === 'section') section = line.name;
    const holds = line.kind === 'assignment' && holdsPassword(section, line.key, line.value);
    files.set(file, files.get(file) === true || holds);
  }
  return files;
}

/** Files of the configuration. Of a passfile the loader has made sure already. */
export function checkFiles(config: Config): Finding[] {
  const s = config.settings;
  const found = [...configurationFiles(config.path)].map(([file, isSecret]) =>
    checkFile('configuration', file, isSecret ? OPEN_TO_OTHERS : 0),
  );
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
