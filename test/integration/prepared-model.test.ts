/**
 * Prepared statements against the real thing: three clients with colliding names share one or two servers that keep
 * two statements each. Every step is also run on a connection of the client's own without the proxy: messages, rows,
 * tags, SQLSTATEs and transaction status must be the same, step by step. PGC_SEED repeats a run.
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { type Proxied, type ProxiedDatabase, withProxied } from '../support/proxied.ts';
import { RawClient } from '../support/raw-client.ts';
import type { RawMessage } from '../support/raw-messages.ts';
import * as wire from '../support/raw-messages.ts';

const SEED = Number(process.env['PGC_SEED'] ?? Date.now() % 1_000_000);
const STEPS = Number(process.env['PGC_STEPS'] ?? 1000);

/** Small and good enough (mulberry32); the same numbers for the same seed everywhere. */
function randomFrom(seed: number): (below: number) => number {
  let a = seed;
  return (below) => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((((t ^ (t >>> 14)) >>> 0) / 4_294_967_296) * below) | 0;
  };
}

type Random = (below: number) => number;

function pick<T>(random: Random, values: readonly [T, ...T[]]): T {
  return values[random(values.length)] ?? values[0];
}

const NAMES = ['s1', 's2', 's3', `long${'g'.repeat(200)}`] as const;
/** No plan can be folded to a constant: PostgreSQL would fail at Bind or at Execute, depending on its plan cache. */
const TEXTS = [
  "select 'x' || $1::text",
  "select 'x' || $1::text",
  'select g, $1::text from generate_series(1, 5) g',
  'select 1 / (length($1::text) - 1 + (random() * 0)::int)',
  'select current_setting($1::text)',
  'this is no sql $1',
  'insert into t values ($1::text) returning a',
] as const;
const VALUES = ['application_name', 'y', 'longer', null] as const;
const SIMPLE = [
  'begin',
  'begin',
  'commit',
  'rollback',
  'select 1; select 2',
  'select 1 / 0',
  '',
  "set application_name = 'one'",
  "set application_name = 'two'",
  'show application_name',
  'copy t to stdout',
  'deallocate all',
  'discard all',
  'select count(*) >= 0 from t',
] as const;

/** One piece of an extended batch, with its description. */
function piece(random: Random): [string, Buffer] {
  const name = pick(random, NAMES);
  const short = name.slice(0, 4);
  switch (random(10)) {
    case 0:
    case 1:
    case 2: {
      const sql = pick(random, TEXTS);
      return [`Parse ${short} '${sql}'`, wire.parse(name, sql)];
    }
    case 3:
    case 4:
    case 5: {
      const value = pick(random, VALUES);
      const rows = random(3);
      return [
        `Bind ${short} ${value} Execute ${rows}`,
        Buffer.concat([wire.bind('', name, [value]), wire.execute('', rows)]),
      ];
    }
    case 6:
      return [`Describe ${short}`, wire.describe('S', name)];
    case 7:
      return [`Close ${short}`, wire.close('S', name)];
    case 8: {
      const sql = pick(random, TEXTS);
      const value = pick(random, VALUES);
      const all = [
        wire.parse('', sql),
        wire.describe('S', ''),
        wire.bind('p', '', [value]),
        wire.execute('p'),
      ];
      return [`unnamed '${sql}' ${value}`, Buffer.concat([...all, wire.close('P', 'p')])];
    }
    default:
      return ['Sync', wire.sync()];
  }
}

function step(random: Random): [string, Buffer] {
  if (random(4) === 0) {
    const sql = pick(random, SIMPLE);
    return [`Query '${sql}'`, wire.query(sql)];
  }
  const pieces = Array.from({ length: 1 + random(5) }, () => piece(random));
  return [
    [...pieces.map(([text]) => text), 'Sync'].join(', '),
    Buffer.concat([...pieces.map(([, bytes]) => bytes), wire.sync()]),
  ];
}

