/** What request-stream.ts needs to know of message types, and its verdicts on a message. */
import * as c from '../wire/codes.ts';

/** Messages that ask for an answer: 1 = and end a batch, 2 = and leave it open until Sync. */
export const ASKS = new Uint8Array(256);
for (const type of [c.F_QUERY, c.F_FUNCTION_CALL, c.F_SYNC]) ASKS[type] = 1;
for (const type of [c.F_PARSE, c.F_BIND, c.F_DESCRIBE, c.F_EXECUTE, c.F_CLOSE]) ASKS[type] = 2;

export const FORWARD = 0;
/** Nothing of the message is forwarded as it is. */
export const DONE = 1;
/** More of the message must be read first; no server yet, the rest waits; the client is going. */
export const HOLD = 2;
export const WAIT = 3;
export const STOP = 4;
