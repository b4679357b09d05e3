/**
 * PostgreSQL as far as the protocol goes, in a few lines: statements, portals, skip-till-Sync, implicit and explicit
 * transactions, COPY in all its forms. It is both the server behind the pooler and, by itself, the oracle of what a
 * client without a pooler would see. Its "SQL" is the small language of `#run`.
 */
import {
  commandComplete,
  dataRow,
  errorResponse,
  readyForQuery,
  rowDescription,
} from '../support/fake-server.ts';
import type { RawMessage } from '../support/raw-messages.ts';
import * as wire from '../support/raw-messages.ts';

interface Portal {
  readonly sql: string;
  /** Rows that were fetched by earlier Executes. */
  fetched: number;
}

interface Copy {
  readonly extended: boolean;
  readonly bad: boolean;
  rows: number;
}

type Outcome = 'ok' | 'error' | 'copy' | 'suspended';

/** How a statement of the extension ends: rows, a tag, an error, or with the connection. */
export type Played =
  | { readonly rows: readonly string[]; readonly notice?: boolean }
  | { readonly tag: string }
  | { readonly error: string; readonly text: string; readonly fatal?: boolean; readonly notice?: boolean };

/** What a node of a cluster has beyond the protocol: data, a role, and real SQL that ModelPostgres knows by other words. */
export interface ModelNode {
  /** The small language's words for a real statement. */
  translate(sql: string): string;
  /** Runs a statement whose first word is `run`; null = the connection dies without a word. */
  run(sql: string, server: ModelPostgres): Played | null;
  /** Refuses a Bind (a function that is called while planning); null = it does not. */
  bind(sql: string, server: ModelPostgres): Played | null;
  /** The transaction of this server has ended well, or not. */
  commit(server: ModelPostgres): void;
  rollback(server: ModelPostgres): void;
  /** A transaction block begins. */
  begin(sql: string, server: ModelPostgres): void;
}

const FORMATS = Buffer.concat([Buffer.from([0]), wire.int16(1), wire.int16(0)]);

export class ModelPostgres {
  status: 'I' | 'T' | 'E' = 'I';
  closed = false;
  /** Everything after the startup packet. */
  readonly messages: RawMessage[] = [];
  readonly statements = new Map<string, string>();
  /** The largest number of named statements it ever had. */
  mostStatements = 0;
  applicationName = '';
  /** It has broken the connection. */
  dead = false;
  readonly #node: ModelNode | null;
  readonly #portals = new Map<string, Portal>();
  #started: boolean;
  #buffer: Buffer = Buffer.alloc(0);
  #out: Buffer[] = [];
  #skipping = false;
  #copy: Copy | null = null;
  #restOfQuery: string[] = [];
  #unsynced = false;

  /** `started` = no startup packet comes first. */
  constructor(started: boolean, node: ModelNode | null = null) {
    this.#started = started;
    this.#node = node;
  }

  /** Something of a client's is under way. */
  get busy(): boolean {
    return this.status !== 'I' || this.#copy !== null || this.#buffer.length > 0 || this.#unsynced;
  }

  /** Takes what it has to say. */
  take(): Buffer {
    const out = Buffer.concat(this.#out);
    this.#out = [];
    return out;
  }

  receive(bytes: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, bytes]);
    if (!this.#started && !this.#login()) return;
    const { messages, rest } = wire.splitMessages(this.#buffer);
    this.#buffer = rest;
    for (const message of messages) {
      this.messages.push(message);
      if (!this.closed && !this.dead) this.#message(message);
    }
  }

  #login(): boolean {
    const length = this.#buffer.length < 4 ? 4 : this.#buffer.readInt32BE(0);
    if (this.#buffer.length < length) return false;
    this.#buffer = this.#buffer.subarray(length);
    this.#started = true;
    this.#say(wire.encode('R', wire.int32(0)));
    this.#say(wire.encode('S', wire.cstr('server_version'), wire.cstr('18 (model)')));
    this.#say(wire.encode('S', wire.cstr('application_name'), wire.cstr('')));
    this.#say(wire.encode('K', wire.int32(7), wire.int32(7)), readyForQuery('I'));
    return true;
  }

  #say(...bytes: Buffer[]): void {
    this.#out.push(...bytes);
  }

