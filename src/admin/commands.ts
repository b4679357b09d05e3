/**
 * The commands that change something: RELOAD, PAUSE, KILL … Each is declared once with its usage and meaning (for
 * SHOW HELP and docs/console.md) and what it asks of the port. The port refuses with PgBouncer's texts; here are
 * only those that need no knowledge of pools. SET is in set.ts.
 */
import type { Diagnostic } from '../config/types.ts';
import { CommandError } from '../control/port.ts';
import type { PoolerError } from '../util/errors.ts';
import type { ErrorFields } from '../wire/backend.ts';
import { CLUSTER_COMMANDS } from './cluster-commands.ts';
import type { Command } from './command.ts';
import { logIssued, noWord, optionalWord } from './command.ts';
import type { Token } from './grammar.ts';
import { isWord } from './grammar.ts';
import type { Environment } from './outcome.ts';
import { done, Refusal } from './outcome.ts';

const DIAGNOSTICS_SHOWN = 20;

function requiredDatabase(words: readonly Token[], wrong: () => PoolerError): string {
  const name = optionalWord(words, wrong);
  if (name === null || name === '') throw new CommandError('a database is required');
  return name;
}

function notAdminDatabase(env: Environment, name: string | null, verb: string): void {
  if (name !== null && env.adminDatabases.includes(name)) {
    throw new CommandError(`cannot ${verb} admin db: ${name}`);
  }
}

/** A command over one database or all of them that is carried out at once. */
function overDatabases(
  name: string,
  verb: string,
  doc: string,
  act: (env: Environment, database: string | null) => void,
): Command {
  return {
    name,
    usages: [{ text: `${name} [<db>]`, doc }],
    run(words, env, wrong) {
      const database = optionalWord(words, wrong);
      notAdminDatabase(env, database, verb);
      logIssued(env, name, database);
      act(env, database);
      return done(name);
    },
  };
}

/** A command that needs a database. */
function onDatabase(name: string, doc: string, act: (env: Environment, database: string) => void): Command {
  return {
    name,
    usages: [{ text: `${name} <db>`, doc }],
    run(words, env, wrong) {
      const database = requiredDatabase(words, wrong);
      notAdminDatabase(env, database, name.toLowerCase());
      logIssued(env, name, database);
      act(env, database);
      return done(name);
    },
  };
}

function diagnosticLine(d: Diagnostic): string {
  const at = d.line > 0 ? `${d.file}:${d.line}` : d.file;
  return `${at}: ${d.message}${d.hint === undefined ? '' : ` (${d.hint})`}`;
}

function diagnosticLines(all: readonly Diagnostic[]): string {
  const lines = all.slice(0, DIAGNOSTICS_SHOWN).map(diagnosticLine);
  if (all.length > lines.length) lines.push(`… and ${all.length - lines.length} more`);
  return lines.join('\n');
}

const RELOAD: Command = {
  name: 'RELOAD',
  usages: [{ text: 'RELOAD', doc: 'Reads the configuration again. A file with an error changes nothing.' }],
  run(words, env, wrong) {
    noWord(words, wrong);
    logIssued(env, 'RELOAD', null);
    const { ok, diagnostics } = env.port.reload();
    if (!ok) {
      const errors = diagnostics.filter((d) => d.level === 'error');
      const detail = diagnosticLines(errors.length > 0 ? errors : diagnostics);
      const message = 'RELOAD failed, see logs for additional details';
      throw new Refusal(message, 'F0000', detail === '' ? {} : { detail });
    }
    const warnings = diagnostics.filter((d) => d.level === 'warning').slice(0, DIAGNOSTICS_SHOWN);
    const notices = warnings.map(
      (d): ErrorFields => ({ severity: 'WARNING', sqlstate: '01000', message: diagnosticLine(d) }),
    );
    return done('RELOAD', notices);
  },
};

/** Longest time that a timer can count. */
const MAX_TIMEOUT_MS = 0x7fffffff;

function timeoutMs(token: Token): number {
  const ms = /^\d{1,9}(\.\d{1,6})?$/.test(token.text) ? Math.ceil(Number(token.text) * 1000) : 0;
  if (ms < 1 || ms > MAX_TIMEOUT_MS) {
    throw new Refusal('bad arguments', '08P01', { hint: 'TIMEOUT takes seconds, more than 0.' });
  }
  return ms;
}

const PAUSE: Command = {
  name: 'PAUSE',
  usages: [
    {
      text: 'PAUSE [<db>]',
      doc: 'Closes the server connections of the database (or of all) as soon as they are free and holds new queries back. Answers when all are closed; clients stay connected.',
    },
    {
      text: 'PAUSE [<db>] TIMEOUT <seconds>',
      doc: 'As PAUSE, but gives up after that time, resumes, and names the clients that it waited for.',
      own: true,
    },
  ],
  run(words, env, wrong) {
    // PAUSE timeout = a database of that name; PAUSE TIMEOUT 5 and PAUSE db TIMEOUT 5 = our option
    const seconds = words.length >= 2 && isWord(words.at(-2), 'timeout') ? words.at(-1) : undefined;
    const limit = seconds === undefined ? 0 : timeoutMs(seconds);
    const database = optionalWord(seconds === undefined ? words : words.slice(0, -2), wrong);
    notAdminDatabase(env, database, 'pause');
    logIssued(env, 'PAUSE', database);
    return { kind: 'wait', tag: 'PAUSE', pending: env.port.pause(database, limit), undo: null };
  },
};

