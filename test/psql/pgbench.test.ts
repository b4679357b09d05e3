/**
 * The condition of the foundation's issue: 200 clients on 5 servers, select-only and TPC-B, in all three protocol
 * modes, in session and in transaction mode, without a failed transaction, and with sums that agree afterwards.
 *
 * A fixed number of transactions each (-t), never a time (-T): in session mode 5 clients have the servers until they
 * are done and the other 195 wait for them. Prepared mode needs a thread per client (-j = -c): pgbench prepares with
 * PQprepare, which blocks the whole thread, and a thread that waits for a server in it does not run the very client
 * that holds one. With fewer threads it stands still, with every pooler that has fewer servers than clients.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { POOL_MODES, type Proxied, type ProxiedDatabase, withProxied } from '../support/proxied.ts';
import { runProgram, skipWithout } from '../support/psql.ts';

const CLIENTS = 200;
const SERVERS = 5;
const EACH = 10;

const skip = skipWithout('pgbench');
let proxied: Proxied;

async function pgbench(database: ProxiedDatabase, args: readonly string[]): Promise<string> {
  const options = { ...proxied.address(database), timeoutMs: 120_000 };
  const { code, stdout, stderr } = await runProgram('pgbench', args, options);
  assert.equal(code, 0, `pgbench ${args.join(' ')}: ${stderr}`);
  assert.doesNotMatch(stderr, /error|abort|failed/i);
  return stdout;
}

describe(`pgbench, ${CLIENTS} clients on ${SERVERS} servers`, { skip }, () => {
  before(async () => {
    proxied = await withProxied({ poolSize: SERVERS });
  });

  for (const [database, mode] of POOL_MODES) {
    test(`pgbench -i in ${mode} mode: COPY, vacuum, keys`, async () => {
      await pgbench(database, ['-i', '-q', '-s', '2']);
      assert.deepEqual(await proxied.rows('SELECT count(*) FROM pgbench_accounts'), [['200000']]);
      await proxied.assertQuiet(database);
    });

    for (const protocol of ['simple', 'extended', 'prepared']) {
      for (const kind of ['select-only', 'tpcb-like']) {
        test(`${kind}, ${protocol}, ${mode} mode`, async () => {
          await proxied.rows('TRUNCATE pgbench_history');
          const before = await balances();
          const threads = protocol === 'prepared' ? CLIENTS : 2;
          const args = ['-n', '-b', kind, '-M', protocol, '-c', CLIENTS, '-j', threads, '-t', EACH].map(
            String,
          );
          const printed = await pgbench(database, args);
          const total = CLIENTS * EACH;
          assert.match(printed, new RegExp(`transactions actually processed: ${total}/${total}$`, 'm'));
          // pgbench of PostgreSQL 15 and later counts them
          assert.doesNotMatch(printed, /failed transactions: [1-9]/);
          await proxied.assertQuiet(database);

          const after = await balances();
          const [[rows, delta] = []] = await proxied.rows(
            'SELECT count(*), coalesce(sum(delta), 0) FROM pgbench_history',
          );
          assert.equal(rows, kind === 'tpcb-like' ? String(total) : '0');
          for (const [i, sum] of after.entries()) assert.equal(sum - (before[i] ?? 0), Number(delta));
        });
      }
    }
  }
});

/** Of the accounts, tellers and branches: each transaction adds the same to all three. */
async function balances(): Promise<number[]> {
  const [row = []] = await proxied.rows(
    `SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
       (SELECT sum(bbalance) FROM pgbench_branches)`,
  );
  return row.map(Number);
}
