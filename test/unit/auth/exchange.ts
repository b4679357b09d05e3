/** What the auth tests share: a client that plays exchanges, and splitting of messages. */
import { createRequire } from 'node:module';
import type { ClientAuthExchange, ClientAuthStep } from '../../../src/auth/client-auth.ts';
import { saslInitialResponse } from '../../../src/wire/frontend.ts';

export const SALT = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
/** The password `pencil`. */
export const PENCIL =
  'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=';

/** node-postgres' own client, an implementation that is not ours. Untyped and internal, hence the description. */
export interface PgSasl {
  startSession(mechanisms: string[], stream?: object | null): PgSession;
  continueSession(session: PgSession, password: string, data: string, stream?: object | null): Promise<void>;
  finalizeSession(session: PgSession, data: string): void;
}
export interface PgSession {
  readonly mechanism: string;
  readonly response: string;
}
export const pgSasl = createRequire(import.meta.url)('pg/lib/crypto/sasl') as PgSasl;

/** The body of a message: without type and length. */
export const body = (message: Buffer): Buffer => message.subarray(5);
/** The data of an Authentication message: without its code. */
export const saslData = (message: Buffer): string => message.toString('latin1', 9);
export const cstring = (text: string | Buffer): Buffer =>
  Buffer.concat([Buffer.from(text), Buffer.from([0])]);
export const initial = (text: string): Buffer =>
  body(saslInitialResponse('SCRAM-SHA-256', Buffer.from(text, 'latin1')));

export interface Played {
  readonly steps: readonly ClientAuthStep[];
  readonly last: ClientAuthStep;
}

/** Plays SCRAM with node-postgres as the client; `stream` makes it say `y` (TLS, no channel binding offered). */
export async function playScram(
  exchange: ClientAuthExchange,
  password: string,
  stream: object | null = null,
): Promise<Played> {
  const session = pgSasl.startSession(['SCRAM-SHA-256'], stream);
  const first = await exchange.respond(initial(session.response));
  if (first.kind !== 'send') return { steps: [first], last: first };
  const data = saslData(first.bytes);
  await pgSasl.continueSession(session, password, data, stream);
  const last = await exchange.respond(Buffer.from(session.response));
  if (last.kind === 'ok') pgSasl.finalizeSession(session, saslData(last.bytes));
  return { steps: [first, last], last };
}
