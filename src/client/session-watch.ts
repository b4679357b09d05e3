/**
 * What is known of a session's state (session mode): whether one of its statements may have left something that no
 * catalog shows, and why PAUSE could not detach it.
 */
const UNLISTED = /set_config|\bset\b[^=]*\.|\bload\b|\bsetseed\b/i;

export class SessionWatch {
  /** A statement may have left custom settings (`SET a.b`, set_config), a loaded library, a seed. */
  hidesState = false;
  /** The question to the server is on its way. */
  probing = false;
  /** What the session holds, as last asked; '' = nothing, or never asked. */
  held = '';

  /** A Query or Parse whose body is bytes [from, end), of which `n` have been read; one not read whole is in doubt. */
  see(buffer: Buffer, from: number, end: number, n: number): void {
    if (!this.hidesState) this.hidesState = end > n || UNLISTED.test(buffer.latin1Slice(from, end));
  }
}
