/** What a door gives: status, type and text. */
export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
  /** Of a 405: the methods that the door takes. */
  readonly allow?: string;
}

const JSON_TYPE = 'application/json; charset=utf-8';
const TEXT_TYPE = 'text/plain; charset=utf-8';

export function textAnswer(status: number, text: string): Answer {
  return { status, contentType: TEXT_TYPE, body: `${text}\n` };
}

export function jsonAnswer(status: number, value: Readonly<Record<string, unknown>>): Answer {
  return { status, contentType: JSON_TYPE, body: `${JSON.stringify(value)}\n` };
}
