/**
 * Protocol 3 for tests, from both sides: client messages to bytes, server messages to values. Written apart from
 * src/wire on purpose, so that a mistake there is not made twice and cancelled out.
 */
import { createHash } from 'node:crypto';

/** One message; `type` is the letter on the wire. */
export interface RawMessage {
  readonly type: string;
  readonly body: Buffer;
}

export function int16(value: number): Buffer {
  const out = Buffer.alloc(2);
  out.writeInt16BE(value);
  return out;
}

export function int32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeInt32BE(value);
  return out;
}

export function cstr(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

/** A message with its header. */
export function encode(type: string, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from(type, 'latin1'), int32(body.length + 4), body]);
}

/** Without a type letter: startup, SSLRequest, CancelRequest. */
function untyped(...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([int32(body.length + 4), body]);
}

/** StartupMessage; `version` default 3.0 = 196608. */
export function startupMessage(parameters: Readonly<Record<string, string>>, version = 196_608): Buffer {
  const pairs = Object.entries(parameters).flatMap(([name, value]) => [cstr(name), cstr(value)]);
  return untyped(int32(version), ...pairs, Buffer.from([0]));
}

export const SSL_REQUEST = untyped(int32(80_877_103));
export const GSSENC_REQUEST = untyped(int32(80_877_104));

export function cancelRequest(pid: number, secret: Buffer): Buffer {
  return untyped(int32(80_877_102), int32(pid), secret);
}

export const query = (sql: string): Buffer => encode('Q', cstr(sql));
export const sync = (): Buffer => encode('S');
export const flush = (): Buffer => encode('H');
export const terminate = (): Buffer => encode('X');
export const copyData = (data: Buffer): Buffer => encode('d', data);
export const copyDone = (): Buffer => encode('c');
export const copyFail = (why: string): Buffer => encode('f', cstr(why));

export function parse(name: string, sql: string, typeOids: readonly number[] = []): Buffer {
  return encode('P', cstr(name), cstr(sql), int16(typeOids.length), ...typeOids.map(int32));
}

/** Text parameters and text results. */
export function bind(portal: string, statement: string, values: readonly (string | null)[] = []): Buffer {
  const fields = values.map((value) => {
    if (value === null) return int32(-1);
    const bytes = Buffer.from(value);
    return Buffer.concat([int32(bytes.length), bytes]);
  });
  return encode('B', cstr(portal), cstr(statement), int16(0), int16(values.length), ...fields, int16(0));
}

/** `what`: 'S' statement or 'P' portal. */
export const describe = (what: 'S' | 'P', name: string): Buffer => encode('D', Buffer.from(what), cstr(name));
export const close = (what: 'S' | 'P', name: string): Buffer => encode('C', Buffer.from(what), cstr(name));
export const execute = (portal: string, maxRows = 0): Buffer => encode('E', cstr(portal), int32(maxRows));

/** AuthenticationMD5Password's answer: 'md5' + md5(md5(password + user) + salt). */
export function md5Answer(user: string, password: string, salt: Buffer): string {
  const inner = createHash('md5')
    .update(password + user)
    .digest('hex');
  return `md5${createHash('md5').update(inner).update(salt).digest('hex')}`;
}

/** Takes whole messages off the front of `bytes`. Throws on a length that cannot be. */
export function splitMessages(bytes: Buffer): { messages: RawMessage[]; rest: Buffer } {
  const messages: RawMessage[] = [];
  let at = 0;
  while (bytes.length - at >= 5) {
    const length = bytes.readInt32BE(at + 1);
    if (length < 4)
      throw new Error(`a message of length ${length} at ${bytes.subarray(at, at + 5).toString('hex')}`);
    if (bytes.length - at < length + 1) break;
    messages.push({
      type: bytes.toString('latin1', at, at + 1),
      body: Buffer.from(bytes.subarray(at + 5, at + 1 + length)),
    });
    at += length + 1;
  }
  return { messages, rest: bytes.subarray(at) };
}

function readCstr(body: Buffer, at: number): { text: string; next: number } {
  const end = body.indexOf(0, at);
  if (end < 0) throw new Error(`no terminator in ${body.subarray(at).toString('hex')}`);
  return { text: body.toString('utf8', at, end), next: end + 1 };
}

/** Every NUL-terminated string of `body`, e.g. of ParameterStatus or a startup packet's parameters. */
export function readCstrs(body: Buffer): string[] {
  const out: string[] = [];
  for (let at = 0; at < body.length; ) {
    const { text, next } = readCstr(body, at);
    out.push(text);
    at = next;
  }
  return out;
}

export interface RawErrorFields {
  readonly severity: string;
  readonly code: string;
  readonly message: string;
  /** All fields by their letter. */
  readonly fields: ReadonlyMap<string, string>;
}

/** ErrorResponse or NoticeResponse. */
export function errorFields(message: RawMessage): RawErrorFields {
  const fields = new Map<string, string>();
  for (let at = 0; at < message.body.length && message.body[at] !== 0; ) {
    const { text, next } = readCstr(message.body, at + 1);
    fields.set(message.body.toString('latin1', at, at + 1), text);
    at = next;
  }
  return {
    severity: fields.get('S') ?? '',
    code: fields.get('C') ?? '',
    message: fields.get('M') ?? '',
    fields,
  };
}

/** DataRow as text. */
export function rowFields(message: RawMessage): (string | null)[] {
  const { body } = message;
  const row: (string | null)[] = [];
  let at = 2;
  for (let left = body.readInt16BE(0); left > 0; left--) {
    const length = body.readInt32BE(at);
    at += 4;
    row.push(length < 0 ? null : body.toString('utf8', at, at + length));
    at += Math.max(0, length);
  }
  return row;
}

/** RowDescription's column names. */
export function columnNames(message: RawMessage): string[] {
  const names: string[] = [];
  let at = 2;
  for (let left = message.body.readInt16BE(0); left > 0; left--) {
    const { text, next } = readCstr(message.body, at);
    names.push(text);
    at = next + 18;
  }
  return names;
}

/** The rows among `messages`. */
export function rowsOf(messages: readonly RawMessage[]): (string | null)[][] {
  return messages.filter((message) => message.type === 'D').map(rowFields);
}

/** CommandComplete tags among `messages`. */
export function tagsOf(messages: readonly RawMessage[]): string[] {
  return messages.filter((message) => message.type === 'C').map((message) => readCstr(message.body, 0).text);
}

/** The types in order as one string, e.g. `12TDCZ`. */
export function typesOf(messages: readonly RawMessage[]): string {
  return messages.map((message) => message.type).join('');
}
