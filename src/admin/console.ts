/**
 * The door of the admin console: greets a client that the data plane has logged in, and gives it a session.
 */
import type { ConsoleIdentity, ConsoleIo, ConsoleSession, OpenConsole } from '../control/console.ts';
import type { ControlPort } from '../control/port.ts';
import { SILENT } from '../util/log.ts';
import { backendKeyData, noticeResponse, parameterStatus, readyForQuery } from '../wire/backend.ts';
import { TX_IDLE } from '../wire/codes.ts';
import { clusterWarnings } from './cluster-warnings.ts';
import type { ConsoleInfo, Environment } from './outcome.ts';
import { Session } from './session.ts';

const SERVER_VERSION = '1.26.0/bouncer';
/** More names than this are not read at a login. */
const NAMES_SHOWN = 10;

/** PgBouncer's, in its order; server_version comes before them. */
const PARAMETERS: readonly (readonly [string, string])[] = [
  ['client_encoding', 'UTF8'],
  ['server_encoding', 'UTF8'],
  ['DateStyle', 'ISO'],
  ['TimeZone', 'GMT'],
  ['standard_conforming_strings', 'on'],
  ['is_superuser', 'on'],
];

/** Makes the function that opens console sessions over `port`. Called once by the composition root. */
export function createConsole(port: ControlPort, info: ConsoleInfo): OpenConsole {
  const serverVersion = info.serverVersion ?? SERVER_VERSION;
  const adminDatabases = info.adminDatabases ?? ['pgbouncer'];
  const log = info.log ?? SILENT;
  return (who: ConsoleIdentity, io: ConsoleIo): ConsoleSession => {
    const env: Environment = { port, version: info.version, serverVersion, adminDatabases, log, who };
    const session = new Session(env, io);
    session.send(parameterStatus('server_version', serverVersion));
    for (const [name, value] of PARAMETERS) session.send(parameterStatus(name, value));
    session.send(backendKeyData(who.pid, who.secret));
    for (const text of greetingWarnings(env, info)) {
      session.send(noticeResponse({ severity: 'WARNING', sqlstate: '01000', message: text }));
    }
    session.send(readyForQuery(TX_IDLE));
    session.flush();
    return session;
  };
}

/** What an administrator has to know before typing anything. A failure here must not refuse the login. */
function greetingWarnings(env: Environment, info: ConsoleInfo): readonly string[] {
  try {
    return [...stateWarnings(env.port), ...clusterWarnings(env.port), ...(info.warnings?.() ?? [])];
  } catch (error) {
    env.log.error(`console: warnings of the greeting failed: ${error}`);
    return [];
  }
}

function stateWarnings(port: ControlPort): string[] {
  const warnings: string[] = [];
  const { paused, suspended } = port.state();
  if (port.isShuttingDown()) warnings.push('the pooler is shutting down');
  if (suspended) warnings.push('the pooler is suspended, RESUME ends it');
  else if (paused) warnings.push('the pooler is paused, RESUME ends it');
  const databases = port.databases();
  const held = paused ? [] : databases.filter((d) => d.paused).map((d) => d.name);
  if (held.length > 0) warnings.push(`paused: ${names(held)}; RESUME <db> ends it`);
  const disabled = databases.filter((d) => d.disabled).map((d) => d.name);
  if (disabled.length > 0) warnings.push(`disabled: ${names(disabled)}; ENABLE <db> ends it`);
  return warnings;
}

function names(all: readonly string[]): string {
  const shown = all.slice(0, NAMES_SHOWN).map((name) => `"${name}"`);
  const more = all.length - shown.length;
  return more > 0 ? `${shown.join(', ')} and ${more} more` : shown.join(', ');
}
