/**
 * Why a unit went where it went: one table for the metric label, the text of SHOW ROUTES and the sentence for people.
 * A reason travels as a small number, so that counting a decision is one array increment. The ids are the order of
 * the table and mean nothing outside of the process.
 */
import type { WriteRule } from '../sql/facts.ts';

/** Index into the table; see `reasonId`. */
export type Reason = number;

export interface ReasonRow {
  /** Label of metrics, text of SHOW ROUTES. */
  readonly name: string;
  /** For people: completes "The statement …". */
  readonly sentence: string;
}

const TABLE = [
  // the text itself is a write: the names of WriteRule
  { name: 'command', sentence: 'is a command for the primary' },
  { name: 'locking clause', sentence: 'locks rows (FOR UPDATE, FOR SHARE …)' },
  { name: 'select into', sentence: 'creates a table (SELECT INTO)' },
  { name: 'modifying cte', sentence: 'changes data in a WITH clause' },
  {
    name: 'explain analyze of a write',
    sentence: 'is an EXPLAIN ANALYZE, which runs the write that it explains',
  },
  { name: 'copy', sentence: 'is a COPY into a table, to a file or program, or of a write' },
  { name: 'transaction control', sentence: 'controls a transaction' },
  { name: 'several statements', sentence: 'is one of several in a text of which one is a write' },
  {
    name: 'syntax error',
    sentence: 'is not understood by the grammar; the primary will say what is wrong with it',
  },
  { name: 'too long', sentence: 'is too long to be looked into' },
  { name: 'not parsed', sentence: 'could not be looked into: the parser failed' },
  // a read as far as the text goes, made a write by what it uses
  { name: 'volatile function', sentence: 'calls a function that may write' },
  { name: 'write_functions', sentence: 'calls a function of write_functions' },
  { name: 'unlogged table', sentence: 'reads an unlogged table, which replicas do not have' },
  { name: 'view', sentence: 'reads a view that calls a function that may write, or reads an unlogged table' },
  { name: 'temporary table', sentence: 'reads a temporary table, which replicas do not have' },
  { name: 'sequence', sentence: 'reads a sequence, whose position is ahead on replicas' },
  { name: 'learned', sentence: 'was refused by a replica before (SHOW LEARNED)' },
  // where the session or the configuration says so
  { name: 'hint primary', sentence: 'carries a comment that asks for the primary' },
  { name: 'hint node', sentence: 'carries a comment that names the node' },
  { name: 'hint replica', sentence: 'carries a comment that asks for a replica' },
  { name: 'session route', sentence: 'runs in a session that has set pgconcierge.route' },
  { name: 'route=primary', sentence: 'belongs to a database or user with route=primary' },
  { name: 'route=replica', sentence: 'belongs to a database or user with route=replica' },
  { name: 'route rule', sentence: 'belongs to an application that a rule of [routes] matches' },
  { name: 'session mode', sentence: 'runs in session pooling, where there is no unit to route by' },
  { name: 'block', sentence: 'belongs to a transaction block that may write' },
  { name: 'read only block', sentence: 'belongs to a READ ONLY transaction block' },
  { name: 'serializable', sentence: 'belongs to a SERIALIZABLE transaction, which replicas cannot run' },
  { name: 'unsafe encoding', sentence: 'is written in an encoding that cannot be looked into byte by byte' },
  { name: 'nonstandard strings', sentence: 'is written with standard_conforming_strings off' },
  {
    name: 'batch',
    sentence: 'belongs to a batch that could not be seen whole before its first part had to be sent',
  },
  { name: 'pinned', sentence: 'runs in a session that is tied to its server' },
  { name: 'function call', sentence: 'is a function call of the protocol, which may write' },
  { name: 'shadow', sentence: 'belongs to a database in shadow mode: everything goes to the primary' },
  // reads
  { name: 'balanced', sentence: 'reads, and a replica was chosen' },
  {
    name: 'weighted primary',
    sentence: 'reads, and it was the turn of the primary (read_from_primary = weighted)',
  },
  { name: 'no replica eligible', sentence: 'reads, but no replica may serve reads now' },
  { name: 'not fresh', sentence: 'reads, but no replica has replayed yet what it must see' },
  { name: 'waited for a fresh replica', sentence: 'reads, and waited until a replica was fresh enough' },
  { name: 'retried', sentence: 'was refused by a replica and sent again to the primary' },
  { name: 'node lost', sentence: 'was sent again because its node was lost before the first row' },
  { name: 'no primary', sentence: 'has to wait: the cluster has no primary' },
] as const satisfies readonly ReasonRow[];

export type ReasonName = (typeof TABLE)[number]['name'];

/** By id. */
export const REASONS: readonly ReasonRow[] = TABLE;

const IDS: ReadonlyMap<string, Reason> = new Map(TABLE.map((row, id) => [row.name, id]));

/** Id of a reason; a name outside of the table is a mistake of the program and throws. */
export function reasonId(name: ReasonName | Exclude<WriteRule, ''>): Reason {
  const id = IDS.get(name);
  if (id === undefined) throw new Error(`no routing reason ${name}`);
  return id;
}

/** Name of a reason, `unknown` for a number outside of the table. */
export function reasonName(reason: Reason): string {
  return REASONS[reason]?.name ?? 'unknown';
}
