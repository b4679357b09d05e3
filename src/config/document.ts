/**
 * Writes docs/config.md and etc/pgconcierge.ini from the options table and the table of entry keys. Pure; the files
 * in the tree are compared with this by a test and rewritten by document-main.
 */

import type { EntrySection } from './entry-keys.ts';
import { ENTRY_KEYS } from './entry-keys.ts';
import type { Option } from './option.ts';
import { OPTION_GROUPS } from './options.ts';

const GENERATED = 'Generated from src/config by `node dist/src/config/document-main.js`; do not edit.';
const SAMPLE_WIDTH = 100;

/** What the sample sets; everything else stands in it as a comment. */
const SAMPLE_VALUES: ReadonlyMap<string, string> = new Map([
  ['listen_addr', '127.0.0.1'],
  ['listen_port', '6432'],
  ['auth_type', 'scram-sha-256'],
  ['auth_file', '/etc/pgconcierge/userlist.txt'],
  ['admin_users', 'postgres'],
]);

const INTRO = `# Configuration

<!-- ${GENERATED} -->

One ini file in PgBouncer's syntax; an existing \`pgbouncer.ini\` runs unchanged.

- \`[section]\` headers and \`key = value\` lines. Lines that begin with \`;\` or \`#\` are comments; **behind a value there are
  none**: \`;\` and \`#\` belong to it. A key with other characters than letters, digits and \`_ . - *\` is written in
  \`'single quotes'\`.
- \`%include file\` reads another file at this place. The path is relative to the current directory of the process; up to 10
  levels deep.
- Sections: \`[pgbouncer]\` with the settings (must be there; \`[pgconcierge]\` is another name), \`[databases]\`, \`[users]\`,
  \`[peers]\`, and for clusters \`[clusters]\`, \`[nodes]\`, \`[routes]\`. Of two lines with the same key the later one counts. A
  second \`[pgbouncer]\` header puts all settings back to their defaults first, as in PgBouncer; a \`[pgconcierge]\` header
  does not.
- Integers may be octal (\`0777\`) or hexadecimal (\`0x10\`). Booleans are 0 and 1. Times are seconds, with fraction if need be,
  unless noted; the ones of clusters and routing also take a unit (\`100ms\`, \`5s\`, \`2min\`, \`1h\`). Words are read without
  regard to case.
- An error names file and line, and the nearest valid key. All errors are told at once. A file with an error is not used at
  all: the start fails, or RELOAD leaves everything as it was.
- RELOAD (console, SIGHUP) reads everything again; what is no longer in the file goes back to its default. Settings marked
  *restart* keep their old value until then.
`;

function cell(value: string): string {
  return value.replaceAll('|', '\\|');
}

function defaultOf(row: Option): string {
  if (row.defaultText === null) return 'not set';
  return row.defaultText === '' ? 'empty' : `\`${row.defaultText}\``;
}

/** Facts of a setting in one line. */
function facts(row: Option): string {
  const found = [`Default: ${defaultOf(row)}`, row.type.label];
  const scopes = row.scopes.filter((scope) => scope !== 'global').map((scope) => `[${scope}s]`);
  if (scopes.length > 0) found.push(`also in ${scopes.join(', ')}`);
  if (row.restart) found.push('*restart*');
  if (row.type.secret === true) found.push('never shown');
  if (row.own) found.push('not in PgBouncer');
  if (row.status === 'accepted') found.push('**accepted, without effect**');
  return found.join(' · ');
}

function entryTable(section: EntrySection): string {
  const rows = ENTRY_KEYS.filter((row) => row.sections.includes(section));
  return [
    '| key | default | meaning |',
    '|---|---|---|',
    ...rows.map(
      (row) => `| ${row.name} | ${cell(defaultFor(row.defaultText, section))} | ${cell(row.doc)} |`,
    ),
  ].join('\n');
}

