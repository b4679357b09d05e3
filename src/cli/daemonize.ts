/**
 * `-d`. Node cannot fork, so the program starts itself again in a session of its own and without a terminal. The first
 * process waits until the second says that it listens: whoever called gets exit code 1 and the reason when it does not
 * (PgBouncer's caller gets 0 and has to look into the log).
 */
import { spawn } from 'node:child_process';

/** Tells the second process what it is. */
const MARKER = 'PGCONCIERGE_DAEMON';
/** How long the last words of a failing daemon may take to reach the first process. */
const REPORT_TIMEOUT_MS = 2000;

type Report = { readonly ready: true } | { readonly ready: false; readonly text: string };

function isReport(message: unknown): message is Report {
  return typeof message === 'object' && message !== null && 'ready' in message;
}

/** True in the second process. Forgets the marker, so that no child of ours takes itself for the daemon. */
export function takeDaemonMarker(env: NodeJS.ProcessEnv = process.env): boolean {
  const marked = env[MARKER] === '1' && process.send !== undefined;
  delete env[MARKER];
  return marked;
}

/**
 * Starts the daemon with our own arguments. Resolves with null when it is up, else with the sentence that says why not.
 */
export function startDaemon(): Promise<string | null> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      detached: true,
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      env: { ...process.env, [MARKER]: '1' },
    });
    let answered = false;
    const answer = (text: string | null): void => {
      if (answered) return;
      answered = true;
      if (child.connected) child.disconnect();
      child.unref();
      resolve(text);
    };
    child.once('error', (error) => answer(`could not start the daemon: ${error.message}`));
    child.on('message', (message) => {
      if (isReport(message)) answer(message.ready ? null : message.text);
    });
    child.once('exit', (code, signal) => {
      // The message of a process that has ended may still be in the pipe: 'disconnect' comes after it.
      const text = `the daemon ended during its start (${signal ?? `exit code ${code ?? 0}`})`;
      if (child.connected) child.once('disconnect', () => answer(text));
      else setImmediate(() => answer(text));
    });
  });
}

/** In the daemon: tells the first process how the start went and lets go of it. Never rejects. */
export function reportStart(report: Report): Promise<void> {
  return new Promise((resolve) => {
    if (!process.connected || process.send === undefined) {
      resolve();
      return;
    }
    const done = (): void => {
      clearTimeout(timer);
      if (process.connected) process.disconnect();
      resolve();
    };
    const timer = setTimeout(done, REPORT_TIMEOUT_MS);
    process.send(report, done);
  });
}
