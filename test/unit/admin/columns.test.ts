import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VIEWS } from '../../../src/admin/views.ts';
import { query } from '../../../src/wire/frontend.ts';
import { columnsOf, FakeConsole } from './fake-console.ts';

// written out as in the reference of PgBouncer: t = text, i = int4, q = int8, n = numeric
const SOCKET =
  'type t, user t, database t, replication t, state t, addr t, port i, local_addr t, local_port i, connect_time t, ' +
  'request_time t, wait i, wait_us i, close_needed i, ptr t, link t, remote_pid i, tls t, application_name t, ' +
  'prepared_statements i, id i';
const BUFFERS = 'recv_pos i, pkt_pos i, pkt_remain i, send_pos i, send_remain i, pkt_avail i, send_avail i';

const POOL_NODES =
  'node_id i, hostname t, port i, status t, lb_weight n, role t, select_cnt q, load_balance_node t, replication_delay q';

const EXPECTED: Readonly<Record<string, string>> = {
  CLIENTS: SOCKET,
  SERVERS: `${SOCKET}, node t`,
  SOCKETS: `${SOCKET}, ${BUFFERS}`,
  ACTIVE_SOCKETS: `${SOCKET}, ${BUFFERS}`,
  POOLS:
    'database t, user t, cl_active i, cl_waiting i, cl_active_cancel_req i, cl_waiting_cancel_req i, sv_active i, ' +
    'sv_active_cancel i, sv_being_canceled i, sv_idle i, sv_used i, sv_tested i, sv_login i, maxwait i, maxwait_us i, ' +
    'pool_mode t, load_balance_hosts t, node t',
  PEER_POOLS: 'peer_id i, cl_active_cancel_req i, cl_waiting_cancel_req i, sv_active_cancel i, sv_login i',
  PEERS: 'peer_id i, host t, port i, pool_size i',
  DATABASES:
    'name t, host t, port i, database t, force_user t, pool_size i, min_pool_size i, reserve_pool_size i, ' +
    'server_lifetime i, pool_mode t, load_balance_hosts t, max_connections i, current_connections i, ' +
    'max_client_connections i, current_client_connections i, paused i, disabled i',
  USERS:
    'name t, pool_size t, reserve_pool_size t, pool_mode t, max_user_connections i, current_connections i, ' +
    'max_user_client_connections i, current_client_connections i',
  STATS:
    'database t, total_server_assignment_count n, total_xact_count n, total_query_count n, total_received n, ' +
    'total_sent n, total_xact_time n, total_query_time n, total_wait_time n, total_client_parse_count n, ' +
    'total_server_parse_count n, total_bind_count n, total_client_login_count n, avg_server_assignment_count n, ' +
    'avg_xact_count n, avg_query_count n, avg_recv n, avg_sent n, avg_xact_time n, avg_query_time n, avg_wait_time n, ' +
    'avg_client_parse_count n, avg_server_parse_count n, avg_bind_count n, avg_client_login_count n',
  STATS_TOTALS:
    'database t, server_assignment_count n, xact_count n, query_count n, bytes_received n, bytes_sent n, xact_time n, ' +
    'query_time n, wait_time n, client_parse_count n, server_parse_count n, bind_count n, client_login_count n',
  STATS_AVERAGES:
    'database t, server_assignment_count n, xact_count n, query_count n, bytes_received n, bytes_sent n, xact_time n, ' +
    'query_time n, wait_time n, avg_client_parse_count n, avg_server_parse_count n, avg_bind_count n, ' +
    'avg_client_login_count n',
  TOTALS: 'name t, value n',
  CONFIG: 'key t, value t, default t, changeable t',
  LISTS: 'list t, items i',
  VERSION: 'version t',
  STATE: 'key t, value t',
  MEM: 'name t, size i, used i, free i, memtotal i',
  DNS_HOSTS: 'hostname t, ttl q, addrs t',
  DNS_ZONES: 'zonename t, serial q, count i',
  NODES:
    `${POOL_NODES}, cluster t, name t, zone t, state t, lag_bytes q, lag_seconds n, timeline i, sync_state t, ` +
    'upstream t, override t, written_lsn t, replayed_lsn t, in_flight i, service_us q, reads q, writes q, ' +
    'slow_checks q, banned i, since t, last_check t, last_error t, last_error_time t, system_id t, weight n, streaming i',
  POOL_NODES,
  CLUSTERS:
    'name t, primary t, timeline i, system_id t, nodes i, eligible i, no_primary_since t, held i, samples q, ' +
    'read_consistency t, balance t',
  CLUSTER: 'Role t, Name t, Upstream t, Connection String t',
  ROUTES: 'time t, client_id i, database t, user t, class t, reason t, node t, retried i, text t',
  LEARNED: 'cluster t, database t, sqlstate t, since t, hits q, text t',
  SHADOW:
    'database t, units q, reads q, would_replica q, would_stale q, writes q, read_share n, replica_share n',
};

const LETTER: Readonly<Record<number, string>> = { 25: 't', 23: 'i', 20: 'q', 1700: 'n' };

for (const [name, expected] of Object.entries(EXPECTED)) {
  test(`SHOW ${name} has these columns: PgBouncer's, then our own`, () => {
    const c = new FakeConsole();
    c.send(query(`SHOW ${name};`));
    const [head] = c.take();
    assert.ok(head !== undefined && head.type === 'T');
    const seen = columnsOf(head).map((col) => `${col.name} ${LETTER[col.oid]}`);
    assert.equal(seen.join(', '), expected);
  });
}

test('there is no view without an expectation here, but FDS', () => {
  const names = VIEWS.map((v) => v.name).filter((n) => n !== 'FDS');
  assert.deepEqual(names.sort(), Object.keys(EXPECTED).sort());
});

test('every column is documented, and every value of a closed set', () => {
  for (const view of VIEWS) {
    assert.match(view.doc, /\.$/, view.name);
    for (const column of view.columns) {
      assert.match(column.doc, /.{4,}\.$/, `${view.name}.${column.name}`);
      for (const doc of Object.values(column.values ?? {})) assert.notEqual(doc, '');
    }
  }
});
