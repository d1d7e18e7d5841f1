import { kvTokenBytes } from '../../engine/run/kv-cache-limits.ts';
import { memoryInStorage } from '../../engine/weights/weight-memory.ts';
import type { Stage } from '../../layers/parameters/layer-context.ts';
import { ParameterTable } from '../../layers/parameters/parameter.ts';
import type { CausalLM } from '../../models/causal-lm.ts';
import type { KvCacheDType } from '../../tensor/kv-cache-dtype.ts';
import { type StateDType, stateBytes } from '../../tensor/state-dtype.ts';
import { elementCount } from '../../tensor/tensor.ts';
import { keysAndValuesBytes, type ModelLoad } from './model-load.ts';

/** Memory of the process, or the processes' threads together, that hold one stage of a model. */
export interface StageNeed extends Stage {
  /** Bytes of the weights with dtype `auto` on the processor. */
  readonly weightBytes: number;
  /** Bytes of one sequence's state in the stage's layers. */
  readonly stateBytes: number;
  /** Bytes of keys and values of one token in the stage's layers. */
  readonly kvBytesPerToken: number;
}

/** Dtypes of what sequences hold. */
export interface HeldDTypes {
  /** Dtype of SSM states. */
  readonly stateDType: StateDType;
  /** Dtype of keys and values. */
  readonly kvCacheDType: KvCacheDType;
}

export function stageNeed(model: CausalLM, stage: Stage, { stateDType, kvCacheDType }: HeldDTypes): StageNeed {
  return {
    ...stage,
    weightBytes: memoryInStorage(new ParameterTable(model)),
    stateBytes: bytesOfStates(model, 'conv', 'float32') + bytesOfStates(model, 'ssm', stateDType),
    kvBytesPerToken: kvTokenBytes(model.kvCacheSizes, kvCacheDType),
  };
}

/** Bytes of one sequence's state of a kind, over all layers of the model or stage. */
export function bytesOfStates({ stateShapes }: CausalLM, kind: 'conv' | 'ssm', dtype: StateDType): number {
  return stateShapes.reduce((sum, shapes) => sum + elementCount(shapes[kind]) * stateBytes(dtype), 0);
}

/** Bytes of a stage under a load; the memory of a step is not included. */
export function stageMemory(need: StageNeed, load: ModelLoad): number {
  return need.weightBytes + load.batch * need.stateBytes + keysAndValuesBytes(need, load);
}
