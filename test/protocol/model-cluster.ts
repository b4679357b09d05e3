/**
 * Data and roles for ModelPostgres: a primary and replicas that share one history, each replica as far along it as the
 * test says. With one node it is the private server of the oracle. Statements are real SQL, because the classifier reads
 * them; every write has a number, so that one that ran twice, or not at all, is seen.
 */
import { type ModelNode, ModelPostgres, type Played } from './model-postgres.ts';

interface Write {
  readonly id: number;
  readonly client: string;
}

const READ_ONLY: Played = { error: '25006', text: 'read-only transaction' };

/** Real SQL to the words of ModelPostgres; what it does not know is run by a Node (`run …`). */
const WORDS: readonly (readonly [RegExp, string])[] = [
  [/^table rows(\d)$/, 'rows $1'],
  [/^copy t from stdin$/, 'copyin'],
  [/^copy bad from stdin$/, 'copybad'],
  [/^copy t to stdout$/, 'copyout'],
  [/^set application_name = '(.*)'$/, 'app $1'],
  [/^show application_name$/, 'show'],
  [/^(discard|deallocate) all$/, '$1'],
  [/^(insert into|select max|select \w+\(|set transaction|set pgconcierge|reset pgconcierge)/, 'run $1'],
];

export class ModelCluster {
  /** Position of the newest commit. */
  lsn = 1000;
  primary: string;
  readonly replayed = new Map<string, number>();
  readonly commits: (Write & { readonly lsn: number })[] = [];
  /** Writes that reached a replica outside of a READ ONLY block. */
  misrouted: string[] = [];
  readonly #pending = new Map<ModelPostgres, Write[]>();
  readonly #readOnly = new Set<ModelPostgres>();
  /** What has happened once on a replica does not happen again. */
  readonly #happened = new Set<string>();

  constructor(nodes: readonly string[]) {
    this.primary = nodes[0] ?? '';
    for (const name of nodes) this.replayed.set(name, this.lsn);
  }

  /** A backend of this node. `started` = no startup packet comes first. */
  backend(name: string, started: boolean): ModelPostgres {
    return new ModelPostgres(started, this.#node(name));
  }

  /** How often each write was committed. */
  counts(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { id } of this.commits) counts[id] = (counts[id] ?? 0) + 1;
    return counts;
  }

  #node(name: string): ModelNode {
    // what ends a statement inside of a block cannot be mended by sending it again
    const first = (what: string, server: ModelPostgres): boolean => {
      if (this.primary === name || server.status !== 'I' || this.#happened.has(what)) return false;
      this.#happened.add(what);
      return true;
    };
    const write = (server: ModelPostgres, one: Write, sql: string, lies: boolean): boolean => {
      if (this.#readOnly.has(server)) return false;
      if (this.primary !== name) {
        if (!lies) this.misrouted.push(`${sql} on ${name}`);
        return false;
      }
      const pending = this.#pending.get(server);
      if (pending === undefined) this.#pending.set(server, [one]);
      else pending.push(one);
      return true;
    };
    const run = (sql: string, server: ModelPostgres): Played | null => {
      const insert = /^insert into (\w+) values \((\d+)\)$/.exec(sql);
      if (insert !== null) {
        const [, client = '', id] = insert;
        return write(server, { client, id: Number(id) }, sql, false) ? { tag: 'INSERT 0 1' } : READ_ONLY;
      }
      const max = /^select max\(v\) from (\w+)$/.exec(sql);
      if (max !== null) return { rows: [this.#visible(name, server, max[1] ?? '')] };
      if (sql.startsWith('set transaction read only')) {
        if (server.status === 'T') this.#readOnly.add(server);
        return { tag: 'SET' };
      }
      if (sql.startsWith('set ')) return { tag: 'SET' };
      if (sql.startsWith('reset ')) return { tag: 'RESET' };
      const [, what = '', client = '', id = '0'] = /^select (\w+)\((?:'(\w+)', )?(\d*)\)$/.exec(sql) ?? [];
      switch (what) {
        case 'lie':
        case 'lie_with_notice':
        case 'lie_in_plan': {
          const notice = what === 'lie_with_notice';
          // kept apart: where no replica takes reads the proxy cannot know that this one has written
          if (!write(server, { client: `${client} lies`, id: Number(id) }, sql, true))
            return { ...READ_ONLY, notice };
          return { rows: [id], notice };
        }
        case 'dies':
          return first(sql, server) ? null : { rows: [id] };
        case 'conflicts':
          return first(sql, server) ? { error: '40001', text: 'conflict with recovery' } : { rows: [id] };
        case 'conflicts_to_death':
          return first(sql, server)
            ? { error: '40001', text: 'conflict with recovery', fatal: true }
            : { rows: [id] };
        case 'notice':
          return { rows: ['noticed'], notice: true };
        default:
          return { error: '22012', text: 'division by zero' };
      }
    };
    return {
      translate: (text) => {
        const sql = text.replace(/^\/\*.*?\*\/\s*/, '');
        for (const [pattern, word] of WORDS) if (pattern.test(sql)) return sql.replace(pattern, word);
        return sql;
      },
      run,
      bind: (sql, server) => {
        if (!sql.startsWith('run select lie_in_plan')) return null;
        // a refusal only: what it writes it writes when it is run
        const refused = this.#readOnly.has(server) || this.primary !== name;
        return refused ? READ_ONLY : null;
      },
      begin: (sql, server) => {
        if (/read only/.test(sql)) this.#readOnly.add(server);
      },
      commit: (server) => {
        const pending = this.#pending.get(server) ?? [];
        this.#pending.delete(server);
        this.#readOnly.delete(server);
        if (pending.length === 0) return;
        this.lsn += 1;
        for (const one of pending) this.commits.push({ ...one, lsn: this.lsn });
        this.replayed.set(this.primary, this.lsn);
      },
      rollback: (server) => {
        this.#pending.delete(server);
        this.#readOnly.delete(server);
      },
    };
  }

  /** The client's last write, as far as this node knows. */
  #visible(name: string, server: ModelPostgres, client: string): string {
    const own = (this.#pending.get(server) ?? []).filter((one) => one.client === client);
    const upTo = name === this.primary ? this.lsn : (this.replayed.get(name) ?? 0);
    const committed = this.commits.filter((one) => one.client === client && one.lsn <= upTo);
    return String([...committed, ...own].at(-1)?.id ?? 'none');
  }
}