/** `5432; 6432 for peers` is one text for two sections. */
function defaultFor(text: string, section: EntrySection): string {
  const [general = '', peers = general] = text.split(/; (.+) for peers/);
  return section === 'peers' ? peers : general;
}

/** The text of docs/config.md. */
export function configDocument(): string {
  const groups = OPTION_GROUPS.map(({ title, rows }) => {
    const settings = rows.map((row) => `### ${row.name}\n\n${facts(row)}\n\n${row.doc}\n`);
    return `## ${title}\n\n${settings.join('\n')}`;
  });
  return `${INTRO}
${groups.join('\n')}
## [databases]

\`name = key=value …\`, pairs separated by blanks; a value with blanks or quotes is written \`'like ''this'''\`. Values may
not be empty. \`*\` is the entry for all names without one of their own; its database on the server is the one asked for
unless it has \`dbname\`. Names have at most 63 bytes; \`pgbouncer\`, \`pgconcierge\` and the value of admin_database are the console.

${entryTable('databases')}

## [users]

\`name = key=value …\`. For pool_mode, pool_size, reserve_pool_size and query_wait_timeout a user's value wins over the
database's, and the database's over the setting. With a forced user, that user's entry counts.

${entryTable('users')}

## [peers]

\`peer_id = key=value …\`, 1 to 16383: other processes to which cancel requests are forwarded. The own peer_id may be listed.

${entryTable('peers')}

## [clusters]

\`name = key=value …\`: a primary and its replicas, found out by monitors; no role is written anywhere. \`name =\` alone takes all
defaults. What is not set here is the setting of the same name; routing keys may also stand in [databases], and the narrowest
place wins. In [clusters], [nodes] and [routes], and nowhere else, \`\${NAME}\` in a value is that variable of the environment of
the process (one that is not set is an error) and \`$\${\` is a plain \`\${\`.

${entryTable('clusters')}

Databases of a cluster are pooled by transaction unless their entry, the user's or [pgbouncer] says pool_mode. In session mode
there is no unit to route by: \`route=auto\` means the primary then, and a warning says so.

A host list with a \`route\` of its own is a cluster without a name: \`quick = host=pg1,pg2,pg3 route=auto\`. Its port is one for all
hosts or a list of as many (\`port=5432,5433,5434\`). It is called after the database; a second database with the same list shares
it. Its nodes are called by host, \`host:port\` where one host has several. A single host makes a cluster of one node. A host list
**without** \`route\` keeps PgBouncer's meaning.

## [nodes]

\`name = key=value …\`: one PostgreSQL instance. Names are unique over all clusters; hints and console commands use them.

${entryTable('nodes')}

## [routes]

\`name = application_name='^report' route=replica\`: routes by the application_name of clients, for databases whose route is
\`auto\`. The first rule that fits counts. A session that says \`SET pgconcierge.route\` wins over all, then the \`route\` of its user,
then these rules (only where the route of the database would be \`auto\`), then the database, its cluster, the setting.

${entryTable('routes')}

## auth_file

A line \`"user" "secret"\` per user; \`""\` is a quote inside; what follows on the line is ignored; lines that begin with \`;\`
are comments. The secret is a plain password, \`md5…\` or \`SCRAM-SHA-256$…\`; with an empty one nobody can log in by password. A
line that cannot be read is reported with its number and skipped. If the file cannot be read at RELOAD, the users known
before stay. This statement writes such a file on the server; keep it unreadable for others:

\`\`\`sql
COPY (SELECT '"' || rolname || '" "' || coalesce(rolpassword, '') || '"' FROM pg_authid) TO '/etc/pgconcierge/userlist.txt';
\`\`\`
`;
}

/** Breaks text into comment lines of the sample. */
function comment(text: string): string {
  const lines: string[] = [];
  let line = ';;';
  for (const word of text.split(' ')) {
    if (line.length + word.length + 1 > SAMPLE_WIDTH) {
      lines.push(line);
      line = ';;';
    }
    line += ` ${word}`;
  }
  lines.push(line);
  return lines.join('\n');
}

