/**
 * What happens to a cluster, for the log and for whoever listens (triggers, the console). One event a change, never
 * one a check; `text` is a sentence for people: what, why, and since when where it matters.
 */
export type ClusterEventName =
  | 'primary_up'
  | 'primary_down'
  | 'replica_up'
  | 'replica_down'
  | 'conflict'
  | 'refused_node';

export interface ClusterEvent {
  /** Wall ms. */
  readonly at: number;
  readonly cluster: string;
  readonly event: ClusterEventName;
  /** The node that it is about. */
  readonly node: string;
  /** Of primary_*: the primary before and after; else the node's state before and after. '' = none. */
  readonly old: string;
  readonly new: string;
  readonly timeline: number;
  readonly text: string;
  /** It happened while this process was not running. */
  readonly missed: boolean;
}

/** `23:59:07` in local time. */
export function clockTime(wallMs: number): string {
  const at = new Date(wallMs);
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
}
