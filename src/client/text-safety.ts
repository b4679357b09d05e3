/**
 * Whether the lexer may look into a client's texts byte by byte: not in encodings whose characters may contain ASCII
 * bytes, nor when backslashes escape in plain strings. Looked at again only when the client's variables have changed.
 */
import { isLexable } from '../routing/encodings.ts';
import { type Reason, reasonId } from '../routing/reasons.ts';
import type { Variables } from '../server/variables.ts';
import type { Client } from './client.ts';

const UNSAFE_ENCODING = reasonId('unsafe encoding');
const NONSTANDARD_STRINGS = reasonId('nonstandard strings');

export class TextSafety {
  #checked: Variables | null = null;
  #fault: Reason = 0;

  /** Why not; 0 = it may. */
  fault(client: Client): Reason {
    const { variables, registry } = client;
    if (variables === this.#checked) return this.#fault;
    this.#checked = variables;
    const { tracked } = registry.pools;
    const encoding = variables[tracked.indexOf('client_encoding')] ?? 'UTF8';
    const strings = variables[tracked.indexOf('standard_conforming_strings')] ?? 'on';
    this.#fault = !isLexable(encoding) ? UNSAFE_ENCODING : strings === 'on' ? 0 : NONSTANDARD_STRINGS;
    return this.#fault;
  }
}
