/** Rows of the options table: authentication of clients, logging. */
import { option } from './option.ts';
import { boolean, integer, lookup, nullableText, text } from './value-types.ts';

const DEFAULT_AUTH_QUERY =
  'SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END FROM pg_authid WHERE rolname=$1 AND rolcanlogin';

export const ACCESS_OPTIONS = [
  option(
    'auth_type',
    lookup('md5', 'any', 'trust', 'plain', 'scram-sha-256', 'cert', 'hba', 'ldap', 'pam'),
    'md5',
    'How clients prove who they are. `scram-sha-256` or `md5` (with a SCRAM secret in auth_file, md5 does SCRAM); `plain` asks for the password in clear; `trust` asks nothing of known users; `any` takes every name and needs forced users; `cert` uses the name in the client certificate; `hba` decides by auth_hba_file; `ldap` and `pam` are not supported yet and stop the start.',
  ),
  option(
    'auth_file',
    nullableText,
    null,
    'File with a line `"user" "secret"` per user; the secret is a plain password, `md5…` or `SCRAM-SHA-256$…` as in pg_authid. Read at start and at RELOAD. A line that cannot be read is reported and skipped.',
  ),
  option('auth_hba_file', text, '', 'File in the format of pg_hba.conf, for auth_type `hba`.'),
  option(
    'auth_ident_file',
    nullableText,
    null,
    'File in the format of pg_ident.conf: maps names of system users and certificates to database users, for `peer` and `cert`.',
  ),
  option(
    'auth_user',
    nullableText,
    null,
    'User as whom auth_query runs for clients that are not in auth_file. Its own password comes from auth_file. Not set = no auth_query.',
    { also: ['database'] },
  ),
  option(
    'auth_dbname',
    nullableText,
    null,
    'Database in which auth_query runs. Not set = the database that the client asks for. The console cannot be used.',
    { also: ['database'] },
  ),
  option(
    'auth_query',
    text,
    DEFAULT_AUTH_QUERY,
    'Query that gives name and secret of a user; `$1` is the name. The default needs superuser rights; a SECURITY DEFINER function for an ordinary auth_user is better.',
    { also: ['database'] },
  ),
  option(
    'auth_ldap_options',
    nullableText,
    null,
    'Options for auth_type `ldap`, in the words of pg_hba.conf (`ldapurl="…"`, `ldapserver=… ldapprefix=…`).',
  ),

  option(
    'logfile',
    text,
    '',
    'File that the log is appended to; opened anew at RELOAD, so that logrotate works. Needed with `-d` unless syslog is on.',
  ),
  option(
    'log_format',
    lookup('pgbouncer', 'json'),
    'pgbouncer',
    'Form of log lines: `pgbouncer` = its line form, which scripts know; `json` = one object per line.',
    { own: true, restart: true },
  ),
  option('syslog', boolean, '0', 'Send the log to syslog too.'),
  option('syslog_ident', text, 'pgbouncer', 'Name of the program in syslog.'),
  option(
    'syslog_facility',
    lookup(
      'auth',
      'authpriv',
      'daemon',
      'user',
      'local0',
      'local1',
      'local2',
      'local3',
      'local4',
      'local5',
      'local6',
      'local7',
    ),
    'daemon',
    'Facility under which syslog files the messages.',
  ),
  option('log_connections', boolean, '1', 'Log each login of a client and each new connection to a server.'),
  option('log_disconnections', boolean, '1', 'Log each disconnection with its reason.'),
  option(
    'log_pooler_errors',
    boolean,
    '1',
    'Log the errors that are sent to clients in the name of the pooler.',
  ),
  option('log_stats', boolean, '1', 'Log a line of statistics every stats_period.'),
  option(
    'verbose',
    integer(),
    null,
    'Level of detail of the log, 0..3; each `-v` on the command line adds one.',
  ),
] as const;
