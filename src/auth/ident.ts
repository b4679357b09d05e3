/**
 * Ident maps (auth_ident_file): which system user (peer) or certificate name (cert) may be which database user.
 * `mapname system-user database-user|all`; no regular expressions. Pure.
 */
import type { Diagnostic } from '../config/types.ts';
import { hbaLines } from './hba-tokens.ts';

export interface IdentEntry {
  readonly systemUser: string;
  /** null = `all`. */
  readonly databaseUser: string | null;
}

export type IdentMaps = ReadonlyMap<string, readonly IdentEntry[]>;

export type IdentVerdict = { readonly ok: true } | { readonly ok: false; readonly logText: string };

/** Reads a whole file; bad lines are reported and skipped. Never throws. */
export function parseIdent(
  text: string,
  file: string,
): { readonly maps: IdentMaps; readonly diagnostics: readonly Diagnostic[] } {
  const maps = new Map<string, IdentEntry[]>();
  const diagnostics: Diagnostic[] = [];
  for (const { line, fields, problem } of hbaLines(text)) {
    const warn = (message: string): void => {
      diagnostics.push({ level: 'warning', file, line, message: `ident line ${line}: ${message}` });
    };
    const [name, system, database] = fields.map((field) => (field.length === 1 ? field[0] : undefined));
    if (problem !== null) {
      warn(problem);
    } else if (fields.length !== 3 || name === undefined || system === undefined || database === undefined) {
      warn('expected: map-name system-user database-user');
    } else if (system.text.startsWith('/') && !system.quoted) {
      warn('regular expressions are not supported');
    } else {
      const all = database.text === 'all' && !database.quoted;
      const entries = maps.get(name.text) ?? [];
      entries.push({ systemUser: system.text, databaseUser: all ? null : database.text });
      maps.set(name.text, entries);
    }
  }
  return { maps, diagnostics };
}

/** Whether `systemUser` may log in as `databaseUser`. Without a map (`mapName` null) the names must be the same. */
export function matchIdent(
  maps: IdentMaps,
  mapName: string | null,
  systemUser: string,
  databaseUser: string,
): IdentVerdict {
  if (mapName === null) {
    return systemUser === databaseUser
      ? { ok: true }
      : { ok: false, logText: `"${systemUser}" is not the user "${databaseUser}"` };
  }
  const entries = maps.get(mapName);
  if (entries === undefined) return { ok: false, logText: `ident map ${mapName} cannot be matched` };
  const fits = entries.some(
    (e) => e.systemUser === systemUser && (e.databaseUser === null || e.databaseUser === databaseUser),
  );
  return fits ? { ok: true } : { ok: false, logText: `ident map: ${mapName} does not have a match` };
}
