/** Every documented setting: its default, that it loads, and that SHOW CONFIG gives it back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_SETTINGS, OPTIONS } from '../../../src/config/options.ts';
import { setOption, showConfig } from '../../../src/config/show.ts';
import { load, loaded } from './fixture.ts';

/**
 * PgBouncer's settings, written out from its reference and not from our table: name, default, another value, what
 * SHOW CONFIG prints for that (if different), R = restart only. null = NULL.
 */
const DOCUMENTED: readonly (readonly [string, string | null, string, string?, 'R'?])[] = [
  ['admin_users', '', 'postgres, bob'],
  ['application_name_add_host', '0', '1'],
  ['auth_dbname', null, 'postgres'],
  ['auth_file', null, '/nonexistent/userlist.txt'],
  ['auth_hba_file', '', '/x/hba'],
  ['auth_ident_file', null, '/x/ident'],
  ['auth_ldap_options', null, 'ldapurl="ldap://h/dc=x;y#z"'],
  [
    'auth_query',
    'SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END FROM pg_authid WHERE rolname=$1 AND rolcanlogin',
    'SELECT a, b FROM f($1)',
  ],
  ['auth_type', 'md5', 'SCRAM-SHA-256', 'scram-sha-256'],
  ['auth_user', null, 'auth'],
  ['autodb_idle_timeout', '3600', '60'],
  ['cancel_wait_timeout', '10', '1.5'],
  ['client_idle_timeout', '0', '7'],
  ['client_login_timeout', '60', '0.5'],
  ['client_tls13_ciphers', null, 'TLS_AES_128_GCM_SHA256'],
  ['client_tls_ca_file', '', '/x/ca'],
  ['client_tls_cert_file', '', '/x/cert'],
  ['client_tls_ciphers', 'default', 'secure'],
  ['client_tls_dheparams', 'auto', 'none'],
  ['client_tls_ecdhcurve', 'auto', 'prime256v1'],
  ['client_tls_key_file', '', '/x/key'],
  ['client_tls_protocols', 'secure', 'tlsv1.3'],
  ['client_tls_sslmode', 'disable', 'verify-full'],
  ['conffile', null, 'elsewhere.ini'],
  ['default_pool_size', '20', '25'],
  ['disable_pqexec', '0', '1', '1', 'R'],
  ['dns_max_ttl', '15', '30'],
  ['dns_nxdomain_ttl', '15', '30'],
  ['dns_zone_check_period', '0', '5'],
  ['idle_transaction_timeout', '0', '5'],
  ['ignore_startup_parameters', '', 'extra_float_digits,options'],
  ['job_name', 'pgbouncer', 'pool1', 'pool1', 'R'],
  ['listen_addr', '', '127.0.0.1, ::1', '127.0.0.1, ::1', 'R'],
  ['listen_backlog', '128', '512', '512', 'R'],
  ['listen_port', '6432', '6433', '6433', 'R'],
  ['log_connections', '1', '0'],
  ['log_disconnections', '1', '0'],
  ['log_pooler_errors', '1', '0'],
  ['log_stats', '1', '0'],
  ['logfile', '', '/x/log'],
  ['login_notify_message', '', 'hello ; world'],
  ['max_client_conn', '100', '1000'],
  ['max_db_client_connections', '0', '5'],
  ['max_db_connections', '0', '5'],
  ['max_packet_size', '2147483647', '1048576'],
  ['max_prepared_statements', '200', '0'],
  ['max_user_client_connections', '0', '5'],
  ['max_user_connections', '0', '5'],
  ['min_pool_size', '0', '2'],
  ['peer_id', '0', '16383'],
  ['pidfile', '', '/x/pid', '/x/pid', 'R'],
  ['pkt_buf', '4096', '8192', '8192', 'R'],
  ['pool_mode', 'session', 'Transaction', 'transaction'],
  ['pool_idle_timeout', '0', '5'],
  ['query_timeout', '0', '5'],
  ['query_wait_notify', '5', '0'],
  ['query_wait_timeout', '120', '0'],
  ['reserve_pool_size', '0', '5'],
  ['reserve_pool_timeout', '5', '3'],
  ['resolv_conf', '', '/x/resolv.conf', '/x/resolv.conf', 'R'],
  ['sbuf_loopcnt', '5', '0'],
  ['scram_iterations', '4096', '10000'],
  ['server_check_delay', '30', '0'],
  ['server_check_query', '<empty>', 'select 1'],
  ['server_connect_timeout', '15', '5'],
  ['server_fast_close', '0', '1'],
  ['server_idle_timeout', '600', '5'],
  ['server_lifetime', '3600', '0'],
  ['server_login_retry', '15', '1'],
  ['server_reset_query', 'DISCARD ALL', "SELECT ';', '#'"],
  ['server_reset_query_always', '0', '1'],
  ['server_round_robin', '0', '1'],
  ['server_tls13_ciphers', null, 'TLS_AES_128_GCM_SHA256'],
  ['server_tls_ca_file', '', '/x/ca'],
  ['server_tls_cert_file', '', '/x/cert'],
  ['server_tls_ciphers', 'default', 'secure'],
  ['server_tls_key_file', '', '/x/key'],
  ['server_tls_protocols', 'secure', 'tlsv1.3'],
  ['server_tls_sslmode', 'prefer', 'require'],
  ['so_reuseport', '0', '1', '1', 'R'],
  ['stats_period', '60', '30'],
  ['stats_users', '', 'a,b'],
  ['suspend_timeout', '10', '5'],
  ['syslog', '0', '1'],
  ['syslog_facility', 'daemon', 'local7'],
  ['syslog_ident', 'pgbouncer', 'x'],
  ['tcp_defer_accept', '1', '45'],
  ['tcp_keepalive', '1', '0'],
  ['tcp_keepcnt', '0', '3'],
  ['tcp_keepidle', '0', '60'],
  ['tcp_keepintvl', '0', '10'],
  ['tcp_socket_buffer', '0', '65536'],
  ['tcp_user_timeout', '0', '12500'],
  ['track_extra_parameters', 'IntervalStyle', 'search_path', 'search_path', 'R'],
  ['transaction_timeout', '0', '5'],
  ['unix_socket_dir', '/tmp', '@x', '@x', 'R'],
  ['unix_socket_group', '', 'staff', 'staff', 'R'],
  ['unix_socket_mode', '0777', '0700', '448', 'R'],
  ['user', null, 'nobody', 'nobody', 'R'],
  ['verbose', null, '2'],
];
const NEW = [
  'admin_database',
  'balance',
  'ban_time',
  'check',
  'check_dbname',
  'check_interval',
  'check_password',
  'check_timeout',
  'check_user',
  'fail_threshold',
  'http_addr',
  'http_port',
  'lag_source',
  'learned_statements',
  'log_format',
  'lsn_interval',
  'max_connecting',
  'max_lag',
  'max_lag_bytes',
  'metrics_max_labels',
  'passfile',
  'primary_wait_timeout',
  'read_consistency',
  'read_from_primary',
  'read_functions',
  'recover_lag',
  'role_query',
  'route',
  'route_cache_size',
  'route_shadow',
  'server_reset_timeout',
  'slow_start',
  'stale_read',
  'stale_read_wait',
  'state_file',
  'warmup_query',
  'workers',
  'write_functions',
  'zone',
];

