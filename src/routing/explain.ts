/**
 * EXPLAIN ROUTE: why a statement would go where, as lines for people. Nothing is run and nothing changes. It is told
 * for a session that has set nothing and stands outside of a block, with the freshness bound that the caller gives.
 */
import type { RoutingSettings } from '../config/effective-routing.ts';
import type { ReadChooser } from './choose.ts';
import { type Classifier, nameForPeople, type Verdict } from './classifier.ts';
import type { ClusterRuntime } from './cluster-runtime.ts';
import { formatLsn } from './lsn-text.ts';
import { asBytes, readable } from './readable.ts';
import { REASONS, type ReasonName, reasonId, reasonName } from './reasons.ts';

/** A row of EXPLAIN ROUTE. */
export interface ExplainLine {
  readonly item: string;
  readonly value: string;
}

export interface ExplainInput {
  /** As typed, not bytes as characters. */
  readonly sql: string;
  readonly classifier: Classifier;
  readonly chooser: ReadChooser;
  readonly runtime: ClusterRuntime;
  readonly settings: RoutingSettings;
  /** pool_mode = session: the text does not count. */
  readonly sessionMode: boolean;
  /** 0 = none, Infinity = a write whose position is not known yet. */
  readonly boundLsn: number;
  readonly nowMs: number;
}

interface Target {
  readonly to: 'primary' | 'replica' | string;
  readonly reason: ReasonName | null;
}

/** The lines, most important first. Throws nothing. */
export function explainRoute(input: ExplainInput): ExplainLine[] {
  const { classifier, runtime, settings, sessionMode } = input;
  const verdict = classifier.classify(asBytes(input.sql));
  const lines: ExplainLine[] = [];
  const add = (item: string, value: string): void => {
    lines.push({ item, value });
  };
  add('statement', readable(verdict.cached.normalised.text, 1000));
  if (verdict.facts.own !== null) {
    add('node', 'none: the proxy answers it itself');
    return lines;
  }
  add('class', reads(verdict) ? 'read' : 'write');
  add('rule', ruleText(verdict));
  for (const called of verdict.facts.functions) {
    const { writes, volatility, source, why } = classifier.explainFunction(called);
    const known = volatility === 'unknown' ? why : `${volatility}, by ${source}: ${why}`;
    add(`function ${nameForPeople(called)}`, `${writes ? 'write' : 'read'}; ${known}`);
  }
  for (const relation of verdict.facts.relations) {
    const reason = classifier.explainRelation(relation);
    add(`relation ${nameForPeople(relation)}`, reason === null ? 'read' : `primary; ${reasonName(reason)}`);
  }
  if (verdict.hint !== null) {
    add('hint', verdict.hint.kind === 'node' ? `node=${readable(verdict.hint.node)}` : verdict.hint.kind);
  }
  add('route', settings.route);
  add('cluster', runtime.name);
  const target = sessionMode ? sessionTarget(settings) : targetOf(verdict, settings);
  if (target.to === 'replica') addRead(input, add);
  add('node', nodeText(input, target));
  if (verdict.facts.control?.verb === 'begin') {
    add('note', 'BEGIN is answered by the proxy; the node is chosen with the first statement of the block');
  }
  return lines;
}

/** It begins a block that goes to a replica, whatever is in it. */
function beginsReadOnly({ facts: { control } }: Verdict): boolean {
  return control?.verb === 'begin' && control.readOnly === true && control.isolation !== 'serializable';
}

function reads(verdict: Verdict): boolean {
  return verdict.read || beginsReadOnly(verdict);
}

function ruleText(verdict: Verdict): string {
  if (verdict.read) return 'nothing in it writes';
  if (beginsReadOnly(verdict)) return 'read only block: it begins a READ ONLY block';
  const culprit = verdict.culprit === '' ? '' : ` (${verdict.culprit})`;
  return `${reasonName(verdict.reason)}${culprit}: it ${REASONS[verdict.reason]?.sentence ?? ''}`;
}

/** One node for the life of the client. */
function sessionTarget({ route }: RoutingSettings): Target {
  if (route === 'replica') return { to: 'replica', reason: 'route=replica' };
  return { to: 'primary', reason: route === 'primary' ? 'route=primary' : 'session mode' };
}

/** Where the hint, the settings and the class send it, in this order. */
function targetOf(verdict: Verdict, settings: RoutingSettings): Target {
  const { hint } = verdict;
  if (hint?.kind === 'node') return { to: readable(hint.node), reason: 'hint node' };
  if (hint?.kind === 'primary') return { to: 'primary', reason: 'hint primary' };
  if (hint?.kind === 'replica') return { to: 'replica', reason: 'hint replica' };
  if (settings.route === 'primary') return { to: 'primary', reason: 'route=primary' };
  if (settings.route === 'replica') return { to: 'replica', reason: 'route=replica' };
  if (!reads(verdict)) return { to: 'primary', reason: null };
  return settings.routeShadow ? { to: 'primary', reason: 'shadow' } : { to: 'replica', reason: null };
}

function addRead(input: ExplainInput, add: (item: string, value: string) => void): void {
  const { settings, boundLsn, chooser, nowMs } = input;
  add('balance', `${settings.balance}, read_from_primary = ${settings.readFromPrimary}`);
  add('read consistency', settings.readConsistency);
  add('freshness bound', boundText(boundLsn));
  for (const { node, eligible, why } of chooser.explain(boundLsn, nowMs)) {
    add(`node ${node}`, `${eligible ? 'eligible' : 'rejected'}: ${why}`);
  }
}

function boundText(boundLsn: number): string {
  if (boundLsn === 0) return 'none: nothing was written that must be seen';
  return Number.isFinite(boundLsn) ? formatLsn(boundLsn) : 'not known yet: the next sample will tell';
}

function nodeText(input: ExplainInput, { to, reason }: Target): string {
  const { runtime, chooser, nowMs, boundLsn } = input;
  const because = reason === null ? '' : ` (${reason}: it ${REASONS[reasonId(reason)]?.sentence ?? ''})`;
  if (to === 'primary') return `${runtime.primary?.name ?? 'none: it waits for a primary'}${because}`;
  if (to !== 'replica')
    return `${to}${runtime.nodes.has(to) ? '' : ', which is no node of the cluster'}${because}`;
  const node = chooser.peek(nowMs, boundLsn);
  return `${node?.name ?? 'none may serve it now'}${because}`;
}
