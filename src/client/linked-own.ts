/**
 * SET, RESET and SHOW of `pgconcierge.…` from a client that has a server (in a block, or in session mode): PostgreSQL
 * would take them for settings of its own, and keep them on a server that others use next.
 */
import type { ErrorFields } from '../wire/backend.ts';
import { errorResponse } from '../wire/backend.ts';
import { TX_FAILED } from '../wire/codes.ts';
import type { Client } from './client.ts';
import { type AskedAs, ownAnswer, ready } from './own-answers.ts';
import { ownSetting } from './own-settings.ts';
import { batch, SCAN_MORE, SCAN_WHOLE } from './unit-scan.ts';

const PREFIX = Buffer.from('pgconcierge.');
/** Nobody writes such a statement longer than this. */
const LIMIT = 1024;
const SIMPLE: AskedAs = { extended: false };

/** A whole Query in [pos, end) may be one of them; called for each one of a client that has a server, or keeps one. */
export function mayBeOwn(buffer: Buffer, pos: number, end: number): boolean {
  const first = (buffer[pos + 5] as number) | 0x20;
  // SET, SHOW, RESET; or a blank or a comment before them
  if (first !== 0x73 && first !== 0x72 && first > 0x40) return false;
  return mentionsOwn(buffer, pos, end);
}

/** The name of such a setting is in the message [pos, end). */
export function mentionsOwn(buffer: Buffer, pos: number, end: number): boolean {
  return end - pos <= LIMIT && buffer.subarray(pos, end).includes(PREFIX);
}

/** Answers it; `status` = the server's. False = it is for the server after all. */
export function answerLinked(
  client: Client,
  buffer: Buffer,
  pos: number,
  end: number,
  status: number,
): boolean {
  return answer(client, buffer.latin1Slice(pos + 5, end - 1), SIMPLE, status);
}

/** The same for a batch that begins at `pos`: where it ends, 0 = it is for the server, -1 = more must be read. */
export function answerLinkedBatch(
  client: Client,
  buffer: Buffer,
  pos: number,
  n: number,
  status: number,
): number {
  const seen = batch.scan(buffer, pos, n);
  if (seen === SCAN_MORE) return n - pos > LIMIT ? 0 : -1;
  const [item] = batch.items;
  if (seen !== SCAN_WHOLE || !batch.single || item === undefined) return 0;
  if (client.prepared.find(batch.parsedName(buffer)) !== null) return 0;
  const { end } = batch;
  const asked = { extended: true, whole: true, buffer, from: pos, to: end, names: client.prepared } as const;
  return answer(client, buffer.latin1Slice(item.from, item.to), asked, status) ? end : 0;
}

function answer(client: Client, text: string, asked: AskedAs, status: number): boolean {
  const { routing } = client;
  if (routing === null || status === TX_FAILED) return false;
  const { facts } = routing.desk.shared.classifier.classify(text);
  if (facts.own === null) return false;
  const result = ownSetting(routing, facts.own);
  if (result === 'wait') say(client, [errorResponse(NOT_YET), ready(status)]);
  else if ('sqlstate' in result) say(client, [errorResponse(result), ready(status)]);
  else say(client, [ownAnswer(asked, result, status)]);
  return true;
}

const NOT_YET: ErrorFields = {
  severity: 'ERROR',
  sqlstate: '55000',
  message: 'the position of the last write is not known yet',
  hint: 'Ask again outside of the transaction block.',
};

function say({ transport }: Client, parts: readonly Buffer[]): void {
  if (!transport.writeOwned(Buffer.concat(parts))) transport.pause();
}
