/** After an error PostgreSQL skips everything up to the Sync: what was noted of it is undone. */
import { INVENT, KIND, OWED_CLOSE, OWED_PARSE, OWED_SYNC, type OwedReplies } from './owed-replies.ts';
import type { ReplyEvents, ReplyPeer, StatementNames } from './reply-events.ts';

/** Takes off the items up to the Sync, the failed one among them, and undoes them, the latest first. */
export function dropSkipped(owed: OwedReplies, events: ReplyEvents, peer: ReplyPeer | null): void {
  let n = 0;
  while (n < owed.length && (owed.at(n) & KIND) !== OWED_SYNC) n += 1;
  for (let i = n - 1; i >= 0; i--) {
    const reference = owed.referenceAt(i);
    if (reference === null || reference.internal) continue;
    const { statement, clientName } = reference;
    const item = owed.at(i);
    const kind = item & KIND;
    if (kind === OWED_CLOSE) {
      if (clientName === null) events.onCloseLost(statement);
      else peer?.prepared.restore(clientName, statement);
    } else if (kind === OWED_PARSE) {
      if ((item & INVENT) === 0) events.onParseLost(statement);
      if (clientName !== null) peer?.prepared.lost(clientName, statement);
    }
  }
  for (; n > 0; n--) owed.pop();
}

/** The server is gone: none of what it still owed has happened to the client's names, the latest undone first. */
export function undoNames(owed: OwedReplies, names: StatementNames): void {
  for (let i = owed.length - 1; i >= 0; i--) {
    const reference = owed.referenceAt(i);
    if (reference === null || reference.internal || reference.clientName === null) continue;
    const kind = owed.at(i) & KIND;
    if (kind === OWED_CLOSE) names.restore(reference.clientName, reference.statement);
    else if (kind === OWED_PARSE) names.lost(reference.clientName, reference.statement);
  }
}
