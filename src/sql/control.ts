/** Transaction statements and the proxy's own settings, out of the syntax tree. */
import type { OwnSetting, TransactionControl } from './facts.ts';
import { asList, asObject, asText, type Json, type JsonObject } from './parse.ts';

const OWN_PREFIX = 'pgconcierge.';

/** A TransactionStmt; null when it is one that neither begins nor ends a block (SAVEPOINT, PREPARE TRANSACTION …). */
export function transactionControl(stmt: JsonObject): TransactionControl | null {
  const chain = stmt['chain'] === true;
  switch (stmt['kind']) {
    case 'TRANS_STMT_BEGIN':
    case 'TRANS_STMT_START':
      return { verb: 'begin', ...modes(stmt['options']) };
    case 'TRANS_STMT_COMMIT':
      return { verb: 'commit', chain };
    case 'TRANS_STMT_ROLLBACK':
      return { verb: 'rollback', chain };
    default:
      return null;
  }
}

/** A VariableSetStmt that is SET TRANSACTION with modes; else null. */
export function setTransaction(stmt: JsonObject): TransactionControl | null {
  if (stmt['kind'] !== 'VAR_SET_MULTI' || stmt['name'] !== 'TRANSACTION') return null;
  return { verb: 'set', ...modes(stmt['args']) };
}

/** SET or RESET of a setting of the proxy; null = of another one. */
export function ownSetting(stmt: JsonObject): OwnSetting | null {
  const name = ownName(stmt['name']);
  if (name === null) return null;
  const local = stmt['is_local'] === true;
  switch (stmt['kind']) {
    case 'VAR_SET_VALUE':
      return { verb: 'set', name, value: asList(stmt['args']).map(settingValue).join(', '), local };
    case 'VAR_SET_DEFAULT':
      return { verb: 'set', name, value: null, local };
    case 'VAR_RESET':
      return { verb: 'reset', name, value: null, local };
    default:
      return null;
  }
}

/** SHOW of a setting of the proxy; null = of another one. */
export function ownShow(stmt: JsonObject): OwnSetting | null {
  const name = ownName(stmt['name']);
  return name === null ? null : { verb: 'show', name, value: null, local: false };
}

function ownName(name: Json): string | null {
  const lower = asText(name).toLowerCase();
  return lower.startsWith(OWN_PREFIX) ? lower.slice(OWN_PREFIX.length) : null;
}

/** As the server would take it: words and numbers as written. */
function settingValue(arg: Json): string {
  const value = asObject(asObject(arg)['A_Const']);
  const number = value['ival'];
  // JSON leaves out what is zero
  if (number !== undefined) return String(asObject(number)['ival'] ?? 0);
  const decimal = value['fval'];
  if (decimal !== undefined) return asText(asObject(decimal)['fval']);
  return asText(asObject(value['sval'])['sval']);
}

/** The last one said counts, as in the server. */
function modes(options: Json): { readOnly: boolean | null; isolation: string | null } {
  let readOnly: boolean | null = null;
  let isolation: string | null = null;
  for (const option of asList(options)) {
    const element = asObject(asObject(option)['DefElem']);
    const value = settingValue(element['arg']);
    if (element['defname'] === 'transaction_read_only') readOnly = value !== '0';
    else if (element['defname'] === 'transaction_isolation') isolation = value.toLowerCase();
  }
  return { readOnly, isolation };
}
