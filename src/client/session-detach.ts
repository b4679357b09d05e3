/**
 * PAUSE in session mode (S-53): a session that holds no state gives its server back and gets another one at its next
 * message. PostgreSQL itself is asked whether there is state; nothing is guessed from the SQL that went by.
 */
import type { ServerConnection } from '../server/server-connection.ts';
import { TRACKED_PARAMETERS } from '../server/variables.ts';
import type { Client } from './client.ts';

const carried = TRACKED_PARAMETERS.map((name) => `'${name.toLowerCase()}'`).join(',');

/** One row: what the session holds, '' = nothing. All of it is visible to any role. */
export const SESSION_STATE_QUERY = `select pg_catalog.concat_ws(', ',
 (select 'LISTEN' where exists (select from pg_catalog.pg_listening_channels())),
 (select 'prepared statement' where exists (select from pg_catalog.pg_prepared_statements)),
 (select 'cursor' where exists (select from pg_catalog.pg_cursors)),
 (select 'temporary table' where exists (select from pg_catalog.pg_class where relnamespace = pg_catalog.pg_my_temp_schema())),
 (select 'advisory lock' where exists (select from pg_catalog.pg_locks where locktype = 'advisory' and pid = pg_catalog.pg_backend_pid())),
 (select 'SET ' || pg_catalog.min(name) from pg_catalog.pg_settings where source = 'session' and pg_catalog.lower(name) not in (${carried}) having pg_catalog.count(*) > 0))`;

/** Why a session client keeps its server during a PAUSE; for SHOW and PAUSE TIMEOUT. */
export const heldState = new WeakMap<Client, string>();

/** Asks the server, and detaches the client when it holds nothing and has sent nothing meanwhile. */
export function detachWhenClean(client: Client, server: ServerConnection): void {
  if (client.probing || client.requests.bodyLeft > 0 || client.requests.pending > 0) return;
  client.probing = true;
  const asked = client.requestMs;
  server.runInternal(SESSION_STATE_QUERY, (error, rows) => {
    client.probing = false;
    if (client.gone || client.server !== server || client.requestMs !== asked) return;
    const state = error ?? rows[0]?.[0] ?? '';
    if (state !== '') {
      heldState.set(client, state);
      return;
    }
    heldState.delete(client);
    if (client.database?.paused !== true || server.replies.owed.length > 0 || !server.ready) return;
    client.detach(server, false, client.registry.clock.now());
  });
}