function sampleSetting(row: Option): string {
  const marks = [row.restart ? 'restart' : '', row.status === 'accepted' ? 'without effect' : ''].filter(
    (mark) => mark !== '',
  );
  const doc = comment(`${row.doc.replaceAll('`', "'")}${marks.length === 0 ? '' : ` (${marks.join(', ')})`}`);
  const value = SAMPLE_VALUES.get(row.name);
  return `${doc}\n${value === undefined ? `;${row.name} = ${row.defaultText ?? ''}`.trimEnd() : `${row.name} = ${value}`}\n`;
}

/** The text of etc/pgconcierge.ini: every option with its default, a working minimum switched on. */
export function sampleConfig(): string {
  const groups = OPTION_GROUPS.map(({ title, rows }) => {
    const shown = rows.filter((row) => row.name !== 'conffile');
    return `;;;\n;;; ${title}\n;;;\n\n${shown.map(sampleSetting).join('\n')}`;
  });
  return `;; Sample configuration of pgconcierge, with every setting and its default.
;; ${GENERATED.replaceAll('`', "'")}
;; Lines with one ; are settings that are switched off. There are no comments behind a value.

[databases]
;; name = key=value ... - see docs/config.md for all keys
;app = host=127.0.0.1 port=5432
;reports = host=10.0.0.1,10.0.0.2 dbname=app pool_size=5 pool_mode=session
;legacy = host=10.0.0.9 port=5433 dbname=old user=legacy password='it''s secret'
;; fallback: every other name, on the server of the unix socket
;* = host=/var/run/postgresql
* = host=127.0.0.1 port=5432
;; databases of a cluster: writes to the primary, reads spread; aliases for one or the other alone
;shop = cluster=main
;shop_rw = cluster=main dbname=shop route=primary
;shop_ro = cluster=main dbname=shop route=replica
;; a cluster without a name: a host list and a route
;quick = host=pg1,pg2,pg3 route=auto

[clusters]
;; settings of a cluster; roles are observed, never written. \${NAME} in a value, here and in the next two
;; sections, is that variable of the environment
;main = check_user=monitor check_password='change me' max_lag=10 read_consistency=session

[nodes]
;pg1 = cluster=main host=10.0.0.1 port=5432 weight=1 zone=a
;pg2 = cluster=main host=10.0.0.2 weight=2 zone=b
;pg3 = cluster=main host=10.0.0.3 weight=1 zone=b

[routes]
;; by application_name, for databases with route=auto
;reports = application_name='^report' route=replica

[users]
;report = pool_mode=session max_user_connections=5 query_timeout=600

[peers]
;; other processes, for cancel requests; needs peer_id
;2 = host=10.0.0.22 port=6432

[pgbouncer]
${groups.join('\n')}`;
}

/** The text of etc/userlist.txt. */
export function sampleUserlist(): string {
  return `;; Users who may log in, for auth_file: "user" "secret". Lines that begin with ; are comments.
;; The secret is a plain password, md5..., or SCRAM-SHA-256$... as in pg_authid; "" is a quote inside.
;; Let nobody else read this file (chmod 600). To fill it from the server, as a superuser there:
;;   COPY (SELECT '"' || rolname || '" "' || coalesce(rolpassword, '') || '"' FROM pg_authid)
;;   TO '/etc/pgconcierge/userlist.txt';
;"alice" "change me"
;"bob" "SCRAM-SHA-256$4096:<salt>$<StoredKey>:<ServerKey>"
`;
}

/** The generated files, by path from the root of the tree. */
export function generatedFiles(): ReadonlyMap<string, string> {
  return new Map([
    ['docs/config.md', configDocument()],
    ['etc/pgconcierge.ini', sampleConfig()],
    ['etc/userlist.txt', sampleUserlist()],
  ]);
}
