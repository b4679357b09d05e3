/** Rows of the options table: connections to servers, timeouts. */
import { option } from './option.ts';
import { boolean, integer, seconds, text } from './value-types.ts';

export const SERVER_OPTIONS = [
  option(
    'server_reset_query',
    text,
    'DISCARD ALL',
    'Sent to a server when its client leaves, before another client gets it; session mode only, since in the other modes clients must not rely on session state. Empty = nothing is sent.',
  ),
  option(
    'server_reset_query_always',
    boolean,
    '0',
    'Send server_reset_query after each transaction in the other modes too. A crutch for applications that use session state in transaction mode.',
  ),
  option(
    'server_reset_timeout',
    seconds,
    '10',
    'A server that has not answered server_reset_query or server_check_query after this time is closed. 0 = wait for ever.',
    { own: true },
  ),
  option(
    'server_check_query',
    text,
    '<empty>',
    'Sent to a server that has been idle for server_check_delay, before it is used again; a server that fails is closed and the client gets another one. `<empty>` = an empty query, the cheapest; nothing = no check.',
  ),
  option(
    'server_check_delay',
    seconds,
    '30',
    'How long an idle server may be used again without a check. 0 = check before every use.',
  ),
  option(
    'server_fast_close',
    boolean,
    '0',
    'In session mode, a server that has to be closed (after RECONNECT, a changed database entry, a changed DNS answer) is closed as soon as it is outside a transaction, together with its client, instead of when the client leaves.',
  ),
  option(
    'server_lifetime',
    seconds,
    '3600',
    'Age at which a server is closed when it is not in use. 0 = each server is used once.',
    { also: ['database'] },
  ),
  option(
    'server_idle_timeout',
    seconds,
    '600',
    'A server that has been idle this long is closed. 0 = never.',
  ),
  option('server_connect_timeout', seconds, '15', 'Time for connecting and logging in to a server.'),
  option(
    'server_login_retry',
    seconds,
    '15',
    'After a failed login or connection, the pool waits this long before the next attempt. Clients wait meanwhile, or get the cached error.',
  ),
  option(
    'max_connecting',
    integer(1),
    '3',
    'Logins to servers that one pool may have in flight. PgBouncer makes them one after the other, which fills a pool slowly after a restart.',
    { own: true },
  ),

  option(
    'client_login_timeout',
    seconds,
    '60',
    'A client that has not logged in after this time is disconnected. 0 = no limit.',
  ),
  option(
    'client_idle_timeout',
    seconds,
    '0',
    'A client without a server that has sent nothing for this time is disconnected. Should be longer than what the applications keep in their own pools. 0 = no limit.',
    { also: ['user'] },
  ),
  option(
    'query_timeout',
    seconds,
    '0',
    'A query that takes longer, waiting included, is ended together with its client and server. Should be a little longer than statement_timeout of the server. 0 = no limit.',
    { also: ['user'] },
  ),
  option(
    'query_wait_timeout',
    seconds,
    '120',
    'A client that has waited this long for a server is disconnected. 0 = it waits for ever.',
    { also: ['database', 'user'] },
  ),
  option(
    'cancel_wait_timeout',
    seconds,
    '10',
    'A cancel request that could not be sent to its server within this time is dropped. 0 = no limit.',
  ),
  option(
    'idle_transaction_timeout',
    seconds,
    '0',
    'A client that does nothing inside a transaction for this time is disconnected. 0 = no limit.',
    { also: ['user'] },
  ),
  option(
    'transaction_timeout',
    seconds,
    '0',
    'A transaction that takes longer is ended together with its client and server. 0 = no limit.',
    { also: ['user'] },
  ),
  option(
    'autodb_idle_timeout',
    seconds,
    '3600',
    'A database made from the `*` entry that had neither clients nor servers for this time is forgotten, its statistics too. 0 = never.',
  ),
  option(
    'pool_idle_timeout',
    seconds,
    '0',
    'A pool that had neither clients nor servers for this time is forgotten. 0 = never.',
  ),
  option(
    'suspend_timeout',
    seconds,
    '10',
    'Time for SUSPEND and the online restart (`-R`) of old PgBouncers.',
    { accepted: true },
  ),
] as const;
