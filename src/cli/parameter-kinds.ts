import type { ParameterTable } from '../layers/parameter.ts';
import { WEIGHT_DTYPES, type WeightDType } from '../tensor/dtype.ts';
import { weightBytes } from '../tensor/quantize.ts';
import { elementCount } from '../tensor/tensor.ts';

/** What a parameter is for, in the order of a report. */
export const PARAMETER_KINDS = ['embeddings', 'inProj', 'conv', 'outProj', 'norms', 'other'] as const;
export type ParameterKind = (typeof PARAMETER_KINDS)[number];

/** First match decides: a mixer's norm is a norm, and a convolution's bias belongs to it. */
const PATTERNS: readonly (readonly [RegExp, ParameterKind])[] = [
  [/(^|\.)(embeddings?|embed_tokens|lm_head)\./, 'embeddings'],
  [/(^|\.)in_proj\./, 'inProj'],
  [/(^|\.)conv1d\./, 'conv'],
  [/(^|\.)out_proj\./, 'outProj'],
  [/norm/, 'norms'],
];

/** Number of parameters per kind. */
export function countParameters(table: ParameterTable): Record<ParameterKind, number> {
  const counts = { embeddings: 0, inProj: 0, conv: 0, outProj: 0, norms: 0, other: 0 };
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
  if (shape.length !== 2 || !name.endsWith('.weight')) return elementCount(shape) * 4;
  return weightBytes(shape[0], shape[1], dtype);
}
