/**
 * What the primary's catalog says about one database: which functions may write, and which relations a replica cannot
 * read. Names come out as the classifier sees them in a client's text: bytes of UTF-8, one character each (latin1).
 */
import type { CatalogFacts, FunctionFact } from '../routing/cluster-view.ts';
import { CheckError, MonitorConnection, type MonitorDeps, type MonitorTarget } from './monitor-connection.ts';
import type { Row } from './observe-sql.ts';

/**
 * Any VOLATILE overload counts; a procedure is volatile by nature; an aggregate is what its functions are. A temporary
 * schema is one session's own.
 */
const FUNCTIONS = `
SELECT n.nspname, p.proname,
  bool_or(p.provolatile = 'v' OR p.prokind = 'p' OR coalesce(t.provolatile = 'v' OR f.provolatile = 'v', false))
FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  LEFT JOIN pg_catalog.pg_aggregate a ON a.aggfnoid = p.oid
  LEFT JOIN pg_catalog.pg_proc t ON t.oid = a.aggtransfn
  LEFT JOIN pg_catalog.pg_proc f ON f.oid = a.aggfinalfn
WHERE n.nspname !~ '^pg_t(oast_t)?emp_'
GROUP BY 1, 2`;

/**
 * Unlogged tables and materialized views, the parents of unlogged partitions, and every view that reads one of these or
 * calls a VOLATILE function of a user.
 */
const RELATIONS = `
WITH RECURSIVE needs(oid) AS (
    SELECT start.oid FROM (
      SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relpersistence = 'u' AND c.relkind IN ('r', 'p', 'm')
      UNION
      SELECT w.ev_class FROM pg_catalog.pg_rewrite w
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
          AND d.refclassid = 'pg_catalog.pg_proc'::regclass
        JOIN pg_catalog.pg_proc p ON p.oid = d.refobjid AND p.provolatile = 'v'
        JOIN pg_catalog.pg_class v ON v.oid = w.ev_class AND v.relkind = 'v'
    ) start
  UNION
    SELECT up.oid FROM needs JOIN (
      SELECT i.inhrelid AS below, i.inhparent AS oid FROM pg_catalog.pg_inherits i
      UNION ALL
      SELECT d.refobjid, w.ev_class FROM pg_catalog.pg_rewrite w
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
          AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> w.ev_class
        JOIN pg_catalog.pg_class v ON v.oid = w.ev_class AND v.relkind = 'v'
    ) up ON up.below = needs.oid
)
SELECT n.nspname, c.relname, c.relkind = 'v' FROM needs
  JOIN pg_catalog.pg_class c ON c.oid = needs.oid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace`;

const SEQUENCES = `
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND n.nspname !~ '^pg_temp_'`;

/** A name in the form in which it stands in texts that are decoded byte by byte. */
function asBytes(name: string | null | undefined): string {
  return Buffer.from(name ?? '', 'utf8').latin1Slice();
}

function nameOf(row: Row): { schema: string; name: string } {
  return { schema: asBytes(row[0]), name: asBytes(row[1]) };
}

/** Loads the facts over a connection of its own. Rejects with CheckError. */
export async function loadCatalog(
  target: MonitorTarget,
  deps: MonitorDeps,
  timeoutMs: number,
  version: number,
): Promise<CatalogFacts> {
  const connection = new MonitorConnection(target, deps);
  try {
    const standby = await connection.query('SELECT pg_is_in_recovery()', timeoutMs);
    // a replica's catalog may be old
    if (standby[0]?.[0] !== 'f') throw new CheckError('sql', 'the node is in recovery');
    const found = await connection.query(FUNCTIONS, timeoutMs);
    const relations = await connection.query(RELATIONS, timeoutMs);
    const sequences = await connection.query(SEQUENCES, timeoutMs);
    const functions: FunctionFact[] = found.map((row) => ({
      schema: asBytes(row[0]),
      name: asBytes(row[1]),
      volatile: row[2] !== 'f',
    }));
    const unlogged = relations.map((row) => ({ ...nameOf(row), mayWrite: row[2] !== 'f' }));
    return { version, functions, unlogged, sequences: sequences.map(nameOf) };
  } finally {
    connection.close();
  }
}
