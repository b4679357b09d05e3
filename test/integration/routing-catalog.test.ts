/**
 * What routing knows of pg_catalog's functions, against the catalogs of the PostgreSQL versions that are here, and
 * against a real replica: what is called harmless must run there. Texts go through the real parser and cache.
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { listPostgres } from '../../src/demo/postgres-binaries.ts';
import { SampleClient } from '../../src/demo/sample-client.ts';
import { HARMLESS_VOLATILE, PRIMARY_ONLY } from '../../src/routing/builtin-functions.ts';
import { Classifier } from '../../src/routing/classifier.ts';
import type { CatalogFacts } from '../../src/routing/cluster-view.ts';
import { Learned } from '../../src/routing/learned.ts';
import { reasonName } from '../../src/routing/reasons.ts';
import { isStableBuiltin } from '../../src/routing/stable-functions.ts';
import { FactCache } from '../../src/sql/fact-cache.ts';
import { loadParser } from '../../src/sql/parse.ts';
import { withCluster, withPostgres } from '../support/postgres.ts';

const FUNCTIONS = `SELECT nspname, proname, bool_or(provolatile = 'v')
  FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace GROUP BY 1, 2`;

// without those that take or give internal types, pseudo-types and the like
const CALLS_OF_STABLE_FUNCTIONS = `SELECT proname, format('%I(%s)', proname, (
    SELECT string_agg(CASE WHEN t = 'pg_lsn'::regtype THEN '''0/16B3748''::pg_lsn'
                           WHEN t = 'text'::regtype THEN '''x''::text'
                           WHEN t = 'regclass'::regtype THEN '''pg_class''::regclass'
                           WHEN t IN (20, 21, 23, 26) THEN '1::' || t::regtype
                           ELSE 'NULL::' || t::regtype END, ', ' ORDER BY n)
    FROM unnest(proargtypes::oid[]) WITH ORDINALITY u(t, n)))
  FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile <> 'v' AND prokind = 'f'
    AND (prorettype = 'record'::regtype OR (SELECT typtype FROM pg_type WHERE oid = prorettype) <> 'p')
    AND NOT EXISTS (SELECT FROM pg_type WHERE oid = ANY (proargtypes) AND typtype = 'p')`;

async function catalogOf(binaries: Awaited<ReturnType<typeof listPostgres>>[number]): Promise<CatalogFacts> {
  const server = await withPostgres({ binaries });
  const { rows } = await server.sql(FUNCTIONS);
  const functions = rows.map(([schema, name, volatile]) => ({
    schema: schema ?? '',
    name: name ?? '',
    volatile: volatile === 't',
  }));
  return { version: 1, functions, unlogged: [] };
}

function classifier(facts: CatalogFacts | null): Classifier {
  const made = new Classifier({
    cache: new FactCache(1 << 24),
    writeFunctions: [],
    readFunctions: [],
    learned: new Learned(10, 1000),
    cluster: 'main',
    database: 'app',
  });
  made.setCatalog(facts);
  return made;
}

before(loadParser);

test('the built-in tables agree with every catalog', async () => {
  const seen = new Set<string>();
  for (const binaries of await listPostgres()) {
    const facts = await catalogOf(binaries);
    const withCatalog = classifier(facts);
    const without = classifier(null);
    for (const { schema, name, volatile } of facts.functions) {
      if (schema !== 'pg_catalog') continue;
      const label = `${name} of PostgreSQL ${binaries.major}`;
      seen.add(name);
      if (volatile) {
        assert.equal(isStableBuiltin(name), false, `${label} is VOLATILE`);
        assert.equal(PRIMARY_ONLY.has(name), false, `${label} needs no row: VOLATILE is a write anyway`);
      } else {
        assert.equal(HARMLESS_VOLATILE.has(name), false, `${label} needs no row: it is not VOLATILE`);
      }
      const verdict = withCatalog.classify(`SELECT pg_catalog."${name}"()`);
      const write = (volatile && !HARMLESS_VOLATILE.has(name)) || PRIMARY_ONLY.has(name);
      assert.equal(verdict.read, !write, `${label}: ${reasonName(verdict.reason)}`);
      assert.equal(verdict.changesData, write, label);
      // without a catalog fewer are known as reads, never more
      if (write) assert.equal(without.classify(`SELECT pg_catalog."${name}"()`).read, false, label);
    }
  }
  for (const name of [...HARMLESS_VOLATILE.keys(), ...PRIMARY_ONLY.keys()]) {
    assert.ok(seen.has(name), `${name}: no PostgreSQL here has it`);
  }
});

test('what is called harmless runs on a replica, what is for the primary does not', async () => {
  const cluster = await withCluster(1);
  const [replica] = cluster.replicas;
  assert.ok(replica !== undefined);
  const client = await SampleClient.connect(cluster.superuser(replica));
  try {
    const call = async (name: string): Promise<string[]> => {
      const { rows } = await client.query(
        `SELECT pg_catalog.format('%I(%s)', proname, (SELECT pg_catalog.string_agg('NULL::' || t::regtype, ', ' ORDER BY n)
           FROM pg_catalog.unnest(proargtypes::oid[]) WITH ORDINALITY u(t, n)))
         FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = '${name}'`,
      );
      return rows.map(([text]) => text ?? '');
    };
    // polymorphic arguments cannot be NULL, and a text is text
    const own: Record<string, string> = {
      array_sample: 'array_sample(ARRAY[1,2,3], 2)',
      array_shuffle: 'array_shuffle(ARRAY[1,2,3])',
      pg_sleep: 'pg_sleep(0)',
      pg_get_wal_resource_managers: 'pg_get_wal_resource_managers()',
    };
    for (const name of HARMLESS_VOLATILE.keys()) {
      // says so itself where the machine has no NUMA
      if (name === 'pg_get_shmem_allocations_numa') continue;
      const forms = await call(name);
      for (const form of forms.length === 0 ? [] : name in own ? [own[name] ?? ''] : forms) {
        await assert.doesNotReject(client.query(`SELECT * FROM pg_catalog.${form}`), `${form} on a replica`);
      }
    }
    // every other function that can be called with simple arguments: none but those of the table is refused
    const { rows } = await client.query(CALLS_OF_STABLE_FUNCTIONS);
    const refused = new Set<string>();
    for (const [name = '', form = ''] of rows as string[][]) {
      await client.query(`SELECT ${form}`).catch((error: { code?: string }) => {
        if (error.code === '25006' || error.code === '55000') refused.add(name);
      });
    }
    assert.ok(rows.length > 1500);
    assert.deepEqual([...refused].sort(), [...PRIMARY_ONLY.keys()].sort());
  } finally {
    await client.close();
  }
});

test('a sequence is ahead on a replica: reading one is for the primary', async () => {
  const cluster = await withCluster(1);
  const [replica] = cluster.replicas;
  assert.ok(replica !== undefined);
  await cluster.sql(cluster.primary, 'CREATE SEQUENCE ids');
  await cluster.sql(cluster.primary, "SELECT nextval('ids')");
  await cluster.waitCaughtUp();
  const read = 'SELECT last_value FROM ids';
  const [here, there] = await Promise.all([cluster.sql(cluster.primary, read), cluster.sql(replica, read)]);
  assert.notDeepEqual(there.rows, here.rows, 'why the rule exists');
  const made = classifier({
    version: 1,
    functions: [],
    unlogged: [],
    sequences: [{ schema: 'public', name: 'ids' }],
  });
  assert.equal(reasonName(made.classify(read).reason), 'sequence');
  assert.equal(made.classify('SELECT last_value FROM public.ids').read, false);
  assert.equal(made.classify('SELECT last_value FROM elsewhere.ids').read, true);
});
