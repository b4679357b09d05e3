/** An existing pgbouncer.ini with every documented setting loads, serves, and SHOW CONFIG returns them. */
import assert from 'node:assert/strict';
import { userInfo } from 'node:os';
import { before, test } from 'node:test';
import pg from 'pg';
import { unprivilegedUser } from '../../src/demo/run-as.ts';
import { Daemon } from '../support/daemon.ts';
import { type TestPostgres, withPostgres } from '../support/postgres.ts';
import { RawClient } from '../support/raw-client.ts';
import { Admin, ask, refusal, target } from '../support/scenario.ts';

const PLACE = 'DIR';
const ME = unprivilegedUser()?.name ?? userInfo().username;

/**
 * From the reference (pgbouncer.md §3), in the order of SHOW CONFIG: name, value in the file, what is shown if that
 * differs. DIR is the daemon's directory, PORT its port.
 */
const SETTINGS: readonly (readonly [string, string, (string | null)?])[] = [
  ['admin_users', 'postgres, root'],
  ['application_name_add_host', '1'],
  ['auth_dbname', 'postgres'],
  ['auth_file', `${PLACE}/userlist.txt`],
  ['auth_hba_file', `${PLACE}/hba.conf`],
  ['auth_ident_file', `${PLACE}/ident.conf`],
  ['auth_ldap_options', 'ldapurl="ldap://127.0.0.1/dc=x;y#z"'],
  ['auth_query', 'SELECT usename, passwd FROM pg_shadow WHERE usename=$1'],
  ['auth_type', 'HBA', 'hba'],
  ['auth_user', 'postgres'],
  ['autodb_idle_timeout', '1800'],
  ['cancel_wait_timeout', '7.5'],
  ['client_idle_timeout', '3600'],
  ['client_login_timeout', '30'],
  ['client_tls13_ciphers', 'TLS_AES_128_GCM_SHA256'],
  ['client_tls_ca_file', `${PLACE}/ca.crt`],
  ['client_tls_cert_file', `${PLACE}/client.crt`],
  ['client_tls_ciphers', 'secure'],
  ['client_tls_dheparams', 'auto'],
  ['client_tls_ecdhcurve', 'prime256v1'],
  ['client_tls_key_file', `${PLACE}/client.key`],
  ['client_tls_protocols', 'tlsv1.3'],
  ['client_tls_sslmode', 'disable'],
  ['default_pool_size', '25'],
  ['disable_pqexec', '1'],
  ['dns_max_ttl', '30'],
  ['dns_nxdomain_ttl', '20'],
  ['dns_zone_check_period', '5'],
  ['idle_transaction_timeout', '60'],
  ['ignore_startup_parameters', 'extra_float_digits, options'],
  ['job_name', 'pool1'],
  ['listen_addr', '127.0.0.1'],
  ['listen_backlog', '64'],
  ['listen_port', 'PORT'],
  ['log_connections', '1'],
  ['log_disconnections', '0'],
  ['log_pooler_errors', '0'],
  ['log_stats', '0'],
  ['logfile', `${PLACE}/pgbouncer.log`],
  ['login_notify_message', 'welcome; friend # 1'],
  ['max_client_conn', '500'],
  ['max_db_client_connections', '400'],
  ['max_db_connections', '50'],
  ['max_packet_size', '1000000'],
  ['max_prepared_statements', '100'],
  ['max_user_client_connections', '300'],
  ['max_user_connections', '40'],
  ['min_pool_size', '1'],
  ['peer_id', '1'],
  ['pidfile', `${PLACE}/pgbouncer.pid`],
  ['pkt_buf', '0x2000', '8192'],
  ['pool_mode', 'Transaction', 'transaction'],
  ['pool_idle_timeout', '900'],
  ['query_timeout', '600'],
  ['query_wait_notify', '7'],
  ['query_wait_timeout', '90'],
  ['reserve_pool_size', '5'],
  ['reserve_pool_timeout', '0.5'],
  ['resolv_conf', '/etc/resolv.conf'],
  ['sbuf_loopcnt', '4'],
  ['scram_iterations', '5000'],
  ['server_check_delay', '10'],
  ['server_check_query', 'select 1'],
  ['server_connect_timeout', '5'],
  ['server_fast_close', '1'],
  ['server_idle_timeout', '300'],
  ['server_lifetime', '1200.5'],
  ['server_login_retry', '1'],
  ['server_reset_query', 'DISCARD ALL; SELECT 1'],
  ['server_reset_query_always', '1'],
  ['server_round_robin', '1'],
  ['server_tls13_ciphers', 'TLS_AES_256_GCM_SHA384'],
  ['server_tls_ca_file', `${PLACE}/server-ca.crt`],
  ['server_tls_cert_file', `${PLACE}/server.crt`],
  ['server_tls_ciphers', 'fast'],
  ['server_tls_key_file', `${PLACE}/server.key`],
  ['server_tls_protocols', 'all'],
  ['server_tls_sslmode', 'disable'],
  ['so_reuseport', '0'],
  ['stats_period', '30'],
  ['stats_users', 'stats, monitor'],
  ['suspend_timeout', '8'],
  ['syslog', '0'],
  ['syslog_facility', 'local3'],
  ['syslog_ident', 'pool-one'],
  ['tcp_defer_accept', '0'],
  ['tcp_keepalive', '1'],
  ['tcp_keepcnt', '3'],
  ['tcp_keepidle', '60'],
  ['tcp_keepintvl', '10'],
  ['tcp_socket_buffer', '65536'],
  ['tcp_user_timeout', '30000'],
  ['track_extra_parameters', 'IntervalStyle, search_path'],
  ['transaction_timeout', '1200'],
  ['unix_socket_dir', PLACE],
  ['unix_socket_group', ''],
  ['unix_socket_mode', '0770', '504'],
  ['user', ME],
  ['verbose', '1'],
];

