/** Bodies of the client messages that the console understands -> values. Wrong bodies give `bad packet`. */
import { CommandError } from '../control/port.ts';

/** Body of a message that breaks the protocol's format. */
function badPacket(): CommandError {
  return new CommandError('bad packet', '08P01');
}

class BodyReader {
  readonly #body: Buffer;
  #at = 0;

  constructor(body: Buffer) {
    this.#body = body;
  }

  cstring(): string {
    const end = this.#body.indexOf(0, this.#at);
    if (end < 0) throw badPacket();
    const text = this.#body.toString('utf8', this.#at, end);
    this.#at = end + 1;
    return text;
  }

  byte(): number {
    this.#need(1);
    const value = this.#body.readUInt8(this.#at);
    this.#at += 1;
    return value;
  }

  uint16(): number {
    this.#need(2);
    const value = this.#body.readUInt16BE(this.#at);
    this.#at += 2;
    return value;
  }

  int32(): number {
    this.#need(4);
    const value = this.#body.readInt32BE(this.#at);
    this.#at += 4;
    return value;
  }

  uint32(): number {
    return this.int32() >>> 0;
  }

  bytes(length: number): Buffer {
    this.#need(length);
    const value = this.#body.subarray(this.#at, this.#at + length);
    this.#at += length;
    return value;
  }

  end(): void {
    if (this.#at !== this.#body.length) throw badPacket();
  }

  #need(length: number): void {
    if (length < 0 || this.#at + length > this.#body.length) throw badPacket();
  }
}

export function readQuery(body: Buffer): string {
  const reader = new BodyReader(body);
  const text = reader.cstring();
  reader.end();
  return text;
}

export interface ParseMessage {
  readonly name: string;
  readonly text: string;
  readonly types: readonly number[];
}

export function readParse(body: Buffer): ParseMessage {
  const reader = new BodyReader(body);
  const name = reader.cstring();
  const text = reader.cstring();
  const types = Array.from({ length: reader.uint16() }, () => reader.uint32());
  reader.end();
  return { name, text, types };
}

export interface BindMessage {
  readonly portal: string;
  readonly statement: string;
  readonly formats: readonly number[];
  /** Views into the body, null for NULL. */
  readonly values: readonly (Buffer | null)[];
  readonly resultFormats: readonly number[];
}

export function readBind(body: Buffer): BindMessage {
  const reader = new BodyReader(body);
  const portal = reader.cstring();
  const statement = reader.cstring();
  const formats = Array.from({ length: reader.uint16() }, () => reader.uint16());
  const values = Array.from({ length: reader.uint16() }, () => {
    const length = reader.int32();
    return length === -1 ? null : reader.bytes(length);
  });
  const resultFormats = Array.from({ length: reader.uint16() }, () => reader.uint16());
  reader.end();
  return { portal, statement, formats, values, resultFormats };
}

/** Describe and Close: what (statement or portal) and its name. */
export function readTarget(body: Buffer): { readonly kind: 'statement' | 'portal'; readonly name: string } {
  const reader = new BodyReader(body);
  const kind = reader.byte();
  const name = reader.cstring();
  reader.end();
  if (kind !== 0x53 && kind !== 0x50) throw badPacket();
  return { kind: kind === 0x53 ? 'statement' : 'portal', name };
}

export function readExecute(body: Buffer): { readonly portal: string; readonly limit: number } {
  const reader = new BodyReader(body);
  const portal = reader.cstring();
  const limit = reader.int32();
  reader.end();
  return { portal, limit };
}
