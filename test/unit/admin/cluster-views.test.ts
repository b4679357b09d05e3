/** SHOW NODES and its relatives, from rows of ClusterControl to bytes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NODE_STATES } from '../../../src/admin/view-nodes.ts';
import type { ControlPort } from '../../../src/control/port.ts';
import type { NodeState } from '../../../src/routing/cluster-view.ts';
import { bind, execute, parse, query, sync } from '../../../src/wire/frontend.ts';
import { clusterRow, nodeRow } from '../../support/fake-clusters.ts';
import { FakeConsole, line, valuesOf } from './fake-console.ts';

const rowsOf = (text: string, port: Partial<ControlPort>): string[] =>
  new FakeConsole({ port, admin: false })
    .ask(query(text))
    .filter((l) => l.startsWith('D '))
    .map((l) => l.slice(2));

const AT = new Date(2026, 10, 20, 12, 0, 5).getTime();
const TIME = '2026-11-20 12:00:05 ';

/** The cookbook's case: the former primary is down, the other one was promoted. */
const FAILED_OVER = [
  nodeRow('db1', { host: 'dbser1', state: 'down', readOnly: false, lagBytes: null, lagMs: null }),
  nodeRow('db2', { host: 'dbser2', state: 'primary', timeline: 2, reads: 68, nextRead: true }),
];

test('SHOW POOL_NODES has the rows of pgpool', () => {
  assert.deepEqual(rowsOf('SHOW POOL_NODES', { nodes: () => FAILED_OVER }), [
    '0|dbser1|5432|down|0.500000|standby|0|false|0',
    '1|dbser2|5432|up|0.500000|primary|68|true|0',
  ]);
});

test('SHOW NODES begins with the columns of pgpool and puts each value into its column', () => {
  const node = nodeRow('pg2', {
    host: '10.0.0.2',
    port: 5433,
    zone: 'b',
    state: 'lagging',
    weight: 2.5,
    share: 2 / 3,
    timeline: 3,
    systemId: '7400000000000000001',
    writtenLsn: '0/5',
    replayedLsn: '0/4',
    lagMs: 12_345,
    lagBytes: 6_000_000_000,
    upstream: '10.0.0.1:5432',
    syncState: 'sync',
    override: 'weight',
    banned: true,
    sinceAt: AT,
    lastCheckAt: AT,
    lastError: 'timeout',
    lastErrorAt: AT,
    slowChecks: 11,
    reads: 12,
    writes: 13,
    inFlight: 14,
    serviceUs: 15,
  });
  const nodes = (): (typeof node)[] => [nodeRow('pg1', { state: 'primary' }), node];
  const [, row = ''] = rowsOf('SHOW NODES', { nodes });
  const zone = /12:00:05 (\S+)\|/.exec(row)?.[1] ?? '';
  assert.notEqual(zone, '');
  assert.equal(
    row,
    '1|10.0.0.2|5433|up|0.666667|standby|12|false|6000000000|' +
      'main|pg2|b|lagging|6000000000|12.345|3|sync|pg1|weight|0/5|0/4|14|15|12|13|11|1|' +
      `${TIME}${zone}|${TIME}${zone}|timeout|${TIME}${zone}|7400000000000000001|2.5|1`,
  );
  const [unknown = ''] = rowsOf('SHOW NODES', {
    nodes: () => [nodeRow('pg9', { lagMs: null, lagBytes: null })],
  });
  assert.equal(unknown.split('|').slice(8, 15).join('|'), '0|main|pg9||replica|NULL|NULL');
});

test('status is in the words of pgpool, and every state is documented', () => {
  const expected: Record<NodeState, string> = {
    starting: 'waiting',
    primary: 'up',
    replica: 'up',
    lagging: 'up',
    down: 'down',
    detached: 'down',
    conflict: 'quarantine',
  };
  assert.deepEqual(Object.keys(NODE_STATES).sort(), Object.keys(expected).sort());
  for (const [state, status] of Object.entries(expected)) {
    const [row = ''] = rowsOf('SHOW NODES', { nodes: () => [nodeRow('a', { state })] });
    const cells = row.split('|');
    assert.deepEqual([cells[3], cells[12]], [status, state]);
  }
});