let server: TestPostgres;

before(async () => {
  server = await withPostgres({ setup: ['CREATE ROLE app LOGIN', 'CREATE ROLE svc LOGIN'] });
});

function iniText(dir: string, port: number): string {
  const filled = (text: string): string => text.replaceAll(PLACE, dir).replace(/^PORT$/, String(port));
  return [
    ';; an existing pgbouncer.ini',
    '# with comments of both kinds',
    '[databases]',
    `app = ${target(server)} pool_size=7 min_pool_size=1 reserve_pool_size=2 pool_mode=session query_wait_timeout=11 max_db_connections=9 max_db_client_connections=99 server_lifetime=77 load_balance_hosts=disable client_encoding=UTF8 datestyle='ISO, DMY' timezone='Europe/Berlin' application_name='an ''app''' connect_query='SELECT 1; SELECT 2'`,
    `alias = ${target(server)} user=svc password='pw' auth_user=postgres auth_query='SELECT 1, 2' auth_dbname=postgres reserve_pool=3`,
    'list = host=127.0.0.1,localhost port=5433',
    'foodb =',
    `* = host=127.0.0.1 port=${server.port}`,
    '',
    '[users]',
    'app = pool_mode=transaction pool_size=6 reserve_pool_size=1 max_user_connections=8 max_user_client_connections=88 query_timeout=1 query_wait_timeout=2 idle_transaction_timeout=3 transaction_timeout=4 client_idle_timeout=5',
    '',
    '[peers]',
    '1 = host=127.0.0.1 port=6432',
    '2 = host=127.0.0.1 port=6433 pool_size=3',
    '',
    '[pgbouncer]',
    ...SETTINGS.map(([name, value]) => `${name} = ${filled(value)}`),
    '',
  ].join('\n');
}

test('every documented setting: loads, is shown, and clients are served', async (t) => {
  const daemon = await Daemon.start(
    { databases: {}, userlist: { app: 'app', postgres: 'postgres', stats: 'stats' } },
    {
      ini: ({ dir, port }) => iniText(dir, port),
      files: {
        'hba.conf': 'local all all trust\nhost all all 127.0.0.1/32 trust\n',
        'ident.conf': 'somemap root postgres\n',
      },
    },
  );
  t.after(() => daemon.destroy());
  const told = daemon.log.lines().filter((line) => / (ERROR|FATAL|WARNING) /.test(line));
  assert.deepEqual(told, []);

  const admin = await Admin.login(t, daemon);
  const config = (await admin.show('CONFIG')).filter((row) => row.text('key') !== 'conffile');
  const shown = new Map(config.map((row) => [row.text('key'), row.text('value')]));
  for (const [name, value, other] of SETTINGS) {
    const expected = (other === undefined ? value : other)?.replaceAll(PLACE, daemon.dir);
    assert.equal(shown.get(name), expected === 'PORT' ? String(daemon.port) : expected, name);
  }
  // in PgBouncer's order, ours behind
  assert.deepEqual(
    config.slice(0, SETTINGS.length).map((row) => row.text('key')),
    SETTINGS.map(([name]) => name),
  );

  const databases = new Map((await admin.show('DATABASES')).map((row) => [row.text('name'), row]));
  assert.deepEqual([...databases.keys()], ['alias', 'app', 'foodb', 'list', 'pgbouncer']);
  const app = databases.get('app');
  assert.deepEqual(
    app?.ints('pool_size', 'min_pool_size', 'reserve_pool_size', 'server_lifetime', 'max_connections'),
    [7, 1, 2, 77, 9],
  );
  assert.deepEqual([app?.text('pool_mode'), app?.int('max_client_connections')], ['session', 99]);
  const alias = databases.get('alias');
  assert.deepEqual([alias?.text('force_user'), alias?.int('reserve_pool_size')], ['svc', 3]);
  assert.equal(databases.get('list')?.text('host'), '127.0.0.1,localhost');
  assert.equal(databases.get('list')?.text('load_balance_hosts'), 'round-robin');

  const user = (await admin.show('USERS')).find((row) => row.text('name') === 'app');
  assert.deepEqual(
    [
      Number(user?.text('pool_size')),
      Number(user?.text('reserve_pool_size')),
      user?.text('pool_mode'),
      user?.int('max_user_connections'),
      user?.int('max_user_client_connections'),
    ],
    [6, 1, 'transaction', 8, 88],
  );
  assert.deepEqual(
    (await admin.show('PEERS')).map((row) => row.ints('peer_id', 'port', 'pool_size')),
    [
      [1, 6432, 25],
      [2, 6433, 3],
    ],
  );

  // disable_pqexec: the extended protocol only
  const driver = new pg.Client({ connectionString: daemon.url('app') });
  const notices: string[] = [];
  driver.on('notice', (notice) => notices.push(notice.message ?? ''));
  await driver.connect();
  const { rows } = await driver.query({
    text: "SELECT current_setting('TimeZone') AS tz, current_setting('DateStyle') AS ds, $1::text AS v",
    values: ['x'],
  });
  assert.deepEqual(rows, [{ tz: 'Europe/Berlin', ds: 'ISO, DMY', v: 'x' }]);
  assert.deepEqual(notices, ['welcome; friend # 1']);
  await driver.end();
  const simple = await RawClient.login(daemon, { user: 'app', database: 'app' });
  t.after(() => simple.destroy());
  ask(simple, 'SELECT 1');
  assert.match((await refusal(simple)).message, /PQexec disallowed$/);
});
