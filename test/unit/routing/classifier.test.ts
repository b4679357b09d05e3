/** Read or write: precedence of lists, catalog, built-in knowledge and learning (S-33), and that verdicts are remade. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HARMLESS_VOLATILE, PRIMARY_ONLY } from '../../../src/routing/builtin-functions.ts';
import { Classifier, type ClassifierOptions } from '../../../src/routing/classifier.ts';
import type { CatalogFacts } from '../../../src/routing/cluster-view.ts';
import { Learned } from '../../../src/routing/learned.ts';
import { reasonName } from '../../../src/routing/reasons.ts';
import { isStableBuiltin } from '../../../src/routing/stable-functions.ts';
import { ScriptedCache, sqlName } from './support.ts';

/** `v:` volatile, `s:` not; with schema. */
function catalog(
  functions: readonly string[],
  unlogged: readonly string[] = [],
  sequences: readonly string[] = [],
) {
  const pair = (text: string) => {
    const { schema, name } = sqlName(text);
    return { schema: schema ?? 'public', name };
  };
  const facts: CatalogFacts = {
    version: 1,
    functions: functions.map((text) => ({ ...pair(text.slice(2)), volatile: text.startsWith('v') })),
    unlogged: unlogged.map(pair),
    sequences: sequences.map(pair),
  };
  return facts;
}

function setUp(options: Partial<ClassifierOptions> = {}) {
  const cache = new ScriptedCache();
  const learned = new Learned(100, 1000);
  const common = { writeFunctions: [], readFunctions: [], learned, cluster: 'main', database: 'app' };
  const classifier = new Classifier({ cache, ...common, ...options });
  /** `read`, or why it is a write and by whose fault. */
  const route = (text: string): string => {
    const verdict = classifier.classify(text);
    if (verdict.read) return 'read';
    return verdict.culprit === ''
      ? reasonName(verdict.reason)
      : `${reasonName(verdict.reason)}: ${verdict.culprit}`;
  };
  const call = (...functions: string[]) => route(cache.calls(...functions));
  return { cache, learned, classifier, route, call };
}

test('the rule of the text decides first, with its own word on marks', () => {
  const { cache, classifier, route } = setUp();
  cache.set('INSERT', { rule: 'command', changesData: true });
  cache.set('SET x', { rule: 'command', changesData: false });
  cache.set('SELECT 1', {});
  assert.equal(route('INSERT'), 'command');
  assert.equal(classifier.classify('INSERT').changesData, true);
  assert.equal(classifier.classify('SET x').changesData, false);
  assert.equal(route('SELECT 1'), 'read');
  assert.equal(reasonName(classifier.classify('SELECT 1').reason), 'balanced');
});

test('S-33 (a): a volatile function of a user is a write and leaves a mark', () => {
  const { cache, classifier, call } = setUp();
  classifier.setCatalog(catalog(['v:public.test_insert', 's:public.pure', 'v:shard.next_unique_id']));
  assert.equal(call('test_insert'), 'volatile function: test_insert');
  assert.equal(classifier.classify(cache.calls('test_insert')).changesData, true);
  assert.equal(call('pure'), 'read');
  assert.equal(call('shard.next_unique_id'), 'volatile function: shard.next_unique_id');
  assert.equal(call('pure', 'now', 'test_insert'), 'volatile function: test_insert');
});

test('one volatile overload counts, in any schema for an unqualified name, in its own for a qualified one', () => {
  const { classifier, call } = setUp();
  classifier.setCatalog(
    catalog(['s:a.f', 'v:a.f', 's:b.f', 's:c.g', 'v:a.random', 'v:a.upper', 's:pg_catalog.upper']),
  );
  assert.equal(call('f'), 'volatile function: f');
  assert.equal(call('a.f'), 'volatile function: a.f');
  assert.equal(call('b.f'), 'read');
  assert.equal(call('g'), 'read');
  assert.equal(call('random'), 'volatile function: random', 'a.random may be meant');
  assert.equal(call('pg_catalog.random'), 'read');
  assert.equal(call('upper'), 'volatile function: upper');
  assert.equal(call('pg_catalog.upper'), 'read');
});

