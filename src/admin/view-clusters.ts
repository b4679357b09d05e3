/** SHOW CLUSTERS, ROUTES, LEARNED, SHADOW: where statements go, and why. */
import type { ClusterRow, LearnedRow, RouteRow, ShadowRow } from '../control/cluster-port.ts';
import { localTime } from './local-time.ts';
import { field, view } from './view.ts';

export const CLUSTERS = view<ClusterRow>({
  name: 'CLUSTERS',
  doc: 'One row for each cluster.',
  source: (env) => env.port.clusters(),
  fields: [
    field('name', 'text', 'Name of the cluster.', (c) => c.name),
    field(
      'primary',
      'text',
      'Name of its usable primary; NULL = there is none, writes wait.',
      (c) => c.primary,
    ),
    field('timeline', 'int4', 'Timeline of the primary; 0 = not known.', (c) => c.timeline),
    field('system_id', 'text', 'System identifier of the cluster; empty = not known.', (c) => c.systemId),
    field('nodes', 'int4', 'Nodes in the configuration.', (c) => c.nodes),
    field('eligible', 'int4', 'Replicas that take reads now.', (c) => c.eligible),
    field(
      'no_primary_since',
      'text',
      'Since when there is no primary (local time); empty = there is one.',
      (c) => localTime(c.noPrimarySinceAt),
    ),
    field('held', 'int4', 'Clients that wait for a primary.', (c) => c.held),
    field(
      'samples',
      'int8',
      'Samples of the WAL position of the primary taken since the start.',
      (c) => c.samples,
    ),
    field('read_consistency', 'text', 'read_consistency of the cluster.', (c) => c.readConsistency, {
      session: 'a client reads what it has written itself',
      database: 'a client reads what anyone has written through this pooler',
      eventual: 'a read may be older than a write',
    }),
    field('balance', 'text', 'How reads are spread.', (c) => c.balance, {
      weighted: 'in turn, by weight',
      least_busy: 'to the less busy of two, by weight',
      fastest: 'to the faster of two',
    }),
  ],
});

const CLASSES = {
  read: 'changes nothing: may go to a replica',
  write: 'may change something: goes to the primary',
};

export const ROUTES = view<RouteRow>({
  name: 'ROUTES',
  doc: 'The last decisions, newest first.',
  source: (env) => env.port.routes(),
  fields: [
    field('time', 'text', 'When it was decided (local time).', (r) => localTime(r.at)),
    field('client_id', 'int4', 'Client, as `id` in SHOW CLIENTS.', (r) => r.clientId),
    field('database', 'text', 'Database name, as the client gave it.', (r) => r.database),
    field('user', 'text', 'User name.', (r) => r.user),
    field('class', 'text', 'What the statement is.', (r) => r.class, CLASSES),
    field('reason', 'text', 'Why it went there; EXPLAIN ROUTE says more.', (r) => r.reason),
    field('node', 'text', 'Node that it was sent to; empty = none was there.', (r) => r.node),
    field(
      'retried',
      'int4',
      'A replica refused it, and it was sent to the primary.',
      (r) => (r.retried ? 1 : 0),
      { 0: 'no', 1: 'yes: see SHOW LEARNED' },
    ),
    field('text', 'text', 'The statement with `?` in the place of its literals.', (r) => r.text),
  ],
});

export const LEARNED = view<LearnedRow>({
  name: 'LEARNED',
  doc: 'Statements that a replica has refused, and that go to the primary since. Forgotten on RELOAD and after a day.',
  source: (env) => env.port.learned(),
  fields: [
    field('cluster', 'text', 'Cluster in which it was learned.', (l) => l.cluster),
    field('database', 'text', 'Database name.', (l) => l.database),
    field('sqlstate', 'text', 'Error code of the replica, e.g. 25006.', (l) => l.sqlstate),
    field('since', 'text', 'When it was learned (local time).', (l) => localTime(l.since)),
    field('hits', 'int8', 'Times that it has gone to the primary because of this.', (l) => l.hits),
    field('text', 'text', 'The statement with `?` in the place of its literals.', (l) => l.text),
  ],
});

const share = (part: number, of: number): string => (of > 0 ? part / of : 0).toFixed(6);

export const SHADOW = view<ShadowRow>({
  name: 'SHADOW',
  doc: 'What routing would do for the databases with route_shadow, which send everything to the primary. Counts since the start.',
  source: (env) => env.port.shadow(),
  fields: [
    field('database', 'text', 'Database name.', (s) => s.database),
    field('units', 'int8', 'Units: statements, batches and transactions.', (s) => s.units),
    field('reads', 'int8', 'Those that only read.', (s) => s.reads),
    field('would_replica', 'int8', 'Reads that would have gone to a replica.', (s) => s.wouldReplica),
    field(
      'would_stale',
      'int8',
      'Reads that no replica could have answered freshly enough at that moment.',
      (s) => s.wouldStale,
    ),
    field('writes', 'int8', 'Those that may write.', (s) => s.writes),
    field('read_share', 'numeric', 'reads / units.', (s) => share(s.reads, s.units)),
    field('replica_share', 'numeric', 'would_replica / units: the load that the primary would lose.', (s) =>
      share(s.wouldReplica, s.units),
    ),
  ],
});
