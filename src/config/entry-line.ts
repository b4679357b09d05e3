/**
 * The pairs of one line of [databases], [users], [peers], [clusters], [nodes] or [routes], read by type. All problems
 * of a line are collected and told together.
 */
import { maskPasswords, parseConnstr } from './connstr.ts';
import type { EntrySection } from './entry-keys.ts';
import { entryKeyNames } from './entry-keys.ts';
import { type Environment, expandEnvironment } from './environment.ts';
import { frozenMap } from './frozen-map.ts';
import type { Place } from './lines.ts';
import { at } from './lines.ts';
import { didYouMean, nearest } from './nearest.ts';
import { poolMode } from './options-general.ts';
import type { Diagnostic, LoadBalance, PoolMode } from './types.ts';
import { lookup, parseSeconds, type ValueType } from './value-types.ts';

const MAX_INT = 2147483647;
const loadBalance = lookup('round-robin', 'disable');

/** PostgreSQL's spelling of the parameters that an entry may ask for. */
const STARTUP_PARAMETERS: readonly (readonly [string, string])[] = [
  ['client_encoding', 'client_encoding'],
  ['datestyle', 'DateStyle'],
  ['timezone', 'TimeZone'],
  ['application_name', 'application_name'],
];

/** The pairs of one line, read by type; remembers what was wrong. */
export class EntryLine {
  /** As written. */
  readonly #pairs: ReadonlyMap<string, string>;
  /** With `${NAME}` put in; the same as #pairs in sections that know no such thing. */
  readonly #values: ReadonlyMap<string, string>;
  /** Keys that were meant to be one of a password. */
  readonly #misspelled: string[] = [];
  readonly #problems: { readonly message: string; readonly hint?: string }[] = [];

  /** `env` = where `${NAME}` in values is looked up; null = values are taken as they stand. */
  constructor(section: EntrySection, value: string, env: Environment | null = null) {
    const parsed = parseConnstr(value);
    if (parsed.error !== undefined) {
      this.#pairs = new Map();
      this.#values = this.#pairs;
      this.problem(parsed.error, parsed.hint);
      return;
    }
    this.#pairs = parsed.pairs;
    this.#values = env === null ? parsed.pairs : this.#expanded(parsed.pairs, env);
    const known = entryKeyNames(section);
    for (const key of parsed.pairs.keys()) {
      if (!known.includes(key)) {
        if (/password/.test(nearest(key, known) ?? '')) this.#misspelled.push(key);
        this.#problems.push({
          message: `unrecognized connection parameter: ${key}`,
          ...didYouMean(key, known),
        });
      }
    }
  }

  problem(message: string, hint?: string): void {
    this.#problems.push(hint === undefined ? { message } : { message, hint });
  }

  #expanded(pairs: ReadonlyMap<string, string>, env: Environment): ReadonlyMap<string, string> {
    const values = new Map<string, string>();
    for (const [key, written] of pairs) {
      const { text, problem } = expandEnvironment(written, env);
      if (problem === null) values.set(key, text);
      else
        this.problem(
          `invalid ${key}: ${problem}`,
          `\${NAME} is a variable of the environment, $\${ a plain \${`,
        );
    }
    return values;
  }

  /** True when the line has the key, be its value good or not. */
  has(key: string): boolean {
    return this.#pairs.has(key);
  }

  text(key: string): string | null {
    return this.#values.get(key) ?? null;
  }

  /** For messages: a variable of the environment may hold what nobody is to read. */
  #written(key: string): string {
    return this.#pairs.get(key) ?? '';
  }

  /** A value of a type of the options table; null = not set, or wrong (and noted). */
  typed<T>(key: string, type: ValueType<T>): T | null {
    const value = this.text(key);
    if (value === null) return null;
    const parsed = type.parse(value);
    if (parsed !== undefined) return parsed;
    const shown = type.secret === true ? '********' : this.#written(key);
    this.problem(`invalid ${key}: ${shown}`, `${key} is ${type.label}`);
    return null;
  }

  /** A decimal number (not strtol: PgBouncer uses atoi here); -1 = not set. */
  number(key: string, min = 0, max = MAX_INT): number | null {
    const value = this.text(key);
    if (value === null || value === '-1') return null;
    const number = /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN;
    if (number >= min && number <= max) return number;
    this.problem(`invalid ${key}: ${this.#written(key)}`, `${key} is an integer, ${min}..${max}`);
    return null;
  }

  /** Seconds -> ms; -1 = not set. */
  time(key: string): number | null {
    const value = this.text(key);
    if (value === null || value === '-1') return null;
    const ms = parseSeconds(value);
    if (!Number.isNaN(ms)) return ms;
    this.problem(`invalid ${key}: ${this.#written(key)}`, `${key} is a time in seconds`);
    return null;
  }

  poolMode(): PoolMode | null {
    const value = this.text('pool_mode');
    if (value === null) return null;
    const mode = poolMode.parse(value);
    if (mode === undefined) this.problem(`invalid pool mode: ${value}`, poolMode.label);
    return mode ?? null;
  }

  loadBalance(): LoadBalance {
    const value = this.text('load_balance_hosts') ?? 'round-robin';
    const mode = loadBalance.parse(value);
    if (mode === undefined) this.problem(`invalid load_balance_hosts: ${value}`, loadBalance.label);
    return mode ?? 'round-robin';
  }

  hosts(): readonly string[] {
    const hosts = (this.text('host') ?? '').split(',').map((host) => host.trim());
    if (hosts.length === 1 && hosts[0] === '') return [];
    if (hosts.includes(''))
      this.problem(`invalid host: ${this.#written('host')}`, 'the list has an empty place');
    return hosts;
  }

  /** One port, or (in a host list that becomes a cluster) one for each of `hosts`, as in libpq. */
  ports(hosts: number): readonly number[] {
    const written = this.text('port');
    if (written === null || !written.includes(',')) return [this.number('port', 1, 65535) ?? 5432];
    const words = written.split(',').map((word) => word.trim());
    const ports = words.map((word) => (/^\d{1,5}$/.test(word) ? Number(word) : 0));
    if (ports.some((port) => port < 1 || port > 65535)) {
      this.problem(`invalid port: ${written}`, 'port is an integer, 1..65535, or a list of them');
    } else if (ports.length !== hosts) {
      this.problem(`invalid port: ${written}`, `${ports.length} ports do not fit ${hosts} hosts`);
    }
    return ports;
  }

  startupParameters(): ReadonlyMap<string, string> {
    const found = new Map<string, string>();
    for (const [key, parameter] of STARTUP_PARAMETERS) {
      const value = this.text(key);
      if (value !== null) found.set(parameter, value);
    }
    return frozenMap(found);
  }

  /** Tells the problems, in PgBouncer's words; true when there are none. */
  good(key: string, value: string, place: Place, diagnostics: Diagnostic[]): boolean {
    for (const problem of this.#problems) diagnostics.push({ level: 'error', ...place, ...problem });
    if (this.#problems.length === 0) return true;
    const message = `invalid value "${maskPasswords(value, this.#misspelled)}" for parameter ${key} in configuration ${at(place)}`;
    diagnostics.push({ level: 'error', ...place, message });
    return false;
  }
}
