/** The part of `pgconcierge check` that looks at plain entries of [databases], as PgBouncer has them. */
import type { MonitorDeps, MonitorTarget } from '../cluster/monitor-connection.ts';
import type { Config } from '../config/config.ts';
import type { DatabaseEntry } from '../config/types.ts';
import { type Answered, addressOf } from './check-clusters.ts';
import { probeNode } from './check-node.ts';
import { type Finding, failed, ok } from './check-report.ts';

/** As whom to log in: the forced user, else auth_user, else nobody in particular. */
interface Login {
  readonly user: string;
  readonly password: string | null;
  readonly dbname: string;
  /** False: nobody is known who could log in; only whether a PostgreSQL answers can be told. */
  readonly isReal: boolean;
}

function loginOf(config: Config, db: DatabaseEntry): Login {
  const { settings, userlist } = config;
  // the fallback entry has no name of its own
  const dbname = db.dbname === '' ? 'postgres' : db.dbname;
  if (db.user !== null) {
    return { user: db.user, password: db.password ?? userlist.get(db.user) ?? null, dbname, isReal: true };
  }
  const authUser = db.authUser ?? settings.authUser;
  if (authUser !== null) {
    const where = db.authDbname ?? settings.authDbname ?? dbname;
    return { user: authUser, password: userlist.get(authUser) ?? null, dbname: where, isReal: true };
  }
  return { user: settings.checkUser, password: settings.checkPassword, dbname, isReal: false };
}

/** Checks one plain entry on each of its hosts. What let somebody in goes to `answered`. */
export async function checkPlainDatabase(
  config: Config,
  db: DatabaseEntry,
  deps: MonitorDeps,
  answered: Answered[],
): Promise<Finding[]> {
  const { unixSocketDir } = config.settings;
  const login = loginOf(config, db);
  const hosts = db.hosts.length === 0 ? [''] : db.hosts;
  return Promise.all(
    hosts.map(async (host) => {
      const address = addressOf(host, db.port, unixSocketDir);
      const item = `database ${db.name} (${address})`;
      const { user, password, dbname, isReal } = login;
      const target: MonitorTarget = { host, port: db.port, unixSocketDir, user, password, dbname };
      const probe = await probeNode(target, deps);
      if (probe.answer !== undefined) {
        answered.push({ item, address, answer: probe.answer, monitors: 0 });
        return ok(item, `PostgreSQL ${probe.answer.version}, ${user} logged in to ${dbname}`);
      }
      if (isReal)
        return failed(item, probe.refusedLogin ? `${user} cannot log in: ${probe.error}` : probe.error);
      return probe.refusedLogin
        ? ok(item, 'a PostgreSQL answers; no login was possible without a forced user or auth_user')
        : failed(item, probe.error);
    }),
  );
}
