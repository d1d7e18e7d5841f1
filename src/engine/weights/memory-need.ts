import type { MemoryNeed } from '../../backends/contract/life-cycle.ts';
import { KV_BLOCK_SIZE } from '../../layers/attention/attention-metadata.ts';
import { isMatrixRole, ParameterTable } from '../../layers/parameters/parameter.ts';
import type { CausalLM } from '../../models/causal-lm.ts';
import { type StateDType, stateBytes } from '../../tensor/state-dtype.ts';
import { elementCount } from '../../tensor/tensor.ts';

/**
 * Memory that a rank's weights and states take, in numbers.
 * @param keptTokens tentative tokens of each slot whose inputs are kept.
 */
export function memoryNeed(
  model: CausalLM,
  slots: number,
  numBlocks: number,
  keptTokens = 0,
  stateDType: StateDType = 'float32',
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
  const perToken = model.kvCacheSizes.reduce((sum, { numKvHeads, headDim }) => sum + 2 * numKvHeads * headDim, 0);
  const keptLength = model.keptWidths.flat().reduce((sum, width) => sum + width, 0);
  const { predictorSize } = model;
  const perSlot = stateLength + predictorSize + keptTokens * (keptLength + predictorSize);
  const states = slots * perSlot + 2 * predictorSize + numBlocks * KV_BLOCK_SIZE * perToken;
  return {
    matrices: weights
      .filter(({ isMatrix }) => isMatrix)
      .map(({ values, inFeatures, dtype }) => ({ outFeatures: values / inFeatures, inFeatures, dtype })),
    floats: weights.filter(({ isMatrix }) => !isMatrix).reduce((sum, { values }) => sum + values, states),
  };
}
