/**
 * From a text to its facts (ROUTING.md "Classes"): reads are what is known to be one, everything else is a write. Names
 * in the facts are bytes as characters, as the text is.
 */
import { ownSetting, ownShow, setTransaction, transactionControl } from './control.ts';
import type { OwnSetting, SqlFacts, TransactionControl, WriteRule } from './facts.ts';
import { normalise } from './lexer.ts';
import { asList, asObject, asText, type JsonObject, MAX_PARSE, type Parsed, parseSql } from './parse.ts';
import {
  isTransactionVerb,
  isWriteVerb,
  mayAlterCatalog,
  mayChangeData,
  statementWords,
  type Words,
} from './verbs.ts';
import { NameList, type Names, walkQuery } from './walk.ts';

/** Facts, and how they were come by (for the cache). */
export interface Classified {
  readonly facts: SqlFacts;
  readonly parsed: boolean;
  /** False: this text only; another one with the same normalised text may have other facts. */
  readonly shared: boolean;
  /** False: the parser was not ready; ask again. */
  readonly lasting: boolean;
}

interface Statement {
  readonly rule: WriteRule;
  readonly command: string;
  readonly changesData: boolean;
  readonly altersCatalog: boolean;
  readonly control?: TransactionControl | null;
  readonly own?: OwnSetting | null;
}

/** What `text` (bytes as characters) says about where it may run. Throws nothing; loadParser() has to be done before. */
export function factsOf(text: string): SqlFacts {
  return classify(text, normalise(text).text).facts;
}

/** As factsOf, for a caller that has the normalised text already. */
export function classify(text: string, normalised: string): Classified {
  const words = statementWords(normalised);
  const [first] = words;
  if (first === undefined) return certain(facts({ ...READ, command: '' }, null));
  const several = words.length > 1;
  // a function body may stand bare behind CREATE, its semicolons do not end the statement
  const bare = several && first[0] === 'CREATE' && text.length <= MAX_PARSE;
  if (isWriteVerb(first) && !bare) return certain(fromVerbs(first, words));
  const parsed = parseSql(text);
  if (!parsed.ok) return failed(parsed, first, words);
  const { statements, decoded } = parsed;
  const names = { functions: new NameList(decoded), relations: new NameList(decoded) };
  const [only] = statements;
  if (only === undefined) return { ...certain(facts({ ...READ, command: '' }, null)), parsed: true };
  // of several that cannot be told apart by their semicolons nothing is known by words
  const aligned = statements.length === 1 || statements.length === words.length;
  const found = statements.map((one, i) => statement(one, (aligned ? words[i] : null) ?? [], names));
  const combined = found.length === 1 ? found[0] : combine(found);
  if (statements.some(copiesOut) && EMPTY_LITERAL.test(text)) {
    return failed({ ok: false, rule: 'not parsed', lasting: true }, first, words);
  }
  return { facts: facts(combined ?? READ, names), parsed: true, shared: true, lasting: true };
}

/**
 * The trees leave out what is empty: COPY … TO '' looks like TO STDOUT, and has the normalised text of every COPY to a
 * file. So a text with an empty literal (or a doubled quote) in it is not judged.
 */
const EMPTY_LITERAL = /''|\$([^\s$]*)\$\$\1\$/;

function copiesOut(tree: JsonObject): boolean {
  const body = tree['CopyStmt'];
  return body !== undefined && asObject(body)['filename'] === undefined;
}

const READ: Statement = { rule: '', command: 'SELECT', changesData: false, altersCatalog: false };

function facts(from: Statement, names: Names | null): SqlFacts {
  return {
    rule: from.rule,
    command: from.command,
    changesData: from.changesData,
    functions: names === null ? [] : names.functions.list(),
    relations: names === null ? [] : names.relations.list(),
    control: from.control ?? null,
    own: from.own ?? null,
    altersCatalog: from.altersCatalog,
  };
}

function certain(known: SqlFacts): Classified {
  return { facts: known, parsed: false, shared: true, lasting: true };
}

/** The first verb decides; what follows it can only add. */
function fromVerbs(first: Words, words: readonly Words[]): SqlFacts {
  const rule = words.some(isTransactionVerb)
    ? 'transaction control'
    : words.length > 1
      ? 'several statements'
      : 'command';
  return facts(
    {
      rule,
      command: first[0] ?? '',
      changesData: words.some(mayChangeData),
      altersCatalog: words.some(mayAlterCatalog),
    },
    null,
  );
}

function failed(parsed: Parsed & { ok: false }, first: Words, words: readonly Words[]): Classified {
  const { rule, lasting } = parsed;
  return {
    facts: facts(
      {
        rule,
        command: first[0] ?? '',
        // the server may take what this grammar does not
        changesData: true,
        altersCatalog: words.some(mayAlterCatalog),
      },
      null,
    ),
    parsed: true,
    shared: false,
    lasting,
  };
}

