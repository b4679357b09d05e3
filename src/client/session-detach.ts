/**
 * PAUSE in session mode (S-53): a session that holds no state gives its server back and gets another one at its next
 * message. PostgreSQL itself is asked whether there is state. What it cannot list (custom settings like
 * `app.tenant`, loaded libraries) is recognised in the texts that went by and in the source of the database's own
 * functions; when in doubt the session keeps its server and PAUSE waits, as in PgBouncer.
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
 (select 'possibly custom settings, set by ' || pg_catalog.min(oid::pg_catalog.regprocedure::pg_catalog.text) from pg_catalog.pg_proc
   where pronamespace not in (select oid from pg_catalog.pg_namespace where nspname in ('pg_catalog', 'information_schema'))
   and prosrc operator(pg_catalog.~*) 'set_config|\\mset\\M[^=]*[.]' having pg_catalog.count(*) > 0),
 (select 'SET ' || pg_catalog.min(name) from pg_catalog.pg_settings where source = 'session' and pg_catalog.lower(name) not in (${carried}) having pg_catalog.count(*) > 0))`;

/** Refused with 55000 in a session that has not used a sequence; else currval and lastval are state. */
const SEQUENCE_QUERY = 'select pg_catalog.lastval()';
const NO_SEQUENCE = /lastval/;

/** Asks the server, and detaches the client when it holds nothing and has sent nothing meanwhile. */
export function detachWhenClean(client: Client, server: ServerConnection): void {
  const { watch } = client;
  if (watch === null || watch.probing || client.requests.bodyLeft > 0 || client.requests.pending > 0) return;
  if (watch.hidesState) {
    watch.held = 'possibly custom settings (SET a.b, set_config) or LOAD';
    return;
  }
  const asked = client.requestMs;
  const ask = (sql: string, next: (error: string | null, rows: (string | null)[][]) => void): void => {
    watch.probing = true;
    server.runInternal(sql, (error, rows) => {
      watch.probing = false;
      if (!client.gone && client.server === server && client.requestMs === asked) next(error, rows);
    });
  };
  ask(SESSION_STATE_QUERY, (error, rows) => {
    watch.held = error ?? rows[0]?.[0] ?? '';
    if (watch.held !== '') return;
    ask(SEQUENCE_QUERY, (refusal) => {
      if (refusal === null || !NO_SEQUENCE.test(refusal)) {
        watch.held = 'sequence values (lastval)';
        return;
      }
      if (client.database?.paused !== true || server.replies.owed.length > 0 || !server.ready) return;
      client.detach(server, false, client.registry.clock.now());
    });
  });
}
