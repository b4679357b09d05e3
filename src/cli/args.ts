/**
 * The command line, read as getopt_long(3) reads PgBouncer's: bundled short options, options after the file name,
 * unambiguous abbreviations of long ones, and its words for what is wrong. Pure: text in, a command out.
 */
import { versionLines } from '../util/version.ts';

/** Start (or only check) the pooler. */
export interface RunCommand {
  readonly kind: 'run';
  readonly file: string;
  /** Load the file, print what was found, and end. */
  readonly check: boolean;
  readonly daemon: boolean;
  readonly quiet: boolean;
  /** How many `-v`; added to the setting `verbose`. */
  readonly verbose: number;
  /** `-u`: wins over the setting `user`; '' = not given. */
  readonly user: string;
}

export type Command =
  | RunCommand
  | { readonly kind: 'demo'; readonly argv: readonly string[] }
  /** Connect to everything that the file names, and report. */
  | { readonly kind: 'check'; readonly file: string }
  /** Text for stdout (exit 0) or stderr (exit 1). */
  | {
      readonly kind: 'say';
      readonly to: 'stdout' | 'stderr';
      readonly exitCode: 0 | 1;
      readonly text: string;
    };

type OptionName = 'check' | 'daemon' | 'help' | 'quiet' | 'reboot' | 'user' | 'verbose' | 'version';

/** Long name → short letter ('' = none). In the order of the usage text. */
const OPTIONS: Readonly<Record<OptionName, { readonly short: string; readonly argument: boolean }>> = {
  daemon: { short: 'd', argument: false },
  quiet: { short: 'q', argument: false },
  reboot: { short: 'R', argument: false },
  user: { short: 'u', argument: true },
  verbose: { short: 'v', argument: false },
  version: { short: 'V', argument: false },
  help: { short: 'h', argument: false },
  check: { short: '', argument: false },
};
const NAMES = Object.keys(OPTIONS) as OptionName[];

/** The name that messages are signed with: that of the file that was started. */
export function programName(scriptPath: string | undefined): string {
  const name =
    (scriptPath ?? '')
      .split(/[\\/]/)
      .pop()
      ?.replace(/\.[cm]?[jt]s$/, '') ?? '';
  return name === '' || name === 'main' ? 'pgconcierge' : name;
}

/** What `--help` prints. */
export function usageText(exe: string): string {
  return `${exe} is a connection pooler for PostgreSQL.

Usage:
  ${exe} [OPTION]... CONFIG_FILE
  ${exe} check CONFIG_FILE
  ${exe} demo

Options:
  -d, --daemon         run in background (as a daemon)
  -q, --quiet          run quietly
  -u, --user=USERNAME  assume identity of USERNAME
  -v, --verbose        increase verbosity
      --check          check the configuration file, then exit
  -V, --version        show version, then exit
  -h, --help           show this help, then exit

check connects to every node and database of the file and tells what is wrong; exit status 0 or 1.
demo starts a PostgreSQL cluster of its own with ${exe} in front of it.
`;
}

/** A mistake of whoever typed the command. */
class UsageError extends Error {}

interface Collected {
  check: boolean;
  daemon: boolean;
  quiet: boolean;
  verbose: number;
  user: string;
}

/** `argv` without the interpreter and the script. Never throws. */
export function parseCommandLine(argv: readonly string[], exe: string): Command {
  if (argv[0] === 'demo') return { kind: 'demo', argv: argv.slice(1) };
  try {
    if (argv[0] === 'check') return parseCheck(argv.slice(1), exe);
    return parse(argv, exe);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const text = `${exe}: ${error.message}\nTry "${exe} --help" for more information.\n`;
    return { kind: 'say', to: 'stderr', exitCode: 1, text };
  }
}