function combine(found: readonly Statement[]): Statement {
  const [first] = found;
  const rule = found.some((one) => one.rule === 'transaction control' || isTransactionCommand(one))
    ? 'transaction control'
    : found.some((one) => one.rule !== '')
      ? 'several statements'
      : '';
  return {
    rule,
    command: first?.command ?? '',
    changesData: found.some((one) => one.changesData),
    altersCatalog: found.some((one) => one.altersCatalog),
  };
}

function isTransactionCommand(one: Statement): boolean {
  return (one.control ?? null) !== null;
}

/** One statement's tree, which has one key: its kind. */
function statement(tree: JsonObject, words: Words, names: Names): Statement {
  const [kind = ''] = Object.keys(tree);
  const body = asObject(tree[kind]);
  const verb = words[0] ?? '';
  switch (kind) {
    case 'SelectStmt':
      return select(body, tree, names);
    case 'ExplainStmt':
      return explain(body, names);
    case 'CopyStmt':
      return copy(body, names);
    case 'VariableShowStmt':
      return { ...READ, command: 'SHOW', own: ownShow(body) };
    case 'VariableSetStmt':
      return variable(body, verb);
    case 'TransactionStmt': {
      const control = transactionControl(body);
      return {
        rule: 'transaction control',
        command: words[1] === 'TRANSACTION' || words[1] === 'PREPARED' ? `${verb} ${words[1]}` : verb,
        changesData: mayChangeData(words),
        altersCatalog: false,
        control,
      };
    }
    default:
      return {
        rule: 'command',
        command: COMMANDS.get(kind) ?? verb,
        changesData: mayChangeData(words),
        altersCatalog: mayAlterCatalog(words),
      };
  }
}

/** Those that may begin with WITH. */
const COMMANDS = new Map([
  ['InsertStmt', 'INSERT'],
  ['UpdateStmt', 'UPDATE'],
  ['DeleteStmt', 'DELETE'],
  ['MergeStmt', 'MERGE'],
]);

function select(body: JsonObject, tree: JsonObject, names: Names): Statement {
  const rule = walkQuery(tree, names);
  return {
    rule,
    command: body['valuesLists'] === undefined ? 'SELECT' : 'VALUES',
    // a locking read may call functions that write: when in doubt it has
    changesData: rule !== '',
    altersCatalog: rule === 'select into',
  };
}

function variable(body: JsonObject, verb: string): Statement {
  const control = setTransaction(body);
  return {
    rule: control === null ? 'command' : 'transaction control',
    command: verb,
    changesData: false,
    altersCatalog: false,
    control,
    own: ownSetting(body),
  };
}

function explain(body: JsonObject, names: Names): Statement {
  const inner = asObject(body['query']);
  const [kind = ''] = Object.keys(inner);
  const rule = walkQuery(inner, names);
  const plain: Statement = { ...READ, command: 'EXPLAIN' };
  // the statement to explain is in a session of one server only
  if (kind === 'ExecuteStmt') return { ...plain, rule: 'command', changesData: true };
  if (!analyzes(body)) return plain;
  if (kind === 'SelectStmt' && rule === '') return plain;
  const makesTable = kind === 'CreateTableAsStmt' || rule === 'select into';
  return { ...plain, rule: 'explain analyze of a write', changesData: true, altersCatalog: makesTable };
}

/** ANALYZE is on unless it is switched off by a value that the server knows; the last one counts. */
function analyzes(body: JsonObject): boolean {
  let on = false;
  for (const option of asList(body['options'])) {
    const element = asObject(asObject(option)['DefElem']);
    if (element['defname'] !== 'analyze') continue;
    const arg = asObject(element['arg']);
    const number = arg['Integer'];
    const word = asText(asObject(arg['String'])['sval']).toLowerCase();
    on = number === undefined ? word !== 'false' && word !== 'off' : asObject(number)['ival'] !== undefined;
  }
  return on;
}

function copy(body: JsonObject, names: Names): Statement {
  const inner = asObject(body['query']);
  const rule = walkQuery(body, names);
  const write = (why: WriteRule): Statement => ({ ...READ, command: 'COPY', rule: why, changesData: true });
  if (body['is_from'] === true) return write('copy');
  if (body['is_program'] === true || body['filename'] !== undefined) return write('copy');
  const [kind = 'SelectStmt'] = Object.keys(inner);
  if (kind !== 'SelectStmt') return write('copy');
  return rule === '' ? { ...READ, command: 'COPY' } : write(rule);
}
