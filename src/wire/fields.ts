/** Decoders of small bodies that the proxy reads: error fields, ParameterStatus, strings. */

/** The NUL-terminated string at `at`; `next` is the position after its NUL. Null when there is no NUL. */
export function readCString(
  body: Buffer,
  at: number,
): { readonly text: string; readonly next: number } | null {
  const end = body.indexOf(0, at);
  return end < 0 ? null : { text: body.toString('utf8', at, end), next: end + 1 };
}

export interface ServerError {
  /** Not localised where the server sends it (V), else S. */
  readonly severity: string;
  readonly sqlstate: string;
  readonly message: string;
  /** Where in the server's source it was raised (R): texts are localised, this is not. */
  readonly routine: string;
}

/** Decodes ErrorResponse / NoticeResponse; missing fields become ''. */
export function decodeError(body: Buffer): ServerError {
  let severity = '';
  let plain = '';
  let sqlstate = '';
  let message = '';
  let routine = '';
  let at = 0;
  while (at < body.length && body[at] !== 0) {
    const code = body[at];
    const field = readCString(body, at + 1);
    if (field === null) break;
    if (code === 0x53) severity = field.text;
    else if (code === 0x56) plain = field.text;
    else if (code === 0x43) sqlstate = field.text;
    else if (code === 0x4d) message = field.text;
    else if (code === 0x52) routine = field.text;
    at = field.next;
  }
  return { severity: plain === '' ? severity : plain, sqlstate, message, routine };
}

/** Decodes ParameterStatus; null when it is malformed. */
export function decodeParameter(body: Buffer): { readonly name: string; readonly value: string } | null {
  const name = readCString(body, 0);
  if (name === null) return null;
  const value = readCString(body, name.next);
  return value === null ? null : { name: name.text, value: value.text };
}

/** Text columns of a DataRow; binary ones come out as their bytes read as UTF-8. */
export function decodeRow(body: Buffer): (string | null)[] {
  const values: (string | null)[] = [];
  if (body.length < 2) return values;
  const n = body.readUInt16BE(0);
  let at = 2;
  for (let i = 0; i < n && at + 4 <= body.length; i++) {
    const length = body.readInt32BE(at);
    at += 4;
    if (length < 0) {
      values.push(null);
    } else {
      values.push(body.toString('utf8', at, at + length));
      at += length;
    }
  }
  return values;
}
