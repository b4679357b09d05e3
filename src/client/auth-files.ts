/** The files of host based authentication, read at start and at RELOAD. A file that cannot be read changes nothing. */
import fs from 'node:fs';
import { type HbaRule, parseHba } from '../auth/hba.ts';
import { type IdentMaps, parseIdent } from '../auth/ident.ts';
import type { Config } from '../config/load.ts';
import type { Log } from '../util/log.ts';

/** null = not read (not configured, or not readable: logged). */
export function readAuthFiles(
  config: Config,
  log: Log,
): { readonly hba: readonly HbaRule[] | null; readonly ident: IdentMaps | null } {
  let hba: readonly HbaRule[] | null = null;
  let ident: IdentMaps | null = null;
  const { authHbaFile, authIdentFile, authType } = config.settings;
  const read = (path: string): string | null => {
    try {
      return fs.readFileSync(path, 'utf8');
    } catch (error) {
      log.error(`could not open ${path}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
      return null;
    }
  };
  if (authType === 'hba' && authHbaFile !== '') {
    const text = read(authHbaFile);
    if (text !== null) {
      const parsed = parseHba(text, authHbaFile);
      for (const found of parsed.diagnostics) log.warning(found.message);
      hba = parsed.rules;
      for (const { method, line } of parsed.rules)
        if (method === 'ldap')
          log.warning(`hba line ${line}: ldap is not supported yet, its clients are refused`);
    }
  }
  if (authIdentFile !== null && authIdentFile !== '') {
    const text = read(authIdentFile);
    if (text !== null) {
      const parsed = parseIdent(text, authIdentFile);
      for (const found of parsed.diagnostics) log.warning(found.message);
      ident = parsed.maps;
    }
  }
  return { hba, ident };
}
