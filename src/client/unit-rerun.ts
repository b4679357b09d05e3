/**
 * The commonest unit of all: a prepared read that is run again. The unit router would decide the same by looking at
 * the batch message by message; here it is recognised by its shape, at a third of the cost.
 */
import { reasonId } from '../routing/reasons.ts';
import type { CachedFacts } from '../sql/fact-cache.ts';
import * as c from '../wire/codes.ts';
import { nulIn } from '../wire/names.ts';
import type { Client } from './client.ts';
import { type ClientRouting, NO_BLOCK, TO_REPLICA } from './client-routing.ts';
import type { TextSafety } from './text-safety.ts';

const BALANCED = reasonId('balanced');
/** Execute of the unnamed portal, and Sync. */
const EXECUTE_AND_SYNC = 15;
const DESCRIBE_UNNAMED = 7;
const PORTAL = 0x50;

/**
 * The Bind in [pos, end) begins such a unit, and `routing`, which is fresh, is set for it: any replica. False = it is
 * something else, and nothing is set.
 */
export function runsAgain(
  client: Client,
  routing: ClientRouting,
  safety: TextSafety,
  buffer: Buffer,
  pos: number,
  end: number,
  n: number,
): boolean {
  const { desk } = routing;
  if (!desk.balances || routing.sessionRoute !== null || routing.block !== NO_BLOCK) return false;
  const unitEnd = rerunEnd(buffer, pos, end, n);
  if (unitEnd === 0 || safety.fault(client) !== 0) return false;
  const nul = nulIn(buffer, pos + 6, end);
  // the unnamed statement is the business of one node
  if (nul <= pos + 6) return false;
  const statement = client.prepared.findAt(buffer, pos + 6, nul);
  if (statement === null || statement.memo === undefined) return false;
  const verdict = desk.shared.classifier.recall(statement.memo as CachedFacts);
  if (!verdict.plainRead) return false;
  routing.cached = verdict.cached;
  routing.read = true;
  routing.changes = false;
  routing.resendable = true;
  routing.target = TO_REPLICA;
  routing.reason = BALANCED;
  routing.keepUnit(buffer, pos, unitEnd, false);
  return true;
}

/**
 * [pos, end) is a Bind; of the unnamed portal, and behind it stand perhaps its Describe, its Execute and the Sync, all
 * of them read? Where the Sync ends; 0 = no.
 */
export function rerunEnd(buffer: Buffer, pos: number, end: number, n: number): number {
  if (end + EXECUTE_AND_SYNC > n || buffer[pos + 5] !== 0) return 0;
  let at = end;
  if (buffer[at] === c.F_DESCRIBE) {
    if (buffer.readUInt32BE(at + 1) !== DESCRIBE_UNNAMED - 1) return 0;
    if (buffer[at + 5] !== PORTAL || buffer[at + 6] !== 0) return 0;
    at += DESCRIBE_UNNAMED;
    if (at + EXECUTE_AND_SYNC > n) return 0;
  }
  if (buffer[at] !== c.F_EXECUTE || buffer.readUInt32BE(at + 1) !== 9 || buffer[at + 5] !== 0) return 0;
  if (buffer[at + 10] !== c.F_SYNC || buffer.readUInt32BE(at + 11) !== 4) return 0;
  return at + EXECUTE_AND_SYNC;
}
