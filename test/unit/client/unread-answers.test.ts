/** Answers that the proxy gives by itself must not pile up for a client that does not read them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PreparedNames } from '../../../src/client/prepared.ts';
import type { RequestHost } from '../../../src/client/request-host.ts';
import { RequestStream } from '../../../src/client/request-stream.ts';
import { newCounters } from '../../../src/pool/counters.ts';
import { StatementRegistry } from '../../../src/server/statements.ts';
import * as wire from '../../support/raw-messages.ts';

/** A client without a server; its transport takes every byte, and says that it is full when `full`. */
function unlinked(full: boolean): { readonly stream: RequestStream; readonly seen: string[] } {
  const seen: string[] = [];
  const transport = {
    writeOwned: (bytes: Buffer) => {
      seen.push(`write ${bytes.toString('latin1', 0, 1)}`);
      return !full;
    },
    pause: () => {
      seen.push('pause');
    },
  };
  const host = {
    transport,
    server: null,
    counters: newCounters(),
    prepared: new PreparedNames(new StatementRegistry()),
    maxPrepared: 10,
    maxPacketSize: 1_000_000,
    disablePqexec: false,
    setup: null,
  };
  return { stream: new RequestStream(host as unknown as RequestHost), seen };
}

for (const [what, bytes, letter] of [
  ['Sync', wire.sync(), 'Z'],
  ['Close of a statement', wire.close('S', 'x'), '3'],
] as const) {
  test(`${what} without a server: answered, and reading stops while the answers are not taken`, () => {
    const roomy = unlinked(false);
    roomy.stream.onData(bytes, bytes.length);
    assert.deepEqual(roomy.seen, [`write ${letter}`]);
    const full = unlinked(true);
    full.stream.onData(bytes, bytes.length);
    assert.deepEqual(full.seen, [`write ${letter}`, 'pause']);
  });
}
