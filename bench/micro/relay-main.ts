/**
 * The relay's own JavaScript, without sockets: CPU time of one transaction through a plain entry and through
 * route=auto, in alternation in one process. The transports only remember what they are given, the server's answers
 * are canned, so that what differs is routing. With one client, and with more clients than servers. Prints µs per
 * transaction, the medians of the rounds.
 */

import type { ClusterView, NodeState, NodeView } from '../../src/routing/cluster-view.ts';
import { loadParser } from '../../src/sql/parse.ts';
import { Sim, type SimClient, simConfig } from '../../test/protocol/sim.ts';
import * as wire from '../../test/support/raw-messages.ts';

const ROUNDS = 9;
const TRANSACTIONS = 60_000;
/** On a pool of 20. */
const CLIENTS = 32;
const ROW = Buffer.from('440000000c0001000000023432', 'hex');
const DONE = Buffer.from('430000000d53454c454354203100' + '5a0000000549', 'hex');

const PARSE = 0x50;
const PARSED = Buffer.from([0x31, 0, 0, 0, 4]);

interface Mode {
  readonly name: string;
  ask(i: number): Buffer;
  readonly answer: Buffer;
}

const STATEMENT = 'SELECT abalance FROM pgbench_accounts WHERE aid = $1;';
const rowDescription = (): Buffer => {
  const body = Buffer.concat([Buffer.from([0, 1]), Buffer.from('aid\0'), Buffer.alloc(18)]);
  const head = Buffer.alloc(5);
  head[0] = 0x54;
  head.writeUInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
};
const bindExecute = Buffer.concat([wire.bind('', 's1', ['4711']), wire.execute('', 0), wire.sync()]);
const MODES: readonly Mode[] = [
  {
    name: 'simple, other literals',
    ask: (i) => wire.query(`SELECT abalance FROM pgbench_accounts WHERE aid = ${i * 7919};`),
    answer: Buffer.concat([rowDescription(), ROW, DONE]),
  },
  {
    name: 'prepared',
    ask: () => bindExecute,
    answer: Buffer.concat([Buffer.from([0x32, 0, 0, 0, 4]), ROW, DONE]),
  },
];

interface Side {
  readonly sim: Sim;
  readonly clients: readonly SimClient[];
}

function view(): ClusterView {
  const node = (name: string, port: number, state: NodeState): NodeView => ({
    name,
    host: '127.0.0.1',
    port,
    zone: '',
    weight: 1,
    state,
    inRecovery: state === 'replica',
    sinceAt: 0,
    readySinceMs: 0,
    timeline: 1,
    systemId: '7',
    writtenLsn: 1,
    replayedLsn: 1,
    lagMs: 0,
    lagBytes: 0,
    streaming: true,
    upstream: '',
    syncState: '',
    override: '',
    lastError: '',
    lastErrorAt: 0,
    lastCheckAt: 0,
    answeredFrom: 0,
    connectedAt: 0,
    slowChecks: 0,
    failures: 0,
  });
  const nodes = [node('n1', 5001, 'primary'), node('n2', 5002, 'replica')];
  return { name: 'main', version: 1, primary: 'n1', timeline: 1, systemId: '7', noPrimarySinceAt: 0, nodes };
}

async function open(routed: boolean, count: number): Promise<Side> {
  const databases = routed
    ? '[clusters]\nmain = check_user=app\n[nodes]\nn1 = cluster=main host=127.0.0.1 port=5001\nn2 = cluster=main host=127.0.0.1 port=5002\n[databases]\napp = cluster=main dbname=postgres'
    : '[databases]\napp = host=127.0.0.1 port=5002 dbname=postgres';
  const sim = new Sim(simConfig({ pool_mode: 'transaction', max_prepared_statements: 200 }, databases));
  if (routed) {
    sim.desk.onView(view());
    sim.desk.onCatalog('main', 'postgres', { version: 1, functions: [], unlogged: [] });
  }
  const clients: SimClient[] = [];
  for (let i = 0; i < count; i++) clients.push(await sim.login());
  for (let round = 0; round < 3; round++) {
    // the first one Parses, opens the servers and warms the caches
    for (const { transport } of clients) {
      if (round === 0) transport.arrive(wire.parse('s1', STATEMENT));
      transport.arrive(bindExecute);
    }
    for (let i = 0; i < 50; i++) {
      sim.settle(clients, 65_536);
      // a login to a server takes turns of its own
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  return { sim, clients };
}

/** As in an event loop: all servers that have been asked answer, all clients that were answered ask again. */
function run({ sim, clients }: Side, mode: Mode, requests: readonly Buffer[]): number {
  const before = process.cpuUsage();
  let sent = 0;
  let answered = 0;
  for (const { transport } of clients) {
    const bytes = requests[sent++] as Buffer;
    transport.handler.onData(bytes, bytes.length);
  }
  while (answered < sent) {
    const from = answered;
    for (const { transport } of sim.servers) {
      if (transport.pending === 0) continue;
      // the statement is put before the first use of a server
      const prepares = transport.take()[0] === PARSE;
      transport.writes.length = 0;
      if (prepares) transport.handler.onData(PARSED, PARSED.length);
      transport.handler.onData(mode.answer, mode.answer.length);
    }
    for (const { transport } of clients) {
      if (transport.pending === 0) continue;
      transport.take();
      transport.writes.length = 0;
      answered += 1;
      const bytes = requests[sent];
      if (bytes === undefined) continue;
      sent += 1;
      transport.handler.onData(bytes, bytes.length);
    }
    if (answered === from)
      throw new Error(
        `no answer reached a client: ${mode.name}, ${sim.servers.length} servers, ${sim.closes}`,
      );
  }
  const used = process.cpuUsage(before);
  return (used.user + used.system) / requests.length;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
}

await loadParser();
for (const count of [1, CLIENTS]) {
  const plain = await open(false, count);
  const routed = await open(true, count);
  for (const mode of MODES) {
    const requests = Array.from({ length: TRANSACTIONS }, (_, i) => mode.ask(i));
    const [a, b]: [number[], number[]] = [[], []];
    for (let round = 0; round < ROUNDS; round++) {
      a.push(run(plain, mode, requests));
      b.push(run(routed, mode, requests));
    }
    const [p, r] = [median(a.slice(2)), median(b.slice(2))];
    const name = `${mode.name}, ${count} on ${plain.sim.servers.length}`;
    console.log(
      `${name.padEnd(34)} plain ${p.toFixed(2)} µs, route=auto ${r.toFixed(2)} µs, routing ${(r - p).toFixed(2)} µs`,
    );
  }
  plain.sim.end();
  routed.sim.end();
}
