/** Rows of the options table: process, listening, pools, limits, console access. */
import { option } from './option.ts';
import { processCount } from './unit-types.ts';
import { boolean, integer, list, lookup, nullableText, seconds, text, wholeSeconds } from './value-types.ts';

export const poolMode = lookup('session', 'transaction', 'statement');

export const GENERAL_OPTIONS = [
  option(
    'conffile',
    text,
    null,
    'Path of the configuration file, as given on the command line. RELOAD reads this file again. Shown, not to be set: a value in the file is not used.',
  ),
  option(
    'job_name',
    text,
    'pgbouncer',
    'Name of the service. `service_name` is another name of it. PgBouncer needs it on Windows only.',
    { restart: true, accepted: true },
  ),
  option(
    'pidfile',
    text,
    '',
    'File that receives the process id; it is removed at exit. A file whose process is alive stops the start. Needed with `-d`.',
    { restart: true },
  ),
  option(
    'user',
    nullableText,
    null,
    'System user to become after start, when started as root. Without it (and without `-u`) the daemon refuses to run as root.',
    { restart: true },
  ),
  option(
    'listen_addr',
    list,
    '',
    'Addresses or host names to listen on for TCP, separated by commas; `*` means all. Empty: no TCP, unix sockets only.',
    { restart: true },
  ),
  option(
    'listen_port',
    integer(0, 65535),
    '6432',
    'Port of the TCP sockets; also part of the name of the unix socket (`.s.PGSQL.6432`).',
    { restart: true },
  ),
  option(
    'unix_socket_dir',
    text,
    '/tmp',
    'Directory of the unix socket for clients, and the place where sockets of servers without `host` are looked for. Empty: no unix socket. A leading `@` makes an abstract socket (Linux).',
    { restart: true },
  ),
  option(
    'unix_socket_mode',
    integer(0, 0o7777),
    '0777',
    'File mode of the unix socket. A leading 0 makes it octal; SHOW CONFIG prints it in decimal (511). Not used for abstract sockets.',
    { restart: true },
  ),
  option(
    'unix_socket_group',
    text,
    '',
    'Group that is to own the unix socket. Not used for abstract sockets.',
    { restart: true },
  ),
  option(
    'listen_backlog',
    integer(),
    '128',
    'Connections that the kernel may hold until they are accepted.',
    { restart: true },
  ),
  option(
    'so_reuseport',
    boolean,
    '0',
    'Lets several processes listen on the same port; the kernel spreads connections over them. Give each its own unix_socket_dir, pidfile and logfile, and list them in [peers] so that cancel requests find their way.',
    { restart: true },
  ),
  option(
    'peer_id',
    integer(0, 16383),
    '0',
    'Number of this process among its peers (1..16383; 0 = no peering). It is part of the cancel keys, so that a cancel request which arrives at another peer can be forwarded by the [peers] section.',
  ),

  option(
    'pool_mode',
    poolMode,
    'session',
    'When a server goes back to its pool: `session` = when the client disconnects, `transaction` = at the end of each transaction, `statement` = after each statement; transactions of several statements are refused then.',
    { also: ['database', 'user'] },
  ),
  option(
    'max_client_conn',
    integer(),
    '100',
    'Clients that may be connected at the same time. When it is raised, the limit of file descriptors (ulimit -n) may have to be raised too: each client needs one, and so does each server.',
  ),
  option(
    'default_pool_size',
    integer(),
    '20',
    'Servers that may be open for one pair of database and user. Called `pool_size` in [databases], [users] and [peers].',
    { also: ['database', 'user', 'peer'] },
  ),
  option(
    'min_pool_size',
    integer(),
    '0',
    'Servers that are kept open in a pool even when they are idle, so that load after a quiet time finds them ready. Counts only while the pool has clients, or for databases with a forced user; never more than the pool size.',
    { also: ['database'] },
  ),
  option(
    'reserve_pool_size',
    integer(),
    '0',
    'Servers that a pool may open beyond its size when a client has waited for `reserve_pool_timeout`. 0 = none.',
    { also: ['database', 'user'] },
  ),
  option(
    'reserve_pool_timeout',
    seconds,
    '5',
    'A client that has waited this long makes its pool use the reserve. 0 = the reserve is not used.',
  ),
  option(
    'max_db_connections',
    integer(),
    '0',
    'Servers of one database, all users together. At the limit, idle servers of other pools of that database are closed to make room. 0 = no limit.',
    { also: ['database'] },
  ),
  option('max_db_client_connections', integer(), '0', 'Clients of one database. 0 = no limit.', {
    also: ['database'],
  }),
  option(
    'max_user_connections',
    integer(),
    '0',
    'Servers of one user, all databases together. At the limit, idle servers of that user in other pools are closed to make room. 0 = no limit.',
    { also: ['user'] },
  ),
  option('max_user_client_connections', integer(), '0', 'Clients logged in as one user. 0 = no limit.', {
    also: ['user'],
  }),
  option(
    'server_round_robin',
    boolean,
    '0',
    'Take the server that has been idle longest, so that all servers of a pool get the same load. 0 = take the one used last, which lets the others reach their idle timeout.',
  ),
  option(
    'track_extra_parameters',
    list,
    'IntervalStyle',
    'Further server parameters to carry per client. Here all parameters that PostgreSQL reports and clients can set are carried anyway (as in PgBouncer 1.26), so the list adds nothing; it is kept for existing files.',
    { restart: true },
  ),
  option(
    'ignore_startup_parameters',
    list,
    '',
    'Startup parameters of clients that are dropped instead of refused, e.g. `extra_float_digits` for JDBC. `options` in the list lets unknown settings inside `options` pass unused.',
  ),
  option(
    'disable_pqexec',
    boolean,
    '0',
    'Refuse the simple query protocol: a client that sends a Query message is disconnected. Makes SQL injection with several statements impossible.',
    { restart: true },
  ),
  option(
    'application_name_add_host',
    boolean,
    '0',
    'Append the address and port of the client to the application_name that it connects with, so that pg_stat_activity shows where it comes from.',
  ),
  option(
    'stats_period',
    wholeSeconds,
    '60',
    'How often averages of SHOW STATS are computed and the statistics line is logged.',
  ),
  option(
    'max_prepared_statements',
    integer(),
    '200',
    'Protocol-level prepared statements kept ready per server in transaction and statement mode; the least recently used ones are closed. 0 = named statements pass unchanged, which breaks them in those modes.',
  ),
  option(
    'scram_iterations',
    integer(1),
    '4096',
    'Iterations of SCRAM secrets computed from plain passwords of auth_file. Must equal the iterations on the server for SCRAM keys to be passed through.',
  ),
  option('login_notify_message', text, '', 'A NOTICE for every client after login. Empty = none.'),
  option(
    'query_wait_notify',
    wholeSeconds,
    '5',
    'A client that has waited this long for a server gets a NOTICE that it is queued, once per wait. 0 = no notice.',
  ),

  option(
    'workers',
    processCount,
    '1',
    'Processes that serve clients. This version always uses one; other values are accepted and said at start.',
    { own: true, restart: true, accepted: true },
  ),

  option(
    'admin_users',
    list,
    '',
    'Users who may connect to the console (database `pgbouncer` or `pgconcierge`) and run every command. With auth_type `any` the console is open to look at for everybody.',
  ),
  option('stats_users', list, '', 'Users who may connect to the console and run SHOW commands only.'),
] as const;
