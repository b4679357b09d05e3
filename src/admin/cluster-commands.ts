/**
 * The commands over nodes and clusters: DETACH, ATTACH, DRAIN, SET WEIGHT, REDETECT. Names are checked here, so that a
 * wrong one is answered with those that exist; the port carries out.
 */
import type { ClusterControl } from '../control/cluster-port.ts';
import { CommandError } from '../control/port.ts';
import type { PoolerError } from '../util/errors.ts';
import type { ErrorFields } from '../wire/backend.ts';
import type { Command, Usage } from './command.ts';
import { logIssued, optionalWord } from './command.ts';
import type { Token } from './grammar.ts';
import { isOverlong, isWord } from './grammar.ts';
import type { Environment, Outcome } from './outcome.ts';
import { done, Refusal } from './outcome.ts';

/** More names than this are not read in an error. */
const NAMES_SHOWN = 20;

function unknown(what: string, name: string, known: readonly string[]): Refusal {
  if (known.length === 0) return new Refusal('no cluster is configured', '55000');
  const shown = known.slice(0, NAMES_SHOWN).map((each) => `"${each}"`);
  const more = known.length > shown.length ? ` and ${known.length - shown.length} more` : '';
  return new Refusal(`no such ${what}: ${name}`, '42704', { hint: `Known: ${shown.join(', ')}${more}.` });
}

function checkNode(control: ClusterControl, name: string): void {
  const nodes = control.nodes();
  if (nodes.some((node) => node.name === name)) return;
  throw unknown(
    'node',
    name,
    nodes.map((node) => node.name),
  );
}

function requiredNode(words: readonly Token[], env: Environment, wrong: () => PoolerError): string {
  const name = optionalWord(words, wrong);
  if (name === null || name === '') throw new CommandError('a node is required');
  checkNode(env.port, name);
  return name;
}

/** Taking the primary away stops the writes of its cluster: allowed, but said. */
function primaryWarnings(control: ClusterControl, name: string): ErrorFields[] {
  const cluster = control.clusters().find(({ primary }) => primary === name);
  if (cluster === undefined) return [];
  const message = `"${name}" is the primary of cluster "${cluster.name}": writes wait until ATTACH ${name} or until another node is the primary`;
  return [{ severity: 'WARNING', sqlstate: '01000', message }];
}

const DETACH: Command = {
  name: 'DETACH',
  usages: [
    {
      text: 'DETACH <node>',
      doc: 'Takes a node out by hand, for maintenance: what runs there ends in peace, new statements go elsewhere. Survives RELOAD; ends with ATTACH.',
      own: true,
    },
  ],
  run(words, env, wrong) {
    const node = requiredNode(words, env, wrong);
    logIssued(env, 'DETACH', node);
    const warnings = primaryWarnings(env.port, node);
    env.port.detach(node);
    return done('DETACH', warnings);
  },
};

const ATTACH: Command = {
  name: 'ATTACH',
  usages: [
    {
      text: 'ATTACH <node>',
      doc: 'Ends DETACH or DRAIN: the node is used again as soon as its checks allow it.',
      own: true,
    },
  ],
  run(words, env, wrong) {
    const node = requiredNode(words, env, wrong);
    logIssued(env, 'ATTACH', node);
    env.port.attach(node);
    return done('ATTACH');
  },
};

const DRAIN: Command = {
  name: 'DRAIN',
  usages: [
    {
      text: 'DRAIN <node>',
      doc: 'As DETACH, but answers only when nothing runs on the node any more.',
      own: true,
    },
  ],
  run(words, env, wrong) {
    const node = requiredNode(words, env, wrong);
    logIssued(env, 'DRAIN', node);
    const notices = primaryWarnings(env.port, node);
    return { kind: 'wait', tag: 'DRAIN', pending: env.port.drain(node), undo: null, notices };
  },
};

const REDETECT: Command = {
  name: 'REDETECT',
  usages: [
    {
      text: 'REDETECT [<cluster>]',
      doc: 'Checks all nodes of the cluster (or of all clusters) now and answers when their answers are in: for the event_notification_command of repmgr.',
      own: true,
    },
  ],
  run(words, env, wrong) {
    const cluster = optionalWord(words, wrong);
    const known = env.port.clusters().map(({ name }) => name);
    if (cluster === null ? known.length === 0 : !known.includes(cluster)) {
      throw unknown('cluster', cluster ?? '', known);
    }
    logIssued(env, 'REDETECT', cluster);
    return { kind: 'wait', tag: 'REDETECT', pending: env.port.redetect(cluster), undo: null };
  },
};

/** In the order of SHOW HELP. */
export const CLUSTER_COMMANDS: readonly Command[] = [DETACH, ATTACH, DRAIN, REDETECT];

const MAX_WEIGHT = 1e6;

export const WEIGHT_USAGE: Usage = {
  text: 'SET WEIGHT <node> <weight>',
  doc: `Share of the reads that the node gets, beside those of the others: 0 (none) to ${MAX_WEIGHT}, fractions allowed. Takes effect on the next statement and survives RELOAD.`,
  own: true,
};

/**
 * Node and weight when the words after SET are those of SET WEIGHT; null = another SET. `SET weight = 1` and
 * `SET weight TO 1` are settings, as in any SET: a node called "to" has to stand in quotes.
 */
export function weightWords(words: readonly Token[]): readonly [node: Token, weight: Token] | null {
  const [head, node, weight] = words;
  if (words.length !== 3 || !isWord(head, 'weight') || node === undefined || weight === undefined)
    return null;
  return node.kind === 'symbol' || isWord(node, 'to') || weight.kind === 'symbol' ? null : [node, weight];
}

/** Runs SET WEIGHT. `words` are those of weightWords, with values in the place of `$n`. */
export function setWeight(words: readonly Token[], env: Environment): Outcome {
  const [name = '', text = ''] = words.map((word) => word.text);
  if (isOverlong(name) || text.length > 32) throw new CommandError('bad arguments');
  const weight = /^(\d+\.?\d*|\.\d+)$/.test(text) ? Number(text) : Number.NaN;
  if (!(weight <= MAX_WEIGHT)) {
    throw new CommandError(`invalid weight "${text}": a number from 0 to ${MAX_WEIGHT} is needed`, '22023');
  }
  checkNode(env.port, name);
  env.log.log(`SET WEIGHT '${name}' ${text} command issued`);
  env.port.setWeight(name, weight);
  return done('SET WEIGHT');
}
