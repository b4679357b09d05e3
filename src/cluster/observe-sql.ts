/**
 * What a node is asked, PostgreSQL 12 to 18, in one query with one row; and what is asked for when the check user may
 * not see all of it. Nothing here fails on a promotion that happens in the middle of the query.
 */
import { normaliseLsn, parseLsn, WAL_BLOCK_BYTES } from './lsn.ts';
import type { NodeFacts } from './node-state.ts';

export type Row = readonly (string | null)[];

/** How much is asked: less when a query was refused (rights taken away, a service that is almost PostgreSQL). */
export type AskLevel = 'full' | 'positions' | 'role';
export const LEVELS: readonly AskLevel[] = ['full', 'positions', 'role'];

/** pg_stat_replication on the primary. */
export interface Standby {
  readonly applicationName: string;
  readonly address: string;
  readonly syncState: string;
}

export interface Answer {
  readonly facts: NodeFacts;
  readonly standbys: readonly Standby[];
  /** The walreceiver's columns are hidden: the check user is no member of pg_read_all_stats. */
  readonly hidden: boolean;
}

// OFFSET 0: one evaluation for all columns, so that a promotion in the middle cannot mix both roles
const ROLE = '(SELECT pg_is_in_recovery() AS standby OFFSET 0) r';

const POSITIONS = `
  r.standby,
  CASE WHEN r.standby THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_insert_lsn() END,
  CASE WHEN r.standby THEN pg_last_wal_replay_lsn() END,
  CASE WHEN r.standby THEN
    (extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)::bigint END,
  (SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'),
  (SELECT setting FROM pg_settings WHERE name = 'wal_block_size'),
  (SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay')`;

const QUERIES: Readonly<Record<AskLevel, string>> = {
  // a promoted node's control file is old until its first checkpoint, the name of its WAL file is not
  full: `SELECT ${POSITIONS},
  (SELECT system_identifier FROM pg_control_system()),
  CASE WHEN r.standby THEN greatest(
      (SELECT timeline_id FROM pg_control_checkpoint()),
      (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
      w.received_tli)
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END,
  w.pid IS NOT NULL,
  w.status,
  w.sender_host,
  w.sender_port,
  CASE WHEN NOT r.standby THEN (SELECT json_agg(json_build_array(
      coalesce(application_name, ''), coalesce(host(client_addr), ''), coalesce(sync_state, '')))
    FROM pg_stat_replication) END
FROM ${ROLE} LEFT JOIN pg_stat_wal_receiver w ON r.standby`,
  positions: `SELECT ${POSITIONS} FROM ${ROLE}`,
  role: 'SELECT pg_is_in_recovery()',
};

/** The query of a level. */
export function observeSql(level: AskLevel): string {
  return QUERIES[level];
}

/** Position of a primary for the LSN sampler; NULL when it is none any more. */
export const SAMPLE_PRIMARY =
  'SELECT CASE WHEN standby THEN NULL ELSE pg_current_wal_insert_lsn() END FROM ' +
  '(SELECT pg_is_in_recovery() AS standby OFFSET 0) r';

/** Position of a replica for the LSN sampler; NULL when it is none any more. */
export const SAMPLE_REPLICA =
  'SELECT CASE WHEN standby THEN pg_last_wal_replay_lsn() END FROM ' +
  '(SELECT pg_is_in_recovery() AS standby OFFSET 0) r';

/**
 * The row of observeSql. `replica`: what role_query said, null = not used. Throws an Error with a sentence when the row
 * is not what was asked for.
 */
export function readAnswer(level: AskLevel, row: Row | undefined, replica: boolean | null): Answer {
  const standby = row?.[0];
  if (row === undefined || (standby !== 't' && standby !== 'f')) {
    throw new Error('the answer to the check is not that of a PostgreSQL');
  }
  const physical = standby === 't';
  const inRecovery = replica ?? physical;
  const number = (i: number): number => Number(row[i] ?? 0) || 0;
  const segmentBytes = number(4);
  const blockBytes = number(5) || WAL_BLOCK_BYTES;
  const lsn = (i: number): number => normaliseLsn(parseLsn(row[i] ?? null), segmentBytes, blockBytes);
  const full = level === 'full';
  const receiver = row[9] === 't';
  const status = row[10] ?? null;
  const facts: NodeFacts = {
    inRecovery,
    logical: inRecovery && !physical,
    timeline: full ? number(8) : 0,
    systemId: full ? (row[7] ?? '') : '',
    writtenLsn: lsn(1),
    replayedLsn: lsn(2),
    // its existence is all that one without rights can see, or that a lesser question can assume
    streaming: physical && (full ? receiver && (status === null || status === 'streaming') : true),
    upstream: full && (row[11] ?? '') !== '' ? `${row[11]}:${row[12] ?? ''}` : '',
    replayAgeMs: level === 'role' || row[3] === null || row[3] === undefined ? null : Number(row[3]),
    applyDelayMs: number(6),
    reportedLagBytes: null,
    segmentBytes,
    blockBytes,
  };
  return {
    facts,
    standbys: full ? readStandbys(row[13] ?? null) : [],
    hidden: full && receiver && status === null,
  };
}

function readStandbys(json: string | null): Standby[] {
  if (json === null) return [];
  const rows: unknown = JSON.parse(json);
  if (!Array.isArray(rows)) return [];
  return rows.map((one: unknown) => {
    const [applicationName = '', address = '', syncState = ''] = Array.isArray(one) ? one.map(String) : [];
    return { applicationName, address, syncState };
  });
}

/** sync_state of a node, found by application_name, else by an address that only one standby has. */
export function syncStateOf(standbys: readonly Standby[], name: string, address: string): string {
  const named = standbys.find((one) => one.applicationName === name);
  if (named !== undefined) return named.syncState;
  const there = standbys.filter((one) => one.address === address);
  return there.length === 1 ? (there[0]?.syncState ?? '') : '';
}
