/**
 * A process with a log, for log-process.test.ts (not a test of its own). The scenario is the first argument; results go
 * to descriptor 3 as one JSON line, since stderr is what is being tested.
 */
import { writeSync } from 'node:fs';
import { createLog, type LogOptions } from '../../../src/observe/log.ts';

const [scenario = '', logfile = ''] = process.argv.slice(2);
const options: LogOptions = {
  logfile,
  quiet: logfile !== '',
  syslog: false,
  syslogIdent: 'test',
  syslogFacility: 'daemon',
  format: 'pgbouncer',
  verbose: 0,
};
const log = createLog(options);
const report = (value: object): void => void writeSync(3, `${JSON.stringify(value)}\n`);

function flood(): void {
  let worstStallMs = 0;
  let last = performance.now();
  const text = 'x'.repeat(200);
  const beat = setInterval(() => {
    const now = performance.now();
    worstStallMs = Math.max(worstStallMs, now - last - 10);
    last = now;
    for (let i = 0; i < 200; i++) log.log(`${i} ${text}`);
  }, 10);
  setTimeout(() => {
    clearInterval(beat);
    report({ worstStallMs, dropped: log.droppedLines(), heapMb: process.memoryUsage().heapUsed / 2 ** 20 });
    process.on('message', () => {
      log.log('after the flood');
      setTimeout(() => process.exit(0), 300);
    });
    if (scenario === 'flood-exit') process.exit(7);
  }, 1200);
}

if (scenario === 'exit') {
  for (let i = 0; i < 3000; i++) log.log(`line ${i}`);
  process.exit(3);
} else if (scenario === 'exit-later') {
  // some lines are on their way when the last ones come
  for (let i = 0; i < 3000; i++) log.log(`line ${i}`);
  setImmediate(() => {
    for (let i = 3000; i < 3100; i++) log.log(`line ${i}`);
    setImmediate(() => {
      for (let i = 3100; i < 3200; i++) log.log(`line ${i}`);
      process.exit(3);
    });
  });
} else if (scenario === 'throw') {
  log.log('before the bug');
  throw new Error('a bug');
} else if (scenario === 'fatal-kill') {
  log.log('first');
  log.fatal('cannot go on');
  process.kill(process.pid, 'SIGKILL');
} else {
  flood();
}