test('what nobody knows is a write', () => {
  const { classifier, call } = setUp();
  assert.equal(call('mystery'), 'volatile function: mystery');
  assert.equal(call('app.mystery'), 'volatile function: app.mystery');
  classifier.setCatalog(catalog(['s:public.other']));
  assert.equal(call('mystery'), 'volatile function: mystery');
  assert.equal(call('pg_catalog.mystery'), 'volatile function: pg_catalog.mystery');
  assert.equal(call('nowhere.other'), 'volatile function: nowhere.other');
});

test("S-33 (c): PostgreSQL's own functions, with and without a catalog", () => {
  const writes = `nextval currval lastval setval pg_create_physical_replication_slot pg_drop_replication_slot
    pg_start_backup pg_stop_backup pg_backup_start pg_backup_stop pg_switch_xlog pg_switch_wal pg_stat_reset
    pg_stat_statements_reset pg_cancel_backend pg_terminate_backend pg_notify pg_advisory_lock pg_try_advisory_xact_lock
    set_config lo_create lo_put lowrite txid_current pg_current_xact_id pg_export_snapshot query_to_xml ts_stat
    pg_xact_status pg_sequence_last_value pg_walfile_name`.split(/\s+/);
  const reads =
    `now random clock_timestamp gen_random_uuid pg_sleep upper count sum jsonb_build_object array_agg
    generate_series to_char date_trunc pg_total_relation_size pg_is_in_recovery pg_stat_get_numscans
    current_setting inet_server_port row_number`.split(/\s+/);
  const withCatalog = setUp();
  const volatile = [...writes.filter((name) => !PRIMARY_ONLY.has(name)), ...HARMLESS_VOLATILE.keys()];
  const stable = [...reads.filter((name) => !HARMLESS_VOLATILE.has(name)), ...PRIMARY_ONLY.keys()];
  withCatalog.classifier.setCatalog(
    catalog([
      ...volatile.map((name) => `v:pg_catalog.${name}`),
      ...stable.map((name) => `s:pg_catalog.${name}`),
    ]),
  );
  for (const { call } of [setUp(), withCatalog]) {
    for (const name of writes) {
      assert.equal(call(name), `volatile function: ${name}`);
      assert.equal(call(`pg_catalog.${name}`), `volatile function: pg_catalog.${name}`);
    }
    for (const name of reads) {
      assert.equal(call(name), 'read', name);
      assert.equal(call(`pg_catalog.${name}`), 'read', name);
    }
  }
});

test('the tables of built-in functions do not contradict each other', () => {
  for (const name of HARMLESS_VOLATILE.keys()) assert.ok(!PRIMARY_ONLY.has(name) && name !== '', name);
  for (const name of PRIMARY_ONLY.keys()) assert.equal(isStableBuiltin(name), false, name);
});

test('S-33 (d): write_functions are names or patterns, qualified or not, quoted or not; read_functions override', () => {
  const { classifier, call } = setUp({
    writeFunctions: ['currval', 'lastval', 'nextval', 'setval', '^app_w_.*', 'shop.charge', 'LOUD'],
    readFunctions: ['app_w_harmless', 'audit.peek', '^audit\\.log_', 'nextval'],
  });
  classifier.setCatalog(
    catalog([
      's:public.app_w_x',
      's:public.app_w_X',
      's:public.App_W_y',
      's:other.app_w_z',
      's:shop.charge',
      's:public.charge',
      's:x.charge',
      's:public.loud',
      'v:public.app_w_harmless',
      'v:audit.peek',
      'v:audit.log_read',
      's:public.my_app_w_x',
    ]),
  );
  for (const name of [
    'app_w_x',
    'app_w_X',
    'App_W_y',
    'other.app_w_z',
    'shop.charge',
    'charge',
    'loud',
    'setval',
  ]) {
    assert.equal(call(name), `write_functions: ${name}`);
  }
  assert.equal(call('my_app_w_x'), 'read', 'the pattern is anchored');
  for (const name of ['app_w_harmless', 'audit.peek', 'audit.log_read', 'nextval'])
    assert.equal(call(name), 'read', name);
  assert.equal(call('peek'), 'volatile function: peek', 'read lists say exactly what they say');
  assert.equal(call('app_w_harmless', 'app_w_x'), 'write_functions: app_w_x', 'each call for itself');
});

