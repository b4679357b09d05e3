/**
 * One table of everything the proxy itself says to a client: text, SQLSTATE, severity.
 * The wording is PgBouncer's where scripts and people match on it. The SQLSTATE is PostgreSQL's own
 * where PostgreSQL has one for the same event (a wrong password is 28P01), else PgBouncer's 08P01.
 * Errors of PostgreSQL are never re-created from this table: their bytes are relayed.
 */
export type Severity = 'ERROR' | 'FATAL';

interface ErrorRow {
  readonly sqlstate: string;
  readonly severity: Severity;
  /** `%s` is replaced by the argument. */
  readonly text: string;
  /** What to do about it, where PgBouncer's text leaves the reader alone with it. */
  readonly hint?: string;
}

const fatal = (text: string, sqlstate = '08P01', hint?: string): ErrorRow => ({
  sqlstate,
  severity: 'FATAL',
  text,
  ...(hint === undefined ? {} : { hint }),
});
const error = (text: string, sqlstate = '08P01'): ErrorRow => ({ sqlstate, severity: 'ERROR', text });

const IGNORABLE = 'A parameter that is listed in ignore_startup_parameters is dropped instead of refused.';

export const ERRORS = {
  // startup and login
  noSuchDatabase: fatal('no such database: %s', '3D000'),
  databaseDisabled: fatal('database "%s" is disabled', '57P03'),
  authDatabaseDisabled: fatal('authentication database "%s" is disabled', '57P03'),
  passwordAuthFailed: fatal('password authentication failed for user "%s"', '28P01'),
  trustAuthFailed: fatal('"trust" authentication failed', '28000'),
  noSuchUser: fatal('no such user', '28000'),
  bouncerConfigError: fatal('bouncer config error', '08P01', 'The log of the pooler says what is wrong.'),
  loginRejected: fatal('login rejected', '28000'),
  noAuthMethod: fatal(
    'no authentication method is found',
    '28000',
    'No line of auth_hba_file is for this user, database and address.',
  ),
  unixLoginRejected: fatal('unix socket login rejected', '28000'),
  certAuthFailed: fatal('certificate authentication failed', '28000'),
  notAllowed: fatal('not allowed', '42501', 'The console is for users of admin_users and stats_users.'),
  sslRequired: fatal('SSL required', '28000'),
  oldProtocol: fatal('old V2 protocol not supported'),
  sslInsideSsl: fatal('SSL req inside SSL'),
  dataAfterSsl: fatal('received unencrypted data after SSL request'),
  dataAfterGss: fatal('received unencrypted data after GSSAPI encryption request'),
  badPacketHeader: fatal("bad packet header: '%s'"),
  badPacket: fatal('bad packet'),
  badStartupLayout: fatal('invalid startup packet layout: expected terminator as last byte'),
  resentStartup: fatal('client re-sent startup pkt'),
  unknownPacket: fatal('unknown pkt'),
  unsupportedStartupParameter: fatal('unsupported startup parameter: %s', '08P01', IGNORABLE),
  badOwnSetting: fatal('invalid startup setting: %s', '22023'),
  unsupportedOptionsParameter: fatal('unsupported startup parameter in options: %s', '08P01', IGNORABLE),
  unsupportedOptions: fatal(
    "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed",
  ),
  noUsername: fatal('no username supplied', '28000'),
  usernameTooLong: fatal('username too long'),
  passwordTooLong: fatal('password too long'),
  emptyPassword: fatal('empty password returned by client', '28P01'),
  tooManyClients: fatal('no more connections allowed (max_client_conn)', '53300'),
  tooManyDbClients: fatal('client connections exceeded (max_db_client_connections)', '53300'),
  tooManyUserClients: fatal('client connections exceeded (max_user_client_connections)', '53300'),
  poolerShuttingDown: fatal('pooler is shutting down', '57P03'),
  serverShuttingDown: fatal('server shutting down', '57P01'),
  clientLoginTimeout: fatal('client_login_timeout'),
  clientLoginTimeoutServerDown: fatal('client_login_timeout (server down)'),
  replicationUnsupported: fatal('replication connections are not supported yet', '0A000'),
  // waiting, running
  queryWaitTimeout: fatal('query_wait_timeout'),
  queryTimeoutWaiting: fatal('query_timeout'),
  queryTimeout: fatal('query timeout'),
  idleTransactionTimeout: fatal('idle transaction timeout', '25P03'),
  transactionTimeout: fatal('transaction timeout', '25P04'),
  clientIdleTimeout: fatal('client_idle_timeout', '57P05'),
  serverLoginFailing: fatal('server login has been failing, cached error: %s (server_login_retry)'),
  serverLoginFailed: fatal('server login failed: %s'),
  statementModeBlock: fatal('transaction blocks not allowed in statement pooling mode'),
  preparedInUse: fatal('prepared statement name is already in use'),
  preparedMissing: fatal('prepared statement did not exist'),
  failedToParse: fatal('failed to parse packet'),
  packetTooLarge: fatal('packet too large (max_packet_size)'),
  invalidServerParameter: fatal('invalid server parameter'),
  serverCrashed: fatal('server conn crashed?', '08006'),
  serverProtocol: fatal('unexpected response from server', '08P01'),
  pqexecDisallowed: fatal(
    'PQexec disallowed',
    '08P01',
    'disable_pqexec refuses the simple query protocol: use parameters or prepared statements.',
  ),
  adminDisconnect: fatal('admin forced disconnect', '57P01'),
  databaseRemoved: fatal('database removed', '57P01'),
  databaseChanged: fatal('database configuration changed', '57P01'),
  // console
  invalidCommand: error("invalid command '%s', use SHOW HELP;"),
  adminNeeded: error('admin access needed', '42501'),
  consoleNoSuchDatabase: error('no such database: %s'),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

/** An error that the proxy reports to a client (or to the console) in its own name. */
export class PoolerError extends Error {
  readonly code: ErrorCode;
  readonly sqlstate: string;
  readonly severity: Severity;
  readonly argument: string;
  readonly hint: string | undefined;

  /** `argument` replaces `%s` of the row's text. */
  constructor(code: ErrorCode, argument = '') {
    const row: ErrorRow = ERRORS[code];
    super(row.text.replace('%s', () => argument));
    this.name = 'PoolerError';
    this.code = code;
    this.argument = argument;
    this.sqlstate = row.sqlstate;
    this.severity = row.severity;
    this.hint = row.hint;
  }
}
