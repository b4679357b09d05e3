/** Settings of clusters that change while clients work: SET of defaults, a RELOAD of everything at once, rules that take long. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import { prepareLoad } from '../support/cluster-load.ts';
import { untilNodes } from '../support/cluster-views.ts';
import { withCluster } from '../support/postgres.ts';
import { nodeAt, routedConfig, routedDaemon, whereAmI } from '../support/routed.ts';
import { Admin, login } from '../support/scenario.ts';

let cluster: PostgresCluster;

before(async () => {
  cluster = await withCluster(2);
  await prepareLoad(cluster);
});

test('SET of a default reaches the monitors of clusters that say nothing, RELOAD takes it back', async (t) => {
  const daemon = await routedDaemon(t, cluster, { settings: { fail_threshold: 1 } });
  const { extra = '' } = routedConfig(cluster);
  await daemon.reload({ extra: extra.replace('check_user=postgres', '') });
  const admin = await Admin.login(t, daemon);
  await untilNodes(admin, 'pg1 primary, pg2 replica, pg3 replica');
  const from = daemon.log.mark();
  await admin.run("SET check_user = 'nobody_at_all'");
  await daemon.log.waitFor(/check failed: .*role "nobody_at_all" does not exist/, { from });
  await untilNodes(admin, 'pg1 down, pg2 down, pg3 down');
  await admin.run('RELOAD');
  await untilNodes(admin, 'pg1 primary, pg2 replica, pg3 replica');
});

test('a rule over application_name that would take for ever stops nobody', async (t) => {
  const daemon = await routedDaemon(t, cluster, {
    extra: "[routes]\nslow = application_name='^(a+)+$' route=primary",
  });
  const client = await login(t, daemon, 'app', { parameters: { application_name: `${'a'.repeat(60)}!` } });
  assert.notEqual(nodeAt(cluster, (await client.rows(whereAmI))[0]?.[0]), 'pg1');
  const meant = await login(t, daemon, 'app', { parameters: { application_name: 'a'.repeat(60) } });
  assert.equal(nodeAt(cluster, (await meant.rows(whereAmI))[0]?.[0]), 'pg1');
});
