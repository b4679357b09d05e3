/**
 * Encoders of server-to-client messages (protocol-message-formats). Used for what the proxy says itself:
 * login, console, its own errors. Never on the path of a relayed reply.
 */

import type { PoolerError } from '../util/errors.ts';

const HEADER = 5;

/** One message: type byte, length, body. */
export function message(type: number, body: Buffer): Buffer {
  const out = Buffer.allocUnsafe(HEADER + body.length);
  out[0] = type;
  out.writeUInt32BE(body.length + 4, 1);
  body.copy(out, HEADER);
  return out;
}

/** NUL-terminated UTF-8. */
export function cstring(text: string): Buffer {
  const out = Buffer.allocUnsafe(Buffer.byteLength(text) + 1);
  out.write(text, 0);
  out[out.length - 1] = 0;
  return out;
}

function int32(value: number): Buffer {
  const out = Buffer.allocUnsafe(4);
  out.writeInt32BE(value, 0);
  return out;
}

/** AuthenticationXxx: `code` as in the protocol (0 Ok, 3 cleartext, 5 md5, 10/11/12 SASL). */
export function authentication(code: number, data: Buffer = Buffer.alloc(0)): Buffer {
  return message(0x52, Buffer.concat([int32(code), data]));
}

export const AUTHENTICATION_OK = authentication(0);
export const AUTHENTICATION_CLEARTEXT = authentication(3);

/** AuthenticationMD5Password with its 4 salt bytes. */
export function authenticationMd5(salt: Buffer): Buffer {
  return authentication(5, salt);
}

/** AuthenticationSASL with the mechanisms offered. */
export function authenticationSasl(mechanisms: readonly string[]): Buffer {
  return authentication(10, Buffer.concat([...mechanisms.map(cstring), Buffer.from([0])]));
}

export function parameterStatus(name: string, value: string): Buffer {
  return message(0x53, Buffer.concat([cstring(name), cstring(value)]));
}

/** BackendKeyData; `secret` is 4 bytes in protocol 3.0 and up to 256 in 3.2. */
export function backendKeyData(pid: number, secret: Buffer): Buffer {
  return message(0x4b, Buffer.concat([int32(pid), secret]));
}

/** ReadyForQuery with the transaction status byte (TX_IDLE …). */
export function readyForQuery(status: number): Buffer {
  return message(0x5a, Buffer.from([status]));
}

/** NegotiateProtocolVersion: the newest version that the proxy speaks and the `_pq_.` options it does not know. */
export function negotiateProtocolVersion(version: number, unknown: readonly string[]): Buffer {
  return message(0x76, Buffer.concat([int32(version), int32(unknown.length), ...unknown.map(cstring)]));
}

export interface ErrorFields {
  /** ERROR, FATAL, NOTICE, WARNING … */
  readonly severity: string;
  readonly sqlstate: string;
  readonly message: string;
  readonly detail?: string;
  readonly hint?: string;
}

/** What a client is told of one of the proxy's own errors; `detail` '' = none. */
export function poolerErrorFields(error: PoolerError, detail = ''): ErrorFields {
  const { severity, sqlstate, message, hint } = error;
  return {
    severity,
    sqlstate,
    message,
    ...(detail === '' ? {} : { detail }),
    ...(hint === undefined ? {} : { hint }),
  };
}

function fields(f: ErrorFields): Buffer {
  const parts = [cstring(`S${f.severity}`), cstring(`C${f.sqlstate}`), cstring(`M${f.message}`)];
  if (f.detail !== undefined) parts.push(cstring(`D${f.detail}`));
  if (f.hint !== undefined) parts.push(cstring(`H${f.hint}`));
  parts.push(Buffer.from([0]));
  return Buffer.concat(parts);
}

/** ErrorResponse with exactly PgBouncer's fields S, C, M (and D, H where given). */
export function errorResponse(f: ErrorFields): Buffer {
  return message(0x45, fields(f));
}

export function noticeResponse(f: ErrorFields): Buffer {
  return message(0x4e, fields(f));
}

export function commandComplete(tag: string): Buffer {
  return message(0x43, cstring(tag));
}

export interface Column {
  readonly name: string;
  readonly typeOid: number;
  /** Size in bytes, -1 = variable. */
  readonly typeLength: number;
}

/** RowDescription; `format` 0 = text, 1 = binary, per column or one for all. */
export function rowDescription(columns: readonly Column[], formats: readonly number[] = []): Buffer {
  const head = Buffer.allocUnsafe(2);
  head.writeInt16BE(columns.length, 0);
  const parts: Buffer[] = [head];
  columns.forEach((c, i) => {
    const tail = Buffer.alloc(18);
    tail.writeUInt32BE(c.typeOid, 6);
    tail.writeInt16BE(c.typeLength, 10);
    tail.writeInt32BE(-1, 12);
    tail.writeInt16BE(formats.length === 1 ? (formats[0] as number) : (formats[i] ?? 0), 16);
    parts.push(cstring(c.name), tail);
  });
  return message(0x54, Buffer.concat(parts));
}

/** DataRow; strings go as UTF-8 text, Buffers as they are (binary format), null as NULL. */
export function dataRow(values: readonly (string | Buffer | null)[]): Buffer {
  const head = Buffer.allocUnsafe(2);
  head.writeInt16BE(values.length, 0);
  const parts: Buffer[] = [head];
  for (const value of values) {
    if (value === null) {
      parts.push(int32(-1));
    } else {
      const bytes = typeof value === 'string' ? Buffer.from(value) : value;
      parts.push(int32(bytes.length), bytes);
    }
  }
  return message(0x44, Buffer.concat(parts));
}

export const PARSE_COMPLETE = message(0x31, Buffer.alloc(0));
export const BIND_COMPLETE = message(0x32, Buffer.alloc(0));
export const CLOSE_COMPLETE = message(0x33, Buffer.alloc(0));
export const NO_DATA = message(0x6e, Buffer.alloc(0));
export const EMPTY_QUERY_RESPONSE = message(0x49, Buffer.alloc(0));
