/**
 * The table of routes through the proxy, in every form of the protocol. Where a statement ran is read off PostgreSQL's own
 * logs: the nodes log everything, and the client's application_name, which the proxy carries to them, is the marker.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { Daemon } from '../support/daemon.ts';
import { testBinaries, withCluster } from '../support/postgres.ts';
import { RawClient } from '../support/raw-client.ts';
import * as wire from '../support/raw-messages.ts';
import { ROUTE_TABLE, type RouteCase, SETUP_SQL } from '../support/route-table.ts';
import { routedDaemon } from '../support/routed.ts';
import { until } from '../support/until.ts';

const FORMS = ['simple', 'extended', 'prepared'] as const;
type Form = (typeof FORMS)[number];

/** The forms that it can come in. */
function formsOf(one: RouteCase): readonly Form[] {
  if (one.parameters !== undefined) return ['extended', 'prepared'];
  return one.simpleOnly === true ? ['simple'] : FORMS;
}

/** What is compared: the log breaks lines in its own way. */
const plain = (sql: string): string => sql.replace(/\s+/g, ' ').trim();

/** marker → text → how often it was executed, and how often it failed. */
class NodeLog {
  readonly #seen = new Map<string, { executed: number; failed: number; refused: number }>();
  #marker = '';
  #kind = '';
  #text = '';
  #sqlstate = '';

