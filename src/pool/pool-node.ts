/** The node of a cluster that a pool's servers go to; databases outside of clusters have pools without one. */
export interface PoolNode {
  readonly name: string;
  /** '' = the unix socket directory. */
  readonly host: string;
  readonly port: number;
}
