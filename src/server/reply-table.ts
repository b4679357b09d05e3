/** Which replies may come for which message (protocol-flow): the table that reply-stream.ts checks every reply against. */
import * as c from '../wire/codes.ts';
import {
  OWED_BIND,
  OWED_CLOSE,
  OWED_DESCRIBE,
  OWED_EXECUTE,
  OWED_FUNCTION,
  OWED_PARSE,
  OWED_QUERY,
  type OwedReplies,
} from './owed-replies.ts';

/** Answers that the proxy gives itself (OWED kind | INVENT). */
export const INVENTED: Record<number, Buffer> = {
  [OWED_PARSE]: Buffer.from([c.B_PARSE_COMPLETE, 0, 0, 0, 4]),
  [OWED_CLOSE]: Buffer.from([c.B_CLOSE_COMPLETE, 0, 0, 0, 4]),
};

/** For each message type: which kinds of owed items it may answer, and which of them it completes (bit = kind). */
export const ANSWERS = new Uint16Array(256);
export const ENDS = new Uint16Array(256);
const bit = (kind: number): number => 1 << kind;
for (const [type, answers, ends] of [
  [c.B_PARSE_COMPLETE, bit(OWED_PARSE), bit(OWED_PARSE)],
  [c.B_BIND_COMPLETE, bit(OWED_BIND), bit(OWED_BIND)],
  [c.B_CLOSE_COMPLETE, bit(OWED_CLOSE), bit(OWED_CLOSE)],
  [c.B_PARAMETER_DESCRIPTION, bit(OWED_DESCRIBE), 0],
  [c.B_ROW_DESCRIPTION, bit(OWED_DESCRIBE) | bit(OWED_QUERY), bit(OWED_DESCRIBE)],
  [c.B_NO_DATA, bit(OWED_DESCRIBE), bit(OWED_DESCRIBE)],
  [c.B_EMPTY_QUERY, bit(OWED_EXECUTE) | bit(OWED_QUERY), bit(OWED_EXECUTE)],
  [c.B_PORTAL_SUSPENDED, bit(OWED_EXECUTE), bit(OWED_EXECUTE)],
  [c.B_COPY_OUT, bit(OWED_EXECUTE) | bit(OWED_QUERY), 0],
  [c.B_COPY_DATA, bit(OWED_EXECUTE) | bit(OWED_QUERY), 0],
  [c.B_COPY_DONE, bit(OWED_EXECUTE) | bit(OWED_QUERY), 0],
  [c.B_FUNCTION_RESPONSE, bit(OWED_FUNCTION), 0],
] as const) {
  ANSWERS[type] = answers;
  ENDS[type] = ends;
}

/** Messages above this are not held whole; a small message of such a size is a protocol violation. */
export const HOLD_LIMIT = 1024 * 1024;
/** No message of PostgreSQL is longer (MaxAllocSize). */
export const MAX_LENGTH = 0x3fffffff;

/** True when a message can only be understood whole: it is held until its last byte is there. */
export function mustBeWhole(type: number, length: number, owed: OwedReplies): boolean {
  switch (type) {
    case c.B_READY_FOR_QUERY:
    case c.B_PARAMETER_STATUS:
    case c.B_COMMAND_COMPLETE:
      return true;
    case c.B_ERROR:
    case c.B_NOTICE:
      return length < HOLD_LIMIT;
    case c.B_DATA_ROW:
      return owed.internal() !== null;
    default:
      return false;
  }
}

/** Why a message of this length is refused: the setting, or no server ever sends such a one. */
export function lengthFault(length: number, maxLength: number): string {
  const real = length >= 4 && length <= MAX_LENGTH;
  return real && length > maxLength ? 'packet too large (max_packet_size)' : 'bad packet length';
}
