/**
 * What can be done to the demo's nodes while it runs, by typing a line: the part of repmgr, Patroni or an
 * administrator. The proxy is not told; it finds out.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { PostgresCluster } from './postgres-cluster.ts';
import type { PostgresInstance } from './postgres-instance.ts';

/** For the guide. */
export const MOVES_HELP: readonly (readonly [move: string, does: string])[] = [
  ['promote pg2', 'stops the primary in peace, promotes pg2, lets the others follow it'],
  ['kill pg3', 'as if its power had failed'],
  ['start pg3', 'brings it back as a replica'],
];

export interface MovesOptions {
  readonly cluster: PostgresCluster;
  readonly print: (line: string) => void;
}

function primaryOf(cluster: PostgresCluster): PostgresInstance | null {
  return cluster.nodes.find((node) => node.running && !node.isReplica) ?? null;
}

async function promote(
  cluster: PostgresCluster,
  target: PostgresInstance,
  print: (line: string) => void,
): Promise<void> {
  if (!target.running) throw new Error(`${target.name} is not running: start ${target.name}`);
  if (!target.isReplica) throw new Error(`${target.name} is the primary already`);
  const old = primaryOf(cluster);
  if (old !== null) {
    // its last WAL reaches the replicas before it is gone
    print(`  stopping ${old.name}`);
    await old.stop('fast');
  }
  const ahead = await cluster.aheadOf(target);
  print(`  promoting ${target.name}`);
  await cluster.promote(target);
  print(`  ${target.name} is the primary`);
  for (const other of cluster.replicas) {
    if (ahead.includes(other)) {
      // it has WAL of the dead primary that the new one has never seen: it can never follow it
      print(`  ${other.name} had received more than ${target.name}: it gets a fresh copy`);
      await cluster.reclone(other, target);
    } else {
      await cluster.follow(other, target);
    }
    print(`  ${other.name} follows ${target.name}`);
  }
  if (old === null) return;
  await cluster.rejoin(old, target);
  print(`  ${old.name} is back as a replica of ${target.name}`);
}

async function start(
  cluster: PostgresCluster,
  node: PostgresInstance,
  print: (line: string) => void,
): Promise<void> {
  if (node.running) throw new Error(`${node.name} is running`);
  const primary = primaryOf(cluster);
  if (primary === null) {
    await node.start();
    print(`  ${node.name} runs${node.isReplica ? ', but there is no primary to follow' : ' as the primary'}`);
  } else {
    // what it has is not known: it may have been a primary, with commits that nobody else has
    await cluster.reclone(node, primary);
    print(`  ${node.name} is a replica of ${primary.name}, with a fresh copy of its data`);
  }
}

/** What went wrong; of a log behind it only the last line. */
function sentence(error: unknown): string {
  const lines = (error instanceof Error ? error.message : String(error)).split('\n');
  const last = lines.at(-1) ?? '';
  return lines.length === 1 ? last : `${lines[0]}; its last line: ${last}`;
}

/** Carries out one line. Rejects with a sentence when it cannot be done. */
async function move(line: string, { cluster, print }: MovesOptions): Promise<void> {
  const [verb = '', name = '', ...rest] = line.trim().toLowerCase().replace(/;$/, '').split(/\s+/);
  if (verb === '') return;
  const known = cluster.nodes.map((node) => node.name);
  if (!['promote', 'kill', 'start'].includes(verb) || rest.length > 0) {
    throw new Error(
      `not known here: ${line.trim()} (known: promote, kill, start and a node; SQL goes into psql)`,
    );
  }
  if (!known.includes(name)) throw new Error(`${verb} which node? There are ${known.join(', ')}`);
  const node = cluster.node(name);
  for (const one of cluster.nodes) {
    if (one.strangerPid === null) continue;
    const stop = `pg_ctl -D ${one.dir} stop`;
    throw new Error(`${one.name} was started by hand: ${stop}, then type start ${one.name} here`);
  }
  if (verb === 'promote') await promote(cluster, node, print);
  else if (verb === 'start') await start(cluster, node, print);
  else {
    if (!node.running) throw new Error(`${name} is not running`);
    await node.kill();
    print(`  ${name} is gone`);
  }
}

/**
 * A process in the background of a terminal (`npm start &`) is stopped when it reads from it. Linux tells who is in
 * front; elsewhere it is taken for granted.
 */
function mayRead(): boolean {
  if (!process.stdin.isTTY) return true;
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8');
    const [, , group, , , front] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return group === front;
  } catch {
    return true;
  }
}

/**
 * Reads lines from stdin and carries them out, one after the other. Returns what ends it; that resolves when the move
 * under way is done.
 */
export function takeMoves(options: MovesOptions): () => Promise<void> {
  if (!mayRead()) return () => Promise.resolve();
  let last = Promise.resolve();
  let over = false;
  const lines = createInterface({ input: process.stdin, terminal: false });
  lines.on('line', (line) => {
    last = last.then(async () => {
      if (over) return;
      try {
        await move(line, options);
      } catch (error) {
        options.print(`  ${sentence(error)}`);
      }
    });
  });
  process.stdin.on('error', () => {}); // the terminal has gone: nothing more will be typed
  return () => {
    over = true;
    lines.close();
    process.stdin.destroy();
    return last;
  };
}
