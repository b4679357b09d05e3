/**
 * One node as the data plane of this process knows it: what the monitor says (view), what it has replayed, what runs
 * on it now, how fast it answers, and whether it is banned. A ban is half-open: when its time is over one unit may
 * try, success lifts it, failure doubles it.
 */
import type { NodeView } from './cluster-view.ts';
import { REASONS, type Reason } from './reasons.ts';

/** Weight of the newest service time in the moving average. */
const SMOOTHING = 0.125;
/** A ban is at most this many times `ban_time`. */
const MAX_BAN_FACTOR = 16;

export class RoutedNode {
  readonly name: string;
  view: NodeView;
  /**
   * Up to where it has replayed, normalised; 0 = not known. Set by the monitor's samples only, and set (not raised):
   * a replica that was restarted may open again below what it had replayed before.
   */
  replayedLsn = 0;
  /** Units linked to it now. */
  inFlight = 0;
  reads = 0;
  writes = 0;
  /** Moving average of the service time, microseconds; 0 = not known yet. */
  serviceUs = 0;
  /** Monotonic ms when a query last finished here; 0 = never. */
  lastAnswerMs = 0;
  /** Monotonic ms until when no unit is sent; 0 = not banned. Past = half-open. */
  bannedUntilMs = 0;
  /** The one unit that tries a half-open node is on its way. */
  probing = false;
  /** Units by reason: `reason * 2` reads, `reason * 2 + 1` writes. */
  readonly decisions = new Uint32Array(REASONS.length * 2);
  #banMs = 0;
  #probeSinceMs = 0;

  constructor(view: NodeView) {
    this.name = view.name;
    this.view = view;
  }

  /** A unit was linked to a server of this node. Exactly one `end` or `aborted` follows. */
  begin(nowMs: number, read: boolean, reason: Reason): void {
    this.inFlight += 1;
    if (read) this.reads += 1;
    else this.writes += 1;
    const at = reason * 2 + (read ? 0 : 1);
    this.decisions[at] = (this.decisions[at] ?? 0) + 1;
    if (this.bannedUntilMs !== 0 && !this.probing) this.claimProbe(nowMs);
  }

  /** The unit was answered, whatever the answer: it took `us` microseconds. */
  end(nowMs: number, us: number): void {
    if (this.inFlight > 0) this.inFlight -= 1;
    this.lastAnswerMs = nowMs;
    this.serviceUs = this.serviceUs === 0 ? us : this.serviceUs + (us - this.serviceUs) * SMOOTHING;
    if (this.probing) this.succeeded();
  }

  /** The unit ended without an answer: its server or its client was lost. The node's own fault is told by `failed`. */
  aborted(): void {
    if (this.inFlight > 0) this.inFlight -= 1;
  }

  /**
   * A server of this node could not be opened or broke. Several failures of one outage are one ban. What the node
   * had replayed is not known any more: see `replayedLsn`.
   */
  failed(nowMs: number, banTimeMs: number): void {
    this.replayedLsn = 0;
    if (this.bannedUntilMs !== 0 && nowMs < this.bannedUntilMs) return;
    const again = this.bannedUntilMs !== 0;
    this.#banMs = again ? Math.min(this.#banMs * 2, banTimeMs * MAX_BAN_FACTOR) : banTimeMs;
    this.bannedUntilMs = this.#banMs > 0 ? nowMs + this.#banMs : 0;
    this.probing = false;
  }

  /** A server of this node was opened or answered: no ban. */
  succeeded(): void {
    this.bannedUntilMs = 0;
    this.probing = false;
    this.#banMs = 0;
  }

  /** Not banned, or half-open with nobody trying. A try that is never heard of again blocks for one ban only. */
  mayServe(nowMs: number): boolean {
    if (this.bannedUntilMs === 0) return true;
    if (nowMs < this.bannedUntilMs) return false;
    return !this.probing || nowMs - this.#probeSinceMs >= this.#banMs;
  }

  /** The next unit is the one that tries. Called by whoever chose this node, for a half-open node only. */
  claimProbe(nowMs: number): void {
    this.probing = true;
    this.#probeSinceMs = nowMs;
  }
}
