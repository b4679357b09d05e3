/** Free TCP ports for tests. The search itself is the demo's; tests import it from here, with the other helpers. */
import * as ports from '../../src/demo/free-port.ts';

/** A port on 127.0.0.1 that nobody listens on and that this process was not given before. */
export function freePort(): Promise<number> {
  return ports.freePort();
}

/** `count` different ones. */
export function freePorts(count: number): Promise<number[]> {
  return ports.freePorts(count);
}
