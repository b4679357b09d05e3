/**
 * What the demo's database contains: pgbench's tables on a small scale, so that `accounts` has something to show, and
 * `counters`, which the traffic counts up to see whether it reads what it has written.
 */
import { runSql, type SampleClientOptions } from './sample-client.ts';

export const ACCOUNTS = 1_000;
export const TELLERS = 10;
export const COUNTERS = 10;

/** The login of the sample application; not a superuser. */
export const APP_USER = 'app';
export const APP_PASSWORD = 'app';
export const APP_DATABASE = 'app';

/** As whom the proxy's monitors log in to the nodes: no superuser, but it sees what replication does. */
export const MONITOR_USER = 'monitor';

const SCHEMA = `
CREATE TABLE branches (bid int PRIMARY KEY, balance bigint NOT NULL DEFAULT 0);
CREATE TABLE tellers (tid int PRIMARY KEY, bid int NOT NULL REFERENCES branches, balance bigint NOT NULL DEFAULT 0);
CREATE TABLE accounts (
  aid int PRIMARY KEY, bid int NOT NULL REFERENCES branches, owner text NOT NULL,
  balance bigint NOT NULL DEFAULT 0, changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE history (
  tid int NOT NULL, aid int NOT NULL, delta int NOT NULL, at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE counters (cid int PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
INSERT INTO branches VALUES (1);
INSERT INTO tellers SELECT i, 1 FROM generate_series(1, ${TELLERS}) i;
INSERT INTO accounts SELECT i, 1, 'owner ' || i, 100 FROM generate_series(1, ${ACCOUNTS}) i;
INSERT INTO counters SELECT i FROM generate_series(1, ${COUNTERS}) i;
`;

/** An SQL string literal. */
function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** An SQL identifier. */
function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/**
 * Creates the logins and the sample database as `superuser` (database postgres). `extraUser` is a second login with
 * APP_PASSWORD that may do what `app` may: the name that psql uses when none is given.
 */
export async function createSampleData(
  superuser: SampleClientOptions,
  monitorPassword: string,
  extraUser: string | null,
): Promise<void> {
  const monitor = `CREATE ROLE ${MONITOR_USER} LOGIN PASSWORD ${literal(monitorPassword)} IN ROLE pg_monitor`;
  await runSql(superuser, monitor);
  await runSql(superuser, `CREATE ROLE ${APP_USER} LOGIN PASSWORD ${literal(APP_PASSWORD)}`);
  if (extraUser !== null) {
    const role = identifier(extraUser);
    await runSql(
      superuser,
      `CREATE ROLE ${role} LOGIN PASSWORD ${literal(APP_PASSWORD)} IN ROLE ${APP_USER}`,
    );
  }
  await runSql(superuser, `CREATE DATABASE ${APP_DATABASE} OWNER ${APP_USER}`);
  await runSql({ ...superuser, user: APP_USER, password: APP_PASSWORD, database: APP_DATABASE }, SCHEMA);
}
