/** CPU time and memory of a process and its descendants, from /proc. Linux only: elsewhere null. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { childrenOf } from '../../src/demo/processes.ts';

let ticksPerSecond: number | null = null;

function clockTicks(): number {
  if (ticksPerSecond === null) {
    try {
      ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' })) || 100;
    } catch {
      ticksPerSecond = 100; // no getconf in a small container; it is 100 on every common Linux
    }
  }
  return ticksPerSecond;
}

function tree(pid: number): number[] {
  return [pid, ...childrenOf(pid).flatMap(tree)];
}

function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return ''; // ended meanwhile
  }
}

/** User and system seconds used so far by `pid` and its children that still run; null where there is no /proc. */
export function cpuSeconds(pid: number): number | null {
  if (process.platform !== 'linux') return null;
  let ticks = 0;
  for (const one of tree(pid)) {
    const stat = readProc(one, 'stat');
    // fields 14 and 15; the command in parentheses may contain blanks
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  }
  return ticks / clockTicks();
}

/** Resident memory in kB of `pid` and its children; null where there is no /proc. */
export function residentKb(pid: number): number | null {
  if (process.platform !== 'linux') return null;
  let sum = 0;
  for (const one of tree(pid)) sum += Number(/^VmRSS:\s+(\d+) kB/m.exec(readProc(one, 'status'))?.[1] ?? 0);
  return sum;
}
