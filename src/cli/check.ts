/** What the loader found, told: to the log at start, to a person with `--check`. */
import { formatDiagnostic, loadConfig } from '../config/load.ts';
import type { Diagnostic } from '../config/types.ts';
import type { Log } from '../util/log.ts';

/** One log line for each finding, at the level it has. */
export function logDiagnostics(diagnostics: readonly Diagnostic[], log: Log): void {
  for (const found of diagnostics) {
    const text = formatDiagnostic(found);
    if (found.level === 'error') log.error(text);
    else if (found.level === 'warning') log.warning(text);
    else log.log(text);
  }
}

/** `--check`: nothing is opened and nothing is started. */
export function checkConfiguration(file: string): { readonly ok: boolean; readonly text: string } {
  const { config, diagnostics } = loadConfig(file);
  const lines = diagnostics.map((found) => `${found.level.toUpperCase()} ${formatDiagnostic(found)}`);
  const errors = diagnostics.filter((found) => found.level === 'error').length;
  const ok = config !== null;
  lines.push(ok ? `${file}: configuration is valid` : `${file}: ${errors} error${errors === 1 ? '' : 's'}`);
  return { ok, text: `${lines.join('\n')}\n` };
}
