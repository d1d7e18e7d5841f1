import type { ParameterTable } from '../../layers/parameters/parameter.ts';
import { elementCount } from '../../tensor/tensor.ts';

/** Kinds of parameters, in the order of a report. */
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

/** Number of parameters per kind. */
export function countParameters(table: ParameterTable): Record<ParameterKind, number> {
  const counts = Object.fromEntries(PARAMETER_KINDS.map((kind) => [kind, 0])) as Record<ParameterKind, number>;
  for (const name of table.names()) {
    counts[kindOf(table, name)] += elementCount(table.shape(name));
  }
  return counts;
}

/** The kind of a parameter. A mixer's norm is a norm; biases belong to the layer that adds them. */
export function kindOf(table: ParameterTable, name: string): ParameterKind {
  switch (table.role(name)) {
    case 'embedding':
    case 'head':
      return 'embeddings';
    case 'norm':
      return 'norms';
    default:
      return table.part(name) ?? 'other';
  }
}
