import type { QuantizationConfig } from '../../src/layers/parameters/quantization.ts';
import type { BlockFormat } from '../../src/tensor/block-formats.ts';

/** Keeps all matrices but routers in blocks of one format, where their rows are whole ones. */
export function inBlocks(format: BlockFormat): QuantizationConfig {
  return { name: format, weightDType: (_, role) => (role === 'router' ? undefined : format) };
}
