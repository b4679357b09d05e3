/**
 * What a client has set travels with it: a server that differs is told before the client's first message on it
 * (SESSION-STATE.md). In the same packet when a server of the pool has accepted these values before; else the
 * message waits for the answer, because a refused SET must not be followed by the client's query.
 */
import type { Pool } from '../pool/pool.ts';
import { OWED_QUERY, SWALLOW } from '../server/owed-replies.ts';
import type { ServerConnection } from '../server/server-connection.ts';
import { difference, type VariableDifference } from '../server/variables.ts';
import { query } from '../wire/frontend.ts';
import { beginBlock } from './begin-block.ts';
import type { Client } from './client.ts';

/** Values remembered as accepted, per pool. */
const ACCEPTED_LIMIT = 1000;

/** Makes a server just linked ready for the client. False = `settling`: the client's messages wait. */
export function carryVariables(client: Client, server: ServerConnection): boolean {
  if (client.variables !== server.variables) {
    const wanted = difference(client.registry.pools.tracked, client.variables, server.variables);
    if (wanted !== null) return send(client, server, wanted);
    client.variables = server.variables;
  }
  client.moveTo('linked');
  beginBlock(client, server);
  return true;
}

function send(client: Client, server: ServerConnection, wanted: VariableDifference): boolean {
  const { accepted } = client.pool as Pool;
  const together = wanted.assumable && wanted.keys.every((key) => accepted.has(key));
  server.replies.owed.push(OWED_QUERY | SWALLOW, {
    internal: true,
    onRow: () => {},
    onDone: (error) => onAnswer(client, server, wanted, error),
  });
  if (together) {
    client.setup = query(wanted.sql);
    client.moveTo('linked');
    beginBlock(client, server);
    return true;
  }
  client.moveTo('settling');
  server.transport.writeOwned(query(wanted.sql));
  return false;
}

function onAnswer(
  client: Client,
  server: ServerConnection,
  wanted: VariableDifference,
  error: string | null,
): void {
  if (client.server !== server || client.gone) return;
  if (error !== null) {
    client.log.warning(`cannot set the client's parameters: ${error}`);
    server.closeNeeded = 'invalid server parameter';
    // together with the query it could fail only after it was known to work: nothing may come of that query
    if (client.phase !== 'settling') server.close('invalid server parameter');
    if (!client.gone) client.fail('invalidServerParameter');
    return;
  }
  const { accepted } = client.pool as Pool;
  if (accepted.size > ACCEPTED_LIMIT) accepted.clear();
  for (const key of wanted.keys) accepted.add(key);
  // the server's own spelling from now on, so that it is not sent again
  client.variables = server.variables;
  if (client.phase !== 'settling') return;
  client.moveTo('linked');
  beginBlock(client, server);
  client.guarded(() => client.requests.resumeHeld());
  client.transport.resume();
}
