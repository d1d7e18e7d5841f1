import { ReferenceBackend } from '../../backends/reference/reference-backend.ts';
import { singleProcess } from '../../distributed/process-group.ts';
import { ShardingError } from '../../errors.ts';
import { LayerContext } from '../../layers/parameters/layer-context.ts';
import type { ModelDefinition } from '../../models/causal-lm.ts';
import type { StateStorage } from '../../tensor/state-dtype.ts';
import { type KvCacheLimits, numKvBlocks } from '../run/kv-cache-limits.ts';
import { replayedTokens } from '../run/replayed-slots.ts';
import { memoryNeed, type StatesNeed } from '../weights/memory-need.ts';
import type { WeightStorage } from '../weights/weight-storage.ts';

/** Bytes of a GPU that are no rank's weights and states: its context, buffers of exchanges, and activations. */
export const OTHER_BYTES = 1.5 * 2 ** 30;

/** GPUs that a model may have, in processes that each have the same number of them. */
export interface GpuChoice {
  readonly numHeads: number | undefined;
  readonly processes: number;
  /** Bytes of each GPU that a process sees and no other process of its machine takes. */
  readonly memories: readonly number[];
  /** Bytes that a rank's weights and states take, of so many ranks. */
  readonly need: (ranks: number) => number;
}

/** The fewest GPUs whose memory holds a model, or as many as can share it: what `auto` is for the device 'cuda'. */
export function fewestGpus({ numHeads = 0, processes, memories, need }: GpuChoice): number {
  const counts = memories.map((_, i) => (i + 1) * processes).filter((ranks) => numHeads % ranks === 0);
  if (counts.length === 0) {
    throw new ShardingError(
      `${processes} processes with ${memories.length} GPUs each can't share a model of ${numHeads} heads.`,
      'Start as many processes as divide the heads.',
    );
  }
  const holds = (ranks: number) => need(ranks) + OTHER_BYTES <= Math.min(...memories.slice(0, ranks / processes));
  return counts.find(holds) ?? counts[counts.length - 1];
}

/** @throws ShardingError unless each of a process's ranks has a GPU. */
export function checkGpus(tensorParallelSize: number, processes: number, numGpus: number): void {
  if (tensorParallelSize <= processes * numGpus) return;
  const each = processes > 1 ? ` in each of ${processes} processes` : '';
  throw new ShardingError(
    `tensorParallelSize is ${tensorParallelSize}, and there are ${numGpus} GPUs${each}.`,
    'Use at most as many ranks as GPUs; CUDA_VISIBLE_DEVICES may hide some.',
  );
}

/** Bytes that one of so many ranks' weights and states take on a GPU. */
export async function rankBytes(
  definition: ModelDefinition,
  { weightDType, quantConfig }: Pick<WeightStorage, 'weightDType' | 'quantConfig'>,
  limits: KvCacheLimits & Pick<StatesNeed, 'keptTokens'>,
  states: StateStorage,
): Promise<(ranks: number) => number> {
  const [{ storedBytes }, { stepsOf }] = await Promise.all([
    import('../../backends/cuda/device/cuda-weight.ts'),
    import('../../backends/cuda/ops/replay-steps.ts'),
  ]);
  return (size) => {
    const context = new LayerContext(new ReferenceBackend(), { ...singleProcess, size }, weightDType);
    const model = definition.create(context, quantConfig);
    const numBlocks = numKvBlocks(model.kvCacheSizes, limits);
    const { matrices, floats } = memoryNeed(model, {
      ...limits,
      numBlocks,
      stateDType: states.dtype,
      replayed: replayedTokens({ stepsOf }, model, states),
    });
    return matrices.reduce((sum, matrix) => sum + storedBytes(matrix), 4 * floats);
  };
}
