/**
 * What happens to the unit of a client of a cluster beside the plain way of acquire and release: it waits for a node
 * and looks for a place again, is sent again elsewhere, fails without its client, outlives its server (FAILOVER.md).
 */
import { GUARD_OFF, GUARD_RETRY } from '../server/reply-guard.ts';
import type { ServerConnection } from '../server/server-connection.ts';
import { undoNames } from '../server/skipped.ts';
import { type ErrorFields, errorResponse } from '../wire/backend.ts';
import { F_FUNCTION_CALL, F_QUERY, TX_IDLE } from '../wire/codes.ts';
import type { ServerError } from '../wire/fields.ts';
import type { Client } from './client.ts';
import { BLOCK_DEFERRED, BLOCK_FAILED, type ClientRouting } from './client-routing.ts';
import { mayDoubt, whatEnded } from './node-doubt.ts';
import { ready } from './own-answers.ts';

/**
 * A FATAL after which the statement is not tried elsewhere at once: somebody may have meant to end it. A backend that has
 * lost its postmaster says 57P01 too, from where it reads.
 */
function endedOnCommand(error: ServerError | null): boolean {
  return error?.sqlstate === '57P01' && error.routine === 'ProcessInterrupts';
}

/** A waiting client decides again where its unit goes: the cluster has changed, a sample has come in. */
export function reroute(client: Client): void {
  const { pool } = client;
  if (client.phase !== 'waiting' || pool === null) return;
  client.heldSinceMs = client.waitingSinceMs;
  pool.forget(client);
  client.moveTo('idle');
  goOn(client);
}

/** SHOW pgconcierge.lsn waits for a sample: in the hall, until the cluster has news. */
export function awaitSample(client: Client): void {
  const { pool, routing, registry } = client;
  if (pool === null || routing === null) return;
  const now = registry.clock.now();
  routing.awaitSample(now);
  client.pool = pool.hall;
  pool.hall.acquire(client, now);
  client.moveTo('waiting');
}

/** Timeouts of a client that waits in the hall. Called by the sweep. */
export function sweepHeld(client: Client, routing: ClientRouting, nowMs: number): void {
  if (routing.hold === 'doubt' && routing.doubt !== null) {
    const { runtime } = routing.desk.shared;
    const ended = whatEnded(routing.doubt, runtime);
    if (ended === 'node') reroute(client);
    else if (ended === 'backend' || nowMs >= routing.holdUntilMs) failHeldUnit(client, routing.doubt.error);
    return;
  }
  if (routing.hold === '' || routing.holdUntilMs === 0 || nowMs < routing.holdUntilMs) return;
  if (routing.hold === 'fresh') reroute(client);
  else if (routing.hold !== 'pause') {
    const message = routing.holdText();
    client.log.warning(`pooler error: ${message}`);
    failHeldUnit(client, { severity: 'ERROR', sqlstate: '57P03', message });
  }
}

/** The held unit fails and its client stays: the error, and ReadyForQuery when the unit has been read to its end. */
export function failHeldUnit(client: Client, error: ErrorFields): void {
  client.pool?.forget(client);
  client.heldSinceMs = 0;
  client.moveTo('idle');
  const { routing, requests } = client;
  if (routing !== null) {
    if (routing.block === BLOCK_DEFERRED) routing.block = BLOCK_FAILED;
    routing.again = false;
    routing.doubt = null;
    routing.hold = '';
    routing.holdUntilMs = 0;
  }
  client.tell(error);
  const held = requests.heldType();
  if (held === F_QUERY || held === F_FUNCTION_CALL) {
    requests.dropHeldMessage();
    client.transport.writeOwned(ready(client.idleStatus));
  } else requests.discarding = true;
  goOn(client);
}

/** The replica has refused the unit, and all of that answer has been read: it goes to the primary. */
export function sendAgain(client: Client, routing: ClientRouting, server: ServerConnection): void {
  const now = client.registry.clock.now();
  routing.onRefused(server.replies.guard.error?.sqlstate ?? '', now);
  client.leaveServer();
  client.pool?.release(server, client.pool.limits.serverResetAlways, now);
  replay(client, routing);
}

/** The server of a routed client is gone. False = its client goes with it, as in a plain database. */
export function outlives(
  client: Client,
  routing: ClientRouting,
  server: ServerConnection,
  reason: string,
): boolean {
  const { replies } = server;
  const { guard, owed } = replies;
  if (client.phase === 'settling') {
    // nothing of the client's own has been sent
    routing.onServerLost();
    client.leaveServer();
    goOn(client);
    return true;
  }
  if (!guard.survivor || replies.midMessage) return false;
  if (guard.state === GUARD_RETRY && guard.error !== null) {
    routing.onRefused(guard.error.sqlstate, client.registry.clock.now());
    client.leaveServer();
    replay(client, routing);
    return true;
  }
  if (
    guard.state !== GUARD_OFF &&
    !endedOnCommand(guard.error) &&
    routing.mayGoElsewhere(guard.error?.sqlstate ?? '')
  ) {
    routing.onServerLost();
    client.leaveServer();
    replay(client, routing);
    return true;
  }
  const said = guard.error;
  const error: ErrorFields =
    said !== null
      ? { severity: 'ERROR', sqlstate: said.sqlstate, message: said.message }
      : { severity: 'ERROR', sqlstate: '08006', message: `server connection lost: ${reason}` };
  if (guard.state !== GUARD_OFF && endedOnCommand(said) && mayDoubt(routing, error)) {
    routing.onServerLost();
    client.leaveServer();
    client.log.warning(`${error.message} (held until the next check of ${routing.doubt?.node.name})`);
    replay(client, routing);
    return true;
  }
  const answered = owed.readies === 0;
  const open = client.requests.batchOpen;
  const inBlock = replies.status !== TX_IDLE || routing.begin !== null;
  // what the client has not been told of has not happened
  if (guard.state !== GUARD_OFF) routing.unitNames.restore();
  else undoNames(owed, client.prepared);
  routing.onServerLost();
  routing.endBlock(inBlock);
  client.leaveServer();
  client.log.warning(`${error.message} (the client stays)`);
  if (!answered) client.transport.writeOwned(Buffer.concat([errorResponse(error), ready(client.idleStatus)]));
  else if (open) {
    client.transport.writeOwned(errorResponse(error));
    client.requests.discarding = true;
  } else if (inBlock) routing.lostBlock = error;
  goOn(client);
  return true;
}

function replay(client: Client, routing: ClientRouting): void {
  const unit = Buffer.from(routing.unit.buffer.subarray(0, routing.unit.length));
  if (!routing.resendable) routing.unit.length = 0;
  routing.unitNames.restore();
  client.requests.replay(unit);
  goOn(client);
}

function goOn(client: Client): void {
  client.guarded(() => client.requests.resumeHeld());
  if (!client.gone && client.phase !== 'waiting' && !client.awaits) client.transport.resume();
}
