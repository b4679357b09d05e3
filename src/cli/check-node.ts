/** One PostgreSQL instance asked by `pgconcierge check`: who it is and what it allows, all within one time limit. */
import {
  CheckError,
  MonitorConnection,
  type MonitorDeps,
  type MonitorTarget,
} from '../cluster/monitor-connection.ts';
import { readRole } from '../cluster/node-check.ts';

/** For all questions to one node together. */
export const NODE_TIMEOUT_MS = 5_000;

export interface NodeAnswer {
  readonly isReplica: boolean;
  readonly version: string;
  readonly maxConnections: number;
  /** Of these, kept for superusers and for pg_use_reserved_connections. */
  readonly reserved: number;
  /** The user may see all of pg_stat_replication and pg_stat_wal_receiver. */
  readonly isMonitor: boolean;
  /** '' = the user may not read it. */
  readonly systemId: string;
  /** Databases that accept connections. */
  readonly databases: ReadonlySet<string>;
}

export type Probe =
  | { readonly answer: NodeAnswer; readonly error?: never; readonly refusedLogin?: never }
  /** `refusedLogin`: a PostgreSQL answers, but lets this user not in. */
  | { readonly answer?: never; readonly error: string; readonly refusedLogin: boolean };

const FACTS = `SELECT pg_is_in_recovery(), current_setting('server_version'), current_setting('max_connections'),
  current_setting('superuser_reserved_connections')::int
    + coalesce(nullif(current_setting('reserved_connections', true), ''), '0')::int,
  pg_has_role(current_user, 'pg_monitor', 'USAGE')`;
const SYSTEM_ID = 'SELECT system_identifier FROM pg_control_system()';
const DATABASES = 'SELECT datname FROM pg_database WHERE datallowconn';

/** Logs in and asks. `roleQuery` replaces pg_is_in_recovery(), '' = not. Never rejects. */
export async function probeNode(target: MonitorTarget, deps: MonitorDeps, roleQuery = ''): Promise<Probe> {
  const connection = new MonitorConnection(target, deps);
  const deadlineMs = deps.clock.now() + NODE_TIMEOUT_MS;
  const ask = (sql: string) => connection.query(sql, Math.max(1, Math.ceil(deadlineMs - deps.clock.now())));
  try {
    const [facts = []] = await ask(FACTS);
    const [recovery, version, maxConnections, reserved, isMonitor] = facts;
    const role = roleQuery === '' ? recovery : (await ask(roleQuery))[0]?.[0];
    const isReplica = readRole(role ?? '');
    if (isReplica === null) {
      const what = roleQuery === '' ? 'pg_is_in_recovery()' : 'role_query';
      return { error: `${what} gave ${role?.slice(0, 60) ?? 'nothing'}, not a boolean`, refusedLogin: false };
    }
    const databases = await ask(DATABASES);
    return {
      answer: {
        isReplica,
        version: version ?? '?',
        maxConnections: Number(maxConnections),
        reserved: Number(reserved),
        isMonitor: isMonitor === 't',
        systemId: await ask(SYSTEM_ID).then(
          (rows) => rows[0]?.[0] ?? '',
          (error: unknown) => {
            // rights taken away; anything else means that the node is gone
            if (error instanceof CheckError && error.kind === 'sql') return '';
            throw error;
          },
        ),
        databases: new Set(databases.map(([name]) => name ?? '')),
      },
    };
  } catch (error) {
    if (!(error instanceof CheckError)) throw error;
    const text = error.kind === 'timeout' ? `no answer within ${NODE_TIMEOUT_MS / 1000} s` : error.message;
    return { error: text, refusedLogin: error.kind === 'login' };
  } finally {
    connection.close();
  }
}