/** What must be equal. In an aborted transaction a Parse has several reasons to fail; which is first may differ. */
function comparable(messages: readonly RawMessage[]): string[] {
  return messages.map((message, i) => {
    const { type, body } = message;
    if (type !== 'E') return `${type} ${body.toString('latin1')}`;
    const { code } = wire.errorFields(message);
    const status = messages
      .slice(i)
      .find((one) => one.type === 'Z')
      ?.body.toString();
    const refused = status === 'E' && ['25P02', '42P05', '42601'].includes(code);
    return `E ${refused ? 'refused in an aborted transaction' : code}`;
  });
}

/** All answers: `readies` ReadyForQuerys. */
async function answers(client: RawClient, readies: number): Promise<RawMessage[]> {
  const all: RawMessage[] = [];
  for (let i = 0; i < readies; i++) all.push(...(await client.until('Z')));
  return all;
}

interface Player {
  readonly proxied: RawClient;
  readonly direct: RawClient;
}

let house: Proxied;

before(async () => {
  house = await withProxied({ poolSize: 2, settings: { max_prepared_statements: 2 } });
  await house.postgres.sql('create table t (a text); alter table t owner to app', 'app');
});

async function play(database: ProxiedDatabase, servers: number, seed: number): Promise<void> {
  const random = randomFrom(seed);
  const players: Player[] = [];
  try {
    for (let i = 0; i < 3; i++) {
      players.push({
        proxied: await RawClient.login(house.daemon, house.address(database)),
        direct: await RawClient.login(house.postgres, { user: 'app', database: 'app' }),
      });
    }
    const history: string[] = [];
    for (let n = 0; n < STEPS; n++) {
      // a client in a transaction holds its server: when all are held only those clients can go on
      const holders = players.filter(({ direct }) => direct.transactionStatus !== 'I');
      const [first, ...others] = holders.length >= servers ? holders : players;
      if (first === undefined) throw new Error('no player');
      const player = pick(random, [first, ...others]);
      const [text, bytes] = step(random);
      const syncs = wire
        .splitMessages(bytes)
        .messages.filter(({ type }) => type === 'S' || type === 'Q').length;
      history.push(`${n}: client ${players.indexOf(player)}: ${text}`);
      player.direct.send(bytes);
      const want = await answers(player.direct, syncs);
      const cut = random(3) === 0 ? 1 + random(bytes.length) : bytes.length;
      player.proxied.send(bytes.subarray(0, cut));
      if (cut < bytes.length) player.proxied.send(bytes.subarray(cut));
      let got: RawMessage[] = [];
      try {
        got = await answers(player.proxied, syncs);
      } catch (error) {
        throw new Error(`seed ${seed}\n${history.slice(-15).join('\n')}`, { cause: error });
      }
      assert.deepEqual(comparable(got), comparable(want), `seed ${seed}\n${history.slice(-15).join('\n')}`);
    }
    for (const { proxied, direct } of players) {
      assert.deepEqual(
        [...proxied.parameters].filter(([name]) => name === 'application_name'),
        [...direct.parameters].filter(([name]) => name === 'application_name'),
      );
      assert.deepEqual(proxied.pending, []);
      await proxied.end();
      await direct.end();
    }
    await house.assertQuiet(database);
  } finally {
    for (const { proxied, direct } of players) {
      proxied.destroy();
      direct.destroy();
    }
  }
}

test('three clients on one server that keeps two statements', () => play('one', 1, SEED));
test('three clients on two servers that keep two statements each', () => play('tx', 2, SEED + 1));

test('no server has more than its share of statements', async () => {
  const client = await RawClient.login(house.daemon, house.address('one'));
  for (let i = 0; i < 20; i++) {
    client.send(wire.parse(`n${i}`, `select ${i}`), wire.bind('', `n${i}`), wire.execute(''), wire.sync());
    assert.deepEqual(wire.rowsOf(await client.until('Z')), [[String(i)]]);
  }
  const [[count] = []] = await client.rows('select count(*) from pg_prepared_statements');
  assert.ok(Number(count) <= 2, `${count} statements`);
  // all twenty are still there for the client
  for (let i = 0; i < 20; i++) {
    client.send(wire.bind('', `n${i}`), wire.execute(''), wire.sync());
    assert.deepEqual(wire.rowsOf(await client.until('Z')), [[String(i)]]);
  }
  await client.end();
});
