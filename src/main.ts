#!/usr/bin/env node
/**
 * The program: what was asked for, then the room that does it. Rooms are loaded when they are needed, so that --version
 * answers even where something is broken. This file holds the only process.exit.
 */
import { setFlagsFromString } from 'node:v8';
import { parseCommandLine, programName } from './cli/args.ts';
import { POOLER_SIGNALS, type PoolerSignal } from './cli/signals.ts';

let obey: ((signal: PoolerSignal) => void) | null = null;

/** Before anything else is loaded: without a handler, USR1 would open Node's debugger. */
function takeSignals(): void {
  for (const signal of POOLER_SIGNALS) {
    process.on(signal, () => {
      if (obey !== null) obey(signal);
      else if (signal === 'SIGTERM' || signal === 'SIGINT' || signal === 'SIGQUIT') process.exit(0);
    });
  }
}

async function main(): Promise<void> {
  const exe = programName(process.argv[1]);
  const command = parseCommandLine(process.argv.slice(2), exe);
  switch (command.kind) {
    case 'say':
      process[command.to].write(command.text);
      process.exitCode = command.exitCode;
      return;
    case 'demo': {
      const { runDemo } = await import('./demo/main.ts');
      await runDemo([...command.argv]);
      return;
    }
    case 'check': {
      const [{ checkLive }, { serverTls }] = await Promise.all([
        import('./cli/check-live.ts'),
        import('./pool/server-tls.ts'),
      ]);
      const { text, ok } = await checkLive(command.file, { serverTls });
      process.stdout.write(text);
      process.exitCode = ok ? 0 : 1;
      return;
    }
    case 'run':
      break;
  }
  if (command.check) {
    const { checkConfiguration } = await import('./cli/check.ts');
    const { text, ok } = checkConfiguration(command.file);
    process.stdout.write(text);
    process.exitCode = ok ? 0 : 1;
    return;
  }
  takeSignals();
  // a regexp of the file that takes for ever over some name (`^(a+)+$`) would stop all clients: then V8 takes its linear engine
  setFlagsFromString('--enable-experimental-regexp-engine-on-excessive-backtracks');
  const [{ run }, { startSupervisor }] = await Promise.all([
    import('./cli/run.ts'),
    import('./supervisor.ts'),
  ]);
  await run(command, {
    startSupervisor,
    exit: (code) => process.exit(code),
    onSignal: (handler) => {
      obey = handler;
    },
  });
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exit(1);
}
