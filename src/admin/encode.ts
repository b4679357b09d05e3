/**
 * Rows -> DataRow bytes, in text and in binary. A SHOW CLIENTS may have 10,000 rows and runs beside the relay,
 * so rows go into one growing buffer rather than through a Buffer per value.
 */
import type { Column } from '../wire/backend.ts';
import { B_DATA_ROW } from '../wire/codes.ts';
import type { Cell, ColumnType, ResultColumn, Row } from './outcome.ts';

interface TypeFacts {
  readonly oid: number;
  readonly length: number;
  /** As PostgreSQL names it. */
  readonly name: string;
}

export const TYPES: Readonly<Record<ColumnType, TypeFacts>> = {
  text: { oid: 25, length: -1, name: 'text' },
  int4: { oid: 23, length: 4, name: 'integer' },
  int8: { oid: 20, length: 8, name: 'bigint' },
  numeric: { oid: 1700, length: -1, name: 'numeric' },
  bool: { oid: 16, length: 1, name: 'boolean' },
  oid: { oid: 26, length: 4, name: 'oid' },
};

/** For rowDescription. */
export function wireColumns(columns: readonly ResultColumn[]): Column[] {
  return columns.map((c) => ({ name: c.name, typeOid: TYPES[c.type].oid, typeLength: TYPES[c.type].length }));
}

const INT4_MAX = 0x7fffffff;

/** Fits a number into the column's type: int4 columns must never carry what a driver's parser refuses. */
function whole(value: number, type: ColumnType): string {
  const n = Number.isFinite(value) ? Math.trunc(value) : 0;
  if (type === 'int4') return String(Math.min(Math.max(n, -INT4_MAX - 1), INT4_MAX));
  return Math.abs(n) <= Number.MAX_SAFE_INTEGER ? String(n) : BigInt(n).toString();
}

/** The text form of a value, null for NULL. */
export function cellText(cell: Cell, type: ColumnType): string | null {
  if (cell === null) return null;
  if (typeof cell === 'string') return cell;
  if (typeof cell === 'number') return type === 'text' ? String(cell) : whole(cell, type);
  if (typeof cell === 'boolean') return cell ? 't' : 'f';
  return cell.toString();
}

/** The binary form of a value, null for NULL. */
export function cellBinary(cell: Cell, type: ColumnType): Buffer | null {
  const text = cellText(cell, type);
  if (text === null) return null;
  switch (type) {
    case 'text':
      return Buffer.from(text);
    case 'int4': {
      const out = Buffer.allocUnsafe(4);
      out.writeInt32BE(Number(text), 0);
      return out;
    }
    case 'oid': {
      const out = Buffer.allocUnsafe(4);
      out.writeUInt32BE(Number(text), 0);
      return out;
    }
    case 'int8': {
      const out = Buffer.allocUnsafe(8);
      out.writeBigInt64BE(BigInt.asIntN(64, BigInt(text)), 0);
      return out;
    }
    case 'bool':
      return Buffer.from([text === 't' ? 1 : 0]);
    case 'numeric':
      return numericBinary(text);
  }
}

/**
 * numeric in binary: count of base-10000 digits, weight of the first one, sign, display scale, digits.
 * `text` is a plain decimal number (`-12.5`).
 */
export function numericBinary(text: string): Buffer {
  const negative = text.startsWith('-');
  const [wholePart = '', fraction = ''] = (negative ? text.slice(1) : text).split('.');
  const left = wholePart.padStart(Math.ceil(wholePart.length / 4) * 4, '0');
  const right = fraction.padEnd(Math.ceil(fraction.length / 4) * 4, '0');
  const digits = (left + right).match(/.{4}/g)?.map(Number) ?? [];
  let weight = left.length / 4 - 1;
  while (digits[0] === 0) {
    digits.shift();
    weight -= 1;
  }
  while (digits.at(-1) === 0) digits.pop();
  if (digits.length === 0) weight = 0;
  const out = Buffer.allocUnsafe(8 + digits.length * 2);
  out.writeInt16BE(digits.length, 0);
  out.writeInt16BE(weight, 2);
  out.writeUInt16BE(negative && digits.length > 0 ? 0x4000 : 0, 4);
  out.writeUInt16BE(fraction.length, 6);
  digits.forEach((d, i) => {
    out.writeInt16BE(d, 8 + i * 2);
  });
  return out;
}

/**
 * All rows as DataRow messages in one buffer. `formats` as in Bind: none = text, one = for all, else one per
 * column; 1 = binary.
 */
export function encodeRows(
  rows: readonly Row[],
  columns: readonly ResultColumn[],
  formats: readonly number[],
): Buffer {
  const out = new Growing();
  const binary = columns.map((_, i) => (formats.length === 1 ? formats[0] : formats[i]) === 1);
  for (const row of rows) {
    const start = out.startMessage(B_DATA_ROW, columns.length);
    columns.forEach((column, i) => {
      const cell = row[i] ?? null;
      if (binary[i] === true) out.bytes(cellBinary(cell, column.type));
      else out.text(cellText(cell, column.type));
    });
    out.endMessage(start);
  }
  return out.take();
}

class Growing {
  #buffer = Buffer.allocUnsafe(4096);
  #at = 0;

  startMessage(type: number, count: number): number {
    this.#room(7);
    const start = this.#at;
    this.#buffer[start] = type;
    this.#buffer.writeUInt16BE(count, start + 5);
    this.#at += 7;
    return start;
  }

  endMessage(start: number): void {
    this.#buffer.writeUInt32BE(this.#at - start - 1, start + 1);
  }

  text(value: string | null): void {
    if (value === null) {
      this.bytes(null);
      return;
    }
    // no UTF-16 unit takes more than three bytes of UTF-8
    this.#room(4 + value.length * 3);
    const length = this.#ascii(value, this.#at + 4) ?? this.#buffer.write(value, this.#at + 4);
    this.#buffer.writeInt32BE(length, this.#at);
    this.#at += 4 + length;
  }

  /** Short ASCII, as nearly all values are, costs half by hand. Null = it is something else. */
  #ascii(value: string, at: number): number | null {
    const { length } = value;
    if (length > 32) return null;
    for (let i = 0; i < length; i += 1) {
      const unit = value.charCodeAt(i);
      if (unit > 0x7f) return null;
      this.#buffer[at + i] = unit;
    }
    return length;
  }

  bytes(value: Buffer | null): void {
    this.#room(4 + (value?.length ?? 0));
    this.#at = this.#buffer.writeInt32BE(value === null ? -1 : value.length, this.#at);
    if (value !== null) this.#at += value.copy(this.#buffer, this.#at);
  }

  take(): Buffer {
    return this.#buffer.subarray(0, this.#at);
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const bigger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#at + bytes));
    this.#buffer.copy(bigger, 0, 0, this.#at);
    this.#buffer = bigger;
  }
}
