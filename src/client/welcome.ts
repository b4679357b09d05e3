/** What a pool's first server reported at login, as the base of its clients' variables. */
import type { Pool } from '../pool/pool.ts';
import type { ServerConnection } from '../server/server-connection.ts';
import {
  difference,
  type TrackedParameters,
  type VariableDifference,
  type Variables,
} from '../server/variables.ts';

export function welcomeVariables(tracked: TrackedParameters, pool: Pool): Variables {
  const values: (string | undefined)[] = [];
  for (const [name, value] of pool.welcome ?? []) {
    const at = tracked.indexOf(name);
    if (at < 0) continue;
    while (values.length <= at) values.push(undefined);
    values[at] = value;
  }
  return values;
}

/** What a server must be told to be as it was at login; null = nothing. */
export function welcomeDifference(
  tracked: TrackedParameters,
  pool: Pool,
  server: ServerConnection,
): VariableDifference | null {
  return difference(tracked, welcomeVariables(tracked, pool), server.variables);
}
