/**
 * Values of Bind -> words of a command. `KILL_CLIENT $1` from JDBC comes as a binary int4, from node-postgres as text;
 * both become the same word.
 */
import { CommandError } from '../control/port.ts';

export const TEXT_OID = 25;

/** Types whose binary form is their text. */
const TEXTUAL: ReadonlySet<number> = new Set([18, 19, 25, 705, 1042, 1043]);

const NUMBERS: ReadonlyMap<number, readonly [number, (b: Buffer) => string]> = new Map([
  [16, [1, (b: Buffer) => (b.readUInt8(0) === 0 ? 'f' : 't')]],
  [20, [8, (b: Buffer) => b.readBigInt64BE(0).toString()]],
  [21, [2, (b: Buffer) => String(b.readInt16BE(0))]],
  [23, [4, (b: Buffer) => String(b.readInt32BE(0))]],
  [26, [4, (b: Buffer) => String(b.readUInt32BE(0))]],
  [700, [4, (b: Buffer) => String(b.readFloatBE(0))]],
  [701, [8, (b: Buffer) => String(b.readDoubleBE(0))]],
]);

/** `number` counts from 1. Throws CommandError when the value cannot be a word. */
export function parameterText(number: number, value: Buffer | null, format: number, typeOid: number): string {
  if (value === null) throw new CommandError(`parameter $${number} must not be null`, '22004');
  if (format === 0 || TEXTUAL.has(typeOid)) return textOf(number, value);
  const binary = NUMBERS.get(typeOid);
  if (binary === undefined) {
    throw new CommandError(
      `binary format of type ${typeOid} is not supported for parameter $${number}`,
      '0A000',
    );
  }
  const [length, read] = binary;
  if (value.length !== length) {
    throw new CommandError(`incorrect binary data format in bind parameter ${number}`, '22P03');
  }
  return read(value);
}

function textOf(number: number, value: Buffer): string {
  if (value.includes(0)) throw new CommandError(`parameter $${number} contains a NUL byte`, '22021');
  return value.toString('utf8');
}

/** Refuses anything but 0 (text) and 1 (binary), and a wrong count. `what` is for the message. */
export function checkFormats(formats: readonly number[], count: number, what: string): void {
  const odd = formats.find((f) => f !== 0 && f !== 1);
  if (odd !== undefined) throw new CommandError(`unsupported format code: ${odd}`, '22023');
  if (formats.length > 1 && formats.length !== count) {
    throw new CommandError(
      `bind message has ${formats.length} ${what} formats but there are ${count}`,
      '08P01',
    );
  }
}

/** The format of item `i`: none given = text, one given = for all. */
export function formatOf(formats: readonly number[], i: number): number {
  return (formats.length === 1 ? formats[0] : formats[i]) ?? 0;
}
