/** Two streams of server messages side by side: what is equal for a client, and how to show what is not. */
import { errorResponse } from '../support/fake-server.ts';
import { encode, errorFields, splitMessages } from '../support/raw-messages.ts';

/** In words. */
export const show = (bytes: Buffer): string => {
  const { messages, rest } = splitMessages(bytes);
  const texts = messages.map(
    ({ type, body }) => `${type}(${body.toString('utf8').replace(/[^ -~ß]+/g, '·')})`,
  );
  return `${texts.join(' ')}${rest.length > 0 ? ` +${rest.toString('hex')}` : ''}`;
};

/**
 * In an aborted transaction a Parse can be refused for several reasons (aborted, name in use, syntax), and which of
 * them comes first is not the same when the name or the statement was given to the server before: one error for all.
 */
export function comparable(bytes: Buffer): Buffer {
  const { messages, rest } = splitMessages(bytes);
  const aborted = messages.map(
    (_, i) =>
      messages
        .slice(i)
        .find(({ type }) => type === 'Z')
        ?.body.toString() === 'E',
  );
  const out = messages.map((message, i) => {
    const { type, body } = message;
    if (type !== 'E' || aborted[i] !== true) return encode(type, body);
    const { code } = errorFields(message);
    return ['25P02', '42P05', '42601'].includes(code) ? errorResponse('25P02', '') : encode(type, body);
  });
  return Buffer.concat([...out, rest]);
}