test('a pattern that is none is refused with its text', () => {
  assert.throws(() => setUp({ writeFunctions: ['^app_('] }), /\^app_\(/);
});

test('names of other letters match as UTF-8 bytes', () => {
  const { call } = setUp({ readFunctions: ['größe'], writeFunctions: ['^änd'] });
  const bytes = (text: string) => Buffer.from(text).latin1Slice();
  assert.equal(call(bytes('größe')), 'read');
  assert.equal(call(bytes('ändern')), 'write_functions: ändern');
});

test('unlogged and temporary tables and sequences are for the primary and leave no mark', () => {
  const { cache, classifier, route } = setUp();
  const read = (relation: string) => route(cache.reads(relation));
  assert.equal(read('cache'), 'read');
  classifier.setCatalog(catalog([], ['app.cache'], ['app.ids']));
  assert.equal(read('cache'), 'unlogged table: cache');
  assert.equal(classifier.classify(cache.reads('cache')).changesData, false);
  assert.equal(read('app.cache'), 'unlogged table: app.cache');
  assert.equal(read('other.cache'), 'read');
  assert.equal(read('ids'), 'sequence: ids');
  assert.equal(read('pg_sequences'), 'sequence: pg_sequences');
  assert.equal(read('pg_temp.t'), 'temporary table: pg_temp.t');
  assert.equal(read('pg_temp_3.t'), 'temporary table: pg_temp_3.t');
  classifier.setCatalog(null);
  assert.equal(read('cache'), 'read');
  assert.equal(read('pg_sequences'), 'sequence: pg_sequences');
});

test('a new catalog remakes verdicts', () => {
  const { classifier, call } = setUp();
  classifier.setCatalog(catalog(['s:public.f']));
  assert.equal(call('f'), 'read');
  classifier.setCatalog(catalog(['v:public.f']));
  assert.equal(call('f'), 'volatile function: f');
  classifier.setCatalog(catalog(['s:public.f']));
  assert.equal(call('f'), 'read');
});

test('a learned text is a write until it is forgotten; its use is counted; rules and marks stay', () => {
  const { cache, learned, classifier, route } = setUp({ readFunctions: ['f'] });
  const text = cache.calls('f');
  assert.equal(route(text), 'read');
  learned.learn('main', 'app', cache.lookup(text), '25006', 0);
  assert.equal(route(text), 'learned', 'what a replica refused is no read, whatever the lists say');
  assert.equal(classifier.classify(text).changesData, true);
  assert.equal(learned.rows()[0]?.hits, 2);
  learned.learn('main', 'app', cache.lookup(text), '25006', 1);
  assert.equal(route(text), 'learned');
  assert.equal(learned.rows()[0]?.hits, 3, 'refused again: the same entry goes on counting');
  learned.sweep(5000);
  assert.equal(route(text), 'read');
  learned.learn('main', 'app', cache.lookup(text), '25006', 6000);
  assert.equal(route(text), 'learned');
  learned.clear();
  assert.equal(route(text), 'read');
  learned.learn('main', 'other', cache.lookup(text), '25006', 6000);
  assert.equal(route(text), 'read', 'another database has taught that');
});

test('classifiers share a cache without sharing verdicts', () => {
  const { cache, learned, classifier } = setUp();
  const other = new Classifier({
    cache,
    writeFunctions: ['f'],
    readFunctions: [],
    learned,
    cluster: 'main',
    database: 'second',
  });
  classifier.setCatalog(catalog(['s:public.f']));
  const text = cache.calls('f');
  for (let i = 0; i < 3; i++) {
    assert.equal(classifier.classify(text).read, true);
    assert.equal(other.classify(text).read, false);
  }
  assert.equal(classifier.classify(text), classifier.classify(text), 'and none is made twice');
});