test('one node of a cluster at most is called primary', () => {
  const roles = (...nodes: ReturnType<typeof nodeRow>[]): string =>
    rowsOf('SHOW POOL_NODES', { nodes: () => nodes })
      .map((row) => row.split('|')[5])
      .join(' ');
  const writable = { readOnly: false };
  assert.equal(roles(nodeRow('a', { state: 'down', ...writable }), nodeRow('b')), 'primary standby');
  assert.equal(
    roles(nodeRow('a', { state: 'conflict', ...writable, timeline: 9 }), nodeRow('b', { state: 'primary' })),
    'standby primary',
  );
  assert.equal(
    roles(
      nodeRow('a', { state: 'down', ...writable }),
      nodeRow('b', { state: 'detached', ...writable, timeline: 2 }),
    ),
    'standby primary',
  );
  assert.equal(
    roles(nodeRow('a', { state: 'starting', ...writable, timeline: 0 })),
    'standby',
    'nothing heard yet',
  );
  const two = [nodeRow('a', { state: 'primary' }), nodeRow('b', { state: 'primary', cluster: 'other' })];
  assert.equal(roles(...two), 'primary primary');
});

test('numeric columns in binary, small weights without an exponent', () => {
  const nodes = (): ReturnType<typeof nodeRow>[] => [nodeRow('a', { share: 0.25, weight: 0.0000001 })];
  const c = new FakeConsole({ port: { nodes } });
  c.send(
    parse('', 'SHOW NODES'),
    bind({ portal: '', statement: '', values: [], resultFormats: [1] }),
    execute(''),
    sync(),
  );
  const row = c.take().find((r) => r.type === 'D');
  assert.ok(row !== undefined);
  const values = valuesOf(row);
  // one digit of base 10000 (2500) after the point, scale 6
  assert.deepEqual(values[4], Buffer.from([0, 1, 0xff, 0xff, 0, 0, 0, 6, 0x09, 0xc4]));
  assert.deepEqual(values[32], Buffer.alloc(8));
});

test('SHOW CLUSTER has the shape of repmgr', () => {
  const nodes = (): ReturnType<typeof nodeRow>[] => [
    nodeRow('pg1', { state: 'primary' }),
    nodeRow('pg2', { host: '10.0.0.2', upstream: '10.0.0.1:5432' }),
    nodeRow('pg3', { host: '10.0.0.3', port: 5433, upstream: '10.0.0.77:5432', state: 'lagging' }),
    nodeRow('pg4', { host: "a b\\c'd", state: 'down' }),
    nodeRow('pg5', { host: '', state: 'conflict' }),
    nodeRow('pg6', { state: 'starting' }),
  ];
  const c = new FakeConsole({ port: { nodes } });
  assert.deepEqual(c.ask(query('SHOW CLUSTER')).slice(0, -2), [
    'T Role Name Upstream Connection String',
    'D * master|pg1||host=10.0.0.1 port=5432',
    'D   standby|pg2|pg1|host=10.0.0.2 port=5432',
    'D   standby|pg3|10.0.0.77:5432|host=10.0.0.3 port=5433',
    "D   FAILED|pg4||host='a b\\\\c\\'d' port=5432",
    'D   FAILED|pg5||port=5432',
    'D   unknown|pg6||host=10.0.0.1 port=5432',
  ]);
});

