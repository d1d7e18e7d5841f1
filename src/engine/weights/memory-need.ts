import type { MemoryNeed } from '../../backends/contract/life-cycle.ts';
import { KV_BLOCK_SIZE } from '../../layers/attention/attention-metadata.ts';
import { isMatrixRole, ParameterTable } from '../../layers/parameters/parameter.ts';
import type { CausalLM } from '../../models/causal-lm.ts';
import type { KvCacheDType } from '../../tensor/kv-cache-dtype.ts';
import { type StateDType, stateBytes } from '../../tensor/state-dtype.ts';
import { elementCount } from '../../tensor/tensor.ts';
import { kvTokenBytes } from '../run/kv-cache-limits.ts';

/** What a rank holds besides weights. */
export interface StatesNeed {
  readonly slots: number;
  readonly numBlocks: number;
  /** Tentative tokens of each slot whose inputs are kept. Default: 0. */
  readonly keptTokens?: number | undefined;
  /** Default: float32. */
  readonly stateDType?: StateDType | undefined;
  /** Default: float32. */
  readonly kvCacheDtype?: KvCacheDType | undefined;
  /** Tokens, per mixer, that a slot's state may lack: see {@link replayedTokens}. */
  readonly replayed: readonly number[];
}

/** Memory that a rank's weights and states take, in numbers of 4 bytes. */
export function memoryNeed(
  model: CausalLM,
  { slots, numBlocks, keptTokens = 0, stateDType = 'float32', kvCacheDtype, replayed }: StatesNeed,
): MemoryNeed {
  const table = new ParameterTable(model);
  const weights = table.names().map((name) => {
    const shape = table.shape(name);
    const { rows, columns } = table.shardSize(name);
    const role = table.role(name);
    // A row of a stack is a whole matrix.
    const inFeatures = role === 'expert' ? shape[shape.length - 1] : columns;
    return { values: rows * columns, inFeatures, dtype: table.dtype(name), isMatrix: isMatrixRole(role) };
  });
  const share = stateBytes(stateDType) / 4;
  const stateLength = model.stateShapes.reduce(
    (sum, { conv, ssm }) => sum + elementCount(conv) + share * elementCount(ssm),
    0,
  );
  const perToken = kvTokenBytes(model.kvCacheSizes, kvCacheDtype) / 4;
  const keptLength = model.keptWidths.flat().reduce((sum, width) => sum + width, 0);
  const replayLength = model.replayWidths.reduce((sum, width, i) => sum + replayed[i] * width, 0);
  const { predictorSize } = model;
  const perSlot = stateLength + predictorSize + keptTokens * (keptLength + predictorSize) + replayLength;
  const states = slots * perSlot + 2 * predictorSize + numBlocks * KV_BLOCK_SIZE * perToken;
  return {
    matrices: weights
      .filter(({ isMatrix }) => isMatrix)
      .map(({ values, inFeatures, dtype }) => ({ outFeatures: values / inFeatures, inFeatures, dtype })),
    floats: weights.filter(({ isMatrix }) => !isMatrix).reduce((sum, { values }) => sum + values, states),
  };
}
