/**
 * What this program says that it is: `--version`, the `process up` line and SHOW VERSION. The first word is PgBouncer's
 * because scripts and drivers look for it; the version is that of the PgBouncer whose behaviour is offered.
 */
export const VERSION = '0.1.0';
export const PGBOUNCER_VERSION = '1.26.0';

/** `PgBouncer 1.26.0 (pgconcierge 0.1.0)`. */
export const VERSION_LINE = `PgBouncer ${PGBOUNCER_VERSION} (pgconcierge ${VERSION})`;

/** The lines of `--version`: ourselves, then what we run on. */
export function versionLines(): string[] {
  const { node, uv, ares, openssl } = process.versions;
  return [VERSION_LINE, `node ${node} (libuv ${uv})`, `adns: c-ares ${ares}`, `tls: OpenSSL ${openssl}`];
}
