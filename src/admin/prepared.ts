/**
 * Prepared statements and portals of one console client: what Parse, Bind, Describe and Close do. Execute is the
 * session's, because it may wait. Everything throws CommandError / PoolerError, with PostgreSQL's SQLSTATEs.
 */
import { CommandError } from '../control/port.ts';
import {
  BIND_COMPLETE,
  CLOSE_COMPLETE,
  message,
  NO_DATA,
  PARSE_COMPLETE,
  rowDescription,
} from '../wire/backend.ts';
import { B_PARAMETER_DESCRIPTION } from '../wire/codes.ts';
import { wireColumns } from './encode.ts';
import { splitStatements } from './grammar.ts';
import { readBind, readParse, readTarget } from './message-reader.ts';
import type { Plan, Row } from './outcome.ts';
import { checkFormats, formatOf, parameterText, TEXT_OID } from './parameter.ts';
import { planStatement } from './plan.ts';

/** Bounds what one console client can make us keep. */
const MAX_KEPT = 1000;

interface Prepared {
  /** null = the empty query. */
  readonly plan: Plan | null;
  readonly types: readonly number[];
}

/** What is left of the result of a portal that has been executed. */
export interface Remaining {
  readonly rows: readonly Row[];
  readonly at: number;
  readonly tag: string;
}

export interface Portal {
  /** null = the empty query. */
  readonly plan: Plan | null;
  readonly values: readonly string[];
  readonly formats: readonly number[];
  remaining: Remaining | null;
  executed: boolean;
}

export class PreparedStatements {
  readonly #statements = new Map<string, Prepared>();
  readonly #portals = new Map<string, Portal>();

  parse(body: Buffer): Buffer {
    const { name, text, types } = readParse(body);
    if (name === '') this.#statements.delete('');
    if (this.#statements.has(name)) {
      throw new CommandError(`prepared statement "${name}" already exists`, '42P05');
    }
    const [statement, ...more] = splitStatements(text);
    if (more.length > 0) {
      throw new CommandError('cannot insert multiple commands into a prepared statement', '42601');
    }
    const plan = statement === undefined ? null : planStatement(statement);
    if (this.#statements.size >= MAX_KEPT) {
      throw new CommandError(`too many prepared statements (${MAX_KEPT})`, '53400');
    }
    const count = Math.max(plan?.parameters ?? 0, types.length);
    // 0 = the client leaves the type to us
    const declared = Array.from({ length: count }, (_, i) => (types[i] ?? 0) || TEXT_OID);
    this.#statements.set(name, { plan, types: declared });
    return PARSE_COMPLETE;
  }

  bind(body: Buffer): Buffer {
    const b = readBind(body);
    const { plan, types } = this.#statement(b.statement);
    if (b.values.length !== types.length) {
      const has = `bind message supplies ${b.values.length} parameters`;
      throw new CommandError(
        `${has}, but prepared statement "${b.statement}" requires ${types.length}`,
        '08P01',
      );
    }
    checkFormats(b.formats, b.values.length, 'parameter');
    checkFormats(b.resultFormats, plan?.columns?.length ?? 0, 'result');
    const values = b.values.map((v, i) =>
      parameterText(i + 1, v, formatOf(b.formats, i), types[i] ?? TEXT_OID),
    );
    if (b.portal === '') this.#portals.delete('');
    if (this.#portals.has(b.portal)) throw new CommandError(`portal "${b.portal}" already exists`, '42P03');
    if (this.#portals.size >= MAX_KEPT) throw new CommandError(`too many portals (${MAX_KEPT})`, '53400');
    this.#portals.set(b.portal, { plan, values, formats: b.resultFormats, remaining: null, executed: false });
    return BIND_COMPLETE;
  }

  describe(body: Buffer): Buffer {
    const { kind, name } = readTarget(body);
    if (kind === 'portal') {
      const { plan, formats } = this.portal(name);
      return plan?.columns ? rowDescription(wireColumns(plan.columns), formats) : NO_DATA;
    }
    const { plan, types } = this.#statement(name);
    const oids = Buffer.allocUnsafe(2 + types.length * 4);
    oids.writeUInt16BE(types.length, 0);
    types.forEach((oid, i) => {
      oids.writeUInt32BE(oid, 2 + i * 4);
    });
    const rows = plan?.columns ? rowDescription(wireColumns(plan.columns)) : NO_DATA;
    return Buffer.concat([message(B_PARAMETER_DESCRIPTION, oids), rows]);
  }

  /** Closing what does not exist is no error. */
  close(body: Buffer): Buffer {
    const { kind, name } = readTarget(body);
    if (kind === 'statement') this.#statements.delete(name);
    else this.#portals.delete(name);
    return CLOSE_COMPLETE;
  }

  portal(name: string): Portal {
    const portal = this.#portals.get(name);
    if (portal === undefined) throw new CommandError(`portal "${name}" does not exist`, '34000');
    return portal;
  }

  /** Portals live until the end of the transaction. */
  dropPortals(): void {
    this.#portals.clear();
  }

  /** A simple Query destroys the unnamed statement and the unnamed portal. */
  dropUnnamed(): void {
    this.#statements.delete('');
    this.#portals.delete('');
  }

  /** DEALLOCATE; null = all of them. Throws CommandError when there is no such statement. */
  deallocate(name: string | null): void {
    if (name === null) {
      this.#statements.clear();
      this.#portals.clear();
    } else if (!this.#statements.delete(name)) {
      throw new CommandError(`prepared statement "${name}" does not exist`, '26000');
    }
  }

  #statement(name: string): Prepared {
    const prepared = this.#statements.get(name);
    if (prepared !== undefined) return prepared;
    const what = name === '' ? 'unnamed prepared statement' : `prepared statement "${name}"`;
    throw new CommandError(`${what} does not exist`, '26000');
  }
}
