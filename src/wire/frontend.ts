/**
 * Encoders of client-to-server messages (protocol-message-formats). Used for what the proxy sends in its own name:
 * login to servers, injected Parse / Close / Sync, its own queries, cancel. Never on the path of a relayed message.
 * Each function returns one whole message with its header. Text that holds a NUL is refused (RangeError): it would
 * end the field early and let the rest be read as something else.
 */
import { cstring, message } from './backend.ts';
import {
  CODE_CANCEL,
  CODE_GSSENC,
  CODE_SSL,
  F_BIND,
  F_CLOSE,
  F_COPY_DATA,
  F_COPY_DONE,
  F_COPY_FAIL,
  F_DESCRIBE,
  F_EXECUTE,
  F_FLUSH,
  F_FUNCTION_CALL,
  F_PARSE,
  F_PASSWORD,
  F_QUERY,
  F_SYNC,
  F_TERMINATE,
  PROTOCOL_3_0,
} from './codes.ts';

/** What Describe and Close are about. */
export type TargetKind = 'statement' | 'portal';

/** A value of Bind or FunctionCall: text as UTF-8, Buffers as they are, null as NULL. */
export type ParameterValue = string | Buffer | null;

export interface BindFields {
  readonly portal: string;
  readonly statement: string;
  readonly values: readonly ParameterValue[];
  /** 0 text, 1 binary; none = all text, one = for all. */
  readonly valueFormats?: readonly number[];
  readonly resultFormats?: readonly number[];
}

export interface FunctionCallFields {
  readonly oid: number;
  readonly values: readonly ParameterValue[];
  readonly valueFormats?: readonly number[];
  readonly resultFormat?: number;
}

const EMPTY = Buffer.alloc(0);

// prebuilt: these never change
const SYNC_BYTES = message(F_SYNC, EMPTY);
const FLUSH_BYTES = message(F_FLUSH, EMPTY);
const TERMINATE_BYTES = message(F_TERMINATE, EMPTY);
const COPY_DONE_BYTES = message(F_COPY_DONE, EMPTY);
const SSL_REQUEST_BYTES = special(CODE_SSL, EMPTY);
const GSSENC_REQUEST_BYTES = special(CODE_GSSENC, EMPTY);

function text(value: string): Buffer {
  if (value.includes('\0')) throw new RangeError('text of a protocol message must not contain a NUL');
  return cstring(value);
}

function int16(value: number): Buffer {
  const out = Buffer.allocUnsafe(2);
  out.writeUInt16BE(value, 0);
  return out;
}

function int32(value: number): Buffer {
  const out = Buffer.allocUnsafe(4);
  out.writeInt32BE(value, 0);
  return out;
}

function uint32(value: number): Buffer {
  const out = Buffer.allocUnsafe(4);
  out.writeUInt32BE(value, 0);
  return out;
}

/** A message without a type byte: length, code, rest. */
function special(code: number, rest: Buffer): Buffer {
  return Buffer.concat([uint32(rest.length + 8), uint32(code), rest]);
}

function formats(list: readonly number[]): Buffer {
  return Buffer.concat([int16(list.length), ...list.map(int16)]);
}

function values(list: readonly ParameterValue[]): Buffer {
  const parts = [int16(list.length)];
  for (const value of list) {
    if (value === null) {
      parts.push(int32(-1));
    } else {
      const bytes = typeof value === 'string' ? Buffer.from(value) : value;
      parts.push(int32(bytes.length), bytes);
    }
  }
  return Buffer.concat(parts);
}

function target(kind: TargetKind, name: string): Buffer {
  return Buffer.concat([Buffer.from(kind === 'statement' ? 'S' : 'P'), text(name)]);
}

/** StartupMessage; `params` in the order in which they are sent. An empty name would end the list: RangeError. */
export function startupMessage(
  params: Iterable<readonly [name: string, value: string]>,
  protocol: number = PROTOCOL_3_0,
): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of params) {
    if (name === '') throw new RangeError('a startup parameter needs a name');
    parts.push(text(name), text(value));
  }
  parts.push(Buffer.from([0]));
  return special(protocol, Buffer.concat(parts));
}

export function sslRequest(): Buffer {
  return SSL_REQUEST_BYTES;
}

export function gssencRequest(): Buffer {
  return GSSENC_REQUEST_BYTES;
}

/** CancelRequest; `secret` is 4 bytes in protocol 3.0 and up to 256 in 3.2. */
export function cancelRequest(pid: number, secret: Buffer): Buffer {
  // `| 0`: a pid read as unsigned is sent back with the same bits
  return special(CODE_CANCEL, Buffer.concat([int32(pid | 0), secret]));
}

/** PasswordMessage: a password in clear, or the `md5…` answer. */
export function passwordMessage(password: string): Buffer {
  return message(F_PASSWORD, text(password));
}

export function saslInitialResponse(mechanism: string, data: Buffer): Buffer {
  return message(F_PASSWORD, Buffer.concat([text(mechanism), int32(data.length), data]));
}

export function saslResponse(data: Buffer): Buffer {
  return message(F_PASSWORD, data);
}

export function query(sql: string): Buffer {
  return message(F_QUERY, text(sql));
}

/** Parse; `typeOids` may be shorter than the list of parameters, 0 = let the server choose. */
export function parse(name: string, sql: string, typeOids: readonly number[] = []): Buffer {
  return message(
    F_PARSE,
    Buffer.concat([text(name), text(sql), int16(typeOids.length), ...typeOids.map(uint32)]),
  );
}

export function bind(fields: BindFields): Buffer {
  return message(
    F_BIND,
    Buffer.concat([
      text(fields.portal),
      text(fields.statement),
      formats(fields.valueFormats ?? []),
      values(fields.values),
      formats(fields.resultFormats ?? []),
    ]),
  );
}

export function describe(kind: TargetKind, name: string): Buffer {
  return message(F_DESCRIBE, target(kind, name));
}

/** Execute; `maxRows` 0 = all. */
export function execute(portal: string, maxRows = 0): Buffer {
  return message(F_EXECUTE, Buffer.concat([text(portal), int32(maxRows)]));
}

export function close(kind: TargetKind, name: string): Buffer {
  return message(F_CLOSE, target(kind, name));
}

export function sync(): Buffer {
  return SYNC_BYTES;
}

export function flush(): Buffer {
  return FLUSH_BYTES;
}

export function terminate(): Buffer {
  return TERMINATE_BYTES;
}

export function copyData(data: Buffer): Buffer {
  return message(F_COPY_DATA, data);
}

export function copyDone(): Buffer {
  return COPY_DONE_BYTES;
}

/** CopyFail; `reason` appears in the server's error. */
export function copyFail(reason: string): Buffer {
  return message(F_COPY_FAIL, text(reason));
}

export function functionCall(fields: FunctionCallFields): Buffer {
  return message(
    F_FUNCTION_CALL,
    Buffer.concat([
      uint32(fields.oid),
      formats(fields.valueFormats ?? []),
      values(fields.values),
      int16(fields.resultFormat ?? 0),
    ]),
  );
}
