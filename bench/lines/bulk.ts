/** Bytes rather than transactions: a big result, COPY out, COPY in. MB/s at the client, CPU seconds per GB. */
import { DATABASE, TRUST_USER } from '../support/backend.ts';
import { cpuBetween, type Group, type Line, type Target } from '../support/line.ts';
import { RawConnection } from '../support/raw-connection.ts';
import type { Sample } from '../support/results.ts';
import { openTargets } from '../support/targets.ts';

const UNITS = { value: 'MB/s', cpu: 's/GB', biggerIsBetter: true } as const;
const ROWS = 100_000;
const WIDE_ROW = `select repeat('x', 1000) from generate_series(1, ${ROWS})`;
const COPY_CHUNK = Buffer.from(`${'x'.repeat(999)}\n`.repeat(64));

/** Repeats `once` (bytes moved) for `seconds` on one connection. */
async function repeat(
  target: Target,
  seconds: number,
  once: (connection: RawConnection) => Promise<number>,
): Promise<Sample> {
  const connection = await RawConnection.open(target.port, TRUST_USER, DATABASE);
  try {
    const cpuBefore = target.cpu();
    const start = performance.now();
    let bytes = 0;
    let elapsedMs = 0;
    while (elapsedMs < seconds * 1000) {
      bytes += await once(connection);
      elapsedMs = performance.now() - start;
    }
    const cpu = cpuBetween(cpuBefore, target.cpu());
    return { value: bytes / 1e6 / (elapsedMs / 1000), cpu: cpu === null ? null : cpu / (bytes / 1e9) };
  } finally {
    connection.close();
  }
}

export function bulkGroup(): Group {
  const line = (name: string, once: (connection: RawConnection) => Promise<number>): Line => ({
    name,
    units: UNITS,
    absent: () => null,
    measure: (_bench, target, seconds) => repeat(target, seconds, once),
  });
  const lines = [
    line('big result', (connection) => connection.query(WIDE_ROW)),
    line('copy out', (connection) => connection.query(`copy (${WIDE_ROW}) to stdout`)),
    // the rows are parsed and thrown away: the disk is not what is measured
    line('copy in', (connection) =>
      connection.copyIn('copy copy_sink from stdin where false', COPY_CHUNK, ROWS / 64),
    ),
  ];
  return { lines, open: (b) => openTargets(b, { auth: 'trust', userlist: [`"${TRUST_USER}" ""`] }) };
}
