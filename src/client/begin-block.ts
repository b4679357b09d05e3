/**
 * A deferred BEGIN (ROUTING.md): the client has been told that its block has begun; the server learns it now, in the
 * packet of the block's first statement.
 */
import { OWED_QUERY, SWALLOW } from '../server/owed-replies.ts';
import type { ServerConnection } from '../server/server-connection.ts';
import type { Client } from './client.ts';

/** A server has just been linked. Called when nothing but the client's own messages comes next. */
export function beginBlock(client: Client, server: ServerConnection): void {
  const begin = client.routing?.begin ?? null;
  if (begin === null) return;
  server.replies.owed.push(OWED_QUERY | SWALLOW, {
    internal: true,
    onRow: () => {},
    onDone: (error) => {
      if (error === null || client.gone) return;
      // what came behind it ran outside of the block that the client believes in
      client.log.error(`the deferred BEGIN has failed: ${error}`);
      server.close('deferred BEGIN failed');
      if (!client.gone) client.fail('serverProtocol');
    },
  });
  client.setup = client.setup === null ? begin : Buffer.concat([client.setup, begin]);
}
