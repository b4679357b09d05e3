/**
 * One client of the console: takes its messages in order, runs statements, writes the replies. A command that waits
 * (PAUSE, WAIT_CLOSE, SUSPEND) holds back every later message of this client, and no other's. Whatever is thrown
 * below ends here as an ErrorResponse: no message of a client may reach the process as an exception.
 */
import type { ConsoleIo, ConsoleSession } from '../control/console.ts';
import { CommandError } from '../control/port.ts';
import {
  commandComplete,
  EMPTY_QUERY_RESPONSE,
  errorResponse,
  message,
  noticeResponse,
  readyForQuery,
  rowDescription,
} from '../wire/backend.ts';
import * as code from '../wire/codes.ts';
import { encodeRows, wireColumns } from './encode.ts';
import type { Statement } from './grammar.ts';
import { invalidCommand, isBlank, splitStatements } from './grammar.ts';
import { readExecute, readQuery } from './message-reader.ts';
import type { Environment, Outcome, Plan } from './outcome.ts';
import { errorFields } from './outcome.ts';
import { planStatement } from './plan.ts';
import type { Portal, Remaining } from './prepared.ts';
import { PreparedStatements } from './prepared.ts';

/** What one client may send behind a command that waits. */
const MAX_QUEUED_BYTES = 1 << 20;
/** Each message counts at least this much, so that empty ones are bounded as well. */
const QUEUED_MESSAGE_COST = 64;
/** They run without a break beside the relay. */
const MAX_STATEMENTS = 100;
/** Replies are handed over at Sync and Flush, or when there is this much. */
const WRITE_BYTES = 64 * 1024;

const PORTAL_SUSPENDED = message(code.B_PORTAL_SUSPENDED, Buffer.alloc(0));

interface Wait {
  readonly outcome: Outcome & { readonly kind: 'wait' };
  /** Goes on with the message whose command waited; `error` null = the command has succeeded. */
  readonly resume: (error: unknown) => void;
}

interface QueuedMessage {
  readonly type: number;
  readonly body: Buffer;
}

export class Session implements ConsoleSession {
  readonly #env: Environment;
  readonly #io: ConsoleIo;
  readonly #prepared = new PreparedStatements();
  #out: Buffer[] = [];
  #outBytes = 0;
  #queue: QueuedMessage[] = [];
  #queuedBytes = 0;
  #wait: Wait | null = null;
  #status = code.TX_IDLE;
  /** After an error in the extended protocol everything up to Sync is passed over. */
  #skipToSync = false;
  #closed = false;

  constructor(env: Environment, io: ConsoleIo) {
    this.#env = env;
    this.#io = io;
  }

