/**
 * Answers that the proxy gives itself to a client without a server: to a deferred BEGIN and its end, to SET and SHOW of
 * `pgconcierge.…`, and to the end of a block that has failed. In the form that the client asked in: a simple query, or a
 * batch about one statement, message for message (protocol-flow, "Simple Query", "Extended Query").
 */
import {
  BIND_COMPLETE,
  CLOSE_COMPLETE,
  commandComplete,
  dataRow,
  message,
  NO_DATA,
  noticeResponse,
  PARSE_COMPLETE,
  readyForQuery,
  rowDescription,
} from '../wire/backend.ts';
import {
  F_BIND,
  F_CLOSE,
  F_DESCRIBE,
  F_EXECUTE,
  F_PARSE,
  TX_BLOCK,
  TX_FAILED,
  TX_IDLE,
} from '../wire/codes.ts';

/** How the statement came: as a simple query, or as a batch that is about nothing else. */
export type AskedAs = { readonly extended: false } | AskedBatch;

/** Whole messages of one batch in [from, to). */
interface AskedBatch {
  readonly extended: true;
  /** It ends with its Sync (else with a Flush). */
  readonly whole: boolean;
  readonly buffer: Buffer;
  readonly from: number;
  readonly to: number;
  readonly names: {
    learn(name: string, rest: Buffer): void;
    close(name: string, server: null): void;
  };
}

/** One row of one text column, or none. */
export interface OwnResult {
  readonly tag: string;
  readonly column?: string;
  readonly value?: string;
}

const TEXT_OID = 25;
/** Describe and Close: of a statement. */
const STATEMENT = 0x53;
const EMPTY = Buffer.alloc(0);
const NO_PARAMETERS = message(0x74, Buffer.from([0, 0]));
const READY: Readonly<Record<number, Buffer>> = {
  [TX_IDLE]: readyForQuery(TX_IDLE),
  [TX_BLOCK]: readyForQuery(TX_BLOCK),
  [TX_FAILED]: readyForQuery(TX_FAILED),
};

/** query_wait_notify. */
export const QUEUED = noticeResponse({
  severity: 'NOTICE',
  sqlstate: '00000',
  message: 'No server connection available in postgres backend, client being queued',
});

/** ReadyForQuery of a client without a server. */
export function ready(status: number): Buffer {
  return READY[status] ?? readyForQuery(status);
}

/** The whole reply, ReadyForQuery included where a Sync asks for it. */
export function ownAnswer(asked: AskedAs, result: OwnResult, status: number): Buffer {
  const { column, value } = result;
  const head =
    column === undefined ? null : rowDescription([{ name: column, typeOid: TEXT_OID, typeLength: -1 }]);
  const done = [...(head === null ? [] : [dataRow([value ?? ''])]), commandComplete(result.tag)];
  if (asked.extended) return batchAnswer(asked, head ?? NO_DATA, done, asked.whole ? ready(status) : EMPTY);
  return Buffer.concat([...(head === null ? [] : [head]), ...done, ready(status)]);
}

function batchAnswer(
  { buffer, from, to, names }: AskedBatch,
  described: Buffer,
  done: readonly Buffer[],
  end: Buffer,
): Buffer {
  const parts: Buffer[] = [];
  for (let at = from, next = at; at < to; at = next) {
    next = at + 1 + buffer.readUInt32BE(at + 1);
    const type = buffer[at];
    if (type === F_PARSE) {
      const nul = buffer.indexOf(0, at + 5);
      if (nul > at + 5) names.learn(buffer.latin1Slice(at + 5, nul), buffer.subarray(nul + 1, next));
      parts.push(PARSE_COMPLETE);
    } else if (type === F_BIND) parts.push(BIND_COMPLETE);
    else if (type === F_DESCRIBE) {
      if (buffer[at + 5] === STATEMENT) parts.push(NO_PARAMETERS);
      parts.push(described);
    } else if (type === F_EXECUTE) parts.push(...done);
    else if (type === F_CLOSE) {
      const name = buffer.latin1Slice(at + 6, next - 1);
      if (buffer[at + 5] === STATEMENT && name !== '') names.close(name, null);
      parts.push(CLOSE_COMPLETE);
    }
  }
  return Buffer.concat([...parts, end]);
}
