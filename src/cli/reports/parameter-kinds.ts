import { isMatrix, type ParameterTable } from '../../layers/parameters/parameter.ts';
import { WEIGHT_DTYPES, type WeightDType } from '../../tensor/dtype.ts';
import { weightBytes } from '../../tensor/quantize.ts';
import { elementCount } from '../../tensor/tensor.ts';

/** What a parameter is for, in the order of a report. */
export const PARAMETER_KINDS = [
  'embeddings',
  'inProj',
  'conv',
  'outProj',
  'attention',
  'feedForward',
  'experts',
  'norms',
  'other',
] as const;
export type ParameterKind = (typeof PARAMETER_KINDS)[number];

/** First match decides: a mixer's norm is a norm, and a convolution's bias belongs to it. */
const PATTERNS: readonly (readonly [RegExp, ParameterKind])[] = [
  [/(^|\.)(embeddings?|embed_tokens|lm_head)\./, 'embeddings'],
  [/norm\w*\./, 'norms'],
  [/\.in_proj\./, 'inProj'],
  [/\.conv1d\./, 'conv'],
  [/\.out_proj\./, 'outProj'],
  [/\.(q_proj|k_proj|v_proj|o_proj|linear_[qkv]_adapter_list)\./, 'attention'],
  [/\.(block_sparse_moe|experts|gate|fc[12]_latent_proj)\./, 'experts'],
  [/\.(feed_forward|shared_mlp|shared_experts|up_proj|down_proj|linear)\./, 'feedForward'],
];

/** Number of parameters per kind. */
export function countParameters(table: ParameterTable): Record<ParameterKind, number> {
  const counts = Object.fromEntries(PARAMETER_KINDS.map((kind) => [kind, 0])) as Record<ParameterKind, number>;
  for (const name of table.names()) {
    const kind = PATTERNS.find(([pattern]) => pattern.test(name))?.[1] ?? 'other';
    counts[kind] += elementCount(table.shape(name));
  }
  return counts;
}

/** Memory of all weights in each dtype. Matrices of embeddings and linear layers take it; the rest stays float32. */
export function memoryByDType(table: ParameterTable): Record<WeightDType, number> {
  const bytes = WEIGHT_DTYPES.map((dtype) => [
    dtype,
    table.names().reduce((sum, name) => sum + bytesOf(table, name, dtype), 0),
  ]);
  return Object.fromEntries(bytes);
}

function bytesOf(table: ParameterTable, name: string, dtype: WeightDType): number {
  const shape = table.shape(name);
  if (!isMatrix(name, shape)) return elementCount(shape) * 4;
  const columns = shape[shape.length - 1];
  return weightBytes(elementCount(shape) / columns, columns, dtype);
}
