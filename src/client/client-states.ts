/** States of a client and the moves between them (docs/states.md shows the same table; a test compares). */
export type ClientPhase =
  | 'startup'
  | 'tls'
  | 'auth'
  | 'welcome'
  | 'idle'
  | 'waiting'
  | 'settling'
  | 'linked'
  | 'console'
  | 'cancel'
  | 'closing'
  | 'closed';

export const CLIENT_MOVES: Readonly<Record<ClientPhase, readonly ClientPhase[]>> = {
  /** Nothing read yet, or SSLRequest / GSSENCRequest answered with N. */
  startup: ['tls', 'auth', 'cancel', 'closing', 'closed'],
  /** TLS handshake running. */
  tls: ['startup', 'closing', 'closed'],
  /** The startup packet is known; proving who it is. */
  auth: ['welcome', 'idle', 'console', 'closing', 'closed'],
  /** Proven; waits until the pool's first server has told its parameters. */
  welcome: ['idle', 'closing', 'closed'],
  /** Logged in, no server. */
  idle: ['waiting', 'settling', 'linked', 'closing', 'closed'],
  /** In the queue of its pool. */
  waiting: ['settling', 'linked', 'idle', 'closing', 'closed'],
  /** Linked; its variables are being set on the server before its message may go. */
  settling: ['linked', 'idle', 'closing', 'closed'],
  /** Has a server. */
  linked: ['idle', 'closing', 'closed'],
  /** Logged in to the admin database. */
  console: ['closing', 'closed'],
  /** Came to cancel another client's query. */
  cancel: ['closing', 'closed'],
  /** Has been told why; its last bytes are leaving. */
  closing: ['closed'],
  closed: [],
};
