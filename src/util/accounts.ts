/**
 * The system's users and groups by name. Node can switch to a user but cannot say who that is; `getent` knows every
 * source (files, LDAP, sssd), the files in /etc serve where it is missing. Called at start, at a login with `peer`
 * and for the console's unix access; never on the way of a query.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface SystemUser {
  readonly name: string;
  readonly uid: number;
  /** Primary group. */
  readonly gid: number;
}

const LOOKUP_TIMEOUT_MS = 5000;

/** The fields of one passwd or group line, null when there is no such entry. `key` is a name or a number. */
function entry(database: 'passwd' | 'group', key: string): string[] | null {
  // A leading '-' would be taken for an option; no system allows such a name.
  if (key === '' || key.startsWith('-') || key.includes(':') || key.includes('\n') || key.includes('\0')) {
    return null;
  }
  try {
    const line = execFileSync('getent', [database, key], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: LOOKUP_TIMEOUT_MS,
    });
    return line.trimEnd().split(':');
  } catch (error) {
    // Status 2 = getent looked and found none. Anything else = getent could not be asked.
    if (error instanceof Error && (error as Error & { status?: unknown }).status === 2) return null;
  }
  let text: string;
  try {
    text = readFileSync(`/etc/${database}`, 'utf8');
  } catch {
    return null; // no such file on this system: then nobody is known
  }
  for (const line of text.split('\n')) {
    const fields = line.split(':');
    if (fields.length >= 3 && (fields[0] === key || fields[2] === key)) return fields;
  }
  return null;
}

function idOf(field: string | undefined): number | null {
  return field !== undefined && /^\d+$/.test(field) ? Number(field) : null;
}

function toUser(fields: string[] | null): SystemUser | null {
  const name = fields?.[0];
  const uid = idOf(fields?.[2]);
  const gid = idOf(fields?.[3]);
  return name === undefined || uid === null || gid === null ? null : { name, uid, gid };
}

/** Null = no such user. A name of digits is a name first, then a uid, as for chown(1). */
export function userByName(name: string): SystemUser | null {
  return toUser(entry('passwd', name));
}

/** Null = the uid has no name. */
export function userByUid(uid: number): SystemUser | null {
  const user = toUser(entry('passwd', String(uid)));
  return user?.uid === uid ? user : null;
}

/** The gid of a group, null = no such group. */
export function groupIdByName(name: string): number | null {
  return idOf(entry('group', name)?.[2]);
}