test('names, order, defaults and changeability are those of the reference', (t) => {
  const rows = showConfig(loaded(t, '[pgbouncer]\n'));
  assert.deepEqual(
    rows.map((row) => row.key),
    [...DOCUMENTED.map(([name]) => name), ...NEW],
  );
  for (const [name, value, , , restart] of DOCUMENTED) {
    const row = rows.find((found) => found.key === name);
    assert.equal(row?.default, value, name);
    assert.equal(row?.changeable, restart === undefined, name);
  }
});

test('an empty section shows the defaults', (t) => {
  const config = loaded(t, '[pgbouncer]\n');
  for (const row of showConfig(config)) {
    const exceptions: Record<string, string> = {
      conffile: config.path,
      unix_socket_mode: '511',
      verbose: '0',
    };
    assert.equal(row.value, exceptions[row.key] ?? row.default, row.key);
  }
  assert.deepEqual({ ...config.settings, conffile: '' }, { ...DEFAULT_SETTINGS });
});

test('a file with every documented setting loads and SHOW CONFIG returns it', (t) => {
  const content = `[pgbouncer]\n${DOCUMENTED.map(([name, , value]) => `${name} = ${value}`).join('\n')}\n`;
  const config = loaded(t, content);
  const rows = new Map(showConfig(config).map((row) => [row.key, row.value]));
  for (const [name, , value, shown] of DOCUMENTED) {
    assert.equal(rows.get(name), name === 'conffile' ? config.path : (shown ?? value), name);
  }
});

test('values have the types and units of Settings', (t) => {
  const { settings } = loaded(
    t,
    `[pgbouncer]
listen_addr = *, localhost
unix_socket_mode = 0700
server_lifetime = 0.25
tcp_user_timeout = 1500
stats_period = 30
query_wait_notify = 2
log_connections = 0
pool_mode = STATEMENT
auth_user =
http_addr = 127.0.0.1
log_format = json
`,
  );
  assert.deepEqual(settings.listenAddr, ['*', 'localhost']);
  assert.equal(settings.unixSocketMode, 0o700);
  assert.equal(settings.serverLifetimeMs, 250);
  assert.equal(settings.tcpUserTimeoutMs, 1500);
  assert.equal(settings.statsPeriodMs, 30000);
  assert.equal(settings.queryWaitNotifyMs, 2000);
  assert.equal(settings.logConnections, false);
  assert.equal(settings.poolMode, 'statement');
  assert.equal(settings.authUser, null);
  assert.equal(settings.httpAddr, '127.0.0.1');
  assert.equal(settings.httpPort, 9127);
  assert.equal(settings.logFormat, 'json');
  assert.equal(settings.maxConnecting, 3);
  assert.equal(settings.serverResetTimeoutMs, 10000);
  assert.equal(settings.metricsMaxLabels, 200);
  assert.equal(settings.adminDatabase, '');
  assert.equal(settings.clientTls13Ciphers, null);
});

test('settings without meaning here are said, not errors', (t) => {
  const { found } = load(
    t,
    '[pgbouncer]\npkt_buf = 4096\nsbuf_loopcnt = 1\nservice_name = x\nlisten_port = 1\n',
  );
  assert.deepEqual(
    found.map((d) => [d.level, d.line, d.message]),
    [
      ['info', 2, 'parameter pkt_buf is accepted but has no meaning here (f.ini:2)'],
      ['info', 3, 'parameter sbuf_loopcnt is accepted but has no meaning here (f.ini:3)'],
      ['info', 4, 'parameter job_name is accepted but has no meaning here (f.ini:4)'],
    ],
  );
});

test('every row has words, and SET knows it', (t) => {
  const config = loaded(t, '[pgbouncer]\n');
  const unset: Record<string, string> = { verbose: '0', recover_lag: '1', passfile: '' };
  for (const row of OPTIONS) {
    assert.match(row.doc, /^[\s\S]{20,}[.`]$/, row.name);
    assert.ok('config' in setOption(config, row.name, row.defaultText ?? unset[row.name] ?? 'x'), row.name);
  }
});
