/**
 * The table of routes against real servers: its statements run where it says they may, in every form, again and again,
 * and the classifier with the catalog of such a server agrees with it. Through the proxy it is tested elsewhere.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import pg from 'pg';
import { loadCatalog } from '../../src/cluster/catalog.ts';
import { listPostgres } from '../../src/demo/postgres-binaries.ts';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { PostgresInstance } from '../../src/demo/postgres-instance.ts';
import { Resolver } from '../../src/net/resolver.ts';
import { Classifier } from '../../src/routing/classifier.ts';
import { Learned } from '../../src/routing/learned.ts';
import { reasonName } from '../../src/routing/reasons.ts';
import { FactCache } from '../../src/sql/fact-cache.ts';
import { loadParser } from '../../src/sql/parse.ts';
import { SYSTEM_CLOCK } from '../../src/util/clock.ts';
import { withCluster } from '../support/postgres.ts';
import { ROUTE_TABLE, type Route, type RouteCase, SETUP_SQL } from '../support/route-table.ts';

/** What a replica says to what it cannot do. */
const REFUSED = ['25006', '0A000', '55000'];
const TIMES = 3;

const major = (cluster: PostgresCluster) => majors.get(cluster);
const majors = new Map<PostgresCluster, number>();

async function clientOf(cluster: PostgresCluster, node: PostgresInstance): Promise<pg.Client> {
  const client = new pg.Client({ ...cluster.superuser(node), keepAlive: true });
  client.on('error', () => {});
  await client.connect();
  return client;
}

type Form = 'simple' | 'extended' | 'prepared';

function formsOf(one: RouteCase): Form[] {
  if (one.parameters !== undefined) return ['extended', 'prepared'];
  // pg sends no CopyDone and is deaf afterwards in the extended protocol
  if (one.simpleOnly === true || one.copy !== undefined) return ['simple'];
  return ['simple', 'extended', 'prepared'];
}

async function run(client: pg.Client, one: RouteCase, form: Form, name: string): Promise<void> {
  const values = one.parameters === undefined ? [] : [...one.parameters];
  if (form === 'simple') await client.query(one.sql);
  else if (form === 'extended')
    await client.query({ text: one.sql, values, queryMode: 'extended' } as pg.QueryConfig);
  else await client.query({ text: one.sql, values, name });
}

/** Runs everything that is expected on `route` there; returns what went wrong. */
async function runAll(cluster: PostgresCluster, node: PostgresInstance, route: Route): Promise<string[]> {
  const wrong: string[] = [];
  const client = await clientOf(cluster, node);
  try {
    for (const [i, one] of ROUTE_TABLE.entries()) {
      if (one.expect !== route || (one.since ?? 0) > (major(cluster) ?? 0)) continue;
      for (const form of formsOf(one)) {
        for (let time = 0; time < TIMES; time++) {
          const error = await run(client, one, form, `s${i}`).then(
            () => null,
            (cause: pg.DatabaseError) => cause,
          );
          const code = error?.code ?? '';
          // what pg itself says when the server asks for rows
          const copyIn = one.copy === 'in' && code === '57014';
          const fine =
            error === null ||
            copyIn ||
            (one.mayFail === true && (route === 'primary' || !REFUSED.includes(code)));
          if (!fine) wrong.push(`${form} ${time}: ${one.sql}: ${code} ${error?.message}`);
        }
      }
    }
  } finally {
    await client.end();
  }
  return wrong;
}

const binariesHere = await listPostgres();

before(loadParser);

test('the table is large and has no statement twice', () => {
  assert.ok(ROUTE_TABLE.length >= 320, String(ROUTE_TABLE.length));
  assert.equal(new Set(ROUTE_TABLE.map((one) => one.sql)).size, ROUTE_TABLE.length);
});

for (const binaries of binariesHere) {
  describe(`PostgreSQL ${binaries.major}`, () => {
    let cluster: PostgresCluster;
    before(async () => {
      cluster = await withCluster(1, { binaries });
      majors.set(cluster, binaries.major);
      // twice: it says that it is repeatable
      for (const text of [...SETUP_SQL, ...SETUP_SQL]) await cluster.sql(cluster.primary, text);
      await cluster.waitCaughtUp();
    });

    test('every statement runs where it is expected, in every form', async () => {
      const [replica] = cluster.replicas;
      assert.ok(replica !== undefined);
      assert.deepEqual(await runAll(cluster, replica, 'replica'), []);
      assert.deepEqual(await runAll(cluster, cluster.primary, 'primary'), []);
    });

    test('the classifier agrees', async () => {
      const { primary } = cluster;
      const deps = {
        clock: SYSTEM_CLOCK,
        resolver: new Resolver(1000, 1000, () => SYSTEM_CLOCK.now()),
        tls: () => ({ mode: 'disable', options: {} }) as const,
      };
      const target = {
        host: primary.host,
        port: primary.port,
        unixSocketDir: '',
        user: 'postgres',
        password: null,
        dbname: 'postgres',
      };
      const facts = await loadCatalog(target, deps, 10_000, 1);
      const sequences = [{ schema: 'public', name: 's' }];
      const classifier = new Classifier({
        cache: new FactCache(1 << 24),
        writeFunctions: [],
        readFunctions: [],
        learned: new Learned(10, 1000),
        cluster: 'main',
        database: 'app',
      });
      classifier.setCatalog({ sequences, ...facts });
      const wrong: string[] = [];
      for (const { sql, expect, since = 0 } of ROUTE_TABLE) {
        if (since > binaries.major) continue;
        const { read, hint, reason } = classifier.classify(Buffer.from(sql, 'utf8').latin1Slice());
        const route = hint === null || hint.kind === 'node' ? (read ? 'replica' : 'primary') : hint.kind;
        if (route !== expect) wrong.push(`${sql}: ${route}, ${reasonName(reason)}`);
      }
      assert.deepEqual(wrong, []);
    });
  });
}
