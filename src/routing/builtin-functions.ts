/**
 * PostgreSQL's own functions where volatility alone misleads. The rule for pg_catalog: STABLE and IMMUTABLE read,
 * VOLATILE writes, and the rows below are the exceptions, each with its reason. What is not here and VOLATILE goes to
 * the primary: sequences, large objects, advisory locks, notifications, slots, WAL and statistics control, set_config,
 * the functions that run a query given as text (query_to_xml, ts_stat), and everything a later version adds.
 * A test compares the table with the catalogs of real servers.
 */

/** VOLATILE functions that may run on a replica, by reason. */
const HARMLESS_BY_REASON: readonly (readonly [reason: string, names: string])[] = [
  [
    'random values: volatile because each call differs, nothing is stored',
    'random random_normal gen_random_uuid uuidv4 uuidv7 array_sample array_shuffle',
  ],
  ['reads the clock', 'clock_timestamp timeofday'],
  ['waits, nothing else', 'pg_sleep pg_sleep_for pg_sleep_until'],
  ['text of the running query', 'current_query'],
  [
    'sizes of files, the same on a replica up to what it has not replayed yet',
    'pg_database_size pg_relation_size pg_table_size pg_indexes_size pg_total_relation_size pg_tablespace_size',
  ],
  ['reads the catalog, which is replicated', 'pg_partition_tree pg_partition_ancestors'],
  [
    'versions of the libraries of the node that runs it',
    'pg_collation_actual_version pg_database_collation_actual_version pg_jit_available pg_get_loaded_modules',
  ],
  [
    'says what the node that runs it is: asked through the proxy to see where a read went',
    'pg_is_in_recovery pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp',
  ],
  ['works on a replica only', 'pg_is_wal_replay_paused pg_get_wal_replay_pause_state'],
  [
    'statistics and memory of the node that runs it, read only',
    `pg_stat_get_backend_io pg_stat_get_backend_wal pg_stat_get_io pg_stat_get_recovery_prefetch pg_stat_have_stats
     pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit pg_stat_get_xact_function_calls
     pg_stat_get_xact_function_self_time pg_stat_get_xact_function_total_time pg_stat_get_xact_numscans
     pg_stat_get_xact_tuples_deleted pg_stat_get_xact_tuples_fetched pg_stat_get_xact_tuples_hot_updated
     pg_stat_get_xact_tuples_inserted pg_stat_get_xact_tuples_newpage_updated pg_stat_get_xact_tuples_returned
     pg_stat_get_xact_tuples_updated pg_get_backend_memory_contexts pg_get_shmem_allocations
     pg_get_shmem_allocations_numa pg_get_wait_events pg_get_aios pg_get_wal_resource_managers`,
  ],
  ['forgets the statistics that this transaction has read', 'pg_stat_clear_snapshot'],
  ['locks of the node that runs it, read only', 'pg_lock_status'],
];

/** Functions that are not VOLATILE and yet for the primary, by reason. */
const PRIMARY_BY_REASON: readonly (readonly [reason: string, names: string])[] = [
  ['assigns a transaction id, which a replica refuses', 'txid_current pg_current_xact_id'],
  ['needs the position of the primary; a replica refuses it', 'pg_walfile_name pg_walfile_name_offset'],
  ['replication origins are not looked up on a replica, which refuses it', 'pg_replication_origin_oid'],
];

function byName(rows: readonly (readonly [string, string])[]): ReadonlyMap<string, string> {
  return new Map(rows.flatMap(([reason, names]) => names.split(/\s+/).map((name) => [name, reason])));
}

/** Name in pg_catalog -> why it may run on a replica although it is VOLATILE. */
export const HARMLESS_VOLATILE: ReadonlyMap<string, string> = byName(HARMLESS_BY_REASON);

/** Name in pg_catalog -> why it is for the primary although it is not VOLATILE. */
export const PRIMARY_ONLY: ReadonlyMap<string, string> = byName(PRIMARY_BY_REASON);