  onMessage(type: number, body: Buffer): void {
    if (this.#closed) return;
    if (type === code.F_TERMINATE) {
      this.#end('client close request');
    } else if (this.#wait === null) {
      this.#take(type, body);
    } else {
      this.#queuedBytes += body.length + QUEUED_MESSAGE_COST;
      // the caller may use the bytes of `body` again
      if (this.#queuedBytes <= MAX_QUEUED_BYTES) this.#queue.push({ type, body: Buffer.from(body) });
      else this.#fatal('too many messages behind a command that waits', '53400');
    }
  }

  onCancel(): void {
    const wait = this.#wait;
    if (wait === null) return;
    this.#wait = null;
    this.#abandon(wait);
    wait.resume(new CommandError('canceling statement due to user request', '57014'));
    this.#drain();
  }

  onClose(): void {
    this.#release();
  }

  /** Writes to the client, in order with the replies. Used for the greeting as well. */
  send(bytes: Buffer): void {
    if (this.#closed) return;
    this.#out.push(bytes);
    this.#outBytes += bytes.length;
    if (this.#outBytes >= WRITE_BYTES) this.flush();
  }

  flush(): void {
    if (this.#closed || this.#out.length === 0) return;
    const [first] = this.#out;
    const bytes = this.#out.length === 1 && first !== undefined ? first : Buffer.concat(this.#out);
    this.#out = [];
    this.#outBytes = 0;
    // constants are shared between clients, and the callee owns what it is given: only our own buffers go out
    this.#io.write(bytes === first ? Buffer.from(bytes) : bytes);
  }

  #take(type: number, body: Buffer): void {
    if (type === code.F_SYNC) {
      this.#skipToSync = false;
      if (this.#status === code.TX_IDLE) this.#prepared.dropPortals();
      this.#ready();
      return;
    }
    if (this.#skipToSync) return;
    switch (type) {
      case code.F_QUERY:
        this.#query(body);
        break;
      case code.F_PARSE:
        this.#extended(() => this.send(this.#prepared.parse(body)));
        break;
      case code.F_BIND:
        this.#extended(() => this.send(this.#prepared.bind(body)));
        break;
      case code.F_DESCRIBE:
        this.#extended(() => this.send(this.#prepared.describe(body)));
        break;
      case code.F_CLOSE:
        this.#extended(() => this.send(this.#prepared.close(body)));
        break;
      case code.F_EXECUTE:
        this.#extended(() => this.#execute(body));
        break;
      case code.F_FLUSH:
        this.flush();
        break;
      case code.F_FUNCTION_CALL:
        this.#error(unsupported(type));
        this.#ready();
        break;
      case code.F_COPY_DATA:
      case code.F_COPY_DONE:
      case code.F_COPY_FAIL:
        // late pieces of a COPY that has failed: PostgreSQL passes them over as well
        break;
      default:
        this.#fatal(unsupported(type).message, '08P01');
    }
  }

  // --- simple protocol

  #query(body: Buffer): void {
    this.#prepared.dropUnnamed();
    let statements: Statement[];
    try {
      const text = readQuery(body);
      if (isBlank(text)) throw invalidCommand(text);
      statements = splitStatements(text);
      if (statements.length > MAX_STATEMENTS) {
        throw new CommandError(`too many commands in one query (at most ${MAX_STATEMENTS})`, '54000');
      }
    } catch (error) {
      this.#error(error);
      this.#ready();
      return;
    }
    // only comments: pgx checks a connection with `-- ping`
    if (statements.length === 0) this.send(EMPTY_QUERY_RESPONSE);
    this.#runFrom(statements, 0);
  }

  /** Runs the statements of a Query from number `from` on; the first error ends it. */
  #runFrom(statements: readonly Statement[], from: number): void {
    for (let i = from; i < statements.length; i += 1) {
      const statement = statements[i];
      if (statement === undefined) break;
      try {
        if (!this.#runSimple(statement, () => this.#runFrom(statements, i + 1))) return;
      } catch (error) {
        this.#error(error);
        break;
      }
    }
    this.#ready();
  }

  /** False when it does not go on here: the statement waits (`after` is called when it is over) or has ended us. */
  #runSimple(statement: Statement, after: () => void): boolean {
    if (statement.parameters > 0) throw new CommandError('there is no parameter $1', '42P02');
    const plan = planStatement(statement);
    const outcome = plan.run(this.#env, []);
    if (outcome.kind === 'gone') {
      this.#end(outcome.reason);
      return false;
    }
    if (outcome.kind === 'wait') {
      this.#await(outcome, (error) => {
        if (error === null) {
          this.send(commandComplete(outcome.tag));
          after();
        } else {
          this.#error(error);
          this.#ready();
        }
      });
      return false;
    }
    this.#apply(outcome);
    if (plan.columns !== null) this.send(rowDescription(wireColumns(plan.columns)));
    if (outcome.rows !== null) this.send(encodeRows(outcome.rows, plan.columns ?? [], []));
    this.send(commandComplete(outcome.tag));
    return true;
  }

  // --- extended protocol

  #extended(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#failExtended(error);
    }
  }

  #failExtended(error: unknown): void {
    this.#error(error);
    this.#skipToSync = true;
  }

