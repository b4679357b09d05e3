/**
 * SET, RESET and SHOW of the proxy's own settings of a session (ROUTING.md "Hints", "Fresh reads"): `pgconcierge.route`,
 * `pgconcierge.wait_lsn`, `pgconcierge.lsn`. Answered by the proxy; no server sees them.
 */
import { formatLsn, parseLsn } from '../routing/lsn-text.ts';
import type { OwnSetting } from '../sql/facts.ts';
import type { ErrorFields } from '../wire/backend.ts';
import type { ClientRouting } from './client-routing.ts';
import type { OwnResult } from './own-answers.ts';

const ROUTES = ['auto', 'primary', 'replica'] as const;
const NAMES = 'pgconcierge.route, pgconcierge.wait_lsn, pgconcierge.lsn (read only)';

const refused = (sqlstate: string, message: string, hint: string): ErrorFields => ({
  severity: 'ERROR',
  sqlstate,
  message,
  hint,
});

/** Does it. 'wait' = the answer is known only when the next sample of the primary's position is in. */
export function ownSetting(routing: ClientRouting, asked: OwnSetting): OwnResult | ErrorFields | 'wait' {
  const { verb, name, value, local } = asked;
  if (name !== 'route' && name !== 'wait_lsn' && name !== 'lsn')
    return refused(
      '42704',
      `unrecognized configuration parameter "pgconcierge.${name}"`,
      `There are ${NAMES}.`,
    );
  if (verb === 'show') return show(routing, name);
  if (local)
    return refused('0A000', `SET LOCAL is not supported for "pgconcierge.${name}"`, 'Use SET and RESET.');
  if (name === 'lsn')
    return refused('55P02', 'parameter "pgconcierge.lsn" cannot be changed', 'Set pgconcierge.wait_lsn.');
  if (name === 'route') {
    const route =
      value === null || verb === 'reset' ? null : ROUTES.find((one) => one === value.toLowerCase());
    if (route === undefined)
      return refused(
        '22023',
        `invalid value for parameter "pgconcierge.route": "${value}"`,
        `Available values: ${ROUTES.join(', ')}.`,
      );
    routing.sessionRoute = route;
  } else {
    const lsn = value === null || verb === 'reset' ? 0 : parseLsn(value);
    if (lsn === null)
      return refused(
        '22P02',
        `invalid input syntax for type pg_lsn: "${value}"`,
        "It looks like '16/B374D848'.",
      );
    // RESET forgets what was waited for by hand; what the client has written itself stays
    routing.freshness.handedLsn = lsn;
  }
  return { tag: verb === 'reset' ? 'RESET' : 'SET' };
}

function show(routing: ClientRouting, name: 'route' | 'wait_lsn' | 'lsn'): OwnResult | 'wait' {
  const column = `pgconcierge.${name}`;
  if (name === 'route') return { tag: 'SHOW', column, value: routing.sessionRoute ?? routing.desk.route };
  if (name === 'wait_lsn') return { tag: 'SHOW', column, value: formatLsn(routing.freshness.handedLsn) };
  const bound = routing.bound();
  return bound === Number.POSITIVE_INFINITY ? 'wait' : { tag: 'SHOW', column, value: formatLsn(bound) };
}