function parse(argv: readonly string[], exe: string): Command {
  const collected: Collected = { check: false, daemon: false, quiet: false, verbose: 0, user: '' };
  const files: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] ?? '';
    if (word === '--') {
      files.push(...argv.slice(i + 1));
      break;
    }
    if (!word.startsWith('-') || word === '-') {
      files.push(word);
      continue;
    }
    const found = word.startsWith('--') ? longOption(word, argv[i + 1]) : shortOptions(word, argv[i + 1]);
    if (found.usedNext) i++;
    for (const [name, value] of found.options) {
      const answer = apply(name, value, collected, exe);
      if (answer !== null) return answer;
    }
    if (found.error !== '') throw new UsageError(found.error);
  }
  const [file, extra] = files;
  if (file === undefined || file === '') throw new UsageError('no configuration file specified');
  if (extra !== undefined) throw new UsageError(`too many command-line arguments (first is "${extra}")`);
  return { kind: 'run', file, ...collected };
}

/** `check` takes a file and no option but those that only print. */
function parseCheck(argv: readonly string[], exe: string): Command {
  const command = parse(argv, exe);
  if (command.kind !== 'run') return command;
  const { file, check, daemon, quiet, verbose, user } = command;
  if (check || daemon || quiet || verbose > 0 || user !== '') throw new UsageError('check takes no options');
  return { kind: 'check', file };
}

interface Found {
  readonly options: readonly (readonly [name: OptionName, value: string])[];
  readonly usedNext: boolean;
  /** Reported after the options before it have been obeyed: `-hx` is help, `-xh` is a mistake. */
  readonly error: string;
}

function longOption(word: string, next: string | undefined): Found {
  const equals = word.indexOf('=');
  const typed = equals < 0 ? word.slice(2) : word.slice(2, equals);
  const inline = equals < 0 ? null : word.slice(equals + 1);
  const exact = NAMES.filter((name) => name === typed);
  const candidates = exact.length > 0 ? exact : NAMES.filter((name) => name.startsWith(typed));
  const [name] = candidates;
  if (name === undefined) throw new UsageError(`unrecognized option '--${typed}'`);
  if (candidates.length > 1) {
    const possible = candidates.map((candidate) => `'--${candidate}'`).join(' ');
    throw new UsageError(`option '--${typed}' is ambiguous; possibilities: ${possible}`);
  }
  if (!OPTIONS[name].argument) {
    if (inline !== null) throw new UsageError(`option '--${name}' doesn't allow an argument`);
    return { options: [[name, '']], usedNext: false, error: '' };
  }
  const value = inline ?? next;
  if (value === undefined) throw new UsageError(`option '--${name}' requires an argument`);
  return { options: [[name, value]], usedNext: inline === null, error: '' };
}

function shortOptions(word: string, next: string | undefined): Found {
  const options: (readonly [OptionName, string])[] = [];
  const letters = [...word.slice(1)];
  for (const [i, letter] of letters.entries()) {
    const name = NAMES.find((candidate) => OPTIONS[candidate].short === letter);
    if (name === undefined) return { options, usedNext: false, error: `invalid option -- '${letter}'` };
    if (!OPTIONS[name].argument) {
      options.push([name, '']);
      continue;
    }
    const rest = letters.slice(i + 1).join('');
    const value = rest === '' ? next : rest;
    if (value === undefined) {
      return { options, usedNext: false, error: `option requires an argument -- '${letter}'` };
    }
    options.push([name, value]);
    return { options, usedNext: rest === '', error: '' };
  }
  return { options, usedNext: false, error: '' };
}

/** Notes one option; a command when it ends the reading at once. */
function apply(name: OptionName, value: string, into: Collected, exe: string): Command | null {
  switch (name) {
    case 'help':
      return { kind: 'say', to: 'stdout', exitCode: 0, text: usageText(exe) };
    case 'version':
      return { kind: 'say', to: 'stdout', exitCode: 0, text: `${versionLines().join('\n')}\n` };
    case 'reboot':
      return {
        kind: 'say',
        to: 'stderr',
        exitCode: 1,
        text:
          `${exe}: online reboot (-R) was removed in PgBouncer 1.26\n` +
          'Start the new process beside the old one with so_reuseport = 1, then send SIGTERM to the old one.\n',
      };
    case 'user':
      into.user = value;
      return null;
    case 'verbose':
      into.verbose++;
      return null;
    case 'check':
    case 'daemon':
    case 'quiet':
      into[name] = true;
      return null;
  }
}
