import type { MemoryNeed } from '../backends/backend.ts';
import { KV_BLOCK_SIZE } from '../layers/attention-metadata.ts';
import { ParameterTable } from '../layers/parameter.ts';
import type { CausalLM } from '../models/causal-lm.ts';
import type { WeightDType } from '../tensor/dtype.ts';
import { elementCount } from '../tensor/tensor.ts';

/** What a rank's weights and states take, in numbers. Matrices are those of linear layers; small ones count with them. */
export function memoryNeed(model: CausalLM, dtype: WeightDType, slots: number, numBlocks: number): MemoryNeed {
  const table = new ParameterTable(model);
  const shards = table.names().map((name) => ({ ...table.shardSize(name), isMatrix: table.shape(name).length === 2 }));
  const stateLength = model.stateShapes.reduce((sum, { conv, ssm }) => sum + elementCount(conv) + elementCount(ssm), 0);
  const perToken = model.kvCacheSizes.reduce((sum, { numKvHeads, headDim }) => sum + 2 * numKvHeads * headDim, 0);
  const states = slots * stateLength + numBlocks * KV_BLOCK_SIZE * perToken;
  return {
    matrices: shards
      .filter(({ isMatrix }) => isMatrix)
      .map(({ rows, columns }) => ({ outFeatures: rows, inFeatures: columns, dtype })),
    floats: shards.filter(({ isMatrix }) => !isMatrix).reduce((sum, { rows, columns }) => sum + rows * columns, states),
  };
}