test('SHOW CLUSTERS, ROUTES, LEARNED and SHADOW put each value into its column', () => {
  const port: Partial<ControlPort> = {
    clusters: () => [
      clusterRow('main', { timeline: 4, nodes: 3, eligible: 2, samples: 6 }),
      clusterRow('old', { primary: null, noPrimarySinceAt: AT, held: 5, systemId: '' }),
    ],
    routes: () => [
      {
        at: AT,
        clientId: 7,
        database: 'app',
        user: 'alice',
        text: 'SELECT $1',
        class: 'read',
        reason: 'weighted',
        node: 'pg2',
        retried: true,
      },
    ],
    learned: () => [
      { cluster: 'main', database: 'app', text: 'SELECT f($1)', sqlstate: '25006', since: AT, hits: 8 },
    ],
    shadow: () => [
      { database: 'app', units: 8, reads: 6, wouldReplica: 4, wouldStale: 2, writes: 1 },
      { database: 'none', units: 0, reads: 0, wouldReplica: 0, wouldStale: 0, writes: 0 },
    ],
  };
  const shown = (text: string): string[] =>
    rowsOf(text, port).map((row) => row.replace(/(\d\d:\d\d:\d\d) [A-Z0-9+-]+/, '$1'));
  assert.deepEqual(shown('SHOW CLUSTERS'), [
    'main|pg1|4|7000|3|2||0|6|session|weighted',
    'old|NULL|1||2|1|2026-11-20 12:00:05|5|0|session|weighted',
  ]);
  assert.deepEqual(shown('SHOW ROUTES'), ['2026-11-20 12:00:05|7|app|alice|read|weighted|pg2|1|SELECT $1']);
  assert.deepEqual(shown('SHOW LEARNED'), ['main|app|25006|2026-11-20 12:00:05|8|SELECT f($1)']);
  assert.deepEqual(shown('SHOW SHADOW'), [
    'app|8|6|4|2|1|0.750000|0.500000',
    'none|0|0|0|0|0|0.000000|0.000000',
  ]);
});

test('without a cluster the views are empty', () => {
  const port = { nodes: () => [], clusters: () => [] };
  for (const name of ['NODES', 'POOL_NODES', 'CLUSTERS', 'CLUSTER', 'ROUTES', 'LEARNED', 'SHADOW']) {
    assert.deepEqual(new FakeConsole({ port }).ask(query(`SHOW ${name}`)).slice(1), ['C SHOW', 'Z I'], name);
  }
});

test('the greeting warns of what is wrong with the clusters, and of nothing when all is well', () => {
  const warnings = (port: Partial<ControlPort>): string[] =>
    new FakeConsole({ port }).greeting
      .filter((r) => r.type === 'N')
      .map((r) => line(r).replace(/(\d\d:\d\d:\d\d) [A-Z0-9+-]+/, '$1'));
  assert.deepEqual(warnings({}), []);
  const port: Partial<ControlPort> = {
    clusters: () => [clusterRow('main', { primary: null, noPrimarySinceAt: AT, held: 3 })],
    nodes: () => [
      nodeRow('pg1', { state: 'down', sinceAt: AT, lastError: 'Connection refused' }),
      nodeRow('pg2', { state: 'conflict', lastError: 'writable beside "pg3"' }),
      nodeRow('pg3', { state: 'detached', override: 'detached', sinceAt: AT }),
      nodeRow('pg4', { override: 'weight', weight: 0 }),
      nodeRow('pg5', { lastError: 'of yesterday' }),
    ],
  };
  assert.deepEqual(warnings(port), [
    'N WARNING 01000 cluster "main" has no primary since 2026-11-20 12:00:05, 3 clients wait for one',
    'N WARNING 01000 node "pg1" of cluster "main" is down since 2026-11-20 12:00:05: Connection refused',
    'N WARNING 01000 node "pg2" of cluster "main" is in conflict, it is not used: writable beside "pg3"',
    'N WARNING 01000 node "pg3" of cluster "main" is detached by hand since 2026-11-20 12:00:05, ATTACH pg3 ends it',
    'N WARNING 01000 node "pg4" of cluster "main" has weight 0 by hand (SET WEIGHT)',
  ]);
  const many = Array.from({ length: 50 }, (_, i) => nodeRow(`n${i}`, { state: 'down' }));
  const shown = warnings({ nodes: () => many });
  assert.equal(shown.length, 20);
  assert.equal(shown.at(-1), 'N WARNING 01000 … and 31 more: SHOW NODES');
});
