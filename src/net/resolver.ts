/**
 * Host names to addresses, with PgBouncer's cache rules (dns_max_ttl, dns_nxdomain_ttl): several addresses are used
 * in turn, a failed lookup is remembered. getaddrinfo is used, so /etc/hosts counts; it reports no TTL of its own.
 */
import { promises as dns } from 'node:dns';
import net from 'node:net';

interface Entry {
  addresses: readonly string[];
  error: string;
  expiresMs: number;
  next: number;
  pending: Promise<void> | null;
}

export interface ResolverRow {
  readonly hostname: string;
  readonly ttlSeconds: number;
  readonly addrs: readonly string[];
}

export class Resolver {
  maxTtlMs: number;
  nxdomainTtlMs: number;
  /** Called when a fresh answer lacks an address that the one before had. */
  onAddressGone: (hostname: string, address: string) => void = () => {};
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;

  constructor(maxTtlMs: number, nxdomainTtlMs: number, now: () => number) {
    this.maxTtlMs = maxTtlMs;
    this.nxdomainTtlMs = nxdomainTtlMs;
    this.#now = now;
  }

  /** The next address at once (literals, cached names), or null: `resolve` must be asked. Throws a cached failure. */
  cached(hostname: string): string | null {
    if (net.isIP(hostname) !== 0) return hostname;
    const entry = this.#entries.get(hostname);
    if (entry === undefined || entry.expiresMs <= this.#now()) return null;
    return this.#pick(entry, hostname);
  }

  /** The next address; rejects with an Error whose message says which name failed. */
  async resolve(hostname: string): Promise<string> {
    const known = this.cached(hostname);
    if (known !== null) return known;
    let entry = this.#entries.get(hostname);
    if (entry === undefined) {
      entry = { addresses: [], error: '', expiresMs: 0, next: 0, pending: null };
      this.#entries.set(hostname, entry);
    }
    entry.pending ??= this.#lookup(hostname, entry);
    await entry.pending;
    return this.#pick(entry, hostname);
  }

  rows(): ResolverRow[] {
    const now = this.#now();
    return [...this.#entries].map(([hostname, entry]) => ({
      hostname,
      ttlSeconds: Math.max(0, Math.round((entry.expiresMs - now) / 1000)),
      addrs: entry.addresses,
    }));
  }

  get pending(): number {
    let n = 0;
    for (const entry of this.#entries.values()) if (entry.pending !== null) n += 1;
    return n;
  }

  #pick(entry: Entry, hostname: string): string {
    const address = entry.addresses[entry.next % Math.max(1, entry.addresses.length)];
    if (address === undefined) throw new Error(`server DNS lookup failed: ${hostname}: ${entry.error}`);
    entry.next += 1;
    return address;
  }

  async #lookup(hostname: string, entry: Entry): Promise<void> {
    try {
      const found = await dns.lookup(hostname, { all: true });
      const addresses = [...new Set(found.map((one) => one.address))];
      for (const old of entry.addresses) if (!addresses.includes(old)) this.onAddressGone(hostname, old);
      entry.addresses = addresses;
      entry.error = '';
      entry.expiresMs = this.#now() + this.maxTtlMs;
    } catch (error) {
      entry.addresses = [];
      entry.error = (error as NodeJS.ErrnoException).code ?? String(error);
      entry.expiresMs = this.#now() + this.nxdomainTtlMs;
    } finally {
      entry.pending = null;
    }
  }
}
