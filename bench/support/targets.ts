/** Starts the sides of a comparison: direct (optional) and one process of each pooler. */
import type { Bench, OpenGroup, Target } from './line.ts';
import { type Pooler, type PoolerOptions, startPooler } from './pooler.ts';
import type { TargetName } from './results.ts';

export interface TargetOptions {
  readonly auth: PoolerOptions['auth'];
  readonly userlist: readonly string[];
  /** Default: the PostgreSQL of the bench. */
  readonly backendPort?: number;
}

/** direct, then each pooler, all in front of the same backend. A pooler that does not start is noted as failed. */
export async function openTargets(bench: Bench, options: TargetOptions): Promise<OpenGroup> {
  const backendPort = options.backendPort ?? bench.backend.port;
  const poolers: Pooler[] = [];
  const targets: Target[] = [{ name: 'direct', port: backendPort, cpu: () => null }];
  const close = async (): Promise<void> => {
    for (const pooler of poolers) await pooler.stop();
  };
  const failed: Partial<Record<TargetName, string>> = {};
  for (const program of bench.programs) {
    try {
      const { auth, userlist } = options;
      const pooler = await startPooler(program, { backendPort, auth, userlist, scratch: bench.scratch });
      poolers.push(pooler);
      targets.push({ name: program.name, port: pooler.port, cpu: () => pooler.cpu() });
    } catch (error) {
      failed[program.name] = `FAILED: ${error instanceof Error ? error.message : String(error)}`;
    }
  }
  return { targets, failed, close };
}
