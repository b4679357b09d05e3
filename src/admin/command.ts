/** What a command of the console is (commands.ts and cluster-commands.ts declare them), and what their words have in common. */
import { CommandError } from '../control/port.ts';
import type { PoolerError } from '../util/errors.ts';
import type { Token } from './grammar.ts';
import { isOverlong } from './grammar.ts';
import type { Environment, Outcome } from './outcome.ts';

export interface Usage {
  readonly text: string;
  readonly doc: string;
  /** No longer served: documented, but not in SHOW HELP. */
  readonly removed?: boolean;
  /** Not in PgBouncer: comes after PgBouncer's lines in SHOW HELP. */
  readonly own?: boolean;
  /** Stats users may use it as well. */
  readonly open?: boolean;
}

export interface Command {
  readonly name: string;
  readonly usages: readonly Usage[];
  /** `words` are the tokens after the name. Throws CommandError or PoolerError; `wrong` makes `invalid command`. */
  run(words: readonly Token[], env: Environment, wrong: () => PoolerError): Outcome;
}

/** No word, or one. */
export function optionalWord(words: readonly Token[], wrong: () => PoolerError): string | null {
  const first = words[0];
  if (first === undefined) return null;
  if (words.length > 1 || first.kind === 'symbol') throw wrong();
  if (isOverlong(first.text)) throw new CommandError('bad arguments');
  return first.text;
}

/** Refuses any word. */
export function noWord(words: readonly Token[], wrong: () => PoolerError): void {
  if (words.length > 0) throw wrong();
}

/** `PAUSE 'db' command issued`: scripts look for it. */
export function logIssued(env: Environment, command: string, database: string | null): void {
  env.log.log(database === null ? `${command} command issued` : `${command} '${database}' command issued`);
}
