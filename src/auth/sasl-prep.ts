/**
 * SASLprep (RFC 4013) as PostgreSQL applies it to passwords: where the profile refuses a text, the raw password is
 * used instead. Both ends must agree byte for byte, or a right password fails.
 */
import { LEFT_TO_RIGHT, PROHIBITED, RIGHT_TO_LEFT, UNASSIGNED } from './stringprep-tables.ts';

// biome-ignore lint/suspicious/noControlCharactersInRegex: the whole of ASCII is meant
const ASCII = /^[\x00-\x7f]*$/;
const NON_ASCII_SPACE = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/g;
// alternatives instead of one class: some of these combine with their neighbours
const MAPPED_TO_NOTHING = /\u00ad|\u034f|\u1806|[\u180b-\u180d]|\u200c|\u200d|\u2060|[\ufe00-\ufe0f]|\ufeff/g;

type Range = readonly [first: number, last: number];

function decode(table: string): readonly Range[] {
  let end = 0;
  return table.split(' ').map((item) => {
    const [start = '0', length = '0'] = item.split('-');
    const first = end + Number.parseInt(start, 36);
    end = first + Number.parseInt(length, 36);
    return [first, end];
  });
}

const REFUSED = [...decode(UNASSIGNED), ...decode(PROHIBITED)];
const RTL = decode(RIGHT_TO_LEFT);
const LTR = decode(LEFT_TO_RIGHT);

// linear: a few hundred comparisons per character of a non-ASCII password, once per login
function isIn(ranges: readonly Range[], code: number): boolean {
  return ranges.some(([first, last]) => code >= first && code <= last);
}

/** The text whose UTF-8 bytes go into PBKDF2. Never fails. */
export function saslPrep(password: string): string {
  if (ASCII.test(password)) return password;
  const mapped = password.replace(NON_ASCII_SPACE, ' ').replace(MAPPED_TO_NOTHING, '');
  // checked before NFKC, not after it as the RFC says: so does PostgreSQL (pg_saslprep), and it has the last word
  const codes = Array.from(mapped, (char) => char.codePointAt(0) ?? 0);
  const [first] = codes;
  const last = codes.at(-1);
  if (first === undefined || last === undefined) return password;
  if (codes.some((code) => isIn(REFUSED, code))) return password;
  if (codes.some((code) => isIn(RTL, code))) {
    const mixed = codes.some((code) => isIn(LTR, code));
    if (mixed || !isIn(RTL, first) || !isIn(RTL, last)) return password;
  }
  return mapped.normalize('NFKC');
}
