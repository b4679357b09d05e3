/** What the tests of routing ask for again and again: which node has run it, in which protocol, in which state they are. */
import type { TestContext } from 'node:test';
import type { PostgresCluster } from '../../src/demo/postgres-cluster.ts';
import type { PostgresInstance } from '../../src/demo/postgres-instance.ts';
import { type RawClient, RawError, type RawLogin } from './raw-client.ts';
import * as raw from './raw-messages.ts';
import { nodeAt, whereAmI } from './routed.ts';
import { type Admin, login, type ViewRow } from './scenario.ts';
import { until } from './until.ts';

/** How a statement is sent. */
export type Protocol = 'simple' | 'extended';

export const PROTOCOLS: readonly Protocol[] = ['simple', 'extended'];

const TIMEOUT_MS = 15_000;

/** The superuser, in a database of the routed daemon. */
export function routedLogin(
  t: TestContext,
  daemon: { readonly port: number },
  database = 'app',
  more: Partial<RawLogin> = {},
): Promise<RawClient> {
  return login(t, daemon, database, { user: 'postgres', ...more });
}

/** Parse, Bind, Describe and Execute of one unnamed statement, without the Sync. */
export function statement(sql: string, values: readonly (string | null)[] = []): Buffer {
  return Buffer.concat([
    raw.parse('', sql),
    raw.bind('', '', values),
    raw.describe('P', ''),
    raw.execute(''),
  ]);
}

/** Everything that comes back up to ReadyForQuery, errors included. */
export async function send(
  client: RawClient,
  protocol: Protocol,
  sql: string,
  timeoutMs = TIMEOUT_MS,
): Promise<raw.RawMessage[]> {
  client.send(protocol === 'simple' ? raw.query(sql) : Buffer.concat([statement(sql), raw.sync()]));
  return client.until('Z', timeoutMs);
}

/** Tags, error codes and the status at the end in one line: `BEGIN T`, `25P02 E`. */
export async function outcome(client: RawClient, protocol: Protocol, sql: string): Promise<string> {
  return brief(client, await send(client, protocol, sql));
}

export function brief(client: RawClient, messages: readonly raw.RawMessage[]): string {
  let status = client.transactionStatus;
  const said = messages.flatMap((message) => {
    // of that reply, when others have come in behind it
    if (message.type === 'Z') status = message.body.toString('latin1');
    if (message.type === 'E') return [raw.errorFields(message).code];
    return raw.tagsOf([message]);
  });
  return [...said, status].join(' ');
}

/** The rows of one statement; throws a RawError when it failed. */
export async function rows(client: RawClient, protocol: Protocol, sql: string): Promise<(string | null)[][]> {
  const messages = await send(client, protocol, sql);
  const error = messages.find(({ type }) => type === 'E');
  if (error !== undefined) throw new RawError(error);
  return raw.rowsOf(messages);
}

/** Name of the node where `sql` ran, whose first column is inet_server_port(). */
export async function nodeOf(
  cluster: PostgresCluster,
  client: RawClient,
  sql = whereAmI,
  protocol: Protocol = 'simple',
): Promise<string> {
  const [row] = await rows(client, protocol, sql);
  return nodeAt(cluster, row?.[0]);
}

/** How often each node ran it, of `times`: `{ pg2: 500, pg3: 500 }`. */
export async function spread(
  cluster: PostgresCluster,
  client: RawClient,
  times: number,
  protocol: Protocol = 'simple',
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < times; i++) {
    const node = await nodeOf(cluster, client, whereAmI, protocol);
    counts[node] = (counts[node] ?? 0) + 1;
  }
  return counts;
}

/** The row of SHOW NODES. */
export async function nodeRow(admin: Admin, name: string): Promise<ViewRow> {
  const row = (await admin.show('NODES')).find((one) => one.text('name') === name);
  if (row === undefined) throw new Error(`no node ${name}`);
  return row;
}

/** Waits until SHOW NODES says `pg1 primary, pg2 replica`; a replica must stream and not be banned too. */
export async function untilNodes(admin: Admin, wanted: string, timeoutMs = TIMEOUT_MS): Promise<void> {
  let seen = '';
  await until(
    async () => {
      const nodes = await admin.show('NODES');
      seen = nodes.map((row) => `${row.text('name')} ${stateOf(row)}`).join(', ');
      return seen === wanted;
    },
    { timeoutMs, everyMs: 20, what: `nodes ${wanted}` },
  ).catch((error: unknown) => {
    throw new Error(`nodes ${wanted} were not seen; they are ${seen}`, { cause: error });
  });
}

function stateOf(row: ViewRow): string {
  const state = row.text('state') ?? '';
  if (state !== 'replica') return state;
  if (row.int('streaming') === 0) return 'replica (not streaming)';
  return row.int('banned') === 1 ? 'replica (banned)' : state;
}

/** What a node has logged since `from`, once all that was sent there is in: needs log_statement = all. */
export async function loggedBy(
  cluster: PostgresCluster,
  node: PostgresInstance,
  from: number,
): Promise<readonly string[]> {
  const mark = `SELECT 'mark ${node.log.mark()}'`;
  await cluster.sql(node, mark);
  await node.log.waitFor(new RegExp(mark), { from });
  return node.log.lines(from);
}