  add(line: string): void {
    const head = /^(.*?)\|(\w{5})\|([A-Z]+): {2}(.*)$/.exec(line);
    if (head === null) {
      this.#text += ` ${line}`;
      return;
    }
    this.#end();
    [, this.#marker = '', this.#sqlstate = '', this.#kind = '', this.#text = ''] = head;
  }

  #end(): void {
    const logged = this.#kind === 'LOG' ? /^(?:statement|execute [^:]+): ?(.*)$/s.exec(this.#text) : null;
    const text = logged === null ? (this.#kind === 'STATEMENT' ? this.#text : null) : (logged[1] ?? '');
    this.#kind = '';
    if (text === null) return;
    const found = this.of(this.#marker, text);
    if (logged !== null) found.executed += 1;
    else {
      found.failed += 1;
      if (['25006', '0A000', '55000'].includes(this.#sqlstate)) found.refused += 1;
    }
    this.#seen.set(`${this.#marker}\0${plain(text)}`, found);
  }

  of(marker: string, sql: string): { executed: number; failed: number; refused: number } {
    return this.#seen.get(`${marker}\0${plain(sql)}`) ?? { executed: 0, failed: 0, refused: 0 };
  }
}

/** What neither text nor catalog tells: replicas refuse these, and only once. */
const LEARNED_SETUP: readonly string[] = [
  "CREATE FUNCTION hidden(n integer) RETURNS integer STABLE LANGUAGE sql AS 'SELECT insert_some(n)'",
  'CREATE OPERATOR !+! (FUNCTION = insert_some, RIGHTARG = integer)',
  "CREATE FUNCTION hidden_id() RETURNS bigint STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN nextval('s'); END $$",
];
const LEARNED: readonly RouteCase[] = [
  { sql: 'SELECT hidden(1)', expect: 'primary' },
  { sql: 'SELECT hidden(n) FROM (VALUES ($1::integer)) v(n)', expect: 'primary', parameters: ['1'] },
  { sql: 'SELECT !+! 5', expect: 'primary' },
  { sql: 'SELECT count(hidden_id()) FROM foo', expect: 'primary' },
  { sql: 'COPY (SELECT !+! 7) TO STDOUT', expect: 'primary', copy: 'out' },
];

/** Sent a second time (prepared) it is logged with the name that it has set. */
const RENAMED = /^SET application_name = 'x'$/;

interface Run {
  readonly one: RouteCase;
  readonly form: Form;
  readonly marker: string;
  /** How often the client has sent it. */
  readonly times: number;
}

/** One statement in one form, on a connection of its own: what it has written must not send its reads to the primary. */
class Runner {
  readonly #daemon: Daemon;
  readonly runs: Run[] = [];
  /** What went wrong for the client. */
  readonly wrong: string[] = [];

  constructor(daemon: Daemon) {
    this.#daemon = daemon;
  }

  async run(one: RouteCase, form: Form): Promise<void> {
    const marker = `m${this.runs.length}`;
    const login = { user: 'postgres', database: 'app', parameters: { application_name: marker } };
    const client = await RawClient.login(this.#daemon, login);
    try {
      const name = form === 'prepared' ? 'p' : '';
      let times = 1;
      if (form === 'simple') await this.#ask(client, one, form, [wire.query(one.sql)]);
      else {
        const use = [
          wire.bind('', name, one.parameters ?? []),
          wire.describe('P', ''),
          wire.execute(''),
          wire.sync(),
        ];
        const parsed = await this.#ask(client, one, form, [wire.parse(name, one.sql), ...use]);
        if (form === 'prepared' && parsed) {
          times = 2;
          await this.#ask(client, one, form, use);
        }
      }
      this.runs.push({ one, form, marker, times });
    } finally {
      client.destroy();
    }
  }

  /** True when it was parsed (extended protocol). */
  async #ask(client: RawClient, one: RouteCase, form: Form, bytes: readonly Buffer[]): Promise<boolean> {
    client.send(...bytes);
    const messages: wire.RawMessage[] = [];
    for (;;) {
      messages.push(...(await client.until('GZ', 20_000)));
      if (messages.at(-1)?.type === 'Z') break;
      // the Sync that was sent with COPY is gone: a server that takes COPY data ignores it
      client.send(wire.copyDone(), ...(form === 'simple' ? [] : [wire.sync()]));
    }
    const failure = messages.find(({ type }) => type === 'E');
    if (failure !== undefined) {
      const { code, message } = wire.errorFields(failure);
      if (one.mayFail !== true || code === '25006')
        this.wrong.push(`${form}: ${one.sql}: ${code} ${message}`);
    }
    return messages.some(({ type }) => type === '1');
  }
}

describe('every statement of the table runs where it is expected', () => {
  let cluster: PostgresCluster;
  let runner: Runner;
  let major = 0;
  const logs = new Map<string, NodeLog>();
  let learned: string[] = [];

  before(async () => {
    major = (await testBinaries()).major;
    // reads that wait behind replayed DDL are not cut off: that would send them to the primary, rightly
    cluster = await withCluster(2, {
      settings: { log_statement: 'all', log_line_prefix: '%a|%e|', max_standby_streaming_delay: -1 },
    });
    for (const text of [...SETUP_SQL, ...LEARNED_SETUP]) await cluster.sql(cluster.primary, text);
    await cluster.waitCaughtUp();
    for (const node of cluster.nodes) {
      const log = new NodeLog();
      logs.set(node.name, log);
      node.log.onLine = (line) => log.add(line);
    }
    const daemon = await routedDaemon(null, cluster, {
      settings: { log_connections: 0, log_disconnections: 0 },
    });
    // the proxy knows the functions of the primary
    const admin = await RawClient.login(daemon, { user: 'postgres', database: 'pgbouncer' });
    await until(async () => (await admin.rows('EXPLAIN ROUTE SELECT label(3)')).flat().includes('read'));
    admin.destroy();

    runner = new Runner(daemon);
    for (const one of [...ROUTE_TABLE, ...LEARNED]) {
      if ((one.since ?? 0) > major) continue;
      for (const form of formsOf(one)) await runner.run(one, form);
    }
    const console = await RawClient.login(daemon, { user: 'postgres', database: 'pgbouncer' });
    learned = (await console.rows('SHOW LEARNED')).map((row) => row.join(' | '));
    console.destroy();
    // what was logged before this has been read after it
    for (const node of cluster.nodes) {
      const from = node.log.mark();
      await cluster.sql(node, "SELECT 'the end of the log'");
      await node.log.waitFor(/LOG: {2}statement: SELECT 'the end of the log'/, { from });
      await cluster.sql(node, "SELECT 'and something after it'");
      await node.log.waitFor(/LOG: {2}statement: SELECT 'and something after it'/, { from });
    }
  });
  after(() => {
    for (const node of cluster.nodes) node.log.onLine = null;
  });

  const units = (): number => runner.runs.reduce((sum, { times }) => sum + times, 0);

  test('there are enough of them', () => {
    const statements = new Set(runner.runs.map(({ one }) => one.sql)).size;
    assert.ok(statements >= 300, String(statements));
    for (const form of FORMS) {
      const count = runner.runs.filter((run) => run.form === form).length;
      assert.ok(count >= 300, `${form}: ${count}`);
    }
    assert.ok(units() >= 1200, String(units()));
  });

  test('the client sees no error that PostgreSQL would not have told it, and 25006 never', () => {
    assert.deepEqual(runner.wrong, []);
  });

  test('reads run on replicas, everything else on the primary', () => {
    const wrong: string[] = [];
    const retried = new Map<string, number>();
    const shares = new Map<string, number>();
    const primary = cluster.primary.name;
    for (const { one, form, marker, times } of runner.runs) {
      let right = 0;
      const elsewhere: string[] = [];
      for (const [name, log] of logs) {
        const { executed, failed, refused } = log.of(marker, one.sql);
        // what fails while it is parsed is not logged as executed; who has renamed himself is logged by that name
        const ran =
          Math.max(executed, failed) +
          (form === 'prepared' && RENAMED.test(one.sql) ? log.of('x', one.sql).executed : 0);
        if (ran === 0) continue;
        if ((name === primary) === (one.expect === 'primary')) {
          right += ran;
          shares.set(name, (shares.get(name) ?? 0) + ran);
        } else if (one.expect === 'primary' && ran === 1 && refused === 1) {
          retried.set(one.sql, (retried.get(one.sql) ?? 0) + 1);
        } else elsewhere.push(`${name} ${ran} times`);
      }
      if (right !== times || elsewhere.length > 0) {
        wrong.push(`${form}, ${one.expect}: ${one.sql}: ${right} of ${times}; ${elsewhere.join(', ')}`);
      }
    }
    assert.deepEqual(wrong, []);
    // a replica's refusal is needed once: then it is known, in every form
    assert.deepEqual(
      [...retried],
      LEARNED.map(({ sql }) => [sql, 1]),
    );
    assert.equal(learned.length, LEARNED.length, learned.join('\n'));
    for (const node of cluster.nodes)
      assert.ok((shares.get(node.name) ?? 0) > 200, JSON.stringify([...shares]));
  });
});
