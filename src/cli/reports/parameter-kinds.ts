import type { ParameterTable } from '../../layers/parameters/parameter.ts';
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
