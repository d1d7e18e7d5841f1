import { memoryInStorage } from '../../engine/weights/weight-memory.ts';
import type { Stage } from '../../layers/parameters/layer-context.ts';
import { ParameterTable } from '../../layers/parameters/parameter.ts';
import type { CausalLM } from '../../models/causal-lm.ts';
import { type StateDType, stateBytes } from '../../tensor/state-dtype.ts';
import { elementCount } from '../../tensor/tensor.ts';
import { keysAndValuesBytes, type ModelLoad } from './model-load.ts';

/** Memory of the process, or the processes' threads together, that hold one stage of a model. */
export interface StageNeed extends Stage {
  /** Bytes of the weights with dtype `auto` on the processor. */
  readonly weightBytes: number;
  /** Bytes of one sequence's state in the stage's layers. */
  readonly stateBytes: number;
  /** Bytes of keys and values of one token in the stage's layers, in float32. */
  readonly kvBytesPerToken: number;
}

/** @param stateDType of SSM states */
export function stageNeed(model: CausalLM, stage: Stage, stateDType: StateDType): StageNeed {
  return {
    ...stage,
    weightBytes: memoryInStorage(new ParameterTable(model)),
    stateBytes: bytesOfStates(model, 'conv', 'float32') + bytesOfStates(model, 'ssm', stateDType),
    kvBytesPerToken: kvBytesPerToken(model),
  };
}

/** Bytes of one sequence's state of a kind, over all layers of the model or stage. */
export function bytesOfStates({ stateShapes }: CausalLM, kind: 'conv' | 'ssm', dtype: StateDType): number {
  return stateShapes.reduce((sum, shapes) => sum + elementCount(shapes[kind]) * stateBytes(dtype), 0);
}

export function kvBytesPerToken({ kvCacheSizes }: CausalLM): number {
  return kvCacheSizes.reduce((sum, { numKvHeads, headDim }) => sum + 2 * 4 * numKvHeads * headDim, 0);
}

/** Bytes of a stage under a load; the memory of a step is not included. */
export function stageMemory(need: StageNeed, load: ModelLoad): number {
  return need.weightBytes + load.batch * need.stateBytes + keysAndValuesBytes(need, load);
}