const RESUME: Command = {
  name: 'RESUME',
  usages: [{ text: 'RESUME [<db>]', doc: 'Ends PAUSE or KILL: waiting queries run.' }],
  run(words, env, wrong) {
    const database = optionalWord(words, wrong);
    logIssued(env, 'RESUME', database);
    env.port.resume(database);
    return done('RESUME');
  },
};

const WAIT_CLOSE: Command = {
  name: 'WAIT_CLOSE',
  usages: [
    {
      text: 'WAIT_CLOSE [<db>]',
      doc: 'Answers when all server connections that RECONNECT or RELOAD has marked are closed.',
    },
  ],
  run(words, env, wrong) {
    const database = optionalWord(words, wrong);
    notAdminDatabase(env, database, 'wait in');
    logIssued(env, 'WAIT_CLOSE', database);
    return { kind: 'wait', tag: 'WAIT_CLOSE', pending: env.port.waitClose(database), undo: null };
  },
};

/** The number of SHOW CLIENTS.id, or the pointer of SHOW CLIENTS.ptr that older versions took. */
function clientId(text: string, env: Environment): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  if (!/^0x[0-9a-f]{1,16}$/i.test(text)) throw new CommandError('invalid client pointer supplied');
  const found = env.port.clients().find((c) => c.ptr.toLowerCase() === text.toLowerCase());
  if (found === undefined) throw new CommandError('client not found');
  return found.id;
}

const KILL_CLIENT: Command = {
  name: 'KILL_CLIENT',
  usages: [
    {
      text: 'KILL_CLIENT <client_id>',
      doc: 'Disconnects one client, by its `id` (or `ptr`) in SHOW CLIENTS.',
    },
  ],
  run(words, env, wrong) {
    const id = clientId(optionalWord(words, wrong) ?? '', env);
    logIssued(env, 'KILL_CLIENT', String(id));
    env.port.killClient(id);
    return done('KILL_CLIENT');
  },
};

const SUSPEND: Command = {
  name: 'SUSPEND',
  usages: [{ text: 'SUSPEND', doc: 'Refused, as PgBouncer 1.26 has removed it: use PAUSE.', removed: true }],
  run(words, env, wrong) {
    noWord(words, wrong);
    logIssued(env, 'SUSPEND', null);
    const pending = env.port.suspend();
    const undo = (): void => {
      env.log.log('admin disappeared when suspended, doing RESUME');
      env.port.resume(null);
    };
    return { kind: 'wait', tag: 'SUSPEND', pending, undo };
  },
};

const SHUTDOWN: Command = {
  name: 'SHUTDOWN',
  usages: [
    { text: 'SHUTDOWN', doc: 'Ends the process at once. There is no reply: the connection closes.' },
    {
      text: 'SHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS',
      doc: 'Accepts no new clients and ends when all servers are released, or when all clients have gone.',
    },
  ],
  run(words, env, wrong) {
    const how = optionalWord(words, wrong)?.toLowerCase() ?? null;
    if (how !== null && how !== 'wait_for_servers' && how !== 'wait_for_clients') throw wrong();
    env.log.log(how === null ? 'SHUTDOWN command issued' : `SHUTDOWN ${how.toUpperCase()} command issued`);
    env.port.shutdown(how ?? 'immediate');
    return how === null ? { kind: 'gone', reason: 'SHUTDOWN command issued' } : done('SHUTDOWN');
  },
};

/** In the order of SHOW HELP. */
export const COMMANDS: readonly Command[] = [
  RELOAD,
  PAUSE,
  RESUME,
  onDatabase('DISABLE', 'Refuses new clients of the database; those connected stay.', (env, db) =>
    env.port.disable(db),
  ),
  onDatabase('ENABLE', 'Ends DISABLE.', (env, db) => env.port.enable(db)),
  overDatabases(
    'RECONNECT',
    'reconnect',
    'Closes each server connection of the database (or of all) when it is next free; new ones are opened at once.',
    (env, db) => env.port.reconnect(db),
  ),
  overDatabases(
    'KILL',
    'kill',
    'Drops all client and server connections of the database (or of all) at once and leaves it paused until RESUME.',
    (env, db) => env.port.kill(db),
  ),
  KILL_CLIENT,
  SUSPEND,
  SHUTDOWN,
  WAIT_CLOSE,
  ...CLUSTER_COMMANDS,
];

const BY_NAME: ReadonlyMap<string, Command> = new Map(COMMANDS.map((c) => [c.name, c]));

/** The command of this name, whatever its case. */
export function findCommand(name: string): Command | null {
  return BY_NAME.get(name.toUpperCase()) ?? null;
}
