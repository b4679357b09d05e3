/** Rows of the options table: DNS, TLS, sockets, and the HTTP door. */
import { option } from './option.ts';
import {
  boolean,
  integer,
  lookup,
  milliseconds,
  nullableText,
  seconds,
  text,
  wholeSeconds,
} from './value-types.ts';

const sslmode = lookup('disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full');
const PROTOCOLS =
  'TLS versions, separated by commas: `tlsv1.0` to `tlsv1.3`, or `all`, `secure` (1.2 and 1.3), `legacy`';
const CIPHERS =
  'Ciphers up to TLS 1.2, as a list in the words of OpenSSL, or `default`, `secure`, `fast`, `normal`, `all`';

export const NETWORK_OPTIONS = [
  option('dns_max_ttl', seconds, '15', 'How long the answer of a host name lookup is used.'),
  option('dns_nxdomain_ttl', seconds, '15', 'How long a failed host name lookup is remembered.'),
  option(
    'dns_zone_check_period',
    seconds,
    '0',
    'PgBouncer looks this often whether the serial of a DNS zone has changed. Here dns_max_ttl alone decides.',
    { accepted: true },
  ),
  option(
    'resolv_conf',
    text,
    '',
    "Another resolv.conf for PgBouncer's resolver. Here the one of the system is used.",
    { restart: true, accepted: true },
  ),

  option(
    'client_tls_sslmode',
    sslmode,
    'disable',
    'TLS for clients: `disable`; `allow` or `prefer` = if the client asks for it; `require` = clients without TLS are refused; `verify-ca` or `verify-full` = the client must also show a certificate signed by client_tls_ca_file. Never on unix sockets.',
  ),
  option(
    'client_tls_ca_file',
    text,
    '',
    'Certificates of the authorities that may sign client certificates.',
  ),
  option('client_tls_cert_file', text, '', 'Certificate shown to clients.'),
  option('client_tls_key_file', text, '', 'Private key of the certificate shown to clients.'),
  option('client_tls_protocols', text, 'secure', `${PROTOCOLS}, for clients.`),
  option('client_tls_ciphers', text, 'default', `${CIPHERS}, for clients.`),
  option(
    'client_tls13_ciphers',
    nullableText,
    null,
    'Cipher suites of TLS 1.3 for clients, separated by colons. Not set = the defaults of OpenSSL.',
  ),
  option('client_tls_dheparams', text, 'auto', 'DHE key exchange for clients: `none`, `auto`, `legacy`.'),
  option(
    'client_tls_ecdhcurve',
    text,
    'auto',
    'Curve of the ECDH key exchange for clients: `none`, `auto`, or the name of a curve.',
  ),
  option(
    'server_tls_sslmode',
    sslmode,
    'prefer',
    'TLS towards servers: `disable`; `allow` or `prefer` = if the server offers it; `require` = always, without checking the certificate; `verify-ca` = its signature is checked; `verify-full` = its host name too. Never on unix sockets.',
  ),
  option(
    'server_tls_ca_file',
    text,
    '',
    'Certificates of the authorities that may sign server certificates.',
  ),
  option('server_tls_cert_file', text, '', 'Certificate shown to servers.'),
  option('server_tls_key_file', text, '', 'Private key of the certificate shown to servers.'),
  option('server_tls_protocols', text, 'secure', `${PROTOCOLS}, for servers.`),
  option('server_tls_ciphers', text, 'default', `${CIPHERS}, for servers.`),
  option(
    'server_tls13_ciphers',
    nullableText,
    null,
    'Cipher suites of TLS 1.3 for servers, separated by colons. Not set = the defaults of OpenSSL.',
  ),

  option('pkt_buf', integer(), '4096', "Size of PgBouncer's packet buffers.", {
    restart: true,
    accepted: true,
  }),
  option(
    'max_packet_size',
    integer(),
    '2147483647',
    'A client or server that sends a longer protocol message is disconnected. Bytes.',
  ),
  option('sbuf_loopcnt', integer(), '5', "Rounds of PgBouncer's read loop per connection.", {
    accepted: true,
  }),
  option(
    'tcp_defer_accept',
    integer(),
    '1',
    'TCP_DEFER_ACCEPT of the listening sockets, set at the start: a client is accepted when its first bytes are there. Linux only, with the optional package koffi; 0 = off.',
  ),
  option(
    'tcp_socket_buffer',
    integer(),
    '0',
    'Size of the kernel buffers of a socket. Here the kernel always tunes them itself.',
    { accepted: true },
  ),
  option(
    'tcp_keepalive',
    boolean,
    '1',
    'TCP keepalive with the values of the operating system, or the ones below.',
  ),
  option(
    'tcp_keepcnt',
    integer(),
    '0',
    'Unanswered keepalive probes after which a connection is dead. 0 = the value of the operating system.',
  ),
  option(
    'tcp_keepidle',
    wholeSeconds,
    '0',
    'Quiet time after which the first keepalive probe is sent. 0 = the value of the operating system.',
  ),
  option(
    'tcp_keepintvl',
    wholeSeconds,
    '0',
    'Time between keepalive probes. 0 = the value of the operating system.',
  ),
  option(
    'tcp_user_timeout',
    milliseconds,
    '0',
    'TCP_USER_TIMEOUT: sent data that stays unacknowledged this long closes the connection. Milliseconds. 0 = the value of the operating system.',
  ),

  option(
    'admin_database',
    text,
    '',
    'A further name of the console, besides `pgbouncer` and `pgconcierge`.',
    { own: true },
  ),
  option('http_addr', text, '', 'Address of the HTTP door with `/health` and `/metrics`. Empty = none.', {
    own: true,
    restart: true,
  }),
  option('http_port', integer(0, 65535), '9127', 'Port of the HTTP door.', { own: true, restart: true }),
  option(
    'metrics_max_labels',
    integer(1),
    '200',
    'Pairs of database and user that `/metrics` shows one by one; the others are summed under one label, so that a scrape stays small.',
    { own: true },
  ),
] as const;
