/** States of a server connection and the moves between them (docs/states.md shows the same table; a test compares). */
export type ServerState =
  | 'connecting'
  | 'tls'
  | 'login'
  | 'idle'
  | 'used'
  | 'tested'
  | 'active'
  | 'canceled'
  | 'closed';

export const SERVER_MOVES: Readonly<Record<ServerState, readonly ServerState[]>> = {
  /** TCP is being set up. */
  connecting: ['tls', 'login', 'closed'],
  /** SSLRequest sent, or TLS handshake running. */
  tls: ['login', 'closed'],
  /** Startup packet sent; authentication; connect_query. */
  login: ['idle', 'tested', 'closed'],
  /** In the pool, may be given out. */
  idle: ['active', 'used', 'tested', 'closed'],
  /** In the pool, must be checked before it is given out (server_check_delay). */
  used: ['tested', 'active', 'closed'],
  /** Reset, check or clean-up query running. */
  tested: ['idle', 'used', 'closed'],
  /** Linked to a client. */
  active: ['idle', 'used', 'tested', 'canceled', 'closed'],
  /** Released, but a cancel request for it is still in flight. */
  canceled: ['tested', 'closed'],
  closed: [],
};
