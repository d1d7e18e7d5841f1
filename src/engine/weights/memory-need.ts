import type { MemoryNeed } from '../../backends/contract/life-cycle.ts';
import { KV_BLOCK_SIZE } from '../../layers/attention/attention-metadata.ts';
import { isMatrix, ParameterTable } from '../../layers/parameters/parameter.ts';
import type { CausalLM } from '../../models/causal-lm.ts';
import type { WeightDType } from '../../tensor/dtype.ts';
import { elementCount } from '../../tensor/tensor.ts';

/** What a rank's weights and states take, in numbers. Matrices are those of linear layers; small ones count with them. */
export function memoryNeed(model: CausalLM, dtype: WeightDType, slots: number, numBlocks: number): MemoryNeed {
  const table = new ParameterTable(model);
  const shards = table.names().map((name) => {
    const shape = table.shape(name);
    const { rows, columns } = table.shardSize(name);
    // A row of a stack is a whole matrix.
    const inFeatures = shape.length === 3 ? shape[2] : columns;
    return { values: rows * columns, inFeatures, isMatrix: isMatrix(name, shape) };
  });
  const stateLength = model.stateShapes.reduce((sum, { conv, ssm }) => sum + elementCount(conv) + elementCount(ssm), 0);
  const perToken = model.kvCacheSizes.reduce((sum, { numKvHeads, headDim }) => sum + 2 * numKvHeads * headDim, 0);
  const states = slots * stateLength + numBlocks * KV_BLOCK_SIZE * perToken;
  return {
    matrices: shards
      .filter(({ isMatrix }) => isMatrix)
      .map(({ values, inFeatures }) => ({ outFeatures: values / inFeatures, inFeatures, dtype })),
    floats: shards.filter(({ isMatrix }) => !isMatrix).reduce((sum, { values }) => sum + values, states),
  };
}
