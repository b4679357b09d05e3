/**
 * Goes through the tree of a query and collects what it calls and reads. Without recursion: a chain of a thousand
 * operators is a tree a thousand levels deep.
 */
import type { SqlName, WriteRule } from './facts.ts';
import { asList, asObject, asText, type Json, type JsonObject } from './parse.ts';

/** Names of CTEs that a place of the query can see. */
interface Scope {
  readonly outer: Scope | null;
  readonly names: ReadonlySet<string>;
}

/** Names in the order in which they were found, each once, as bytes. */
export class NameList {
  readonly #found = new Map<string, SqlName>();
  readonly #decoded: boolean;

  /** `decoded`: the names that are added are characters. */
  constructor(decoded: boolean) {
    this.#decoded = decoded;
  }

  add(schema: string | null, name: string): void {
    const key = `${schema ?? ''}\0${name}`;
    if (this.#found.has(key)) return;
    this.#found.set(key, { schema: schema === null ? null : this.#bytes(schema), name: this.#bytes(name) });
  }

  #bytes(name: string): string {
    return this.#decoded ? Buffer.from(name, 'utf8').latin1Slice() : name;
  }

  list(): readonly SqlName[] {
    return [...this.#found.values()];
  }
}

export interface Names {
  readonly functions: NameList;
  readonly relations: NameList;
}

const MODIFYING = ['InsertStmt', 'UpdateStmt', 'DeleteStmt', 'MergeStmt'];

/** Adds the names of `query` to `names`; returns the first thing in it that makes it a write, '' = none. */
export function walkQuery(query: Json, names: Names): WriteRule {
  let rule: WriteRule = '';
  const nodes: Json[] = [query];
  const scopes: (Scope | null)[] = [null];
  const push = (node: Json, scope: Scope | null) => {
    nodes.push(node);
    scopes.push(scope);
  };
  while (nodes.length > 0) {
    const node = nodes.pop();
    let scope = scopes.pop() ?? null;
    if (typeof node !== 'object' || node === null) continue;
    if (isList(node)) {
      for (let i = node.length - 1; i >= 0; i--) push(node[i], scope);
      continue;
    }
    if (node['withClause'] !== undefined) {
      const ctes = withScope(asObject(node['withClause']), scope, push);
      if (ctes.modifying && rule === '') rule = 'modifying cte';
      scope = ctes.scope;
    }
    for (const key in node) {
      const value = node[key];
      if (typeof value !== 'object' || value === null) continue;
      switch (key) {
        case 'withClause':
          continue;
        case 'lockingClause':
          // holds the names of tables again, or their aliases
          if (rule === '') rule = 'locking clause';
          continue;
        case 'intoClause':
          if (rule === '') rule = 'select into';
          continue;
        case 'FuncCall':
          addFunction(asObject(value), names.functions);
          break;
        case 'RangeVar':
        case 'relation':
          addRelation(asObject(value), scope, names.relations);
          break;
        default:
      }
      push(value, scope);
    }
  }
  return rule;
}

/** Queues the CTEs with what each of them can see, and says what the query they belong to can. */
function withScope(
  clause: JsonObject,
  outer: Scope | null,
  push: (node: Json, scope: Scope | null) => void,
): { readonly scope: Scope; readonly modifying: boolean } {
  const ctes = asList(clause['ctes']).map((one) => asObject(asObject(one)['CommonTableExpr']));
  const all = new Set(ctes.map((cte) => asText(cte['ctename'])));
  const scope = { outer, names: all };
  let modifying = false;
  let before: Scope | null = outer;
  for (const cte of ctes) {
    const query = asObject(cte['ctequery']);
    if (MODIFYING.some((kind) => query[kind] !== undefined)) modifying = true;
    push(query, clause['recursive'] === true ? scope : before);
    for (const key of ['search_clause', 'cycle_clause']) push(cte[key], scope);
    before = { outer: before, names: new Set([asText(cte['ctename'])]) };
  }
  return { scope, modifying };
}

function addFunction(call: JsonObject, functions: NameList): void {
  const parts = asList(call['funcname']).map((part) => asText(asObject(asObject(part)['String'])['sval']));
  const name = parts.at(-1);
  if (name !== undefined) functions.add(parts.at(-2) ?? null, name);
}

function addRelation(table: JsonObject, scope: Scope | null, relations: NameList): void {
  const name = table['relname'];
  if (typeof name !== 'string') return;
  const schema = table['schemaname'];
  if (typeof schema === 'string') {
    relations.add(schema, name);
    return;
  }
  for (let at = scope; at !== null; at = at.outer) if (at.names.has(name)) return;
  relations.add(null, name);
}

function isList(node: readonly Json[] | JsonObject): node is readonly Json[] {
  return Array.isArray(node);
}
