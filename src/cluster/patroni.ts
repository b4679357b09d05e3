/**
 * Patroni's REST API as the source of roles: `/cluster` for all nodes together, or 200/503 on `/primary` of one node.
 * Positions are still asked from PostgreSQL where the check user may log in.
 */
import { httpGet } from './http-get.ts';
import { CheckError } from './monitor-connection.ts';
import type { NodeFacts } from './node-state.ts';

export interface PatroniMember {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly primary: boolean;
  /** Patroni's word: running, streaming, in archive recovery, starting, stopped … */
  readonly state: string;
  /** 0 = not known. */
  readonly timeline: number;
  /** null = not known (`"lag": "unknown"`). */
  readonly lagBytes: number | null;
}

const SERVING = new Set(['running', 'streaming', 'in archive recovery']);
/** standby_leader leads a cluster that is itself a replica: it takes no writes. */
const PRIMARY = new Set(['leader', 'master', 'primary']);

/** The roles of all members; asks another member when the one configured does not answer. */
export class PatroniSource {
  readonly #url: string;
  /** Of the other members, as of the last answer. */
  #others: readonly string[] = [];
  /** Who answered last. */
  #preferred: string;
  #running: Promise<readonly PatroniMember[]> | null = null;

  constructor(url: string) {
    this.#url = url.replace(/\/+$/, '');
    this.#preferred = this.#url;
  }

  /** Who asks while an answer is under way gets that answer. Rejects with CheckError when no member answers. */
  members(timeoutMs: number): Promise<readonly PatroniMember[]> {
    this.#running ??= this.#ask(timeoutMs).finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /** The member that is configured, or who has answered in its place; when that is silent, all others at once. */
  async #ask(timeoutMs: number): Promise<readonly PatroniMember[]> {
    const asked = this.#preferred;
    try {
      return await this.#askOne(asked, timeoutMs);
    } catch (error) {
      // one after the other they would keep the checks waiting for as many time limits
      const rest = [this.#url, ...this.#others].filter((other) => other !== asked);
      this.#preferred = this.#url;
      return await Promise.any(rest.map((url) => this.#askOne(url, timeoutMs))).catch(() => {
        throw error;
      });
    }
  }

  async #askOne(url: string, timeoutMs: number): Promise<readonly PatroniMember[]> {
    const { status, body } = await httpGet(`${url}/cluster`, timeoutMs);
    if (status !== 200) throw new CheckError('login', `${url}/cluster answers with status ${status}`);
    const { members, urls } = readCluster(body, `${url}/cluster`);
    this.#others = urls.filter((other) => other !== this.#url).slice(0, 16);
    this.#preferred = url;
    return members;
  }
}

/** Reads the answer of `/cluster`. Throws CheckError with a sentence when it is none. */
export function readCluster(
  body: string,
  url: string,
): { readonly members: readonly PatroniMember[]; readonly urls: readonly string[] } {
  let document: unknown;
  try {
    document = JSON.parse(body);
  } catch {
    throw new CheckError('login', `${url} answers with something that is no JSON`);
  }
  const list: unknown = isObject(document) ? document['members'] : undefined;
  if (!Array.isArray(list)) throw new CheckError('login', `${url} lists no members: it is no Patroni`);
  const members: PatroniMember[] = [];
  const urls: string[] = [];
  for (const one of list as unknown[]) {
    if (!isObject(one) || typeof one['role'] !== 'string' || typeof one['name'] !== 'string') continue;
    const { name, role, state, host, port, timeline, lag, api_url: api } = one;
    members.push({
      name,
      host: typeof host === 'string' ? host : '',
      port: typeof port === 'number' ? port : 5432,
      primary: PRIMARY.has(role),
      state: typeof state === 'string' ? state : '',
      timeline: typeof timeline === 'number' ? timeline : 0,
      lagBytes: typeof lag === 'number' ? lag : null,
    });
    if (typeof api === 'string' && /^https?:\/\//.test(api) && URL.canParse(api))
      urls.push(new URL(api).origin);
  }
  return { members, urls };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The member that a node is: by name, else by address. Throws CheckError when Patroni has none or it does not run. */
export function memberOf(
  members: readonly PatroniMember[],
  node: { readonly name: string; readonly host: string; readonly port: number },
): PatroniMember {
  const member =
    members.find((one) => one.host === node.host && one.port === node.port) ??
    members.find((one) => one.name === node.name);
  if (member === undefined) throw new CheckError('login', `Patroni lists no member ${node.name}`);
  if (!SERVING.has(member.state))
    throw new CheckError('refused', `Patroni says that it is ${member.state || 'not running'}`);
  return member;
}

/** What is known of a node when PostgreSQL lets the check user not in. */
export function factsOfMember(member: PatroniMember): NodeFacts {
  return {
    inRecovery: !member.primary,
    logical: false,
    timeline: member.timeline,
    systemId: '',
    writtenLsn: 0,
    replayedLsn: 0,
    streaming: !member.primary && member.state !== 'in archive recovery',
    upstream: '',
    replayAgeMs: null,
    applyDelayMs: 0,
    reportedLagBytes: member.primary ? null : member.lagBytes,
    segmentBytes: 0,
    blockBytes: 0,
  };
}

/** What is asked for a `check` of one node. */
export function doorUrl(check: string): string {
  const base = check.replace(/^patroni:/, '').replace(/\/+$/, '');
  return new URL(base).pathname === '/' ? `${base}/primary` : base;
}

/**
 * `check = http://node:8008` of one node: 200 = primary, 503 = not. True = primary. Without a path, `/primary` is asked.
 * Rejects with CheckError.
 */
export async function httpSaysPrimary(check: string, timeoutMs: number): Promise<boolean> {
  const url = doorUrl(check);
  const { status } = await httpGet(url, timeoutMs);
  if (status === 200) return true;
  if (status === 503) return false;
  throw new CheckError('login', `${url} answers with status ${status}, neither 200 nor 503`);
}