  #message(message: RawMessage): void {
    const { type, body } = message;
    if (this.#copy !== null) {
      this.#copyMessage(this.#copy, type);
      return;
    }
    if (type === 'X') {
      this.closed = true;
      return;
    }
    if (this.#skipping && type !== 'S') return;
    this.#unsynced = type !== 'H';
    const [first = '', second = ''] = 'PBQ'.includes(type) ? wire.readCstrs(body) : [];
    switch (type) {
      case 'Q':
        this.statements.delete('');
        this.#portals.delete('');
        this.#simple(first.split(';').map((part) => this.#translate(part.trim())));
        return;
      case 'P':
        this.#parse(first, this.#translate(second));
        return;
      case 'B':
        this.#bind(first, second);
        return;
      case 'D':
        this.#describe(body);
        return;
      case 'E':
        this.#execute(
          wire.readCstrs(body.subarray(0, body.indexOf(0) + 1))[0] ?? '',
          body.readInt32BE(body.indexOf(0) + 1),
        );
        return;
      case 'C': {
        const name = body.toString('utf8', 1, body.length - 1);
        if (body[0] === 0x53) this.statements.delete(name);
        else this.#portals.delete(name);
        this.#say(wire.encode('3'));
        return;
      }
      case 'S':
        this.#skipping = false;
        this.#ready();
        return;
      case 'F':
        this.#say(wire.encode('V', wire.int32(-1)));
        this.#ready();
        return;
      default:
        return; // Flush, and COPY messages outside of a COPY
    }
  }

  /** All errors are of one length, so that one in the place of another shifts nothing. */
  #fail(code: string, text: string): Outcome {
    this.#say(errorResponse(code, text.padEnd(24)));
    this.#node?.rollback(this);
    if (this.status === 'T') this.status = 'E';
    return 'error';
  }

  #extendedFail(code: string, text: string): void {
    this.#fail(code, text);
    this.#skipping = true;
  }

  #parse(name: string, sql: string): void {
    if (sql.startsWith('bad')) this.#extendedFail('42601', 'syntax error');
    else if (this.status === 'E' && !/^(commit|rollback)$/.test(sql)) this.#extendedFail('25P02', 'aborted');
    else if (name !== '' && this.statements.has(name)) this.#extendedFail('42P05', 'statement exists');
    else {
      this.statements.set(name, sql);
      const named = this.statements.size - (this.statements.has('') ? 1 : 0);
      this.mostStatements = Math.max(this.mostStatements, named);
      this.#say(wire.encode('1'));
    }
  }

  #bind(portal: string, name: string): void {
    const sql = this.statements.get(name);
    if (sql === undefined) this.#extendedFail('26000', 'no such statement');
    else if (this.status === 'E' && !/^(commit|rollback)$/.test(sql)) this.#extendedFail('25P02', 'aborted');
    else {
      const refusal = this.#node?.bind(sql, this) ?? null;
      if (refusal !== null) {
        this.#play(refusal, false);
        this.#skipping = true;
        return;
      }
      this.#portals.set(portal, { sql, fetched: 0 });
      this.#say(wire.encode('2'));
    }
  }

  #describe(body: Buffer): void {
    const name = body.toString('utf8', 1, body.length - 1);
    const statement = body[0] === 0x53;
    const sql = statement ? this.statements.get(name) : this.#portals.get(name)?.sql;
    if (sql === undefined) {
      this.#extendedFail(statement ? '26000' : '34000', 'nothing to describe');
      return;
    }
    // PostgreSQL describes statements without a result even then; an injected Parse makes this difference
    if (statement && this.status === 'E') {
      this.#extendedFail('25P02', 'aborted');
      return;
    }
    if (statement) this.#say(wire.encode('t', wire.int16(0)));
    this.#say(/^(select|rows|show|run select)/.test(sql) ? rowDescription(['x']) : wire.encode('n'));
  }

  #execute(name: string, maxRows: number): void {
    const portal = this.#portals.get(name);
    if (portal === undefined) {
      this.#extendedFail('34000', 'no such portal');
      return;
    }
    if (portal.sql === '') {
      this.#say(wire.encode('I'));
      return;
    }
    if (this.#run(portal.sql, portal, maxRows) === 'error') this.#skipping = true;
  }

  #simple(parts: string[]): void {
    if (parts.every((part) => part === '')) this.#say(wire.encode('I'));
    else {
      while (parts.length > 0) {
        const sql = parts.shift() ?? '';
        if (sql === '') continue;
        const outcome = this.#run(sql, null, 0);
        if (outcome === 'error') break;
        if (outcome === 'copy') {
          this.#restOfQuery = parts;
          return;
        }
      }
    }
    this.#ready();
  }

  #run(sql: string, portal: Portal | null, maxRows: number): Outcome {
    const [word = '', argument = ''] = sql.split(' ');
    if (this.status === 'E' && word !== 'commit' && word !== 'rollback')
      return this.#fail('25P02', 'aborted');
    switch (word) {
      case 'select':
      case 'rows':
      case 'show':
        return this.#rows(word, argument, portal, maxRows);
      case 'begin':
        if (this.status === 'I') {
          this.status = 'T';
          this.#node?.begin(sql, this);
        }
        return this.#done('BEGIN');
      case 'commit':
      case 'rollback': {
        const tag = this.status === 'E' || word === 'rollback' ? 'ROLLBACK' : 'COMMIT';
        this.status = 'I';
        if (tag === 'COMMIT') this.#node?.commit(this);
        else this.#node?.rollback(this);
        return this.#done(tag);
      }
      case 'app':
        return this.#setApplicationName(argument);
      case 'SET':
        return this.#setApplicationName(/^SET application_name='(.*)'$/.exec(sql)?.[1] ?? '');
      case 'run':
        return this.#play(
          this.#node?.run(sql.slice(4), this) ?? null,
          portal === null && sql.startsWith('run select'),
        );
      case 'notice':
        this.#notice();
        return this.#done('DO');
      case 'copyin':
      case 'copybad':
        this.#copy = { extended: portal !== null, bad: word === 'copybad', rows: 0 };
        this.#say(wire.encode('G', FORMATS));
        return 'copy';
      case 'copyout':
        this.#say(
          wire.encode('H', FORMATS),
          wire.copyData(Buffer.from('1\n')),
          wire.copyData(Buffer.from('2\n')),
        );
        this.#say(wire.copyDone());
        return this.#done('COPY 2');
      case 'discard':
      case 'deallocate':
        this.statements.clear();
        if (word === 'discard') this.#setApplicationNameQuietly('');
        return this.#done(word === 'discard' ? 'DISCARD ALL' : 'DEALLOCATE ALL');
      default:
        return this.#fail('42601', 'syntax error');
    }
  }

  #rows(word: string, argument: string, portal: Portal | null, maxRows: number): Outcome {
    const value = word === 'show' ? this.applicationName : argument;
    const total = word === 'rows' ? Number(argument) : 1;
    if (portal === null) this.#say(rowDescription(['x']));
    const from = portal?.fetched ?? 0;
    const to = maxRows > 0 ? Math.min(total, from + maxRows) : total;
    for (let i = from; i < to; i++) this.#say(dataRow([word === 'rows' ? `row ${i}` : value]));
    if (portal !== null) portal.fetched = to;
    // PostgreSQL suspends also when the last row was the last one asked for
    if (maxRows > 0 && to - from === maxRows) {
      this.#say(wire.encode('s'));
      return 'suspended';
    }
    return this.#done(`SELECT ${to - from}`);
  }

  #notice(): void {
    this.#say(
      wire.encode('N', wire.cstr('SNOTICE'), wire.cstr('C00000'), wire.cstr('Mhello'), Buffer.from([0])),
    );
  }

  #done(tag: string): Outcome {
    this.#say(commandComplete(tag));
    return 'ok';
  }

  #setApplicationName(value: string): Outcome {
    this.#setApplicationNameQuietly(value);
    return this.#done('SET');
  }

  #setApplicationNameQuietly(value: string): void {
    if (value === this.applicationName) return;
    this.applicationName = value;
    this.#say(wire.encode('S', wire.cstr('application_name'), wire.cstr(value)));
  }

  #copyMessage(copy: Copy, type: string): void {
    if (type === 'H' || type === 'S') return;
    if (type === 'd') {
      copy.rows += 1;
      if (copy.bad && copy.rows === 2) this.#copyFailed(copy, '22P04', 'bad line');
    } else if (type === 'c') {
      this.#copy = null;
      this.#done(`COPY ${copy.rows}`);
      if (!copy.extended) this.#simple([...this.#restOfQuery, ';']);
    } else if (type === 'f') this.#copyFailed(copy, '57014', 'COPY failed');
    else throw new Error(`message ${type} inside a COPY: not in this model`);
  }

  #copyFailed(copy: Copy, code: string, text: string): void {
    this.#copy = null;
    this.#fail(code, text);
    if (copy.extended) this.#skipping = true;
    else this.#ready();
  }

  #ready(): void {
    if (this.dead) return;
    this.#unsynced = false;
    if (this.status === 'I') {
      this.#portals.clear();
      this.#node?.commit(this);
    }
    this.#say(readyForQuery(this.status));
  }

  #translate(sql: string): string {
    return this.#node === null ? sql : this.#node.translate(sql);
  }

  /** What the extension makes of a statement, said in the words of the protocol. */
  #play(played: Played | null, simple: boolean): Outcome {
    if (played === null) {
      this.dead = true;
      return 'error';
    }
    if ('error' in played) {
      if (simple) this.#say(rowDescription(['x']));
      if (played.notice === true) this.#notice();
      if (played.fatal !== true) return this.#fail(played.error, played.text);
      this.#say(errorResponse(played.error, played.text, 'FATAL'));
      this.dead = true;
      return 'error';
    }
    if ('tag' in played) return this.#done(played.tag);
    if (simple) this.#say(rowDescription(['x']));
    if (played.notice === true) this.#notice();
    for (const row of played.rows) this.#say(dataRow([row]));
    return this.#done(`SELECT ${played.rows.length}`);
  }
}
