/**
 * Nothing outlives its owner. A tiny shell process holds the other end of a pipe: when this process ends in any way
 * (exit, Ctrl-C, crash, kill -9) the pipe closes, and the guard ends the registered processes and removes the
 * registered directories. An 'exit' handler could not do that for kill -9, nor wait for PostgreSQL's children.
 * Windows has no shell for it; there an 'exit' handler does what it can.
 */
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';

// SIGCONT first: a stopped process would keep its SIGQUIT pending. SIGQUIT is an immediate shutdown for PostgreSQL
// and for the proxy; what is still there after 3 s is killed.
const SCRIPT = `
pids=""
while read -r op arg; do
  case "$op" in
    +p) pids="$pids $arg" ;;
    -p) kept=""; for p in $pids; do [ "$p" = "$arg" ] || kept="$kept $p"; done; pids=$kept ;;
    +d) set -- "$@" "$arg" ;;
    -d) n=$#; while [ "$n" -gt 0 ]; do d=$1; shift; [ "$d" = "$arg" ] || set -- "$@" "$d"; n=$((n-1)); done ;;
  esac
done
for p in $pids; do kill -CONT "$p" 2>/dev/null; kill -QUIT "$p" 2>/dev/null; done
i=0; alive=1
while [ "$alive" = 1 ] && [ "$i" -lt 30 ]; do
  alive=0
  for p in $pids; do kill -0 "$p" 2>/dev/null && alive=1; done
  [ "$alive" = 1 ] && sleep 0.1
  i=$((i+1))
done
[ "$alive" = 1 ] && for p in $pids; do kill -KILL "$p" 2>/dev/null; done
for d; do rm -rf -- "$d"; done
`;

const pids = new Set<number>();
const dirs = new Set<string>();
let pipe: Writable | null = null;
let exitHandler = false;

function cleanUpAtExit(): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // it has ended already
    }
  }
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
}

function fallBackToExitHandler(): void {
  pipe = null;
  if (!exitHandler) process.on('exit', cleanUpAtExit);
  exitHandler = true;
}

function openPipe(): void {
  // its own session: the terminal's Ctrl-C and hang-up must not reach it
  const guard = spawn('/bin/sh', ['-c', SCRIPT, 'pgconcierge-guard'], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  guard.on('error', fallBackToExitHandler);
  guard.stdin.on('error', fallBackToExitHandler);
  guard.unref();
  if (guard.stdin instanceof Socket) guard.stdin.unref();
  pipe = guard.stdin;
}

function tell(line: string): void {
  if (process.platform === 'win32') fallBackToExitHandler();
  else if (pipe === null && !exitHandler) openPipe();
  pipe?.write(`${line}\n`);
}

/** `pid` is ended when this process ends; call `unguardProcess` when it has exited, because pids are reused. */
export function guardProcess(pid: number): void {
  pids.add(pid);
  tell(`+p ${pid}`);
}

/** `pid` has exited. */
export function unguardProcess(pid: number): void {
  if (pids.delete(pid)) tell(`-p ${pid}`);
}

/** `dir` is removed when this process ends. */
export function guardDir(dir: string): void {
  if (/[\r\n]/.test(dir)) throw new Error(`a directory name with a line break cannot be guarded: ${dir}`);
  dirs.add(dir);
  tell(`+d ${dir}`);
}

/** `dir` has been removed, or shall stay. */
export function unguardDir(dir: string): void {
  if (dirs.delete(dir)) tell(`-d ${dir}`);
}