  #execute(body: Buffer): void {
    const { portal: name, limit } = readExecute(body);
    const portal = this.#prepared.portal(name);
    if (portal.plan === null) this.send(EMPTY_QUERY_RESPONSE);
    else if (portal.remaining !== null) this.#fetch(portal, portal.plan, portal.remaining, limit);
    else if (portal.executed) throw new CommandError(`portal "${name}" cannot be run`, '55000');
    else this.#start(portal, portal.plan, limit);
  }

  /** The first Execute of a portal. */
  #start(portal: Portal, plan: Plan, limit: number): void {
    const outcome = plan.run(this.#env, portal.values);
    portal.executed = true;
    if (outcome.kind === 'gone') {
      this.#end(outcome.reason);
    } else if (outcome.kind === 'wait') {
      this.#await(outcome, (error) => {
        if (error === null) this.send(commandComplete(outcome.tag));
        else this.#failExtended(error);
      });
    } else {
      this.#apply(outcome);
      if (outcome.rows === null) this.send(commandComplete(outcome.tag));
      else this.#fetch(portal, plan, { rows: outcome.rows, at: 0, tag: outcome.tag }, limit);
    }
  }

  /** Sends the next `limit` rows of a portal (0 or less = all). */
  #fetch(portal: Portal, plan: Plan, { rows, at, tag }: Remaining, limit: number): void {
    const end = limit > 0 ? Math.min(at + limit, rows.length) : rows.length;
    this.send(encodeRows(rows.slice(at, end), plan.columns ?? [], portal.formats));
    portal.remaining = { rows, at: end, tag };
    // PostgreSQL suspends when the limit was reached, even if nothing is left
    const isSuspended = limit > 0 && end - at === limit;
    this.send(isSuspended ? PORTAL_SUSPENDED : commandComplete(tag));
  }

  // --- both

  #apply(outcome: Outcome & { readonly kind: 'done' }): void {
    const { effect } = outcome;
    for (const notice of outcome.notices) this.send(noticeResponse(notice));
    if (effect === null) return;
    if (effect.kind === 'deallocate') {
      this.#prepared.deallocate(effect.name);
    } else {
      // drivers (lib/pq, JDBC cursors) believe this byte, not the tag
      this.#status = effect.kind === 'begin' ? code.TX_BLOCK : code.TX_IDLE;
    }
  }

  #ready(): void {
    this.send(readyForQuery(this.#status));
    this.flush();
  }

  #error(error: unknown): void {
    const fields = errorFields(error);
    if (fields === null) {
      this.#env.log.error(
        `console: internal error: ${error instanceof Error ? (error.stack ?? error.message) : error}`,
      );
      this.send(
        errorResponse({
          severity: 'ERROR',
          sqlstate: 'XX000',
          message: 'internal error, see logs for details',
        }),
      );
    } else {
      this.#env.log.error(fields.message);
      this.send(errorResponse(fields));
    }
  }

  #fatal(text: string, sqlstate: string): void {
    this.send(errorResponse({ severity: 'FATAL', sqlstate, message: text }));
    this.#end(text);
  }

  /** Ends the connection from our side. */
  #end(reason: string): void {
    if (this.#closed) return;
    this.flush();
    this.#release();
    this.#io.close(reason);
  }

  /** Forgets everything; a command that waits is given up. */
  #release(): void {
    if (this.#closed) return;
    this.#closed = true;
    const wait = this.#wait;
    this.#wait = null;
    this.#queue = [];
    this.#out = [];
    this.#prepared.deallocate(null);
    if (wait !== null) this.#abandon(wait);
  }

  // --- waiting

  #await(outcome: Outcome & { readonly kind: 'wait' }, resume: (error: unknown) => void): void {
    const wait: Wait = { outcome, resume };
    this.#wait = wait;
    for (const notice of outcome.notices ?? []) this.send(noticeResponse(notice));
    // what has been answered so far must not wait with the command
    this.flush();
    const settle = (error: unknown): void => {
      if (this.#wait !== wait) return; // cancelled, or the client is gone
      this.#wait = null;
      try {
        resume(error);
        this.#drain();
      } catch (bug) {
        // nobody is above us here: what is thrown would end the process
        this.#env.log.error(`console: ${bug instanceof Error ? (bug.stack ?? bug.message) : bug}`);
        this.#end('internal error');
      }
    };
    outcome.pending.done.then(
      () => settle(null),
      (error: unknown) => settle(error ?? new Error('the command failed')),
    );
  }

  #abandon(wait: Wait): void {
    try {
      wait.outcome.pending.cancel();
      wait.outcome.undo?.();
    } catch (error) {
      this.#env.log.error(`console: ${wait.outcome.tag} could not be given up: ${error}`);
    }
  }

  /** Takes the messages that have queued up, until one waits again. */
  #drain(): void {
    const queue = this.#queue;
    this.#queue = [];
    this.#queuedBytes = 0;
    let at = 0;
    while (at < queue.length && this.#wait === null && !this.#closed) {
      const next = queue[at];
      at += 1;
      if (next !== undefined) this.#take(next.type, next.body);
    }
    if (this.#closed) return;
    this.#queue = queue.slice(at);
    this.#queuedBytes = this.#queue.reduce((all, m) => all + m.body.length + QUEUED_MESSAGE_COST, 0);
  }
}

function unsupported(type: number): CommandError {
  return new CommandError(`unsupported packet type for admin console: ${type}`);
}
