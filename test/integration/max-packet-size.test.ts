/** max_packet_size: a longer message ends the connection, from whichever side it comes, and nobody else's. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Daemon } from '../support/daemon.ts';
import { withPostgres } from '../support/postgres.ts';
import { RawClient } from '../support/raw-client.ts';
import * as wire from '../support/raw-messages.ts';

test('messages above max_packet_size, of a client and of a server', async () => {
  const postgres = await withPostgres();
  const daemon = await Daemon.start({
    databases: { app: `host=127.0.0.1 port=${postgres.port} dbname=postgres user=postgres` },
    settings: { auth_type: 'trust', pool_mode: 'transaction', max_packet_size: 20_000, default_pool_size: 1 },
  });
  const address = { user: 'app', database: 'app' };
  const bystander = await RawClient.login(daemon, address);
  const long = await RawClient.login(daemon, address);
  long.send(wire.query(`select '${'x'.repeat(30_000)}'`));
  const refusal = (await long.until('E')).at(-1);
  assert.ok(refusal !== undefined);
  assert.match(wire.errorFields(refusal).message, /packet too large/);

  const wide = await RawClient.login(daemon, address);
  wide.send(wire.query("select repeat('x', 15000)"));
  await wide.until('Z');
  wide.send(wire.query("select repeat('x', 30000)"));
  await daemon.log.waitFor(/S-.*closing because: packet too large \(max_packet_size\)/);
  assert.deepEqual(await bystander.rows('select 1'), [['1']]);
  for (const client of [bystander, long, wide]) client.destroy();
  await daemon.stop();
});
