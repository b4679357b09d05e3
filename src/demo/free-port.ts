/**
 * TCP ports nobody listens on. They are taken from below the range of outgoing connections (32768 and up on Linux):
 * a port of that range can be taken by anybody's connect() between our look and the child's bind().
 */
import { createServer } from 'node:net';
import { FatalError } from '../util/fatal-error.ts';

const FIRST = 11_000;
const LAST = 31_999;
const handedOut = new Set<number>();

/** Can `port` be bound on `host` just now? */
export function isFree(port: number, host = '127.0.0.1'): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** A port that is free now and was not handed out before by this process. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 500; tries++) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST + 1));
    if (!handedOut.has(port) && (await isFree(port))) {
      handedOut.add(port);
      return port;
    }
  }
  throw new Error(`no free TCP port found between ${FIRST} and ${LAST} in 500 tries`);
}

/** `count` different free ports. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) ports.push(await freePort());
  return ports;
}

/** `wanted` when it is free, else the next free one above it (at most 100 further). */
export async function freePortFrom(wanted: number): Promise<number> {
  for (let port = wanted; port < wanted + 100 && port < 65_536; port++) {
    if (!handedOut.has(port) && (await isFree(port))) {
      handedOut.add(port);
      return port;
    }
  }
  throw new FatalError(`port ${wanted} and the 99 after it are all in use`);
}
