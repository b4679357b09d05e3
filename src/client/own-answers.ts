/**
 * Answers that the proxy gives itself to a client without a server: to a deferred BEGIN and its end, to SET and SHOW of
 * `pgconcierge.…`, and to what comes in a block that has failed. In the form that the client asked in: a simple query,
 * or a batch of one statement (protocol-flow, "Simple Query", "Extended Query").
 */
import {
  BIND_COMPLETE,
  commandComplete,
  dataRow,
  message,
  NO_DATA,
  noticeResponse,
  PARSE_COMPLETE,
  readyForQuery,
  rowDescription,
} from '../wire/backend.ts';
import { TX_BLOCK, TX_FAILED, TX_IDLE } from '../wire/codes.ts';

/** How the statement came. */
export interface AskedAs {
  readonly extended: boolean;
  readonly describes: number;
  readonly describesStatement: boolean;
}

/** One row of one text column, or none. */
export interface OwnResult {
  readonly tag: string;
  readonly column?: string;
  readonly value?: string;
}

const TEXT_OID = 25;
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

/** The whole reply, ReadyForQuery included. */
export function ownAnswer(asked: AskedAs, result: OwnResult, status: number): Buffer {
  const { column, value } = result;
  const rows =
    column === undefined ? null : rowDescription([{ name: column, typeOid: TEXT_OID, typeLength: -1 }]);
  const parts: Buffer[] = [];
  if (asked.extended) {
    parts.push(PARSE_COMPLETE);
    if (asked.describes > 0 && asked.describesStatement) parts.push(NO_PARAMETERS, rows ?? NO_DATA);
    parts.push(BIND_COMPLETE);
    if (asked.describes > 0 && !asked.describesStatement) parts.push(rows ?? NO_DATA);
  } else if (rows !== null) parts.push(rows);
  if (rows !== null) parts.push(dataRow([value ?? '']));
  parts.push(commandComplete(result.tag), ready(status));
  return Buffer.concat(parts);
}
